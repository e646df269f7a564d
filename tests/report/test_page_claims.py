"""What the page says is true of odd grids too: one f, several f, rules that lack something, several settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flipbench.analysis import frame as frames
from flipbench.analysis import metrics
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pages import pages
from flipbench.analysis.pivot import Pivot
from flipbench.report.html.cell_details import details
from flipbench.report.html.explorer import OWN_TWIN, choices, pools_twins, shown_metrics
from flipbench.report.html.leaderboard import HEADS, leaderboard
from flipbench.report.html.packed_json import unpacked
from flipbench.report.html.rerun_command import rerun
from flipbench.store.store import Store
from tests.helpers import records

PLAN = {"command": "flipbench run smoke"}


def grid(folder: Path, **given: Any) -> Path:
    told = {
        "aggregators": ("fedavg", "krum", "median"),
        "attacks": {"mirrored": records.LABEL_FLIPS["mirrored"]},
        "fractions": (0.2,),
        "flip_rates": (1.0,),
        "seeds": (0, 1, 2),
    }
    records.write_grid(folder, **told | given)
    return folder


def pivot_of(folder: Path) -> tuple[Pivot, pd.DataFrame]:
    frame = frames.load(folder)
    (page,) = pages(frame)
    return Pivot(page, metrics.evaluate(frame)), frame


def lines(one: Pivot) -> dict[str, dict[str, str]]:
    """The leaderboard: rule -> head -> text, in its order."""
    return {name: dict(zip(HEADS, [e.text for e in entries], strict=True)) for name, entries in leaderboard(one).rows}


@pytest.mark.parametrize("fractions", [(0.2,), (0.2, 0.4)])
def test_the_command_that_the_page_shows_is_that_of_the_cell_also_where_all_are_told_one_f(
    tmp_path: Path, fractions: tuple[float, ...]
) -> None:
    one, frame = pivot_of(grid(tmp_path / "g", fractions=fractions))
    found = rerun(PLAN, frame)
    told, _ = details(one, found, 10**7)
    by_key = {row["key"]: row for row in frame.to_dict("records")}
    shown = 0
    for packed in told["parts"]["seeds"]:
        cells = unpacked(packed)
        for i, key in enumerate(cells["key"]):
            options = [
                fact["options"][cells["fields"][at][i]] for at, fact in enumerate(told["fields"]) if fact["options"]
            ]
            command = " ".join([told["start"], *options])
            assert command == str(found.command(by_key[key])).replace("=0.0 ", "=0 ")
            assert "declared_byzantine=" in command
            shown += 1
    assert shown == len(frame)


def test_an_opened_square_has_its_own_twins_where_the_clean_column_pools_several_f(tmp_path: Path) -> None:
    one, frame = pivot_of(grid(tmp_path / "g", fractions=(0.2, 0.4)))  # f = 4 and 8
    assert pools_twins(one)
    shown = {m.name: m for m in shown_metrics(pools_twins(one))}[f"accuracy{OWN_TWIN}"]
    own = one.whole(shown).numbers
    tidy = one.tidy.set_index("key")
    for at, column in enumerate(one.placement.columns):
        for rule, name in enumerate(one.page.rows):
            mine = frame[(frame["aggregator"] == name) & (frame["attack"] == column.attack)]
            mine = mine[mine["malicious_fraction"] == column.level[0]] if column.level else mine[:0]
            if column.attacked:
                assert own.mean[at, rule] == pytest.approx(tidy.loc[mine["twin"], "accuracy"].mean())
    told, _ = choices(one, rerun(PLAN, frame), 10**7, 10**7)
    assert told["pooled"]
    assert f"accuracy{OWN_TWIN}" in told["metrics"]
    alone, frame = pivot_of(grid(tmp_path / "h"))
    assert not pools_twins(alone)
    assert f"accuracy{OWN_TWIN}" not in choices(alone, rerun(PLAN, frame), 10**7, 10**7)[0]["metrics"]


def test_an_infeasible_square_has_no_twin_from_elsewhere(tmp_path: Path) -> None:
    one, _ = pivot_of(grid(tmp_path / "g", fractions=(0.2, 0.4), infeasible=(("krum", 0.4),)))
    own = one.whole({m.name: m for m in shown_metrics(True)}[f"accuracy{OWN_TWIN}"]).numbers
    krum = one.page.rows.index("krum")
    (at,) = (i for i, c in enumerate(one.placement.columns) if c.attacked and c.level == (0.4,))
    assert np.isnan(own.mean[at, krum])


def test_a_rule_that_is_infeasible_where_it_is_hard_does_not_lead(tmp_path: Path) -> None:
    one, _ = pivot_of(grid(tmp_path / "g", fractions=(0.2, 0.4), infeasible=(("krum", 0.4),)))
    told = lines(one)
    assert list(told)[-1] == "krum"
    assert float(told["krum"]["worst case"]) > max(float(told[r]["worst case"]) for r in ("fedavg", "median"))
    assert told["krum"]["worst attack"].endswith("only 1 of 2 attacks and places")


def test_a_rule_with_fewer_seeds_does_not_lead_and_says_so(tmp_path: Path) -> None:
    folder = grid(tmp_path / "g")
    frame = frames.load(folder)
    one, _ = pivot_of(folder)
    best = next(iter(lines(one)))
    gone = frame[(frame["aggregator"] == best) & (frame["attack"] == "mirrored") & (frame["seed"] == 2)]["key"].iloc[0]
    (folder / "cells" / gone[:2] / f"{gone}.json").unlink()
    assert not Store(folder).has(gone)
    one, _ = pivot_of(folder)
    told = lines(one)
    assert list(told)[-1] == best
    assert told[best]["worst attack"].endswith("only 2 of 3 seeds")


def test_the_worst_of_a_single_attack_is_its_worst_place_and_no_mean_over_places(tmp_path: Path) -> None:
    one, _ = pivot_of(grid(tmp_path / "g", fractions=(0.1, 0.4)))
    shown = one.whole(metric_column("accuracy")).numbers
    attacked = [i for i, c in enumerate(one.placement.columns) if c.attacked]
    for rule, name in enumerate(one.page.rows):
        line = lines(one)[name]
        assert float(line["worst case"]) == pytest.approx(100 * shown.mean[attacked, rule].min(), abs=0.051)
        assert line["worst attack"] == "mirrored, malicious fraction 40 %"


def test_clean_accuracy_and_robustness_cost_are_over_the_same_settings(tmp_path: Path) -> None:
    folder, keys = tmp_path / "g", []
    for rate in (0.1, 0.5):
        grid(folder, base=replace(records.BASE, learning_rate=rate))
        keys += Store(folder).read_plan()["keys"]
    Store(folder).write_plan({**Store(folder).read_plan(), "keys": keys})
    one, _ = pivot_of(folder)
    assert "learning_rate" in one.page.settings
    told = lines(one)
    for name, line in told.items():
        lost = float(told["fedavg"]["clean"]) - float(line["clean"])
        assert float(line["robustness cost"].split(" ±")[0]) == pytest.approx(lost, abs=0.11), name
