"""Figures say and show the same of clean twins as tables, and their words are whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.text import Text

from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pivot import Pivot, pivots
from flipbench.analysis.ranking import rank
from flipbench.report.figures import (
    catalogue,
    damage_bars,
    influence_curves,
    partition_crossover,
    rank_diagram,
)
from tests.analysis.clean_cases import ACCURACY, write


def words_of(figure: Any) -> str:
    return " ".join(" ".join(t.get_text() for t in figure.findobj(Text)).split())


def test_the_rank_diagram_says_what_it_leaves_out(tmp_path: Path) -> None:
    page, _, tidy = write(tmp_path / "g")
    found = rank(Pivot(page, tidy), ACCURACY)
    assert found is not None
    told = words_of(rank_diagram.draw(page, found, ACCURACY))
    assert "averaged over 2 of 4 attacked columns" in told
    assert "In the other columns krum has no number." in told


def test_partitions_are_compared_by_the_twins_of_one_place(tmp_path: Path) -> None:
    page, _, tidy = write(tmp_path / "g")
    table = partition_crossover.points([Pivot(page, tidy)], ((), (0.2,)))
    clean = table[table["attack"] == "none"].set_index("aggregator")["mean"]
    assert clean.to_dict() == pytest.approx({"fedavg": 0.94, "krum": 0.86, "median": 0.86})


def test_a_long_name_in_the_legend_of_bars_is_whole(tmp_path: Path) -> None:
    rule = f"my_rules.py:mine(note='{'a long word ' * 6}end')"
    page, _, tidy = write(tmp_path / "g", rules=("fedavg", rule), fractions=(0.2,))
    shown = metric_column("accuracy_damage")
    drawn = damage_bars.draw(page, Pivot(page, tidy).squares(shown, page.attacks), shown, ((), ()))
    (legend,) = drawn.legends
    labels = [" ".join(t.get_text().split()) for t in legend.get_texts()]
    assert labels[1].endswith("end')")
    heights = [t.get_window_extent(drawn.canvas.get_renderer()) for t in drawn.texts]
    box = legend.get_window_extent(drawn.canvas.get_renderer())
    assert all(box.y0 >= text.y1 or box.y1 <= text.y0 for text in heights)  # over no caption, under no heading


def test_rounds_are_whole_numbers_on_the_axis_of_influence(tmp_path: Path) -> None:
    page, _, _ = write(tmp_path / "g", rules=("fedavg", "median"), rounds=3, fractions=(0.2,))
    drawn = influence_curves.draw(page, "mirrored", influence_curves.series(page, "mirrored"))
    drawn.canvas.draw()
    ticks = [float(t) for ax in drawn.axes for t in ax.get_xticks()]
    assert ticks
    assert all(t == round(t) for t in ticks)


def test_pictures_of_damage_tell_gains_from_nothing(tmp_path: Path) -> None:
    """Under one attack the rule does better than without: its square is no lighter shade of harm."""
    _, frame, tidy = write(tmp_path / "g", rules=("fedavg", "median"), fractions=(0.2,))
    tidy = tidy.assign(accuracy_damage=tidy["accuracy_damage"].where(tidy["attack"] == "mirrored", -0.2))
    figures = [{"kind": "heatmap", "metric": "accuracy_damage"}]
    plan = {"grid": "g", "keys": list(frame["key"]), "figures": figures}
    drawn = [
        p.draw() for p in catalogue.figures(pivots(frame, tidy), plan, True) if p.name.startswith("accuracy_damage_")
    ]
    assert drawn
    for figure in drawn:
        mesh = next(c for c in figure.axes[0].collections if c.get_array() is not None)
        assert mesh.norm.vmin == -0.2
