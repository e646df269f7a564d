"""Tables: golden files, escapes, marks. After a wanted change of layout, look at the difference and renew with

python tests/test_tables.py  (from the repository's root)
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flipbench.analysis import frame as frames
from flipbench.analysis import metrics
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pages import pages
from flipbench.analysis.pivot import Pivot, pivots
from flipbench.errors import UserError
from flipbench.report.tables import summary
from flipbench.report.tables.cells_csv import cells_csv
from flipbench.report.tables.csv_format import csv_columns, csv_text
from flipbench.report.tables.latex import tex_text
from flipbench.report.tables.markdown import md_text
from flipbench.report.tables.model import number
from flipbench.spec.cell import FIELDS
from flipbench.spec.distinct_texts import printable
from flipbench.spec.labels import aggregator_label, attack_label, slug, value_label
from tests.helpers import records
from tests.helpers.paths import GOLDEN

HOSTILE = "evil.mod:rule(note='<script>alert(1)</script> =1+1 $x_1$ 100% {a} ^~ #1 & | `b` **c** \\\\input{d}')"


def read(folder: Path) -> tuple[Any, Any, dict[str, Any]]:
    frame = frames.load(folder)
    return frame, metrics.evaluate(frame), json.loads((folder / "plan.json").read_text("utf-8"))


def small_grid(folder: Path) -> Path:
    """Three rules, three attacks, two fractions and rates; Krum refuses the higher one; one cell is not run."""
    store = records.write_grid(
        folder, aggregators=("krum", "fedavg", "median"), fractions=(0.1, 0.45), infeasible=(("krum", 0.45),)
    )
    plan = store.read_plan()
    plan["keys"] = [*plan["keys"], "0" * 64]
    store.write_plan(plan)
    return folder


def texts(folder: Path) -> dict[str, str]:
    frame, tidy, plan = read(folder)
    return {
        "summary.md": summary.markdown(frame, pivots(frame, tidy), plan, ["a guard with <b>"]),
        "summary.tex": summary.latex(pivots(frame, tidy), plan),
        "summary.csv": summary.summary_csv(pivots(frame, tidy)),
        "terminal.txt": summary.terminal(pivots(frame, tidy), 100) + "\n",
    }


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_grid(tmp_path_factory.mktemp("golden") / "label_flip")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "bad"
    base = replace(records.BASE, dataset="mnist5k(path='/home/somebody/x')")
    store = records.write_grid(
        folder, aggregators=("fedavg", HOSTILE), fractions=(0.1,), flip_rates=(1.0,), seeds=(0, 1), base=base
    )
    store.write_plan(store.read_plan() | {"title": "=cmd|' /C calc'!A0\n<img src=x onerror=alert(1)>\u202e"})
    return folder


@pytest.mark.parametrize("name", ["summary.md", "summary.tex", "summary.csv", "terminal.txt"])
def test_golden(grid: Path, name: str) -> None:
    assert texts(grid)[name] == (GOLDEN / name).read_text("utf-8")


def test_equal_cells_give_equal_bytes(grid: Path, tmp_path: Path) -> None:
    again = small_grid(tmp_path / "label_flip")
    assert texts(again) == texts(grid)
    assert cells_csv(read(again)[1]) == cells_csv(read(grid)[1])


def test_cells_csv_has_a_line_a_finished_cell_with_every_fact_and_metric(grid: Path) -> None:
    frame, tidy, _ = read(grid)
    lines = list(csv.DictReader(io.StringIO(cells_csv(tidy))))
    assert len(lines) == (frame["status"] == "done").sum()
    columns = {"key", "split", "data_sha256", "seconds", "flips_changed", "malicious_influence", *FIELDS}
    columns |= {f"{m}{part}" for m in metrics.METRICS for part in ("", "_last5", "_clean", "_damage")}
    assert columns <= set(lines[0])
    by_key = {line["key"]: line for line in lines}
    for row in tidy.to_dict("records"):
        assert float(by_key[row["key"]]["accuracy"]) == row["accuracy"]  # the shortest form is exact


def test_fedavg_stands_on_top_and_the_clean_column_first(grid: Path) -> None:
    frame, tidy, _ = read(grid)
    (page,) = pages(frame)
    assert page.rows == ("fedavg", "krum", "median")
    table = Pivot(page, tidy).squares(metric_column("accuracy"), page.attacks)
    columns = list(dict.fromkeys(table["column"]))
    assert columns[0].clean
    assert not any(c.clean for c in columns[1:])
    assert [c.level for c in columns[1:5]] == [(0.1, 0.5), (0.1, 1), (0.45, 0.5), (0.45, 1)]


def test_the_clean_column_averages_the_twins_of_each_seed_first(grid: Path) -> None:
    """Two twins a seed (one a declared f) are one observation: n is the number of seeds."""
    frame, tidy, _ = read(grid)
    (page,) = pages(frame)
    table = Pivot(page, tidy).squares(metric_column("accuracy"), page.attacks)
    clean = table.iloc[0]
    assert (clean["aggregator"], clean["column"].clean) == ("fedavg", True)
    mine = tidy[tidy["clean"] & (tidy["aggregator"] == "fedavg")]
    assert len(mine) == 6
    assert clean["n"] == 3
    assert clean["mean"] == pytest.approx(mine.groupby("seed")["accuracy"].mean().mean())


def test_states_of_squares(grid: Path) -> None:
    frame, tidy, _ = read(grid)
    (page,) = pages(frame)
    table = Pivot(page, tidy).squares(metric_column("accuracy"), page.attacks[:1])
    high = table["column"].map(lambda c: not c.clean and c.level[0] == 0.45)
    krum = table["aggregator"] == "krum"
    assert set(table[high & krum]["state"]) == {"infeasible"}
    assert set(table[high & krum]["reason"]) == {"krum needs at least 2f + 3 = 21 clients, got 20"}
    assert set(table[~(high & krum)]["state"]) == {"done"}


def test_a_metric_of_one_pair_takes_its_clean_value_with_that_pair(grid: Path) -> None:
    frame, tidy, _ = read(grid)
    (page,) = pages(frame)
    attack = "targeted(source=4, target=9)"
    table = Pivot(page, tidy).squares(metric_column("source_recall"), [attack])
    clean = table.iloc[0]
    mine = tidy[(tidy["attack"] == attack) & (tidy["aggregator"] == "fedavg")]
    assert clean["column"].clean
    assert clean["mean"] == pytest.approx(mine.groupby("seed")["source_recall_clean"].mean().mean())


def test_damage_has_no_clean_column(grid: Path) -> None:
    frame, tidy, _ = read(grid)
    (page,) = pages(frame)
    assert not any(c.clean for c in Pivot(page, tidy).squares(metric_column("accuracy_damage"), page.attacks)["column"])


def test_best_of_each_column_is_bold_ties_too(grid: Path) -> None:
    accuracy = texts(grid)["summary.tex"].split("worst case over")[1]  # behind the robustness cost
    rows = [line for line in accuracy.splitlines() if line.startswith(("fedavg", "krum", "median"))]
    first = [row.rstrip("\\ ").split(" & ")[1] for row in rows[:3]]
    shown = [float(re.search(r"\d+\.\d", cell)[0]) for cell in first]
    assert ["textbf" in cell for cell in first] == [number == max(shown) for number in shown]
    assert len(set(shown)) > 1


def test_hostile_names_stay_text_in_markdown(hostile: Path) -> None:
    frame, tidy, plan = read(hostile)
    text = summary.markdown(frame, pivots(frame, tidy), plan, ["<script>guard</script>"])
    tags = set(re.findall(r"<[^>]*>", text))
    assert tags <= {"<br>", "<sup>", "</sup>"}
    assert "**c**" not in text
    assert "/home/somebody" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    pipes = {len(re.findall(r"(?<!\\)\|", line)) for line in rows if "Accuracy" not in line}
    heads = {len(re.findall(r"(?<!\\)\|", line)) for line in rows if line.startswith("| aggregator")}
    assert pipes == heads  # a pipe in a name opens no cell


def test_hostile_names_stay_text_in_latex(hostile: Path) -> None:
    frame, tidy, plan = read(hostile)
    text = summary.latex(pivots(frame, tidy), plan)
    assert "\\input" not in text.split("\n", 1)[1]  # the title is a comment
    assert all(line.startswith("%") for line in text.split("\n")[:2])
    body = re.sub(r"\\[#$%&_{}\\]", "", text.split("\n", 2)[2])
    assert body.count("{") == body.count("}")
    assert "%" not in body
    assert "#" not in body


def test_no_cell_of_a_csv_is_a_formula(hostile: Path) -> None:
    frame, tidy, _ = read(hostile)
    for text in (cells_csv(tidy), summary.summary_csv(pivots(frame, tidy))):
        for line in csv.reader(io.StringIO(text)):
            for cell in line:
                assert cell[:1] not in {"=", "+", "-", "@"} or _is_number(cell)
        assert "/home/somebody" not in text


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", text))


@given(st.text())
def test_text_cells_are_quoted_when_a_spreadsheet_would_run_them(text: str) -> None:
    lines = csv_text(["name"], [[printable(text)]]), csv_columns({"name": [printable(text)]})
    assert lines[0] == lines[1]
    (told,) = list(csv.reader(io.StringIO(lines[0])))[1] or [""]
    assert told.lstrip()[:1] not in {"=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"} or not told.strip()
    assert told in {printable(text), f"'{printable(text)}"}


def test_a_column_is_written_as_its_cells_are() -> None:
    columns = {
        "share": np.array([0.1, np.nan, 1.0]),
        "count": np.array([1, 2, 3]),
        "claim": pd.Series(["=x", None, "a,b"], dtype=object),
        "mixed": [1, 1.0, True],
    }
    lines = zip(*columns.values(), strict=True)
    text = csv_columns(columns)
    assert text == csv_text(list(columns), lines)
    assert text.splitlines() == ["share,count,claim,mixed", "0.1,1,'=x,1", ",2,,1.0", '1.0,3,"a,b",True']


@given(st.text())
@example('±→↔–…†"<>|~^\\')
def test_latex_text_has_no_live_character(text: str) -> None:
    told = tex_text(printable(text))
    for macro in ("textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar"):
        told = told.replace(f"\\{macro}{{}}", "")
    told = told.replace("\\ldots{}", "")
    told = re.sub(r"\$(\^?\\[a-zA-Z]+|\^\d|-)\$", "", told)  # signs and Greek letters
    told = re.sub(r"\\[#$%&_{}]", "", told)
    assert not set(told) & set("\\#$%&_{}~^")


@given(st.text())
def test_markdown_text_has_no_tag_and_one_line(text: str) -> None:
    told = md_text(printable(text))
    assert "<" not in told
    assert "\n" not in told
    assert not re.search(r"(?<!\\)(?:\\\\)*\|", told)


@pytest.mark.parametrize(("share", "text"), [(0.9512, "95.1"), (1.0, "100.0"), (-0.0001, "0.0"), (0.0005, "0.1")])
def test_numbers(share: float, text: str) -> None:
    assert number(share) in {text, "0.0"} if share == 0.0005 else number(share) == text


@pytest.mark.parametrize(
    ("attack", "label"),
    [
        ("none", "clean"),
        ("mirrored", "mirrored"),
        ("targeted(source=4, target=6)", "targeted nv→mel"),
        ("targeted(source=[4, 0], target=[6, 1])", "targeted nv→mel, akiec→bcc"),
        ("all_to_one(target=0)", "all to one akiec"),
        ("swapped(first=0, second=1)", "swapped akiec↔bcc"),
        ("permuted(mapping={1: 2, 2: 1})", "permuted bcc→bkl, bkl→bcc"),
        ("shifted(by=2)", "shifted(by=2)"),
        ("targeted(source=40, target=6)", "targeted 40→mel"),
        ("no reference )(", "no reference )("),
    ],
)
def test_attacks_are_named_by_their_classes(attack: str, label: str) -> None:
    assert attack_label(attack, ("akiec", "bcc", "bkl", "df", "nv", "vasc", "mel")) == label


@pytest.mark.parametrize(
    ("tell", "label"),
    [
        (lambda: value_label("malicious_fraction", 0.3), "30 %"),
        (lambda: value_label("flip_rate", 1 / 3), "33.3 %"),
        (lambda: value_label("attack_stop", float("nan")), "the last"),
        (lambda: value_label("clip_update", None), "none"),
        (lambda: value_label("learning_rate", 0.1), "0.1"),
        (lambda: value_label("dataset", "ham10000(path='/home/me/x.csv')"), "ham10000"),
        (lambda: aggregator_label("nnm | /home/me/rule.py:mine(k=2)"), "nnm | rule.py:mine(k=2)"),
        (lambda: slug("targeted nv→mel"), "targeted-nv-to-mel"),
        (lambda: slug("../../<x>"), "x"),
        (lambda: slug("…"), "x"),
    ],
)
def test_values_are_told_as_people_say_them(tell: Callable[[], str], label: str) -> None:
    assert tell() == label


def test_a_metric_that_does_not_exist_is_told_with_those_that_do() -> None:
    with pytest.raises(UserError, match=r"acuracy.*accuracy, balanced_accuracy"):
        metric_column("acuracy")


@pytest.mark.parametrize("width", [60, 80, 100, 140, 300])
def test_terminal_lines_fit(grid: Path, width: int) -> None:
    frame, tidy, _ = read(grid)
    text = summary.terminal(pivots(frame, tidy), width)
    assert max(len(line) for line in text.splitlines() if "infeasible" not in line) <= width


def test_two_data_sets_are_two_pages(tmp_path: Path) -> None:
    folder = tmp_path / "two"
    small = {"aggregators": ("fedavg",), "fractions": (0.1,), "flip_rates": (1.0,), "seeds": (0,)}
    keys: list[str] = []
    for dataset in ("mnist5k", "digits"):
        store = records.write_grid(folder, **small, base=replace(records.BASE, dataset=dataset))
        keys += store.read_plan()["keys"]
    store.write_plan(store.read_plan() | {"keys": keys})
    frame, tidy, plan = read(folder)
    assert [p.about for p in pages(frame)] == [{"dataset": "mnist5k"}, {"dataset": "digits"}]
    assert "## digits" in summary.markdown(frame, pivots(frame, tidy), plan, [])


def test_an_axis_of_learning_rates_gets_a_clean_column_each(tmp_path: Path) -> None:
    folder = tmp_path / "rates"
    keys: list[str] = []
    for rate in (0.1, 0.01):
        store = records.write_grid(folder, fractions=(0.1,), base=replace(records.BASE, learning_rate=rate))
        keys += store.read_plan()["keys"]
    store.write_plan(store.read_plan() | {"keys": keys})
    frame, tidy, _ = read(folder)
    (page,) = pages(frame)
    columns = list(dict.fromkeys(Pivot(page, tidy).squares(metric_column("accuracy"), page.attacks[:1])["column"]))
    assert page.settings == ("learning_rate",)
    assert [(c.setting, c.clean) for c in columns] == [
        ((0.01,), True),
        *[((0.01,), False)] * 2,
        ((0.1,), True),
        *[((0.1,), False)] * 2,
    ]


def test_a_grid_without_a_finished_cell_still_has_tables(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    store = records.Store(folder)
    store.write_plan({"grid": "none", "title": None, "source": "", "command": None, "keys": ["1" * 64], "figures": []})
    frame, tidy, plan = read(folder)
    assert "0 of 1 cells done, 1 not run yet" in summary.markdown(frame, pivots(frame, tidy), plan, [])
    assert cells_csv(tidy).startswith("key,")


if __name__ == "__main__":
    import tempfile

    GOLDEN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as where:
        for file, content in texts(small_grid(Path(where) / "label_flip")).items():
            (GOLDEN / file).write_text(content, "utf-8")
            print(f"tests/golden/{file}")
