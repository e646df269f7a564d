"""Figures as values: what is drawn where, how it is labelled and marked; never pixels."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from flipbench.analysis import frame as frames
from flipbench.analysis import metrics
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pages import Page, pages, pooled
from flipbench.analysis.pivot import Pivot, pivots
from flipbench.report.figures import accuracy_curves, catalogue, requests, style
from flipbench.report.figures import class_pairs as pairs
from flipbench.report.figures import heatmap as heatmaps
from flipbench.spec.metric_names import HEADLINES
from tests.helpers import records
from tests.helpers.legible import assert_legible

TARGETED = "targeted(source=4, target=9)"
LESIONS = ("akiec", "bcc", "bkl", "df", "nv", "vasc", "mel")


def read(folder: Path) -> tuple[Page, Any, Any]:
    frame = frames.load(folder)
    return pages(frame)[0], frame, metrics.evaluate(frame)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, Any, Any]:
    folder = tmp_path_factory.mktemp("heatmaps") / "label_flip"
    records.write_grid(folder)
    return read(folder)


@pytest.fixture(scope="module")
def every_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, Any, Any]:
    folder = tmp_path_factory.mktemp("pairs") / "pairs"
    attacks = {f"targeted(source={s}, target={t})": [(s, t)] for s in range(5) for t in range(5) if s != t}
    records.write_grid(
        folder, attacks=attacks, fractions=(0.3,), flip_rates=(1.0,), seeds=(0, 1), infeasible=(("krum", 0.3),)
    )
    return read(folder)


def drawn(grid: tuple[Page, Any, Any], name: str = "accuracy", attack: str = "mirrored") -> tuple[Figure, Any, Any]:
    page, _, tidy = grid
    table = Pivot(page, tidy).squares(metric_column(name), [attack])
    return heatmaps.draw(page, table, metric_column(name), attack, Normalize(0, 1)), table, page


def words_of(part: Any) -> list[str]:
    return [t.get_text() for t in part.findobj(Text) if t.get_text()]


def mesh(figure: Figure) -> QuadMesh:
    return next(c for c in figure.axes[0].collections if isinstance(c, QuadMesh))


def hatched(figure: Figure) -> list[tuple[int, int]]:
    """(row, column) of the hatched squares."""
    found = [p for p in figure.axes[0].patches if isinstance(p, Rectangle) and p.get_hatch()]
    return sorted((math.floor(p.get_y()), math.floor(p.get_x())) for p in found)


def test_the_mesh_holds_the_means(grid: tuple[Page, Any, Any]) -> None:
    figure, table, page = drawn(grid)
    shown = np.ma.filled(np.ma.asarray(mesh(figure).get_array(), dtype=float), np.nan)
    assert shown.shape == (4, 9)
    np.testing.assert_array_equal(shown.ravel(), table["mean"].to_numpy(dtype=float))
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == list(page.rows)
    assert figure.axes[0].get_ylim() == (4, 0)  # FedAvg on top


def test_squares_say_mean_and_half_of_its_interval(grid: tuple[Page, Any, Any]) -> None:
    figure, table, _ = drawn(grid)
    even = table[(table["mean"] - 0.5).abs() < 0.3].iloc[0]  # far from the bounds its sides are alike
    assert f"{100 * even['mean']:.1f}\n±{50 * (even['high'] - even['low']):.1f}" in words_of(figure.axes[0])
    other = table.iloc[0]
    ends = f"[{100 * other['low']:.0f},{100 * other['high']:.0f}]"
    assert f"{100 * other['mean']:.1f}\n{ends}" in words_of(figure.axes[0])
    assert any("95 % interval" in text for text in words_of(figure))


def test_infeasible_squares_are_hatched_with_a_legend(grid: tuple[Page, Any, Any]) -> None:
    figure, table, page = drawn(grid)
    expected = [divmod(i, 9) for i, state in enumerate(table["state"]) if state == "infeasible"]
    assert expected == [(page.rows.index("krum"), 7), (page.rows.index("krum"), 8)]
    assert hatched(figure) == expected
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["infeasible"]


def test_labels_are_grouped(grid: tuple[Page, Any, Any]) -> None:
    figure, _, _ = drawn(grid)
    told = words_of(figure.axes[0])
    assert [told.count(text) for text in ("clean", "50 %", "10 %", "20 %", "45 %")] == [1, 4, 1, 1, 1]
    assert {"flip rate", "malicious fraction"} <= set(told)


def test_the_title_tells_data_model_rounds_and_seeds(grid: tuple[Page, Any, Any]) -> None:
    figure, _, _ = drawn(grid, attack=TARGETED)
    told = " ".join(words_of(figure))
    for part in ("Accuracy: targeted 4→9", "mnist5k", "mlp(widths=[100])", "4 rounds", "3 seeds", "Accuracy (%)"):
        assert part in told


def test_failed_and_missing_squares_are_marked(tmp_path: Path) -> None:
    folder = tmp_path / "holes"
    store = records.write_grid(
        folder, aggregators=("fedavg", "median"), fractions=(0.1, 0.2), flip_rates=(1.0,), infeasible=()
    )
    plan, lost = store.read_plan(), []
    for key in plan["keys"]:
        facts = store.read(key)["facts"]  # type: ignore[index]
        if (facts["attack"], facts["aggregator"], facts["malicious_count"]) == ("mirrored", "median", 4):
            lost.append(key)
    store.write_plan(plan | {"keys": [k if k not in lost else k[::-1] for k in plan["keys"]]})
    figure, table, _ = drawn(read(folder))
    assert list(table["state"]) == ["done", "done", "done", "done", "done", "missing"]
    assert "?" in words_of(figure.axes[0])
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["? failed or not run"]


def test_partly_finished_squares_say_how_many_seeds(tmp_path: Path) -> None:
    folder = tmp_path / "partly"
    store = records.Store(folder)
    keys = []
    for seed in (0, 1, 2):
        made = records.record(
            attack="mirrored",
            malicious_fraction=0.1,
            seed=seed,
            status="failed" if seed == 2 else "done",
            reason="ValueError: made up" if seed == 2 else None,
        )
        store.publish(made)
        keys.append(made["key"])
    store.write_plan({"grid": "partly", "title": None, "source": "", "command": None, "keys": keys, "figures": []})
    figure, table, _ = drawn(read(folder))
    assert (table.iloc[0]["n"], table.iloc[0]["planned"]) == (2, 3)
    assert any(text.endswith("n=2") for text in words_of(figure.axes[0]))


def test_one_scale_for_one_metric_over_all_targets(grid: tuple[Page, Any, Any]) -> None:
    page, frame, tidy = grid
    named = {p.name: p for p in catalogue.figures(pivots(frame, tidy), {})}
    norms = {n: mesh(named[n].draw()).norm for n in named if n.startswith("accuracy_") and "damage" not in n}
    assert len(norms) == 4  # the worst case too
    assert len({(n.vmin, n.vmax) for n in norms.values()}) == 1
    low, high = next((n.vmin, n.vmax) for n in norms.values())
    means = [Pivot(page, tidy).squares(metric_column("accuracy"), [a])["mean"] for a in page.attacks]
    assert low <= min(m.min() for m in means)
    assert high >= max(m.max() for m in means)


def test_pair_metrics_are_drawn_for_single_pairs_only(grid: tuple[Page, Any, Any]) -> None:
    names = {p.name for p in catalogue.figures(pivots(*grid[1:]), {})}
    assert {n for n in names if n.startswith(("source_recall", "attack_success"))} == {
        "source_recall_targeted-4-to-9",
        "attack_success_rate_targeted-4-to-9",
    }
    assert {
        f"{kind}_{a}" for kind in ("accuracy", "accuracy_damage", "rounds") for a in ("mirrored", "all-to-one-0")
    } < names


def test_a_grid_asks_for_more_and_hears_of_its_typos() -> None:
    plan = {"figures": [{"kind": "heatmap", "metric": "macro_f1"}, {"kind": "heatmap", "metric": "acuracy"}]}
    names, wrong = requests.wanted(plan)
    assert names["heatmap"] == (*HEADLINES, "macro_f1")
    assert len(wrong) == 1
    assert "acuracy" in wrong[0]


def test_pairs_stand_at_source_and_target(every_pair: tuple[Page, Any, Any]) -> None:
    page, _, tidy = every_pair
    panels = pairs.matrices(page, tidy, metric_column("source_recall_damage"))
    assert list(panels) == list(page.rows)
    mine = tidy[(tidy["aggregator"] == "fedavg") & (tidy["attack"] == "targeted(source=1, target=3)")]
    assert panels["fedavg"][1, 3] == pytest.approx(mine["source_recall_damage"].mean())
    assert np.isnan(np.diagonal(panels["fedavg"])).all()
    assert np.isnan(panels["krum"]).all()


def test_pairs_are_small_multiples_under_one_bar(every_pair: tuple[Page, Any, Any]) -> None:
    page, _, tidy = every_pair
    page = replace(page, classes=LESIONS[:5])
    shown = metric_column("attack_success_rate")
    panels = {row: m[:5, :5] for row, m in pairs.matrices(page, tidy, shown).items()}
    figure = pairs.draw(page, panels, shown, Normalize(0, 1))
    assert len(figure.axes) == 5
    assert [ax.get_title() for ax in figure.axes[:4]] == list(page.rows)
    assert (
        len({mesh_of.norm for ax in figure.axes[:4] for mesh_of in ax.collections if isinstance(mesh_of, QuadMesh)})
        == 1
    )
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == list(LESIONS[:5])
    krum = figure.axes[list(page.rows).index("krum")]
    assert any(p.get_hatch() for p in krum.patches)
    assert any("2f + 3" in text.replace("\n", " ") for text in words_of(krum))


def test_many_pairs_are_pooled_elsewhere(every_pair: tuple[Page, Any, Any]) -> None:
    page, frame, tidy = every_pair
    assert pooled(page).attacks == ("every_pair",)
    names = [p.name for p in catalogue.figures(pivots(frame, tidy), {})]
    assert {"pairs_source_recall_damage", "pairs_attack_success_rate", "accuracy_every-pair"} < set(names)
    assert len(names) < 15  # ninety pairs are not drawn one by one


def test_of_a_large_grid_a_few_figures_are_drawn_and_what_its_file_asks_for(
    every_pair: tuple[Page, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, frame, tidy = every_pair
    whole = [p.name for p in catalogue.figures(pivots(frame, tidy), {})]
    assert requests.left_out(len(frame)) == []
    monkeypatch.setattr(requests, "LARGE", len(frame) - 1)
    monkeypatch.setattr(catalogue, "MOST_OF_LARGE", 3)
    few = [p.name for p in catalogue.figures(pivots(frame, tidy), {})]
    assert len(few) == 3
    assert set(few) < set(whole)
    assert any("pairs" in name for name in few)  # kinds in turn
    plan = {"figures": [{"kind": "heatmap", "metric": "macro_f1"}]}
    asked = [p.name for p in catalogue.figures(pivots(frame, tidy), plan)]
    assert set(asked) - set(few) == {"macro_f1_every-pair", "macro_f1_worst-case"}
    assert [p.name for p in catalogue.figures(pivots(frame, tidy), {}, every=True)] == whole
    assert "--all-figures" in requests.left_out(len(frame))[0]


def test_curves_have_a_panel_a_fraction_with_both_sides(grid: tuple[Page, Any, Any]) -> None:
    page, _, _ = grid
    lines = accuracy_curves.series(page, "mirrored")
    one = lines[(lines["aggregator"] == "fedavg") & (lines["across"] == 0.1) & (lines["down"] == (1,))]
    assert set(one["round"]) == {1, 2, 4}
    figure = accuracy_curves.draw(page, "mirrored", lines)
    assert [ax.get_title() for ax in figure.axes[:4]] == [f"malicious fraction {f} %" for f in (10, 20, 30, 45)]
    assert {line.get_label() for line in figure.axes[0].lines} == {
        f"{row}, {side}" for row in page.rows for side in ("attacked", "clean")
    }
    assert {line.get_label() for line in figure.axes[3].lines} == {
        f"{row}, {side}" for row in page.rows if row != "krum" for side in ("attacked", "clean")
    }
    assert sum(isinstance(c, PolyCollection) for c in figure.axes[0].collections) == 4  # a band a rule
    assert "clean twin" in [t.get_text() for t in figure.legends[0].get_texts()]


def test_the_curve_is_the_mean_over_seeds(grid: tuple[Page, Any, Any]) -> None:
    page, _, tidy = grid
    lines = accuracy_curves.series(page, "mirrored")
    last = lines[(lines["round"] == 4) & (lines["side"] == "attacked")]
    for row in last.to_dict("records"):
        mine = tidy[
            (tidy["aggregator"] == row["aggregator"])
            & (tidy["attack"] == "mirrored")
            & (tidy["malicious_fraction"] == row["across"])
            & (tidy["flip_rate"] == row["down"][0])
        ]
        assert row["mean"] == pytest.approx(mine["accuracy"].mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    "rows", [("fedavg", "krum"), ("fedavg", "nnm | centered_clipping(radius=0.1, steps=3) | x(a=1)")]
)
def test_text_is_large_enough_and_inside_and_does_not_overlap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: tuple[str, ...]
) -> None:
    folder = tmp_path / "many"
    rates = (0.25, 0.5, 0.75, 1.0)
    records.write_grid(folder, aggregators=rows, flip_rates=rates, seeds=(0, 1), attacks={TARGETED: [(4, 9)]})
    _, frame, tidy = read(folder)
    for planned in catalogue.figures(pivots(frame, tidy), {}):
        assert_legible(planned.name, planned.draw(), monkeypatch)


def test_long_labels_of_columns_are_broken_within_their_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page without levels names the attack below its column, however long."""
    attack = "permuted(pairs=[[0, 2], [1, 2], [3, 2], [4, 2], [5, 2], [6, 2], [7, 2]])"
    mapping = [(source, 2) for source in (0, 1, 3, 4, 5, 6, 7)]
    records.write_grid(tmp_path / "g", attacks={attack: mapping}, fractions=(0.1,), flip_rates=(1.0,), seeds=(0, 1))
    page, _, tidy = read(tmp_path / "g")
    shown = metric_column("accuracy")
    table = Pivot(page, tidy).squares(shown, [attack])
    figure = heatmaps.draw(page, table, shown, attack, Normalize(0, 1))
    ax = figure.axes[0]
    assert_legible("long", figure, monkeypatch)
    (label,) = [t for t in ax.texts if t.get_text().startswith("permuted")]
    box, column = label.get_window_extent(), ax.get_window_extent().width / len(set(table["column"]))
    assert box.width <= column
    assert box.y1 < ax.get_window_extent().y0


def test_equal_cells_give_equal_bytes_whatever_matplotlibrc_says(grid: tuple[Page, Any, Any]) -> None:
    one = style.files(drawn(grid)[0])
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "none", "text.parse_math": True}):
        other = style.files(drawn(grid)[0])
    assert one == other
    assert b"<dc:date>" not in one[".svg"]


@pytest.mark.slow
def test_hostile_names_are_drawn_as_text(tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    name = "evil.mod:rule(note='<script>alert(1)</script> $x_1$ --> ]]> \\\\frac{')"
    records.write_grid(folder, aggregators=("fedavg", name), fractions=(0.1,), seeds=(0,), flip_rates=(1.0,))
    _, frame, tidy = read(folder)
    for planned in catalogue.figures(pivots(frame, tidy), {}):
        assert re.fullmatch(r"[a-z0-9_-]+", planned.name)
        svg = style.saved(planned.draw(), "svg").decode()
        assert not re.search(r"<\s*(script|foreignObject|a)\b", re.sub(r"<!--.*?-->", "", svg, flags=re.S))
        assert not re.search(r"href=\"(?!#|data:image/png;base64,)", svg)  # the colour bar is a small image inside
        for comment in re.findall(r"<!--(.*?)-->", svg, flags=re.S):
            assert "--" not in comment


@pytest.mark.parametrize(
    ("values", "harm", "ends"),
    [
        ([0.93, 0.951], False, (0.9, 1.0)),
        ([0.12, 0.951], False, (0.1, 1.0)),
        ([0.5, 0.5], False, (0.5, 0.6)),
        ([1.0, 1.0], False, (0.9, 1.0)),
        ([-0.01, 0.02], True, (0.0, 0.1)),
        ([float("nan"), 0.31], True, (0.0, 0.35)),
        ([], False, (0.0, 1.0)),
    ],
)
def test_scales(values: list[float], harm: bool, ends: tuple[float, float]) -> None:
    norm = style.scale(values, harm)
    assert (norm.vmin, norm.vmax) == ends


def test_a_gain_has_another_colour_than_no_damage() -> None:
    """Figures of damage reach below 0, in the other hue, as strongly as harm of the same size; 0 is nearly white."""
    norm = style.scale([-0.15, 0.4], harm=True, gains=True)
    assert (norm.vmin, norm.vmax) == (-0.15, 0.4)
    cmap = style.colours(False, norm)
    red, _, blue, _ = cmap(norm(-0.15))
    assert blue > red
    red, _, blue, _ = cmap(norm(0.15))
    assert red > blue
    assert min(cmap(norm(0.0))[:3]) > 0.9
    assert style.colours(False, style.scale([0.1, 0.4], harm=True, gains=True)) == style.colours(False)


def test_a_heatmap_stands_in_axes_of_ones_own(grid: tuple[Page, Any, Any]) -> None:
    page, _, tidy = grid
    shown = metric_column("accuracy")
    table = Pivot(page, tidy).squares(shown, ["mirrored"])
    before = dict(mpl.rcParams)
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    drawn_into = heatmaps.draw_into(left, page, table, shown)
    figure.colorbar(drawn_into, ax=left)
    figure.canvas.draw()
    assert dict(mpl.rcParams) == before
    assert drawn_into.axes is left
    values = np.ma.filled(np.ma.asarray(drawn_into.get_array(), dtype=float), np.nan)
    np.testing.assert_array_equal(values.ravel(), table["mean"].to_numpy(dtype=float))
    means = table["mean"].dropna()
    assert drawn_into.norm.vmin <= means.min()
    assert drawn_into.norm.vmax >= means.max()
    whole = drawn(grid)[0].axes[0]
    assert words_of(left) == words_of(whole)  # names, numbers and labels are those of the figure
    assert right.get_xlim() == (0.0, 1.0)
    assert heatmaps.draw_into(right, page, table, shown, Normalize(0, 1)).norm.vmax == 1


@pytest.mark.parametrize("good", [True, False])
def test_numbers_read_on_every_colour(good: bool) -> None:
    """Contrast of at least 4.5 : 1 (WCAG 2 AA) everywhere on the scale."""
    norm, cmap = Normalize(0, 1), style.colours(good)

    def luminance(colour: Any) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in mpl.colors.to_rgb(colour)]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    for value in np.linspace(0, 1, 101):
        pair = sorted([luminance(cmap(norm(value))), luminance(style.ink(float(value), norm, cmap))])
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, value
