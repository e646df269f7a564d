"""Two folders of results: what got worse, what is identical, what changed; and the exit code that CI reads."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner, Result

from flipbench.analysis.folders.run_comparison import compare_folders
from flipbench.cli.app import app
from flipbench.errors import UserError
from flipbench.spec.cell import Cell
from flipbench.spec.key import key
from flipbench.spec.twins import clean_twin, normal
from tests.helpers import records

MAP = [(4, 9)]
RULES = ("fedavg", "median")
Right = Callable[[Cell], int]  # of 1,000 test examples


def right(cell: Cell) -> int:
    """Seeds and rules differ; an attack costs 50."""
    return 900 + 7 * (cell.seed % 5) - 3 * len(cell.aggregator) - 50 * (cell.attack != "none")


def counts(number: int) -> np.ndarray:
    """(10, 10): so many of 1,000 recognised; what is lost of class 4 goes to 9."""
    made = np.zeros((10, 10), dtype=int)
    for c in range(10):
        own = number // 10 + (c < number % 10)
        made[c, c], made[c, 9 if c == 4 else (c + 1) % 10] = own, 100 - own
    return made


def cells(seeds: Sequence[int], rules: Sequence[str] = RULES, **facts: Any) -> list[Cell]:
    base = replace(records.BASE, attack="targeted(source=4, target=9)", malicious_fraction=0.2, **facts)
    attacked = [replace(base, aggregator=rule, seed=seed) for rule in rules for seed in seeds]
    return [normal(one) for a in attacked for one in (a, clean_twin(a))]


def write(
    folder: Path, some: Sequence[Cell], how: Right = right, failed: Sequence[int] = (), **provenance: str
) -> Path:
    store, keys = records.Store(folder), {}
    for place, cell in enumerate(some):
        mapping = MAP if cell.attack != "none" else None
        if place in failed:
            made = records.record(cell, status="failed", reason="ValueError: made up")
        else:
            made = records.record(cell, confusion=counts(how(cell)), mapping=mapping)
        made["provenance"] |= provenance
        store.publish(made)
        keys[made["key"]] = None
    store.write_plan({"grid": "g", "title": "t", "source": "", "command": "c", "keys": list(keys)})
    return folder


def call(*args: Any) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, args)])


def lines_of(*folders: Path, scope: str = "setting") -> list[dict[str, str]]:
    found = csv.DictReader(io.StringIO(call(*folders, "--format", "csv").stdout))
    return [line for line in found if line["scope"] == scope]


def test_the_same_results_are_bit_identical(tmp_path: Path) -> None:
    a, b = (write(tmp_path / name, cells(range(3))) for name in "ab")
    ran = call(a, b)
    assert ran.exit_code == 0, ran.output
    assert "**Bit-identical.**" in ran.output
    assert "12 cells in both, 12 of them done in both; 12 bit-identical" in ran.output
    assert "What changed" not in ran.output
    assert {line["verdict"] for line in lines_of(a, b)} == {"identical"}


def test_a_loss_beyond_its_interval_is_worse_and_a_gain_is_not(tmp_path: Path) -> None:
    def slower(cell: Cell) -> int:
        return right(cell) - (20 + 4 * (cell.seed % 3) if cell.aggregator == "median" else 0)

    a, b = write(tmp_path / "a", cells(range(6))), write(tmp_path / "b", cells(range(6)), slower)
    ran = call(a, b, "--metric", "accuracy")
    assert ran.exit_code == 1
    assert "**Worse:** accuracy got worse (2 settings)." in ran.output
    d = [-(20 + 4 * (seed % 3)) / 1000 for seed in range(6)]
    told = stats.ttest_1samp(d, 0)
    for line in lines_of(a, b):
        if line["metric"] == "accuracy" and line["aggregator"] == "median":
            assert float(line["difference"]) == pytest.approx(np.mean(d))
            interval = told.confidence_interval(0.95)
            assert (float(line["low"]), float(line["high"])) == pytest.approx((interval.low, interval.high))
            assert float(line["p"]) == pytest.approx(told.pvalue)
            assert (line["verdict"], line["n"]) == ("worse", "6")
        elif line["metric"] == "accuracy":
            assert line["verdict"] == "identical"
    back = call(b, a, "--metric", "accuracy")
    assert back.exit_code == 0
    assert "better" in back.output
    assert call(a, b, "--metric", "accuracy", "--tolerance", "0.03").exit_code == 0
    assert call(a, b, "--metric", "accuracy", "--tolerance", "0.02").exit_code == 1


def test_more_attack_success_is_worse(tmp_path: Path) -> None:
    a = write(tmp_path / "a", cells(range(6)))
    b = write(tmp_path / "b", cells(range(6)), lambda c: right(c) - 30 - c.seed)
    verdicts = {(line["metric"], line["verdict"]) for line in lines_of(a, b)}
    assert ("attack_success_rate", "worse") in verdicts
    assert all(verdict == "worse" for _, verdict in verdicts)
    assert call(a, b, "--metric", "attack_success_rate").exit_code == 1


def test_noise_over_many_settings_raises_no_alarm(tmp_path: Path) -> None:
    """Forty settings that differ by chance: some intervals exclude 0 by themselves, none after correction."""
    some = [c for rate in range(1, 21) for c in cells(range(4), ("fedavg",), learning_rate=rate / 100)]
    rng = np.random.default_rng(4)
    a = write(tmp_path / "a", some)
    b = write(tmp_path / "b", some, lambda c: right(c) + int(rng.integers(-9, 10)))
    lines = [line for line in lines_of(a, b) if line["metric"] == "accuracy"]
    assert len(lines) == 40
    assert any(float(line["low"]) > 0 or float(line["high"]) < 0 for line in lines)
    assert call(a, b).exit_code == 0


def test_one_seed_has_no_interval_and_any_loss_counts(tmp_path: Path) -> None:
    a, same = write(tmp_path / "a", cells([0])), write(tmp_path / "same", cells([0]))
    b = write(tmp_path / "b", cells([0]), lambda c: right(c) - 1)
    ran = call(a, b)
    assert ran.exit_code == 1
    assert "One seed gives no interval" in ran.output
    assert call(a, same).exit_code == 0
    assert call(b, a).exit_code == 0


def test_cells_of_one_folder_and_changed_states_are_told(tmp_path: Path) -> None:
    a = write(tmp_path / "a", cells(range(3)))
    b = write(tmp_path / "b", cells(range(3), ("fedavg", "krum")), failed=[0])
    ran = call(a, b)
    assert ran.exit_code == 1
    assert "1 cell no longer finishes" in ran.output
    assert "State changed: 1 from done to failed." in ran.output
    assert ran.output.count(": 6 cells") == 2
    assert {line["aggregator"] for line in lines_of(a, b, scope="only_second")} == {"krum"}
    back = call(b, a)  # it finishes now, but the krum cells are gone
    assert back.exit_code == 1
    assert "**Worse:** 6 cells only in A; 6 cells only in B." in back.output


def test_cells_that_were_done_and_are_not_there_are_a_loss(tmp_path: Path) -> None:
    """The headline tells them, and which side has them; what only the second folder has is none."""
    more = write(tmp_path / "more", cells(range(3), ("fedavg", "krum")))
    fewer = write(tmp_path / "fewer", cells(range(3), ("fedavg",)))
    ran = call(more, fewer)
    assert ran.exit_code == 1
    assert "**Worse:** 6 cells only in A; the other 6 bit-identical." in ran.output
    back = call(fewer, more)
    assert back.exit_code == 0
    assert "**6 cells only in B; the other 6 bit-identical.**" in back.output
    refused = write(tmp_path / "refused", cells(range(3), ("fedavg", "krum")), failed=range(6, 12))
    assert call(refused, fewer).exit_code == 0  # what never was done is not lost


def test_a_plug_in_elsewhere_and_another_device_are_the_same_cells(tmp_path: Path) -> None:
    folders = []
    for name, device in (("old", "cpu"), ("new", "cuda")):
        rule = f"/home/{name}/rule.py:mine"
        (cell, twin) = cells([0], (rule,), device=device)
        store, keys = records.Store(tmp_path / name), []
        for one in (cell, twin):
            content = {**records.CONTENT, "aggregator": name * 16}
            made = records.record(one, confusion=counts(900), mapping=MAP if one is cell else None)
            made |= {"content": content, "key": key(one, content), "twin": key(twin, content)}
            made["provenance"] |= {"device": device}
            store.publish(made)
            keys.append(made["key"])
        store.write_plan({"grid": "g", "keys": keys})
        folders.append(tmp_path / name)
    found = compare_folders(*folders)
    assert (found.identical, found.worse) == (2, False)
    assert found.provenance == {"device": ("cpu", "cuda")}
    before, after = "/home/old/rule.py:mine (oldoldoldold)", "/home/new/rule.py:mine (newnewnewnew)"
    assert found.sources == {"aggregator rule.py:mine": (before, after)}


def with_plugins(folder: Path, rules: dict[str, tuple[str, int]], seeds: Sequence[int] = range(3)) -> Path:
    """A folder with a cell a seed of each rule: reference -> hash of its source, and how many it recognises."""
    store, keys = records.Store(folder), []
    for rule, (source, number) in rules.items():
        for seed in seeds:
            cell = normal(replace(records.BASE, aggregator=rule, seed=seed))
            content = {**records.CONTENT, "aggregator": source * 64}
            made = records.record(cell, confusion=counts(number - seed))
            made |= {"content": content, "key": key(cell, content), "twin": key(cell, content)}
            store.publish(made)
            keys.append(made["key"])
    store.write_plan({"grid": "g", "keys": keys})
    return folder


A, B, C = "a/rule.py:mine", "b/rule.py:mine", "c/rule.py:mine"


def test_rules_of_one_name_in_two_folders_are_two_rules(tmp_path: Path) -> None:
    """One gains what the other loses: a mean over both would hide the collapse of one."""
    before = with_plugins(tmp_path / "before", {A: ("1", 900), B: ("2", 900)})
    after = with_plugins(tmp_path / "after", {A: ("1", 999), B: ("3", 110)})
    ran = call(before, after, "--metric", "accuracy")
    assert ran.exit_code == 1
    assert "accuracy got worse (1 setting)" in ran.output
    assert "| a/rule.py:mine |" in ran.output
    assert "| b/rule.py:mine |" in ran.output
    verdicts = {(line["aggregator"], line["verdict"]) for line in lines_of(before, after, scope="setting")}
    assert {(A, "better"), (B, "worse")} <= verdicts


@pytest.mark.parametrize(
    ("before", "after", "pairs", "lost", "unclear"),
    [
        ({A: ("1", 900)}, {A: ("2", 900)}, 3, 0, False),  # edited
        ({A: ("1", 900)}, {B: ("1", 900)}, 3, 0, False),  # moved
        ({A: ("1", 900)}, {B: ("2", 900)}, 3, 0, False),  # moved and edited
        ({A: ("1", 900), B: ("2", 900)}, {A: ("2", 900), B: ("1", 900)}, 6, 0, False),  # each was edited
        ({A: ("1", 900), B: ("2", 900)}, {B: ("2", 900), C: ("1", 900)}, 6, 0, False),  # one was moved
        ({A: ("1", 900), B: ("2", 900)}, {A: ("1", 900)}, 3, 3, False),  # one is gone
        ({A: ("1", 900), B: ("2", 900)}, {A: ("1", 900), C: ("3", 900)}, 3, 3, True),  # nothing says that C is B
        ({A: ("1", 900), B: ("2", 900)}, {C: ("3", 900), "median": ("4", 900)}, 0, 6, True),
        ({A: ("1", 900), "median": ("4", 900)}, {B: ("2", 900), C: ("3", 900), "median": ("4", 900)}, 3, 3, True),
        ({"code_" + "1" * 16 + ":mine": ("1", 900)}, {"code_" + "2" * 16 + ":mine": ("2", 900)}, 3, 0, False),
    ],
)
def test_which_rows_are_the_same(
    tmp_path: Path,
    before: dict[str, tuple[str, int]],
    after: dict[str, tuple[str, int]],
    pairs: int,
    lost: int,
    unclear: bool,
) -> None:
    """Every cell of the baseline has exactly one partner, or is said to have none, and then the exit code is 1."""
    a, b = (with_plugins(tmp_path / name, rules) for name, rules in (("a", before), ("b", after)))
    if not pairs:
        with pytest.raises(UserError, match=r"several things are called rule.py:mine"):
            compare_folders(a, b)
        return
    found = compare_folders(a, b)
    matched = found.matched
    assert (len(matched.first), found.lost, bool(matched.ambiguous)) == (pairs, lost, unclear)
    assert len(set(matched.first)) == len(set(matched.second)) == pairs
    assert len(matched.first) + len(matched.only_first) == 3 * len(before)
    assert call(a, b).exit_code == (1 if lost else 0)


def test_a_number_that_is_not_there_any_more_is_a_loss(tmp_path: Path) -> None:
    """Of the source class no test example is left."""
    a, b = write(tmp_path / "a", cells([0])), tmp_path / "b"
    store, keys = records.Store(b), []
    for cell in cells([0]):
        fewer = counts(right(cell))
        fewer[4] = 0
        made = records.record(cell, confusion=fewer, mapping=MAP if cell.attack != "none" else None)
        store.publish(made)
        keys.append(made["key"])
    store.write_plan({"grid": "g", "keys": keys})
    ran = call(a, b, "--metric", "source_recall")
    assert ran.exit_code == 1
    assert "is not defined any more in 2 cells" in ran.output


def test_what_changed_around_the_numbers(tmp_path: Path) -> None:
    a = write(tmp_path / "a", cells([0]))
    b = write(tmp_path / "b", cells([0]), torch="9.9|<b>", finished="2030-01-01T00:00:00Z")
    text = call(a, b).output
    assert "| torch | 2.13.0 | 9.9\\|&lt;b&gt; |" in text
    assert "finished" not in text


def test_a_folder_of_mixed_code_is_told_with_counts(tmp_path: Path) -> None:
    some = cells([0, 1])
    pure = write(tmp_path / "a", some, engine="1", torch="2.13.0")
    write(tmp_path / "b", some[:6], engine="1", torch="2.13.0")
    mixed = write(tmp_path / "b", some, engine="2", torch="2.12.0")  # the first result of a cell stays
    text = call(pure, mixed).output
    assert "B: cells of different code stand together: 6 by 1, 2 by 2." in text
    assert "torch versions stand together: 6 by torch 2.13.0, 2 by torch 2.12.0" in text
    assert "A: cells" not in text


def test_mistakes(tmp_path: Path) -> None:
    a = write(tmp_path / "a", cells([0]))
    other = write(tmp_path / "other", cells([0], rounds=9))
    assert call(a, tmp_path / "nowhere").exit_code == 2
    assert call(a, a, "--metric", "acuracy").exit_code == 2
    assert call(a, a, "--format", "pdf").exit_code == 2
    assert call(a, a, "--tolerance", "3").exit_code == 2
    with pytest.raises(UserError, match="no cell in common"):
        compare_folders(a, other)
