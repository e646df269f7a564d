"""Do rules that choose among clients choose whom exact arithmetic chooses? 1,000 instances at the scale of weights.

    OMP_NUM_THREADS=1 python -m tests.numerics.selection results/numerics/selection.md        about 15 minutes

Weights are standard normal float32; each client's are moved by 1e-4 to 1e-3 and rounded to float32, as training does.
A rule gets the differences from the old weights (raw updates), or, harder, the weights themselves: then all clients
share an offset a thousand to ten thousand times their differences. f of the clients are pushed the same way.

A rule is asked as it is, from outside. Krum's winner is the row it returns. For the others the answer is compared with
the mean over the members that brute force in float64 finds, in the first 2,000 coordinates: one wrong member moves some
of them by 25 roundings or more, right ones differ by a few at most (the table says by how many). Half-way results are
kept beside the output, so a run that was broken off goes on.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flipbench import aggregators
from flipbench.aggregators import Cohort
from flipbench.conformance.oracles import by_distance as exact
from flipbench.conformance.oracles.by_coordinate import nearest

Case = tuple[int, int, str, int]  # clients, numbers a client, kind, instances
CLIENTS = (10, 25, 26, 40, 64)
CASES: list[Case] = [(n, 20_000, kind, 1000) for n in CLIENTS for kind in ("updates", "weights")]
CASES += [(n, 1_000_000, "updates", 20) for n in (26, 64)]
COMPARED = 2000  # coordinates of an answer
MOST = 10  # roundings that an answer may be off
RULES = ("krum", "multi_krum", "bulyan", "nnm", "mda")
MDA = {10: 3, 25: 3, 26: 3, 40: 2, 64: 2}  # f for which all C(n, f) sets can be looked at


def instance(n: int, dim: int, f: int, kind: str, seed: int) -> torch.Tensor:
    """``(n, dim)`` float32: the clients' new weights, or what they differ from the old ones by."""
    draw = np.random.default_rng([n, dim, seed])
    old = draw.standard_normal(dim, dtype=np.float32)
    scale = np.float32(10 ** draw.uniform(-4, -3))
    moved = draw.standard_normal((n, dim), dtype=np.float32)
    malicious = draw.permutation(n)[:f]
    moved[malicious] = moved[malicious] * np.float32(0.7) + draw.standard_normal(dim, dtype=np.float32) * np.float32(
        0.7
    )
    new = old + scale * moved
    return torch.from_numpy(new if kind == "weights" else new - old)


def judge(x: torch.Tensor, f: int, f_mda: int) -> dict[str, tuple[bool, float]]:
    """Of each rule: whether it chose as brute force does, and how far its answer was, in float32 roundings."""
    squares = exact.squared_distances(x.numpy())
    rows = x[:, :COMPARED].double().numpy()
    cohort, few = Cohort.of(x, f), Cohort.of(x, f_mda)
    ulp = float(np.abs(rows).max()) * 2.0**-24
    n = len(x)
    order = exact.krum_order(squares, n - f - 2)

    def close(got: torch.Tensor, wanted: NDArray[np.float64]) -> tuple[bool, float]:
        away = float(np.abs(got[:COMPARED].double().numpy() - wanted).max()) / ulp
        return away <= MOST, away

    found = {"krum": (torch.equal(aggregators.krum(x, cohort), x[order[0]]), 0.0)}
    found["multi_krum"] = close(aggregators.multi_krum(x, cohort), rows[order[: n - f - 2]].mean(0))
    chosen = rows[exact.bulyan_members(squares, f)]
    found["bulyan"] = close(aggregators.bulyan(x, cohort), nearest(chosen, n - 4 * f))
    mixed, sets = aggregators.nnm(x, cohort)[0], exact.neighbour_sets(squares, f)
    apart = [close(one, rows[near].mean(0)) for one, near in zip(mixed, sets, strict=True)]
    found["nnm"] = all(ok for ok, _ in apart), max(away for _, away in apart)
    found["mda"] = close(aggregators.mda(x, few), rows[exact.mda_members(squares, f_mda)].mean(0))
    plain = torch.cdist(x, x).square().sort(dim=1).values[:, 1 : n - f - 1].sum(1)
    found["plain krum"] = (int(plain.argmin()) == order[0], 0.0)
    return found


def count(case: Case) -> dict[str, Any]:
    """How many instances of a case each rule got right."""
    n, dim, kind, instances = case
    f, right, away = (n - 3) // 4, dict.fromkeys((*RULES, "plain krum"), 0), dict.fromkeys(RULES, 0.0)
    for seed in range(instances):
        for name, (ok, distance) in judge(instance(n, dim, f, kind, seed), f, MDA[n]).items():
            right[name] += ok
            if name in away:
                away[name] = max(away[name], distance)
    return {"case": list(case), "f": f, "mda_f": MDA[n], "right": right, "away": away}


def text(found: list[dict[str, Any]], seconds: float) -> str:
    """The page."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    sets = ", ".join(f"{f} of {n}" for n, f in MDA.items())
    worst = ", ".join(f"{name} {max(one['away'][name] for one in found):.1f}" for name in RULES[1:])
    lines = [
        f"""# Who is chosen

Rules that choose among clients, against brute force in float64 that shares no code with them, on float32 matrices at
the scale of weights. Weights are standard normal, clients differ by 1e-4 to 1e-3, f clients are pushed the same way.
*updates*: new minus old weights; *weights*: the new weights themselves, uncentred. Krum: the winner; Multi-Krum,
Bulyan, MDA: the members; NNM: all n sets of neighbours. The last column is Krum on `torch.cdist` of the same matrix,
for comparison.

Made by `make numerics` at commit {commit}: torch {torch.__version__}, NumPy {np.__version__}, one thread,
{seconds / 60:.0f} minutes.

| clients | f | numbers | given | krum | multi_krum | bulyan | nnm | mda | Krum on `torch.cdist` |
|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|"""
    ]
    for one in found:
        n, dim, kind, instances = one["case"]
        cells = [f"{one['right'][name]:,} of {instances:,}" for name in (*RULES, "plain krum")]
        lines.append(f"| {n} | {one['f']} | {dim:,} | {kind} | " + " | ".join(cells) + " |")
    lines.append(
        f"""
f = ⌊(n − 3) / 4⌋, the most that Bulyan takes. For MDA it is {sets}, so that brute force can look at all C(n, f)
sets. Members are told by the answer: in its first {COMPARED:,} coordinates it must lie within {MOST} roundings (2^-24
of the largest number of the matrix) of the mean over the right members; one wrong member moves some by 25 or more.
Farthest off, in roundings: {worst}."""
    )
    return "\n".join(lines)


def main() -> None:
    """Count what is not counted yet, then write the page."""
    ask = argparse.ArgumentParser(description="Who is chosen, against brute force in float64.")
    ask.add_argument("output", type=Path)
    ask.add_argument("--instances", type=int, help="fewer, for a first look")
    given = ask.parse_args()
    torch.set_num_threads(1)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    kept = given.output.with_suffix(".json")
    found = json.loads(kept.read_text()) if kept.exists() else []
    for n, dim, kind, instances in CASES:
        case: Case = (n, dim, kind, min(instances, given.instances or instances))
        if list(case) in [one["case"] for one in found]:
            continue
        begin = time.monotonic()
        found.append(count(case) | {"seconds": time.monotonic() - begin})
        kept.write_text(json.dumps(found, indent=1))
        print(case, found[-1]["right"], f"{found[-1]['seconds']:.0f} s", flush=True)
    given.output.write_text(text(found, sum(one["seconds"] for one in found)) + "\n")
    print(f"{given.output} on {platform.machine()}")


if __name__ == "__main__":
    main()
