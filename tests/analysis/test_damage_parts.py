"""The parts of a flip's damage, and the bars of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pages import pages
from flipbench.analysis.pivot import Pivot, pivots
from flipbench.analysis.worst_case import places
from flipbench.report.figures import damage_bars
from flipbench.report.tables.decomposition_csv import PARTS, decompose, decomposition_csv
from tests.helpers.records import write_three_rules


def test_each_part_is_the_paired_damage_of_its_metric(tmp_path: Path) -> None:
    frame, tidy, _ = write_three_rules(tmp_path / "six", 6)
    (page,) = pages(frame)
    row = decompose(Pivot(page, tidy)).set_index("aggregator").loc["krum"]
    own = tidy[(tidy["aggregator"] == "krum") & ~tidy["clean"]]
    for part in PARTS:
        assert row[f"{part}_mean"] == pytest.approx(own[f"{part}_damage"].mean())
        assert row[f"{part}_n"] == 6
    text = decomposition_csv(pivots(frame, tidy))
    assert text is not None
    assert len(text.splitlines()) == 1 + 3


def test_a_bar_is_as_long_as_the_mean_damage(tmp_path: Path) -> None:
    frame, tidy, _ = write_three_rules(tmp_path / "six", 6)
    (page,) = pages(frame)
    shown = metric_column("accuracy_damage")
    table = Pivot(page, tidy).squares(shown, page.attacks)
    figure = damage_bars.draw(page, table, shown, places(page)[0])
    drawn = {c.get_label(): c.patches[0].get_width() for c in figure.axes[0].containers}
    told = dict(zip(table["aggregator"], table["mean"], strict=True))
    assert drawn == pytest.approx(told)
