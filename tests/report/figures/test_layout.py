"""Sheets: every part has its measured room, whatever stands in it."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from flipbench.report.figures import style
from flipbench.report.figures.layout import Bar, Row, Sheet, TooSmall, grid, width_of, wrapped
from flipbench.spec.figure_options import FigureOptions
from tests.helpers.legible import assert_legible

LONG = "a long name of something, with options(alpha=0.1, beta=0.2), and more of it"
BLUES = Bar(Normalize(0, 1), mpl.colormaps["Blues"], "accuracy (%)")


def sheet(labels: str, **given: object) -> tuple[Figure, Sheet]:
    """Three panels, two of them side by side, with long labels on all sides."""
    made = Sheet(grid(3, 2, 1.0), **given)  # type: ignore[arg-type]
    for ax, leftmost, lowest in made.panels:
        ax.set_yticks([0, 1], [labels, labels] if leftmost else ["", ""], fontsize=style.SMALL)
        ax.set_xticks([0, 1], [labels, labels] if lowest else ["", ""], fontsize=style.SMALL, rotation=90)
        ax.set_title("above")
    keys = [Patch(label=f"{labels} {i}") for i in range(4)]
    return made.finish(f"Title: {LONG}", LONG, f"{LONG}. {LONG}. {LONG}.", keys), made


@pytest.mark.parametrize("labels", ["a", "a longer one", "0.000000000001"])
@pytest.mark.parametrize("bar", [None, BLUES, BLUES._replace(label=f"{LONG} (%)")])
def test_nothing_overlaps_or_is_cut(labels: str, bar: Bar | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with style.style():
        figure, _ = sheet(labels, bar=bar)
    assert_legible(labels, figure, monkeypatch)
    assert figure.get_size_inches()[0] == pytest.approx(7.0)
    (legend,) = figure.legends
    box = legend.get_window_extent(figure.canvas.get_renderer())  # type: ignore[attr-defined]
    assert box.x1 <= figure.bbox.x1
    assert box.y0 >= figure.texts[-1].get_window_extent().y1
    assert figure.texts[0].get_window_extent().y0 >= figure.texts[1].get_window_extent().y1


def test_panels_share_what_labels_leave_of_the_width() -> None:
    with style.style():
        narrow, wide = sheet("a")[1].fit(), sheet("a longer one")[1].fit()
        assert len(set(narrow)) == 1
        assert narrow[0] > wide[0]
        figure, made = sheet("a", panel=(0.5, 0.8), least=4.0)
    boxes = [panel.ax.get_position() for panel in made.panels]
    width, height = figure.get_size_inches()
    assert width == 4.0
    assert [b.width * width for b in boxes] == pytest.approx([0.8] * 3)
    assert [b.height * height for b in boxes] == pytest.approx([1.0] * 3)
    assert boxes[0].x0 == boxes[2].x0
    assert [(panel.leftmost, panel.lowest) for panel in made.panels] == [(True, False), (False, True), (True, True)]


@pytest.mark.parametrize(("panels", "side"), [(1, None), (4, "width")])
def test_a_chosen_size_without_room_for_the_panels_is_an_error(panels: int, side: str | None) -> None:
    def made() -> Figure:
        return Sheet(grid(panels, panels, 1.0)).finish()

    with style.style(), style.drawing(FigureOptions(width=1.5)):
        if side is None:
            assert made().get_figwidth() == pytest.approx(1.5)
            return
        with pytest.raises(TooSmall) as caught:
            made()
    assert caught.value.side == side
    with style.style(), style.drawing(FigureOptions(width=caught.value.needed)):
        assert made().get_figwidth() == pytest.approx(caught.value.needed)


def test_the_gap_grows_with_the_labels_in_it() -> None:
    def gap(text: str) -> float:
        made = Sheet(grid(2, 2))
        for panel in made.panels:
            panel.ax.set(xticks=[], yticks=[])
        made.panels[1].ax.set_ylabel(text)
        figure = made.finish()
        left, right = (panel.ax.get_position() for panel in made.panels)
        return float((right.x0 - left.x1) * figure.get_size_inches()[0])

    with style.style():
        assert gap("") == pytest.approx(0.14)
        assert gap("one line\nand another") > 0.3


def test_a_bar_is_as_tall_as_all_panels() -> None:
    with style.style():
        figure, made = sheet("a", bar=BLUES)
    bar = figure.axes[-1].get_position()
    tops, bottoms = zip(*((p.ax.get_position().y1, p.ax.get_position().y0) for p in made.panels), strict=True)
    assert (bar.y0, bar.y1) == (pytest.approx(min(bottoms)), pytest.approx(max(tops)))
    assert bar.x0 > max(p.ax.get_position().x1 for p in made.panels)


def test_rows_of_unlike_panels_stand_under_their_headings(monkeypatch: pytest.MonkeyPatch) -> None:
    with style.style():
        made = Sheet([Row(1, 0.5, 1, "First"), Row(3, 1.5, 3, f"Second: {LONG}")])
        figure = made.finish("Title")
    assert_legible("rows", figure, monkeypatch)
    heights = [panel.ax.get_position().height * figure.get_size_inches()[1] for panel in made.panels]
    assert heights == pytest.approx([0.5, 1.5, 1.5, 1.5])
    first, second, _ = (text.get_window_extent() for text in figure.texts)
    assert first.y0 > made.panels[0].ax.get_window_extent().y1
    assert made.panels[0].ax.get_window_extent().y0 > second.y1


def test_long_names_are_broken_between_their_parts() -> None:
    lines = wrapped("dirichlet(alpha=0.3)", 0.75, style.SMALL).split("\n")
    assert lines == ["dirichlet(", "alpha=0.3)"]
    assert wrapped("abcdefghijklmnop", 0.3).replace("\n", "") == "abcdefghijklmnop"
    assert all(width_of(line) <= 0.5 for line in wrapped("a_b_c_d_e_f_g_h_i_j", 0.5).split("\n"))


def test_squares_stay_whole_where_they_have_no_number() -> None:
    with style.style():
        ax = Sheet(grid(1, 1)).panels[0].ax
        drawn = style.mesh(ax, np.array([[0.5, np.nan]]), BLUES.norm, BLUES.cmap, gap=1)
    assert np.ma.getmaskarray(drawn.get_array()).ravel().tolist() == [False, True]
    assert (ax.get_xlim(), ax.get_ylim()) == ((0.0, 2.0), (1.0, 0.0))
