"""A field that has one value for each rule tells rows apart: it makes no columns, and every output names it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.text import Text

from flipbench.analysis import frame as frames
from flipbench.analysis.columns import columns_of
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pages import pages
from flipbench.analysis.pivot import pivots
from flipbench.report.figures import catalogue
from flipbench.report.html import page
from flipbench.report.tables import attacks_csv, comparisons_csv, custom, summary
from flipbench.report.tables.model import by_rule
from flipbench.spec.cell import Cell
from flipbench.spec.twins import clean_twin
from tests.helpers import records
from tests.report.attack_cases import Read, read

SAID = "By rule: client momentum 0.9 with median, 0 with the others."
KINDS = (
    *("accuracy_mirrored", "accuracy_worst-case", "accuracy_every-attack", "damage-bars"),
    *("rounds_mirrored", "influence_mirrored"),
)
MOMENTUM = {"fedavg": (0.0,), "krum": (0.0,), "median": (0.9,)}


def stored(folder: Path, momentum: dict[str, tuple[float, ...]], **more: Any) -> Path:
    cells = [
        Cell(**{**vars(records.BASE), "aggregator": rule, "attack": attack, "client_momentum": value, **more})
        for rule, values in momentum.items()
        for value in values
        for attack in ("mirrored", "sign_flip")
    ]
    keys: dict[str, None] = {}
    store = records.Store(folder)
    for cell in (replace(c, malicious_fraction=0.2, seed=seed) for c in cells for seed in (0, 1)):
        for one in (cell, clean_twin(cell)):
            keys[records.publish(store, one, records.ATTACKS.get(one.attack))] = None
    store.write_plan({"grid": folder.name, "title": None, "source": "", "keys": list(keys), "figures": []})
    return folder


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Read:
    return read(stored(tmp_path_factory.mktemp("rules") / "rules", MOMENTUM))


@pytest.mark.parametrize(
    ("momentum", "by_row", "settings"),
    [
        (MOMENTUM, {"fedavg": 0.0, "krum": 0.0, "median": 0.9}, ()),
        ({"fedavg": (0.1,), "median": (0.9,)}, {"fedavg": 0.1, "median": 0.9}, ()),
        ({"fedavg": (0.0, 0.9), "median": (0.9,)}, None, ("client_momentum",)),
        ({"fedavg": (0.9,), "median": (0.9,)}, None, ()),
    ],
)
def test_which_fields_tell_rows_apart(tmp_path: Path, momentum: Any, by_row: Any, settings: tuple[str, ...]) -> None:
    (found,) = pages(frames.load(stored(tmp_path / "grid", momentum)))
    assert found.by_row == ({"client_momentum": by_row} if by_row else {})
    assert found.settings == settings
    assert ("client_momentum" in found.constant) == (not by_row and not settings)


def test_it_makes_no_columns(grid: Read) -> None:
    (pivot,) = pivots(*grid[1:3])
    table = pivot.squares(metric_column("accuracy"), ["mirrored"])
    assert len(columns_of(table)) == 2  # clean, attacked
    assert set(table["state"]) == {"done"}


def test_every_caption_names_it(grid: Read) -> None:
    _, frame, tidy, plan = grid
    with frames.labels_of(frame):
        every = {p.name: p for p in catalogue.figures(pivots(frame, tidy), plan)}
        for planned in [every[name] for name in KINDS]:
            told = " ".join(" ".join(t.get_text() for t in planned.draw().findobj(Text)).split())
            assert SAID in told, planned.name


def test_tables_and_the_page_name_it(grid: Read) -> None:
    _, frame, tidy, plan = grid
    views = pivots(frame, tidy)
    assert SAID in summary.markdown(frame, views, plan, [])
    assert SAID in summary.latex(views, plan)
    assert page.write(frame, views, plan, [], {}).count(SAID) == 1
    own = custom.choose(frame, tidy).said
    assert SAID in own
    assert "Averaged" not in own
    turned = custom.choose(frame, tidy, rows=["attack"], columns=["malicious_fraction"]).said
    assert "Averaged within each seed over: client momentum, aggregator." in turned


@pytest.mark.parametrize(
    "make", [attacks_csv.worst_csv, summary.summary_csv, comparisons_csv.statistics_csv], ids=lambda make: make.__name__
)
def test_csv_files_of_rules_have_its_column(grid: Read, make: Any) -> None:
    lines = list(csv.DictReader(make(pivots(*grid[1:3])).splitlines()))
    assert {(r["aggregator"], float(r["client_momentum"])) for r in lines} == {(r, *m) for r, m in MOMENTUM.items()}


def test_lines_of_two_rules_have_no_column_for_it(grid: Read) -> None:
    text = comparisons_csv.comparisons_csv(pivots(*grid[1:3]))
    assert text is not None
    assert "client_momentum" not in text.splitlines()[0].split(",")


def test_nothing_is_said_where_nothing_differs() -> None:
    assert by_rule({}) == ""
