"""Grids end to end: the same stored numbers whatever the workers, the order or the neighbours; nothing lost."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flipbench.errors import UserError
from flipbench.execution import runner
from flipbench.execution.progress import Quiet
from flipbench.store.store import Store
from tests.helpers.tiny_runs import GRID, numbers, read, run


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The grid, run once in this process."""
    folder = tmp_path_factory.mktemp("plain")
    outcome = run(read(folder), folder / "results")
    assert (outcome.total, outcome.done, outcome.ran, outcome.failed, outcome.interrupted) == (18, 18, 18, (), False)
    return folder / "results", numbers(folder / "results")


def test_a_second_run_runs_nothing(plain: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    outcome = run(read(tmp_path), plain[0])
    assert (outcome.total, outcome.done, outcome.ran) == (18, 18, 0)


def test_running_twice_in_another_order_gives_the_same_numbers(
    plain: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    grid = read(tmp_path)
    run(replace(grid, cells=tuple(reversed(grid.cells))), tmp_path / "r")
    assert numbers(tmp_path / "r") == plain[1]


def test_a_cell_alone_has_the_numbers_it_has_in_the_grid(plain: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    grid = read(tmp_path)
    for i in (0, 7, 17):
        run(replace(grid, cells=grid.cells[i : i + 1]), tmp_path / "r")
    alone = numbers(tmp_path / "r")
    assert len(alone) == 3
    assert all(plain[1][k] == v for k, v in alone.items())


@pytest.mark.process
def test_two_workers_store_what_one_stores(plain: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    outcome = run(read(tmp_path), tmp_path / "r", workers=2)
    assert (outcome.done, outcome.failed) == (18, ())
    assert numbers(tmp_path / "r") == plain[1]


def test_only_new_cells_run_when_the_grid_grows(plain: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    run(read(tmp_path), tmp_path / "r")
    outcome = run(read(tmp_path, GRID.replace("[0, 1]", "[0, 1, 2]")), tmp_path / "r")
    assert (outcome.total, outcome.ran) == (27, 9)
    for k, v in plain[1].items():
        assert numbers(tmp_path / "r")[k] == v


PLUGIN = """
import torch

def half(updates, cohort, /):
    return updates.mean(-2) / 2

def broken(updates, cohort, /):
    if cohort.round == 2 and bool((cohort.seeds == 1).any()):
        raise RuntimeError("lost my way")
    return updates.mean(-2)
"""


def test_a_plug_in_joins_a_finished_grid_and_an_edited_one_is_a_new_experiment(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    assert run(read(tmp_path), tmp_path / "r").ran == 18
    more = {"add_aggregators": [f"{file}:half"]}
    assert run(read(tmp_path, **more), tmp_path / "r").ran == 6
    assert run(read(tmp_path, **more), tmp_path / "r").ran == 0
    file.write_text(PLUGIN.replace("/ 2", "/ 4"))
    assert run(read(tmp_path, **more), tmp_path / "r").ran == 6


def test_a_broken_plug_in_fails_alone_and_is_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    more = {"add_aggregators": [f"{file}:broken"]}
    outcome = run(read(tmp_path, **more), tmp_path / "r")
    assert (outcome.total, outcome.done, len(outcome.failed)) == (24, 21, 3)
    assert all("lost my way" in reason for _, reason in outcome.failed)
    store = Store(tmp_path / "r")
    key = outcome.failed[0][0]
    assert store.attempts(key) == 1
    assert "in broken" in (store.read(key) or {})["traceback"]
    assert run(read(tmp_path, **more), tmp_path / "r", retry_failed=False).ran == 0
    assert run(read(tmp_path, **more), tmp_path / "r").ran == 3
    assert store.attempts(key) == 2


def test_what_another_run_stored_first_is_told_apart(tmp_path: Path) -> None:
    grid = read(tmp_path)
    assert run(grid, tmp_path / "other").ran == 18

    class Slow(Quiet):
        """Another run finishes everything while this one is at its first stack."""

        def start(self, total: int, done: int) -> None:
            super().start(total, done)
            self.late = False

        def cell_finished(self, *args: Any) -> None:
            super().cell_finished(*args)
            if not self.late:
                self.late = True
                for key in list(Store(tmp_path / "other").keys()):
                    Store(tmp_path / "r").publish(Store(tmp_path / "other").read(key) or {})

    outcome = runner.run(grid, tmp_path / "r", workers=1, progress=Slow())
    assert outcome.done == 18
    assert (outcome.ran, outcome.elsewhere > 0) == (1, True)


def test_attempts_of_a_cell_that_is_done_at_last_count_its_failures(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from pathlib import Path\n\n\ndef rule(updates, cohort, /):\n"
        "    assert Path(__file__).with_name('mended').exists()\n    return updates.mean(-2)\n"
    )
    of = read(tmp_path, add_aggregators=[f"{file}:rule"], overrides=["seed=[0]"])
    keys = [key for key, _ in run(of, tmp_path / "r").failed]
    assert len(keys) == 3
    file.with_name("mended").touch()
    assert run(of, tmp_path / "r").failed == ()
    assert {(Store(tmp_path / "r").read(key) or {})["attempts"] for key in keys} == {2}


def test_a_rule_that_leaves_the_program_is_a_failed_cell(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def leave(updates, cohort, /):\n    raise SystemExit(5)\n")
    outcome = run(read(tmp_path, add_aggregators=[f"{file}:leave"]), tmp_path / "r")
    assert (outcome.done, len(outcome.failed)) == (18, 6)
    assert all("SystemExit: 5 (mine.py:2)" in reason for _, reason in outcome.failed)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_without_cuda_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="PyTorch sees no CUDA device"):
        run(read(tmp_path, overrides=["device=cuda"]), tmp_path / "r")


def test_infeasible_is_a_result_with_its_numbers(tmp_path: Path) -> None:
    grid = read(tmp_path, GRID.replace("malicious_fraction: 0.3", "malicious_fraction: 0.4"))
    outcome = run(grid, tmp_path / "r")
    assert (outcome.done, outcome.infeasible, outcome.failed) == (12, 6, ())
    reasons = {(Store(tmp_path / "r").read(k) or {})["reason"] for k in list(Store(tmp_path / "r").keys())} - {None}
    assert len(reasons) == 1
    assert "11" in reasons.pop()  # 2f + 3
    assert run(grid, tmp_path / "r").ran == 0


def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    class Impatient(Quiet):
        def cell_finished(self, *args: Any) -> None:
            super().cell_finished(*args)
            if len(list((tmp_path / "r" / "cells").rglob("*.json"))) >= 5:
                raise KeyboardInterrupt

    grid = read(tmp_path)
    outcome = runner.run(grid, tmp_path / "r", workers=1, progress=Impatient())
    assert outcome.interrupted
    assert 5 <= outcome.done < 18
    rest = run(grid, tmp_path / "r")
    assert (rest.ran, rest.done) == (18 - outcome.done, 18)


@pytest.mark.parametrize("removed", ["cells", ".", "half of the cells"])
def test_results_that_are_removed_while_the_run_goes_on_are_missed_at_its_end(tmp_path: Path, removed: str) -> None:
    grid, folder = read(tmp_path), tmp_path / "r"

    class Removing(Quiet):
        finished = 0

        def cell_finished(self, *args: Any) -> None:
            super().cell_finished(*args)
            self.finished += 1
            if self.finished == 10 and removed == "half of the cells":
                for path in sorted(folder.glob("cells/*/*.json"))[::2]:
                    path.unlink()
            elif self.finished == 10:
                shutil.rmtree(folder / removed)

    with pytest.raises(UserError, match=r"results of this run are gone.*run the same command again") as error:
        runner.run(grid, folder, workers=1, progress=Removing())
    assert f"{5 if removed == 'half of the cells' else 10} of 18 results" in str(error.value)
    assert run(grid, folder).done == 18


def test_a_plan_that_is_removed_while_the_run_goes_on_is_written_again(tmp_path: Path) -> None:
    folder = tmp_path / "r"

    class Removing(Quiet):
        def cell_finished(self, *args: Any) -> None:
            super().cell_finished(*args)
            (folder / "plan.json").unlink(missing_ok=True)

    assert runner.run(read(tmp_path), folder, workers=1, progress=Removing()).done == 18
    assert len(Store(folder).read_plan()["keys"]) == 18


def test_a_record_tells_where_it_comes_from(plain: tuple[Path, dict[str, str]]) -> None:
    store = Store(plain[0])
    record = store.read(next(iter(store.keys())))
    assert record is not None
    assert record["provenance"].keys() >= {
        "flipbench",
        "commit",
        "python",
        "torch",
        "numpy",
        "platform",
        "device",
        "threads",
        "finished",
    }
    assert record["seconds"].keys() == {"setup", "local", "aggregation", "evaluation"}
    assert len(record["content"]["dataset"]) == 64
    assert {store.read(k)["twin"] for k in list(store.keys())} <= set(store.keys())  # type: ignore[index]
