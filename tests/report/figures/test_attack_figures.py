"""Figures of attacks as values: what is drawn where, in which order, with which marks; and that it can be read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.colors import Normalize
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from flipbench.analysis import declared_f as declared_table
from flipbench.analysis import frame as frames
from flipbench.analysis import worst_case as worst
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.metrics import evaluate
from flipbench.analysis.pages import pages
from flipbench.analysis.pivot import Pivot, pivots
from flipbench.report.figures import (
    accuracy_curves,
    attack_overview,
    catalogue,
    declared_f,
    layout,
    partition_crossover,
)
from flipbench.spec.twins import clean_twin
from flipbench.store.store import Store
from tests.helpers import records
from tests.helpers.legible import assert_legible
from tests.helpers.records import ATTACKS, BASE
from tests.report import naive_intervals

ACCURACY = metric_column("accuracy")


def read(folder: Path) -> tuple[Any, pd.DataFrame, pd.DataFrame]:
    frame = frames.load(folder)
    return pages(frame), frame, evaluate(frame)


def words_of(part: Any) -> list[str]:
    return [t.get_text() for t in part.findobj(Text) if t.get_text()]


def mesh(ax: Any) -> np.ndarray:
    found = next(c for c in ax.collections if isinstance(c, QuadMesh))
    return np.ma.filled(np.ma.asarray(found.get_array(), dtype=float), np.nan)


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The full size: every attack on all nine rules at two fractions; Krum refuses the higher one."""
    folder = tmp_path_factory.mktemp("every") / "attacks"
    records.write_attacks(folder, seeds=(0, 1), infeasible=(("krum", 0.4),))
    return read(folder)


def drawn(everything: Any, *without: str) -> Iterator[tuple[str, Figure]]:
    """The figures of attacks, without the many of rounds."""
    _, frame, tidy = everything
    for planned in catalogue.figures(pivots(frame, tidy), {}):
        if not any(part in planned.name for part in ("rounds", *without)):
            yield planned.name, planned.draw()


@pytest.mark.slow
def test_many_attacks_stand_side_by_side_and_not_one_by_one(every: Any) -> None:
    names = [p.name for p in catalogue.figures(pivots(every[1], every[2]), {})]
    maps = [n for n in names if not n.startswith(("rounds", "influence", "ranks", "damage-bars"))]
    assert maps == ["accuracy_worst-case"] + [
        f"{m}_every-attack_malicious-fraction-{f}"
        for m in ("accuracy", "accuracy_damage", "source_recall", "attack_success_rate")
        for f in (20, 40)
    ]


def test_an_overview_shows_attacks_down_and_rules_across(every: Any) -> None:
    (page,), _, tidy = every
    place = worst.places(page)[1]
    table = worst.overview(Pivot(page, tidy), ACCURACY, place)
    figure = attack_overview.draw(page, table, ACCURACY, place, Normalize(0, 1))
    ax = figure.axes[0]
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names[0] == "clean"
    assert names[-1] == "worst over attacks"
    assert {"optimal ipm†", "mirrored"} < set(names)
    assert [t.get_text() for t in ax.get_xticklabels()] == list(page.rows)
    np.testing.assert_array_equal(mesh(ax).ravel(), table["mean"].to_numpy(dtype=float))
    hatched = {(math.floor(p.get_y()), math.floor(p.get_x())) for p in ax.patches if p.get_hatch()}
    assert hatched == {(i, page.rows.index("krum")) for i in range(len(names))}  # its clean twin has the same f
    told = " ".join(words_of(figure)).replace("\n", " ")
    for part in ("malicious fraction 40 %", "†: knows the rule", "95 % interval", "the worst mean above"):
        assert part in told


def test_the_worst_case_names_the_attack_in_its_square(every: Any) -> None:
    _, frame, tidy = every
    figure = next(p for p in catalogue.figures(pivots(frame, tidy), {}) if p.name == "accuracy_worst-case").draw()
    named = [t for t in words_of(figure.axes[0]) if "optimal" in t]
    assert len(named) == 9 + 8
    assert all(t.split("\n", 2)[2].replace("\n", " ") == "optimal ipm†" for t in named)
    assert "Accuracy: worst case over the 24 attacks" in words_of(figure)


def test_one_scale_for_all_heatmaps_of_a_metric(tmp_path: Path) -> None:
    records.write_attacks(
        tmp_path / "g", aggregators=("fedavg", "median"), attacks=("mirrored", "sign_flip"), seeds=(0, 1)
    )
    found = {}
    for name, figure in drawn(read(tmp_path / "g")):
        if name.startswith("accuracy") and "damage" not in name:
            norm = next(c for c in figure.axes[0].collections if isinstance(c, QuadMesh)).norm
            found[name] = (norm.vmin, norm.vmax)
    assert set(found) == {
        *("accuracy_worst-case", "accuracy_mirrored", "accuracy_sign-flip"),
        *(f"accuracy_every-attack_malicious-fraction-{f}" for f in (20, 40)),
    }
    assert len(set(found.values())) == 1


# ---- declared against true f ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    store, keys = Store(tmp_path_factory.mktemp("f") / "f"), []
    for rule in ("median", "krum"):
        for true in (2, 4, 6):
            for told in (2, 4, 6, 8):
                for seed in (0, 1):
                    facts = {"aggregator": rule, "malicious_count": true, "declared_byzantine": told, "seed": seed}
                    cell = replace(BASE, **facts, attack="mirrored")
                    refused = rule == "krum" and told == 8
                    lost = 0.1 + 0.02 * max(0, true - told) + 0.01 * seed
                    keys.append(records.publish(store, cell, ATTACKS["mirrored"], lost=lost, refused=refused))
                    keys.append(records.publish(store, clean_twin(cell), None, lost=0.1, refused=refused))
    plan = {"grid": "f", "title": None, "source": "", "command": None, "keys": list(dict.fromkeys(keys)), "figures": []}
    store.write_plan(plan)
    return read(store.folder)


def test_declared_f_runs_upwards_and_the_truth_is_framed(declared: Any) -> None:
    (page,), _, tidy = declared
    table = declared_table.table(Pivot(page, tidy), ACCURACY, "mirrored", ())
    figure = declared_f.draw(page, table, ACCURACY, Normalize(0, 1), "mirrored", ())
    median, krum = figure.axes[: len(page.rows)]
    assert [median.get_title(), krum.get_title()] == list(page.rows)
    assert [t.get_text() for t in median.get_yticklabels()] == ["8", "6", "4", "2"]
    assert [t.get_text() for t in median.get_xticklabels()] == ["0", "2", "4", "6"]
    frames_of = {(math.floor(p.get_y()), math.floor(p.get_x())) for p in median.patches if not p.get_fill()}
    assert frames_of == {(3, 1), (2, 2), (1, 3)}
    assert {math.floor(p.get_y()) for p in krum.patches if isinstance(p, Rectangle) and p.get_hatch()} == {0}
    assert mesh(median)[3, 3] == pytest.approx(0.895 - 0.08)  # 2 declared, 6 true


def test_regret_leaves_out_what_has_no_truth_to_compare_with(declared: Any) -> None:
    _, frame, tidy = declared
    named = {p.name: p for p in catalogue.figures(pivots(frame, tidy), {})}
    assert {"accuracy_declared_mirrored", "accuracy_declared_regret_mirrored"} < set(named)
    assert "accuracy_mirrored" not in named
    ax = named["accuracy_declared_regret_mirrored"].draw().axes[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["2", "4", "6"]  # nobody declares 0
    np.testing.assert_allclose(
        mesh(ax), [[0, 0, 0], [0, 0, 0], [0, 0, 0.04], [0, 0.04, 0.08]], atol=1e-12
    )  # 8, 6, 4, 2 declared


# ---- partitions and rounds ------------------------------------------------------------------------------------------


def crossing(folder: Path, partitions: tuple[str, ...], seeds: int = 3) -> Any:
    store, keys = Store(folder), []
    for place, partition in enumerate(partitions):
        for rule in ("fedavg", "median"):
            for attack in ("mirrored", "all_to_one(target=0)"):
                for seed in range(seeds):
                    plain = replace(BASE, aggregator=rule, partition=partition, malicious_fraction=0.3, seed=seed)
                    cell = replace(plain, attack=attack)
                    lost = 0.2 + (0.05 * place if rule == "median" else 0.0) + 0.01 * seed
                    keys.append(records.publish(store, cell, ATTACKS[attack], lost=lost))
                    keys.append(records.publish(store, clean_twin(cell), None, lost=0.1))
    plan = {"grid": "x", "title": None, "source": "", "command": None, "keys": list(dict.fromkeys(keys)), "figures": []}
    store.write_plan(plan)
    return read(store.folder)


def test_partitions_keep_the_order_of_the_grid_but_iid_stands_at_an_end(tmp_path: Path) -> None:
    for name, given, expected in (
        ("last", ("dirichlet(alpha=0.1)", "iid", "dirichlet(alpha=1)"), ["0.1", "1", "iid"]),
        ("first", ("iid", "dirichlet(alpha=1)", "dirichlet(alpha=0.1)"), ["iid", "1", "0.1"]),
    ):
        found, _, _ = crossing(tmp_path / name, given, seeds=1)
        ((*group,),) = partition_crossover.groups(found)
        ticks, axis = partition_crossover.tick_labels([p.about["partition"] for p in group])
        assert (ticks, axis) == (expected, "partition: dirichlet, alpha")


@pytest.mark.parametrize(
    ("given", "ticks"),
    [
        (["iid", "dirichlet(alpha=0.1)"], ["iid", "dirichlet(alpha=0.1)"]),
        (["shards(per_client=2)", "dirichlet(alpha=0.1)"], ["shards(per_client=2)", "dirichlet(alpha=0.1)"]),
        (["similarity(gamma=0.5)", "similarity(gamma=1)"], ["0.5", "1"]),
        (["iid", ")("], ["iid", ")("]),
    ],
)
def test_partitions_are_named_in_full_where_a_number_would_not_tell(given: list[str], ticks: list[str]) -> None:
    assert partition_crossover.tick_labels(given)[0] == ticks


def test_a_panel_an_attack_a_line_a_rule_with_its_interval(tmp_path: Path) -> None:
    found, frame, tidy = crossing(tmp_path / "x", ("iid", "dirichlet(alpha=1)", "dirichlet(alpha=0.1)"))
    (group,) = partition_crossover.groups(found)
    (place,) = partition_crossover.all_places(group)
    table = partition_crossover.points([Pivot(page, tidy) for page in group], place)
    figure = partition_crossover.draw(group, table, place)
    assert [ax.get_title() for ax in figure.axes] == ["clean", "mirrored", "all to one 0"]
    bars = [c for c in figure.axes[1].containers if isinstance(c, ErrorbarContainer)]
    assert [bar.get_label() for bar in bars] == ["fedavg", "median"]
    line, _, (spans,) = bars[1]
    np.testing.assert_allclose(line.get_ydata(), [0.79, 0.74, 0.69])
    half = [(low_high[1][1] - low_high[0][1]) / 2 for low_high in spans.get_segments()]
    ends = [naive_intervals.of_shares([mean - 0.01, mean, mean + 0.01]) for mean in (0.79, 0.74, 0.69)]
    np.testing.assert_allclose(half, [(high - low) / 2 for low, high in ends], rtol=1e-5)
    assert any(n.name == "accuracy_by-partition" for n in catalogue.figures(pivots(frame, tidy), {}))


def test_one_partition_is_no_crossover(every: Any) -> None:
    assert partition_crossover.groups(every[0]) == []


@pytest.mark.parametrize(("seeds", "name"), [(3, "range of the seeds"), (5, "95 % interval")])
def test_few_seeds_have_their_range_as_a_band(tmp_path: Path, seeds: int, name: str) -> None:
    records.write_attacks(
        tmp_path / "g", aggregators=("median",), attacks=("mirrored",), fractions=(0.2,), seeds=range(seeds)
    )
    (page,), frame, _ = read(tmp_path / "g")
    lines = accuracy_curves.series(page, "mirrored")
    figure = accuracy_curves.draw(page, "mirrored", lines)
    assert f"band: {name}" in " ".join(words_of(figure)).replace("\n", " ")
    (band,) = [c for c in figure.axes[0].collections if isinstance(c, PolyCollection)]
    last = [y for x, y in band.get_paths()[0].vertices if x == BASE.rounds]
    mine = frame[frame["attack"] == "mirrored"]["confusion"].map(lambda c: np.trace(c[-1]) / c[-1].sum())
    if seeds == 3:
        assert (min(last), max(last)) == (pytest.approx(mine.min()), pytest.approx(mine.max()))
    else:
        assert (min(last), max(last)) == pytest.approx(naive_intervals.of_shares(mine))


# ---- legibility -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_nine_rules_and_all_attacks_can_be_read(every: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [p.name for p in catalogue.figures(pivots(every[1], every[2]), {}) if p.name.startswith("influence")]
    alike = sorted(names, key=len)[:-1]  # that of the longest name stands for all of influence
    for name, figure in drawn(every, "_malicious-fraction-20", "damage", "recall", *alike):
        assert figure.get_size_inches()[0] <= layout.WIDTH + 1e-6, name
        assert figure.get_size_inches()[1] <= 10, name
        assert_legible(name, figure, monkeypatch)


@pytest.mark.slow
def test_declared_f_and_partitions_can_be_read(declared: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = ("iid", "dirichlet(alpha=1)", "shards(per_client=2)", "similarity(gamma=0.5)", "label_bias(q=0.5)")
    for everything in (declared, crossing(tmp_path / "x", parts, seeds=1)):
        for name, figure in drawn(everything, "damage", "worst", "_mirrored_", "all-to-one", "every"):
            assert_legible(name, figure, monkeypatch)
