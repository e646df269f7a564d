"""The explorer's data: the numbers of the tables, details while there is room, commands that lead back to a cell."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
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
from flipbench.analysis.worst_case import worst
from flipbench.grid import reader as grid
from flipbench.report.html import cell_details, explorer
from flipbench.report.html.explorer import targets
from flipbench.report.html.packed_json import Dictionary, embedded, packed, rounded, tenths, unpacked
from flipbench.report.html.rerun_command import rerun
from flipbench.report.tables.model import half_width, number, with_interval
from flipbench.spec.cell import FIELDS, Cell
from flipbench.spec.headline import Headline
from flipbench.spec.twins import clean_twin, normal
from flipbench.store.store import Store
from tests.helpers import records


def facts_of(cells: Sequence[Cell]) -> pd.DataFrame:
    """The facts of cells as a frame has them."""
    rows = [{**asdict(c), "malicious_fraction": c.malicious / c.clients} for c in map(normal, cells)]
    return pd.DataFrame(rows, columns=list(FIELDS), dtype=object)


NOTHING = rerun({}, facts_of(()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seeds, an attack without a map and a backdoor; infeasible, failed and missing cells."""
    where = tmp_path_factory.mktemp("explorer") / "grid"
    store = records.write_attacks(
        where,
        aggregators=("krum", "fedavg", "median"),
        attacks=("mirrored", "targeted(source=6, target=4)", "uniform", "backdoor(target=0)"),
        fractions=(0.2, 0.45),
        seeds=tuple(range(6)),
        infeasible=(("krum", 0.45),),
    )
    broken = records.record(
        replace(records.BASE, aggregator="mean", attack="mirrored", malicious_fraction=0.2),
        status="failed",
        reason="ValueError: <b>made up</b>",
    )
    store.publish(broken)
    plan = store.read_plan()
    store.write_plan(plan | {"keys": [*plan["keys"], broken["key"], "f" * 64]})
    return where


@pytest.fixture(scope="module")
def pivot(folder: Path) -> Pivot:
    frame = frames.load(folder)
    (page,) = pages(frame)
    return Pivot(page, metrics.evaluate(frame))


def told(square: Any) -> tuple[Any, ...]:
    known = square["state"] == "done"
    shown = (number(square["mean"]) if known else None, half_width(square) if square["n"] > 1 else None)
    why = square["reason"] if square["state"] == "infeasible" else None  # why a number is undefined tables say alone
    return (square["state"], *shown, square["n"], square["planned"], why)


def test_every_metric_of_every_square_is_that_of_the_tables(pivot: Pivot) -> None:
    seen = 0
    page, columns, standing = pivot.page, pivot.placement.columns, pivot.standing
    for shown in explorer.shown_metrics():
        whole = pivot.whole(shown)
        numbers = whole.numbers
        shares, halves = tenths(numbers.mean), tenths((numbers.high - numbers.low) / 2)
        groups = [[a] for a in page.attacks] if shown.needs_mapping else [list(page.attacks)]
        for attacks in groups:
            tables = [pivot.squares(shown, attacks)]
            tables += [] if shown.needs_mapping else [worst(pivot, shown)]
            for table in tables:
                for square in table.to_dict("records"):
                    i, r = columns.index(square["column"]), page.rows.index(square["aggregator"])
                    flat = i * len(page.rows) + r
                    known = numbers.n[i, r] > 0
                    found = (
                        "done" if known else standing.state[i, r],
                        None if shares[flat] is None else f"{shares[flat] / 10:.1f}",
                        None if halves[flat] is None else f"{halves[flat] / 10:.1f}",
                        *(numbers.n[i, r], standing.planned[i, r], None if known else standing.reason[i, r]),
                    )
                    assert found == told(square), (shown.name, square["column"], square["aggregator"])
                    assert whole.marks[i, r] == square["mark"]
                    if "worst" in square and not square["column"].clean:
                        chosen = int(whole.chosen[i, r])
                        assert (columns[chosen].attack if chosen >= 0 else None) == square["worst"]
                    seen += 1
    assert seen > 900


def test_squares_with_uneven_intervals_have_both_ends(tmp_path: Path) -> None:
    """And no others: which they are is decided by one function for tables and page."""
    records.write_grid(tmp_path / "g", aggregators=("fedavg", "median"), fractions=(0.1, 0.45))
    frame = frames.load(tmp_path / "g")
    (page,) = pages(frame)
    pivot = Pivot(page, metrics.evaluate(frame))
    data, _ = explorer.choices(pivot, NOTHING, 10**7, 0)
    seen = 0
    for name, told_of in data["metrics"].items():
        found = unpacked(told_of["packed"])
        shown = next(m for m in explorer.shown_metrics(True) if m.name == name)
        numbers = pivot.whole(shown).numbers
        for i, (low, high, half, n) in enumerate(
            zip(numbers.low.ravel(), numbers.high.ravel(), found["half"], numbers.n.ravel(), strict=True)
        ):
            square = {"mean": numbers.mean.ravel()[i], "low": low, "high": high, "n": n}
            text = "–" if n < 1 else with_interval(square)
            if "[" in text:
                low_shown, high_shown = (f"{end / 10:.1f}" for end in found["ends"][str(i)])
                assert text.endswith(f"[{low_shown}, {high_shown}]")
                seen += 1
            else:
                assert str(i) not in found["ends"]
                assert n < 2 or text.endswith(f"± {half / 10:.1f}")
    assert seen > 20


def test_a_worst_case_that_lacks_what_others_have_is_not_marked(pivot: Pivot) -> None:
    """Krum is infeasible at 45 %, so nothing there is its worst; `mean` failed, so it is no rival either."""
    whole, columns = pivot.whole(metric_column("accuracy")), pivot.placement.columns
    for i, column in enumerate(columns):
        if explorer.kind_of(column) == "worst":
            marks = dict(zip(pivot.page.rows, whole.marks[i], strict=True))
            assert (marks["krum"] is None) == (column.level == (0.45,))
            assert marks["mean"] is None
            assert list(marks.values()).count("best") == 1


def test_targets_tell_what_an_attack_is_after(pivot: Pivot) -> None:
    assert targets(pivot.page) == {
        "mirrored": "several",
        "targeted(source=6, target=4)": "4",
        "uniform": "none",
        "backdoor(target=0)": "0",
    }


def test_details_are_those_of_the_records(folder: Path, pivot: Pivot) -> None:
    found, used = cell_details.details(pivot, NOTHING, 10**7)
    assert found["left_out"] == []
    assert used == sum(len(t) for texts in found["parts"].values() for t in texts)
    store, at = Store(folder), pivot.page.rows.index("median")
    seeds, curves, matrices = (unpacked(found["parts"][kind][at]) for kind in cell_details.KINDS)
    tidy = pivot.tidy.set_index("key")
    for i, key in enumerate(seeds["key"]):
        raw = store.read(key)
        assert raw is not None
        assert matrices["counts"][i] == np.ravel(raw["result"]["confusion"][-1]).tolist()
        assert curves["rounds"][curves["which"][i]] == raw["result"]["rounds"]
        assert curves["accuracy"][i] == [
            round(1000 * np.trace(np.array(c)) / np.sum(c)) for c in raw["result"]["confusion"]
        ]
        assert seeds["numbers"]["accuracy"][0][i] == int(number(tidy.loc[key, "accuracy"]).replace(".", ""))
        own = [np.trace(np.array(c)) / np.sum(c) for c in raw["result"]["confusion"][-2:]]  # of rounds 1, 2, 4
        low, high, kind = (column[i] for column in seeds["late"]["accuracy"])
        assert (low, high) == (round(1000 * min(own)), round(1000 * max(own)))
        assert explorer.common(Headline())["stability"][kind] == tidy.loc[key, "accuracy_stability"]
        assert seeds["flips"][2][i] == sum(f["changed"] for f in raw["result"]["flips"])
        assert seeds["key"][seeds["twin"][i]] == raw["twin"]
        square = pivot.placement.columns[seeds["column"][i]]
        assert square.attack == raw["facts"]["attack"]
        facts = {f["label"]: f["values"][c[i]] for f, c in zip(found["fields"], seeds["fields"], strict=True)}
        assert facts["seed"] == str(raw["facts"]["seed"])
        assert facts["aggregator"] == "median"
        if raw["facts"]["malicious_count"]:
            assert set(curves["influence"][i]) == {round(1000 * raw["facts"]["malicious_count"] / 20)}
        assert (matrices["stamped"][i] is not None) == raw["facts"]["attack"].startswith("backdoor")


def test_details_are_left_out_from_the_last_kind_on_when_there_is_no_room(pivot: Pivot) -> None:
    sizes = {k: sum(map(len, v)) for k, v in cell_details.details(pivot, NOTHING, 10**7)[0]["parts"].items()}
    for kept in range(len(cell_details.KINDS) + 1):
        room = sum(sizes[k] for k in cell_details.KINDS[:kept])
        found, used = cell_details.details(pivot, NOTHING, room)
        assert (tuple(found["parts"]), used) == (cell_details.KINDS[:kept], room)
        assert found["left_out"] == list(cell_details.KINDS[kept:])


def test_metrics_that_do_not_fit_are_named(pivot: Pivot) -> None:
    whole, _ = explorer.choices(pivot, NOTHING, 10**7, 0)
    assert whole["left_out"] == []
    assert len(whole["metrics"]) > 20
    part, _ = explorer.choices(pivot, NOTHING, 2000, 0)
    assert {*part["metrics"]} < {*whole["metrics"]}
    assert "accuracy" in part["metrics"]
    assert set(part["left_out"]) >= {m["label"] for n, m in whole["metrics"].items() if n not in part["metrics"]}


def test_names_of_columns_and_rules_are_distinct(pivot: Pivot) -> None:
    told, _ = explorer.choices(pivot, NOTHING, 10**7, 10**7)
    for names in (told["columns"], told["rules"]):
        assert len(set(names)) == len(names)
    assert explorer._distinct(["a", "b", "a"]) == ["a", "b", "a (2)"]


# ---- the command of a cell ------------------------------------------------------------------------------------------

COMMANDS = (
    "flipbench run smoke",
    "flipbench run smoke --aggregator 'krum' --aggregator bulyan --workers 2 --results=elsewhere --no-progress",
    "flipbench run --set rounds=3 label_flip --set model.widths=[30] --set 'seed=[4, 5]' --device cpu",
    "flipbench run attacks --set rounds=2 --set 'attack=[mirrored, all_to_one(target=5)]'",
    "flipbench run smoke --set 'attack=[all_to_one(target=5)]' --set attack.target=3 --set seed=[1]",
    "flipbench run pairs --set dataset=digits",
    "flipbench run declared --set evaluate_every=5",
    "flipbench run smoke --set malicious_fraction=null --set 'malicious_count=[2, 3]' --set 'learning_rate=[0.5, 1]'",
    "flipbench run smoke --set local_steps=null --set 'local_epochs=[1, 2]' --set 'batch_size=[full, 8]'",
    "flipbench run crossover",
)


def read(command: str) -> grid.Grid:
    """The grid of a command line, as the program would read it."""
    words = shlex.split(command)[2:]
    sets, rules, which, at = [], [], "", 0
    while at < len(words):
        if words[at] in ("--set", "--aggregator", "--workers", "--results", "--device"):
            at += 1
            (sets if words[at - 1] == "--set" else rules if words[at - 1] == "--aggregator" else []).append(words[at])
        elif not words[at].startswith("--"):
            which = words[at]
        at += 1
    return grid.read(which, sets, rules)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_of_a_cell_runs_it_and_its_twin_only(command: str) -> None:
    run = read(command)
    cells, plan = run.cells, {"command": command, "source": run.source}
    frame = facts_of(cells)
    found = rerun(plan, frame)
    assert found.start is not None
    assert "rerun" in found.start
    rows = frame.to_dict("records")
    for i in {*range(0, len(cells), max(1, len(cells) // 3)), len(cells) - 1}:
        again = read(str(found.command(rows[i]))).cells
        assert normal(cells[i]) in again
        assert {*again} == {normal(cells[i]), clean_twin(cells[i])}


def test_a_run_without_a_command_has_none_to_tell() -> None:
    for command in (None, "", "make bench", "flipbench run 'a", "flipbench run a b"):
        assert rerun({"command": command}, facts_of(())).start is None


@pytest.mark.parametrize(
    "ref", ["rules/my rule.py:f", "a.b:c(note='it\"s; $(rm -rf x) `y`')", "krum(keep=3) | median", "null"]
)
def test_names_survive_shell_and_yaml(ref: str) -> None:
    from flipbench.grid import yaml_tree
    from flipbench.report.html.rerun_command import setting

    flag, text = shlex.split(setting("aggregator", ref))
    node, problems = yaml_tree.compose(text.partition("=")[2])
    assert (flag, problems, yaml_tree.plain(node)) == ("--set", (), ref)


# ---- packing --------------------------------------------------------------------------------------------------------


def test_packed_json_comes_back_and_embedded_json_ends_no_block() -> None:
    value = {"a": ["</script><!--", "ü", None, 1.5], "b": {"c": True}}
    assert unpacked(packed(value)) == value
    assert packed(value) == packed(value)
    assert "<" not in embedded(value)
    assert json.loads(embedded(value)) == value
    with pytest.raises(ValueError, match="Out of range"):
        embedded([float("nan")])


def test_tenths_are_what_the_tables_show() -> None:
    shares = [0.74650000001, 0.7465, -0.00049, 0.0, 1.0, float("nan"), -0.123]
    assert tenths(shares) == [None if s != s else round(float(number(s)) * 10) for s in shares]
    assert rounded([1.26, float("nan"), float("inf")], 10) == [13, None, None]
    one = Dictionary(["b"])
    assert [one.number(t) for t in ("a", "b", None, "a")] == [1, 0, -1, 1]
    assert one.texts == ["b", "a"]
