"""Numbers are rounded once, in one place: no negative zero, and tables, figures and the page show the same."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.text import Text

from flipbench.analysis.pivot import pivots
from flipbench.papers.text import band_text
from flipbench.report.figures import heatmap, style
from flipbench.report.html.packed_json import tenths
from flipbench.report.tables import attacks_csv, comparisons_csv, custom, model, summary
from flipbench.report.tables.csv_format import csv_columns, csv_text
from flipbench.report.tables.markdown import md_table
from flipbench.report.tables.model import half_width, number
from flipbench.spec.cell import Cell
from flipbench.spec.twins import clean_twin
from tests.helpers import records
from tests.report.attack_cases import Read, read

NEGATIVE_ZERO = re.compile(r"(?<![\w.])[-\u2212]0(?:\.0+)?(?![\w.])")


@pytest.mark.parametrize(
    ("share", "text", "whole"),
    [
        (0.0, "0.0", "0"),
        (-0.0, "0.0", "0"),
        (-1e-17, "0.0", "0"),
        (-0.0004, "0.0", "0"),
        (-0.0006, "-0.1", "0"),
        (0.0004, "0.0", "0"),
        (0.9994, "99.9", "100"),
        (0.9996, "100.0", "100"),
        (1.0, "100.0", "100"),
        (0.87649, "87.6", "88"),
        (0.12345, "12.3", "12"),
        (2 / 3, "66.7", "67"),
        (-1.5, "-150.0", "-150"),
    ],
)
def test_a_share_is_shown_in_per_cent(share: float, text: str, whole: str) -> None:
    assert number(share) == text
    assert number(share, 0) == whole
    assert tenths([share]) == [round(10 * float(text))]
    assert half_width({"low": -share, "high": share}) == text


def test_the_page_rounds_every_share_as_the_tables_do() -> None:
    """All shares of test sets of some sizes, with those in the middle between two tenths."""
    shares = np.concatenate([np.arange(-n, n + 1) / n for n in (7, 360, 400, 2000, 10_000)])
    assert tenths(shares) == [int(number(v).replace(".", "")) for v in shares.tolist()]
    assert tenths([float("nan"), float("inf"), 0.1235]) == [None, None, int(number(0.1235).replace(".", ""))]


@pytest.mark.parametrize("value", [-0.0, -1e-17, -5.55e-17])
def test_no_axis_and_no_file_has_a_negative_zero(value: float) -> None:
    ax = Figure().subplots()
    style.percent_ticks(ax.yaxis)
    assert ax.yaxis.get_major_formatter()(value, 0) == "0"
    assert band_text((value, -value), 1) == "0.0 to 0.0"


def test_csv_files_have_no_negative_zero_and_round_nothing() -> None:
    values = [-0.0, 0.1 + 0.2, 1e-17, float("nan")]
    expected = "a\n0.0\n0.30000000000000004\n1e-17\n"
    assert csv_text(["a"], [[v] for v in values]).startswith(expected)
    assert csv_columns({"a": np.array(values)}).startswith(expected)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """Accuracies of nearly 1 and damage of nearly 0, of both signs: 1 of 10,000 images here and there."""
    folder = tmp_path_factory.mktemp("tiny") / "tiny"
    store, keys = records.Store(folder), {}

    def put(cell: Cell) -> None:
        wrong = (3 * cell.seed + 5 * len(cell.aggregator) + 2 * len(cell.attack)) % 7
        counts = 1000 * np.eye(10, dtype=int)
        counts[0, :2] += [-wrong, wrong]
        made = records.record(cell, confusion=counts, mapping=records.LABEL_FLIPS.get(cell.attack))
        if made["key"] not in keys:
            store.publish(made)
        keys[made["key"]] = None

    for rule in ("fedavg", "krum", "median"):
        for attack in ("mirrored", "targeted(source=4, target=9)"):
            for seed in (0, 1, 2):
                cell = replace(records.BASE, aggregator=rule, attack=attack, malicious_fraction=0.2, seed=seed)
                put(cell)
                put(clean_twin(cell))
    store.write_plan({"grid": "tiny", "title": None, "source": "", "keys": list(keys), "figures": []})
    return read(folder)


def words_of(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(Text) if t.get_text()]


def test_a_figure_shows_the_numbers_of_the_table_and_of_the_page(tiny: Read) -> None:
    page, frame, tidy, _ = tiny
    (pivot,) = pivots(frame, tidy)
    seen = set()
    for name in ("accuracy", "accuracy_damage", "attack_success_rate"):
        for shown, table in model.sections(pivot, [name]):
            own = [c.attack for c in table["column"] if not c.clean]
            (block,) = model.blocks(pivot, shown, table, 99)
            texts = [e.text for _, entries in block.rows for e in entries]
            drawn = heatmap.draw(page, table, shown, own[0], Normalize(-0.1, 1))
            squares = {w.replace("\n±", " ± ").replace("\n[", " [") for w in words_of(drawn) if re.search("\n[±[]", w)}
            assert squares == {text.replace(", ", ",") for text in texts}
            whole = pivot.whole(shown)
            flat = tenths(whole.numbers.mean)
            of_page = {f"{t / 10:.1f}" for t in flat if t is not None}
            assert {text.split(" ")[0] for text in texts} <= of_page
            seen |= {text.split(" ")[0] for text in texts}
            assert not NEGATIVE_ZERO.search(" ".join([*texts, *words_of(drawn), md_table(block)]))
    assert {"0.0", "100.0"} <= seen


def test_nothing_that_is_written_has_a_negative_zero(tiny: Read) -> None:
    _, frame, tidy, plan = tiny
    views = pivots(frame, tidy)
    own = custom.choose(frame, tidy, "accuracy_damage")
    texts = [
        *(summary.markdown(frame, views, plan, []), summary.latex(views, plan), summary.summary_csv(views)),
        *(summary.terminal(views, 100), attacks_csv.worst_csv(views), comparisons_csv.comparisons_csv(views)),
        *(comparisons_csv.statistics_csv(views), csv_text(own.names, own.lines), md_table(own.block)),
    ]
    for text in texts:
        assert text is not None
        assert not NEGATIVE_ZERO.search(text), NEGATIVE_ZERO.search(text)
    damage = [
        float(line["mean"]) for line in csv.DictReader(io.StringIO(texts[2])) if line["metric"] == "accuracy_damage"
    ]
    assert min(damage) < 0 < max(damage)  # the case is there
    assert all(abs(v) < 0.0005 for v in damage)
