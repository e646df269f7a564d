"""LaTeX tables: captions, labels, units; compiled, nothing sticks out of a column or a page."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from flipbench.report.tables import latex_layout as layout
from flipbench.report.tables.latex import LONGEST, Labels, chosen_latex, tex_text
from flipbench.report.tables.model import Block, Entry

WIDE_CLASSES = (r"[twocolumn,a4paper]{article}", "{article}", "[11pt,a4paper]{article}")
LONG = "weighted_trimmed_mean(trim=0.25) | nnm(byzantine=4), a_very_long_file_name_of_a_rule.py:and_its_function"
UNBROKEN = "x" * 80
needs_latex = pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX here: pdflatex is not installed")


def block(rows: int, columns: int, *, text: int = 0, name: str = LONG, heading: str = "Accuracy (%)") -> Block:
    """A made-up table: every third number best, every fifth tied, some with notes and attacks behind them."""
    entries = [
        Entry("-12.3 ± 105.7, targeted 4→9, flip rate 50 %", best=True),
        Entry("90.0 ± 5.0", tied=True),
        Entry("–", note="a"),
        Entry("0.7"),
    ]
    texts = (Entry(LONG),) * text
    lines = tuple((f"{name} {i}", (*(entries[(i + j) % 4] for j in range(columns)), *texts)) for i in range(rows))
    width = columns + text
    header = (tuple(str(j // 4) for j in range(width)), tuple(f"targeted {j}→9" for j in range(width)))
    return Block(heading, ("partition", "attack"), header, lines, (("a", f"infeasible: {LONG}"),), text=text)


def compiled(where: Path, text: str, setup: str) -> str:
    """What pdflatex prints of a document with this text."""
    (where / "tables.tex").write_text(text, "utf-8")
    document = rf"\documentclass{setup}\usepackage{{booktabs}}\extrafloats{{200}}\begin{{document}}\input{{tables}}"
    (where / "paper.tex").write_text(document + r"\end{document}", "utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    ran = subprocess.run(command, cwd=where, capture_output=True, check=False)
    printed = ran.stdout.decode("utf-8", "replace")
    assert ran.returncode == 0, printed[-2000:]
    return printed


@needs_latex
@pytest.mark.parametrize("setup", WIDE_CLASSES)
def test_nothing_sticks_out_of_a_column_or_a_page(setup: str, tmp_path: Path) -> None:
    labels = Labels("a_b")
    shapes = [block(3, 2), block(70, 3), block(26, 10), block(4, 40), block(5, 3, text=2), block(2, 3, name=UNBROKEN)]
    text = "\n\n".join(labels.table(made, f"Explained once. {LONG} {UNBROKEN}") for made in shapes)
    printed = compiled(tmp_path, text, setup)
    assert not re.findall(r"Overfull \\hbox.*", printed)
    assert "Float too large" not in printed
    assert "multiply defined" not in printed
    assert "cmbx" in printed  # of the fonts that went into the file: the best is bold


@needs_latex
def test_whatever_the_letters_of_a_name_it_compiles(tmp_path: Path) -> None:
    made = block(1, 1, name="é ñ ł γ 模型 😀 \\input{x} $ % # & ~ ^ { } < > |")
    compiled(tmp_path, chosen_latex(made, "Explained."), "{article}")
    assert tex_text("γ😀模") == r"$\gamma$[U+1F600][U+6A21]"


def test_a_caption_is_short_and_the_rest_stands_below() -> None:
    heading = f"Accuracy (%), {', '.join(f'part {i} of a long heading' for i in range(30))}"
    text = Labels("g").table(block(2, 2, heading=heading), "What the marks mean.")
    (caption,) = re.findall(r"\\caption\{(.*)\}\n\\label", text)
    assert len(caption.replace(r"\allowbreak{}", "")) <= LONGEST
    assert "part 29" not in caption
    assert "part 29 of a long heading. What the marks mean." in text.split(r"\begin{minipage}")[1]


def test_labels_differ_and_units_are_said_once() -> None:
    labels = Labels("label_flip")
    text = "\n".join(labels.table(block(2, 2)) for _ in range(3))
    found = re.findall(r"\\label\{(.*)\}", text)
    assert found == ["tab:label-flip-accuracy", "tab:label-flip-accuracy-2", "tab:label-flip-accuracy-3"]
    table = Labels("").table(block(2, 2))
    assert table.count(r"\%)") == 1
    assert r"\resizebox" not in table


def test_a_table_stands_in_a_column_where_it_fits_else_across_both() -> None:
    narrow = Block("A", ("",), (("clean",),), (("krum", (Entry("90.1 ± 0.5"),)),), ())
    wide = Block("A", ("",), (("a", "b", "c", "d", "e"),), (("krum", (Entry("90.1 ± 0.5"),) * 5),), ())
    assert r"\begin{table}[tbp]" in Labels("").table(narrow)
    assert r"\begin{table*}[tbp]" in Labels("").table(wide)


def test_plus_minus_signs_stand_below_one_another() -> None:
    rows = (("a", (Entry("90.1 ± 0.5"),)), ("b", (Entry("7.0 ± 12.5"),)), ("c", (Entry("-0.5"),)))
    text = Labels("").table(Block("A", ("",), (("clean",),), rows, ()))
    assert r"90.1\,$\pm$\,\phantom{0}0.5" in text
    assert r"7.0\,$\pm$\,12.5" in text
    assert "$-$0.5" in text


@pytest.mark.parametrize(("widths", "expected"), [([100, 100, 100], [[0, 1], [2]]), ([400, 10], [[0], [1]]), ([], [])])
def test_columns_are_cut_to_the_text(widths: list[float], expected: list[list[int]]) -> None:
    assert layout.column_parts(widths, range(len(widths)), 80) == expected


def test_rows_are_cut_evenly() -> None:
    parts = layout.row_parts([10] * 50, 20, 320)
    assert [len(p) for p in parts] == [26, 24]
    assert [i for p in parts for i in p] == list(range(50))
