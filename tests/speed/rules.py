"""Every rule over clients and dimensions, on one thread: seconds and peak memory, saved as JSON.

    OMP_NUM_THREADS=1 python -m tests.speed.rules results/speed/rules.json           about 15 minutes
    OMP_NUM_THREADS=1 python -m tests.speed.rules /tmp/rules.json --dims 10000 --names krum,median

Beside each rule, in the same run: summing the matrix over clients once (the stream, which no rule can beat), the rule
written plainly in torch and in NumPy, and ByzFL's, where FLIPBENCH_BYZFL names an interpreter that has byzfl. A number
is the fastest of some calls: what the machine can do when nobody else disturbs it. `rule_table.py` draws the table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flipbench import aggregators
from flipbench.aggregators import Infeasible
from tests.helpers.paths import ROOT
from tests.speed.rule_memory import ALLOCATOR
from tests.speed.rule_plain import DRAWS, Numpy, Torch, plain
from tests.speed.rule_subjects import CLIENTS, DIMS, byzfl_chain, cohort_for, subjects, updates, weiszfeld_steps

HERE = Path(__file__).parent
BUDGET = 0.2  # seconds of calls for one number
MOST = 50  # calls for one number
BAR_ROUNDS = 9


class ByzFL:
    """ByzFL in a process of its own, asked one case at a time: both never compute at once."""

    def __init__(self, interpreter: str) -> None:
        self.command = [interpreter, "-W", "ignore", str(HERE / "byzfl_rules.py")]
        self.versions = self._begin()

    def _begin(self) -> dict[str, Any]:
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:  # it was killed, most likely for its memory: the next case gets a process of its own
            status = self.process.wait()
            self._begin()
            return {"none": f"its process ended with status {status}"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, n: int, dim: int, spread: bool, chain: list[Any]) -> dict[str, Any]:
        """Its seconds for one chain of classes on `updates(n, dim, spread)`."""
        case = {"clients": n, "dim": dim, "spread": spread, "budget": BUDGET, "chain": chain}
        assert self.process.stdin
        print(json.dumps(case), file=self.process.stdin, flush=True)
        return {"chain": chain} | self._answer()


def fastest(call: Callable[[], Any], budget: float = BUDGET) -> dict[str, float]:
    """Seconds of the fastest call and of the median one, after a first that does not count unless it is slow."""
    times = [timed(call)]
    if times[0] < 2 * budget:
        times = [timed(call)]
        while len(times) < 3 or (sum(times) < budget and len(times) < MOST):
            times.append(timed(call))
    return {"seconds": min(times), "median": sorted(times)[len(times) // 2], "calls": len(times)}


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def race(calls: dict[str, Callable[[], Any]], rounds: int = BAR_ROUNDS) -> dict[str, float]:
    """Seconds of the fastest of several calls each, taken in turn, so that a disturbance meets all of them."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(timed(call))
    return {name: min(found) for name, found in times.items()}


def measure(name: str, n: int, dim: int, other: ByzFL | None) -> dict[str, Any]:
    """One rule at one size: seconds of it, the stream, its plain forms and ByzFL's; or why it has no answer."""
    x, rule = updates(n, dim), subjects()[name]
    cohort = cohort_for(x)
    row: dict[str, Any] = {"name": name, "clients": n, "dim": dim, "bytes": x.numel() * 4}
    try:
        rule(x, cohort)
    except Infeasible as why:
        return row | {"infeasible": str(why)}
    row |= {"stream": fastest(lambda: x.sum(0), BUDGET / 4)["seconds"], "rule": fastest(lambda: rule(x, cohort))}
    simple = plain(name)
    if simple is not None:
        own, array = cohort.trusted(), x.numpy()
        row["torch"] = fastest(lambda: simple(Torch, x, n // 5, own))
        row["numpy"] = fastest(lambda: simple(Numpy, array, n // 5, own.numpy()))
    if other is not None:
        steps = weiszfeld_steps(x) if name == "geometric_median" else 0
        chain = byzfl_chain(name, n, steps)
        row["byzfl"] = {"none": chain} if isinstance(chain, str) else other.ask(n, dim, False, chain)
    return row


def check_rivals(names: list[str]) -> None:
    """The plain forms give the rules' answers, or the race would mean nothing."""
    x = updates(20, 2000)
    cohort = cohort_for(x)
    for name in names:
        simple = plain(name)
        if simple is None or name in DRAWS:
            continue
        ours, own = subjects()[name](x, cohort), cohort.trusted()
        torch.testing.assert_close(ours, simple(Torch, x, 4, own), rtol=1e-4, atol=1e-4, msg=name)
        array = simple(Numpy, x.numpy(), 4, own.numpy())
        np.testing.assert_allclose(ours.numpy(), array, rtol=1e-4, atol=1e-4, err_msg=name)


def bars(n: int, dim: int, other: ByzFL | None) -> dict[str, Any]:
    """Seconds of all that the stated bars compare, at one size, taken in turn."""
    x, spread = updates(n, dim), updates(n, dim, spread=True)
    cohort, rules = cohort_for(x), aggregators.RULES
    middle = {name: partial(rules[name], x, cohort) for name in ("median", "trimmed_mean")}
    middle["geometric_median"] = partial(rules["geometric_median"], spread, cohort_for(spread), tolerance=1e-6)
    calls: dict[str, Callable[[], Any]] = {"stream": lambda: x.sum(0), "product": lambda: x @ x.T}
    calls |= {name: partial(rules[name], x, cohort) for name in ("meamed", "krum", "multi_krum")} | middle
    calls["nnm"] = partial(aggregators.nnm, x, cohort)
    calls["nnm | trimmed_mean"] = partial(subjects()["nnm | trimmed_mean"], x, cohort)
    found: dict[str, Any] = {"clients": n, "dim": dim, "seconds": race(calls), "byzfl": {}}
    if other is not None:
        for name, call in middle.items():
            far = name == "geometric_median"
            chain = byzfl_chain(name, n, weiszfeld_steps(spread) if far else 0)
            asked = [(timed(call), other.ask(n, dim, far, list(chain))) for _ in range(3)]  # ours, theirs, ours, ...
            theirs = min((answer for _, answer in asked), key=lambda answer: answer.get("seconds", float("inf")))
            found["byzfl"][name] = theirs | {"ours": min([seconds for seconds, _ in asked])}
    return found


def overheads(names: list[str]) -> dict[str, float]:
    """Seconds of a call on 20 updates of 7,850 numbers, where what surrounds the arithmetic counts."""
    x = updates(20, 7850)
    cohort = cohort_for(x)
    return {name: fastest(partial(subjects()[name], x, cohort))["median"] for name in names}


def memory(rows: list[dict[str, Any]]) -> None:
    """Add the peak memory beyond the input to each row, in bytes."""
    asked = [row for row in rows if "infeasible" not in row]
    if platform.system() != "Linux":
        return
    cases = json.dumps([[row["name"], row["clients"], row["dim"]] for row in asked])
    command = [sys.executable, "-m", "tests.speed.rule_memory"]
    said = subprocess.run(
        command, input=cases, cwd=ROOT, env=os.environ | ALLOCATOR, check=True, capture_output=True, text=True
    ).stdout
    for row, line in zip(asked, said.splitlines(), strict=True):
        row["extra_bytes"] = json.loads(line)


def circumstances() -> dict[str, Any]:
    """Where and when: what a number must travel with."""
    cpu = next((r.split(":")[1].strip() for r in _lines("/proc/cpuinfo") if r.startswith("model name")), "")
    where = {"cwd": ROOT, "capture_output": True, "text": True, "check": False}
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], **where).stdout.strip()  # type: ignore[call-overload]
    changed = subprocess.run(["git", "status", "--porcelain", "aggregators"], **where).stdout  # type: ignore[call-overload]
    return {
        "cpu": cpu or platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "commit": commit + (" with local changes in aggregators/" if changed.strip() else ""),
        "start": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "command": "OMP_NUM_THREADS=1 python -m "
        + shlex.join([f"tests.speed.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def main() -> None:
    """Measure what the arguments ask for and write it down."""
    ask = argparse.ArgumentParser(description="Time and memory of every rule.")
    ask.add_argument("output", type=Path)
    ask.add_argument("--clients", default=",".join(map(str, CLIENTS)))
    ask.add_argument("--dims", default=",".join(map(str, DIMS)))
    ask.add_argument("--names", default=",".join(subjects()))
    given = ask.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":  # NumPy's linear algebra takes all cores otherwise
        ask.error("one thread is measured: set OMP_NUM_THREADS=1")
    clients, dims = ([int(v) for v in text.split(",")] for text in (given.clients, given.dims))
    names = [name.strip() for name in given.names.split(",")]
    torch.set_num_threads(1)
    told, begin = circumstances(), time.monotonic()
    check_rivals(names)
    interpreter = os.environ.get("FLIPBENCH_BYZFL")
    other = ByzFL(interpreter) if interpreter else None
    answer = _before(given.output, told) or {"circumstances": told, "rows": [], "bars": []}
    given.output.parent.mkdir(parents=True, exist_ok=True)
    for n in (n for n in clients if n in (20, 100)):
        if not any((b["clients"], b["dim"]) == (n, max(dims)) for b in answer["bars"]):
            answer["bars"].append(bars(n, max(dims), other))
            given.output.write_text(json.dumps(answer))
    print(f"bars: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    for dim in dims:
        for n in clients:
            there = {r["name"] for r in answer["rows"] if (r["clients"], r["dim"]) == (n, dim)}
            answer["rows"] += [measure(name, n, dim, other) for name in names if name not in there]
            given.output.write_text(json.dumps(answer))  # a long run that dies goes on from here
            print(f"{n} x {dim:,}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    answer["calls"] = overheads(names)
    memory(answer["rows"])
    answer["byzfl"] = other.versions if other else None
    answer["circumstances"] |= {"seconds": time.monotonic() - begin, "load_after": os.getloadavg()[0]}
    given.output.write_text(json.dumps(answer, indent=1))


def _before(output: Path, told: dict[str, Any]) -> dict[str, Any] | None:
    """What an earlier run of the same commit left unfinished; a finished one is measured anew."""
    if not output.exists():
        return None
    answer: dict[str, Any] = json.loads(output.read_text())
    same = answer["circumstances"]["commit"] == told["commit"]
    return answer if same and "calls" not in answer else None


if __name__ == "__main__":
    main()
