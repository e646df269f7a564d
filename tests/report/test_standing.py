"""Standing columns: what a rule costs without an attack, whom it keeps, and what a wrong f costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from flipbench.analysis import frame as frames
from flipbench.analysis import metrics
from flipbench.analysis.declared_f import table
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pages import pages
from flipbench.analysis.pivot import Pivot, pivots
from flipbench.analysis.worst_case import places
from flipbench.report.figures import damage_bars, style
from flipbench.report.tables import cost_and_influence, summary
from flipbench.report.tables.attacks import declared_blocks
from flipbench.report.tables.model import Block, number
from flipbench.spec.cell import Cell
from flipbench.spec.twins import clean_twin
from tests.helpers import records
from tests.helpers.records import write_three_rules


def entries(block: Block) -> dict[str, list[str]]:
    return {name: [e.text for e in line] for name, line in block.rows}


def test_the_cost_is_paired_and_stands_for_each_partition(tmp_path: Path) -> None:
    store, keys = records.Store(tmp_path / "g"), []
    lost = {("krum", "iid"): 10, ("krum", "dirichlet(alpha=1)"): 30, ("median", "iid"): -5}
    for partition in ("iid", "dirichlet(alpha=1)"):
        for rule in ("fedavg", "krum", "median"):
            for seed in range(3):
                cell = replace(records.BASE, aggregator=rule, partition=partition, seed=seed)
                right = 900 + 20 * seed - lost.get((rule, partition), 0) - (seed if rule == "krum" else 0)
                made = records.record(cell, confusion=np.diag([right, *[0] * 9]) + np.eye(10, k=1, dtype=int) * 11)
                store.publish(made)
                keys.append(made["key"])
    store.write_plan({"grid": "g", "keys": keys})
    frame = frames.load(tmp_path / "g")
    tidy = metrics.evaluate(frame)
    (block,) = cost_and_influence.cost_blocks(pivots(frame, tidy))
    assert (block.levels, block.header) == (("partition",), (("iid", "dirichlet(alpha=1)"),))
    assert list(entries(block)) == ["krum", "median"]
    for column, partition in enumerate(("iid", "dirichlet(alpha=1)")):
        own = tidy[tidy["partition"] == partition].pivot(index="seed", columns="aggregator", values="accuracy")
        told = entries(block)["krum"][column]
        d = own["fedavg"] - own["krum"]
        assert told == f"{number(d.mean())} ± {number(4.302653 * d.std() / 3**0.5)}"
    assert "Robustness cost" in summary.markdown(frame, pivots(frame, tidy), {"grid": "g"}, [])
    assert list(cost_and_influence.cost_blocks(pivots(frame[frame["aggregator"] != "fedavg"], tidy))) == []


def cell_with(weights: Any, **result: Any) -> tuple[Cell, dict[str, Any]]:
    cell = replace(records.BASE, aggregator="krum", attack="mirrored", malicious_fraction=0.1)
    return cell, {"influence": weights, **result}


def test_kept_counts_rounds_in_which_a_malicious_client_weighs(tmp_path: Path) -> None:
    """Clients 0 and 1 of 20 are malicious: kept from more than 1/40 on, in rounds under attack only."""
    low, high, rest = [0.02, 0.024], [0.02, 0.026], [0.05] * 18
    weights = [low + rest, high + rest, [0.9, 0.0, *rest]]
    cell, result = cell_with(weights, attacked_rounds=[1, 2])
    store = records.Store(tmp_path / "g")
    for one, told in ((cell, result), (clean_twin(cell), {})):
        store.publish(records.record(one, mapping=records.LABEL_FLIPS["mirrored"], result=told))
    store.write_plan({"grid": "g", "keys": store.keys()})
    frame = frames.load(tmp_path / "g")
    tidy = metrics.evaluate(frame)
    own = tidy[~tidy["clean"]].iloc[0]
    assert own["malicious_kept"] == pytest.approx(1 / 2)  # round 3 is not under attack
    assert own["malicious_influence_mean"] == pytest.approx((0.044 + 0.046 + 0.9) / 3)
    (block,) = cost_and_influence.influence_blocks(pivots(frame, tidy)[0])
    assert block.header == (("influence", "kept"), ("10 %", "10 %"))
    assert entries(block)["krum"] == ["33.0", "50.0"]


def test_kept_is_not_known_where_no_round_is(tmp_path: Path) -> None:
    who, rounds = np.arange(4)[None].repeat(2, 0), np.array([1, 2])
    some = np.array([[0.25, 0.25, 0.25, 0.25], [np.nan] * 4])
    assert metrics.malicious_kept(some, who, [0], rounds) == 1.0  # of the one round that is known
    assert np.isnan(metrics.malicious_kept(some, who, [0], rounds, [2]))
    assert np.isnan(metrics.malicious_kept(some, who, [], rounds))
    assert metrics.malicious_kept(np.stack([some] * 3), np.stack([who] * 3), [[0], [1], [9]], rounds)[:2].tolist() == [
        1,
        1,
    ]


def test_the_regret_of_declared_f_stands_in_the_summary(tmp_path: Path) -> None:
    store, keys = records.Store(tmp_path / "g"), {}
    for rule in ("krum", "median"):
        for f in (2, 4):
            for fraction in (0.1, 0.2):
                for seed in range(3):
                    base = replace(records.BASE, aggregator=rule, attack="mirrored", seed=seed)
                    cell = replace(base, malicious_fraction=fraction, declared_byzantine=f)
                    harm = 0.05 * (f != round(20 * fraction)) + 0.001 * seed * f
                    made = records.Made(records.STATIC, 0.1, records.LABEL_FLIPS["mirrored"])
                    keys[records.publish(store, cell, made, lost=0.1 + harm)] = None
                    keys[records.publish(store, clean_twin(cell), None)] = None
    store.write_plan({"grid": "g", "keys": list(keys)})
    frame = frames.load(tmp_path / "g")
    tidy = metrics.evaluate(frame)
    (page,) = pages(frame)
    (block,) = declared_blocks(Pivot(page, tidy))
    assert (block.corner, block.header) == ("aggregator, declared f", (("2", "4"),))
    told = table(Pivot(page, tidy), metric_column("accuracy"), "mirrored", ())
    wrong = told[(told["aggregator"] == "krum") & (told["declared"] == 4) & (told["true"] == 2)].iloc[0]
    assert entries(block)["krum, 2"][0] == "true"
    assert entries(block)["krum, 4"][0].startswith(number(wrong["regret_mean"]))
    assert "Regret of declared f" in summary.markdown(frame, pivots(frame, tidy), {"grid": "g"}, [])


def test_whiskers_can_be_seen_on_every_bar(tmp_path: Path) -> None:
    """A dark line on a white one that is wider: WCAG contrast of 3 to any colour of a bar, by one of the two."""
    frame, tidy, _ = write_three_rules(tmp_path / "six", 6)
    (page,) = pages(frame)
    shown = metric_column("accuracy_damage")
    drawn = damage_bars.draw(page, Pivot(page, tidy).squares(shown, page.attacks), shown, places(page)[0])
    lines = [line for line in drawn.axes[0].lines if line.get_color() in ("white", "black")]
    widths = {line.get_color(): line.get_linewidth() for line in lines if len(set(line.get_ydata())) == 1}
    assert widths["white"] > widths["black"] > 0
    for colour in style.COLOURS:
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        luminance = 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
        assert max(1.05 / (luminance + 0.05), (luminance + 0.05) / 0.05) >= 3
    assert drawn.get_size_inches()[0] <= 3.3
