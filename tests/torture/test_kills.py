"""SIGKILL at random times and at every named step of publishing: nothing lost, torn, or published twice."""

from __future__ import annotations

import builtins
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flipbench.spec.cell import CLEAN
from flipbench.store.store import Store
from flipbench.system import atomic_files
from tests.helpers.records import record

pytestmark = [pytest.mark.torture, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]
Told = Callable[[str, str], None]


def child(work: Callable[[], None]) -> int:
    """A forked process that does ``work`` and ends without tidying up."""
    if (pid := os.fork()) == 0:
        code = 99
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def publish_all(folder: Path, made: list[dict[str, Any]], log: Path, order: int) -> None:
    """A driver: publish what is missing; note every key that this process was first with."""
    store, mine = Store(folder), made.copy()
    if order % 2:
        mine.reverse()  # two drivers meet in the middle
    with open(log, "ab", buffering=0) as file:
        for one in mine:
            if not store.has(one["key"]) and store.publish(one):
                file.write(f"{one['key']}\n".encode())


@pytest.mark.timeout(600)
def test_drivers_killed_at_random_on_one_folder(tmp_path: Path, full: bool, told: Told) -> None:
    kills, cells = (200, 10_000) if full else (20, 400)
    base = record(attack=CLEAN, confusion=[[1]], rounds=[1])
    made = [{**base, "key": f"{number:064x}"} for number in range(cells)]
    more = cells // 10  # where the disk is faster than the killer
    draw, began, killed, started = random.Random(0), time.monotonic(), 0, 0
    running: dict[int, int] = {}  # desk -> pid
    while True:
        for desk in (0, 1):
            if desk not in running:
                log = tmp_path / f"log.{started}"
                running[desk] = child(lambda log=log, desk=desk: publish_all(tmp_path / "r", made, log, desk))
                started += 1
        time.sleep(draw.uniform(0.02, 0.2 if full else 0.05))
        for desk, pid in list(running.items()):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del running[desk]
        if killed < kills and running:
            desk = draw.choice(sorted(running))
            os.kill(running[desk], signal.SIGKILL)
            os.waitpid(running.pop(desk), 0)
            killed += 1
        elif killed == kills:
            break
        else:  # all is published
            made.extend({**base, "key": f"{number:064x}"} for number in range(len(made), len(made) + more))
    for pid in running.values():
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    publish_all(tmp_path / "r", made, tmp_path / "log.last", 0)  # resume does the rest
    store = Store(tmp_path / "r")
    assert store.statuses() == {one["key"]: "done" for one in made}
    assert store.quarantined() == {}
    assert not list((tmp_path / "r").rglob("*.tmp"))
    firsts = Counter(k for log in tmp_path.glob("log.*") for k in log.read_text().split())
    assert max(firsts.values()) == 1
    spent = time.monotonic() - began
    told(
        "drivers killed at random, two on one folder",
        f"{kills} kills, {len(made):,} cells in {spent:.0f} s: 0 lost, 0 torn, 0 twice",
    )
    if full:
        assert spent <= 120, spent


STEPS = [(step, after) for step in ("open", "fsync", "link", "_sync", "unlink") for after in (False, True)]


def test_a_kill_at_every_step_ends_in_the_same_state(tmp_path: Path, full: bool, told: Told) -> None:
    seeds = 20 if full else 2
    for step, after in STEPS:
        for seed in range(seeds):
            store, one = Store(tmp_path / f"{step}{after}{seed}"), record(seed=seed)

            def publish_and_die(step: str = step, after: bool = after, store: Store = store, one: Any = one) -> None:
                owner: Any = {"open": builtins, "unlink": Path, "_sync": atomic_files}.get(step, os)
                real = getattr(owner, step)

                def deadly(*args: Any, **options: Any) -> Any:
                    if after:
                        real(*args, **options)
                    os.kill(os.getpid(), signal.SIGKILL)

                setattr(owner, step, deadly)
                store.publish(one)

            status = os.waitpid(child(publish_and_die), 0)[1]
            assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
            store.statuses()
            store.publish(one)
            assert store.statuses() == {one["key"]: "done"}
            files = [p.name for p in store.folder.rglob("*") if p.is_file()]
            assert files == [f"{one['key']}.json"], (step, after)
    told("kill at every step of publishing", f"{len(STEPS)} steps x {seeds} seeds: the same end state")
