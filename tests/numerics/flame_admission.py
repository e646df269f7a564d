"""Whom does `flame` admit, by the clients' models or by their updates? The same updates are asked both ways.

    OMP_NUM_THREADS=1 python -m tests.numerics.flame_admission results/numerics/flame_admission.csv   about 5 minutes

Federations of MNIST-5k (20 clients, 4 of them malicious, every label of theirs flipped or every image marked) run under
either form of `flame`. In each round both ways to compare are asked for the clients that they admit. A line of the file
is one federation: the share of malicious clients among the admitted ones, as the mean over its rounds. The page beside
the file has means over seeds, with their 95 % intervals.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from flipbench.aggregators import Cohort
from flipbench.aggregators.rules.flame import admitted
from flipbench.analysis.statistics import student_interval
from flipbench.federation import tasks
from flipbench.federation.federation import Federation
from flipbench.federation.records import Job
from flipbench.grid import reader

Compared = Literal["models", "updates"]
COMPARED: tuple[Compared, ...] = ("models", "updates")
RULES = ("flame", "flame(compare='updates')")  # under which the federations run
CASE = ["rule", "partition", "attack"]
ATTACKS = ("mirrored", "all_to_one(target=0)", "backdoor(target=0)")
PARTITIONS = ("iid", "dirichlet(alpha=0.5)", "dirichlet(alpha=0.1)")
CELL = {
    "dataset": "mnist5k",
    "clients": 20,
    "malicious_fraction": 0.2,
    "flip_rate": 1.0,
    "model": "mlp(widths=[50])",
    "rounds": 10,
    "batch_size": 32,
    "learning_rate": 0.2,
    "evaluate_every": 10,
}


def shares(rule: str, cell: Mapping[str, Any]) -> dict[Compared, float]:
    """For each way to compare, the malicious share of the admitted clients: the mean over the rounds of a federation.

    Args:
        rule: under which it runs.
        cell: its other fields, as a grid writes them.
    """
    attacked = next(
        c for c in reader.read_text(_grid({**cell, "aggregator": rule}), "flame", "flame.yaml").cells if c.attacked
    )
    ready = tasks.prepare([Job(attacked, reader.contents(attacked))], None)
    malicious = torch.zeros(attacked.members, dtype=torch.bool)
    malicious[list(ready.populations[0].malicious)] = True
    found: dict[Compared, list[float]] = {way: [] for way in COMPARED}

    def watched(updates: torch.Tensor, cohort: Cohort, /) -> torch.Tensor:
        for way in COMPARED:
            rows = admitted(updates, cohort, way)[0]
            found[way].append(float(malicious[rows].double().mean()))
        answer: torch.Tensor = ready.parts.rule(updates, cohort)
        return answer

    federation = Federation(ready.cells, ready.populations, ready.task, replace(ready.parts, rule=watched))
    for r in range(1, attacked.rounds + 1):
        federation.round(r)
    return {way: float(np.mean(values)) for way, values in found.items()}


def _grid(cell: Mapping[str, Any]) -> str:
    fields = "".join(f"  {name}: {value}\n" for name, value in cell.items())
    return f"base:\n{fields}axes: {{}}\n"


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Mean and half width of the 95 % Student interval over seeds, in per cent, for each case.

    Args:
        found: a line a federation; columns rule, partition, attack, seed, models, updates.
    """
    lines = []
    for case, seeds in found.groupby(CASE, sort=False):
        columns = {way: seeds[way] for way in COMPARED} | {"difference": seeds["updates"] - seeds["models"]}
        line: dict[str, Any] = dict(zip(CASE, case, strict=True))
        for name, values in columns.items():
            low, high = student_interval(100 * values.to_numpy(dtype=float))
            line |= {name: 100 * values.mean(), f"{name}_half": float(high - low) / 2}
        lines.append(line)
    return pd.DataFrame(lines)


def page(found: pd.DataFrame) -> str:
    """The table, as text."""
    rows = "\n".join(
        f"| `{line.rule}` | {line.partition} | {line.attack} | {line.models:.1f} ± {line.models_half:.1f} "
        f"| {line.updates:.1f} ± {line.updates_half:.1f} | {line.difference:+.1f} ± {line.difference_half:.1f} |"
        for line in summary(found).itertuples()
    )
    return f"""# Whom `flame` admits

Malicious share of the admitted clients (%), where 20 % of the clients are malicious. Both ways to compare are asked
about the same updates, of federations that run under the rule of the first column. MNIST-5k, 20 clients,
{CELL["rounds"]} rounds, flip rate 1; mean ± half width of the 95 % interval over {found["seed"].nunique()} seeds, each
seed the mean over its rounds. The difference is of the same seeds.

Made by `make numerics` from `flame_admission.csv`, which has every seed.

| federation under | partition | attack | models | updates | updates − models (points) |
|---|---|---|---:|---:|---:|
{rows}
"""


def main() -> None:
    """Run the federations, then write the file and the page beside it."""
    ask = argparse.ArgumentParser(description="Whom flame admits, by the clients' models or by their updates.")
    ask.add_argument("output", type=Path)
    ask.add_argument("--seeds", type=int, default=10)
    given = ask.parse_args()
    torch.set_num_threads(1)
    lines = []
    for rule, partition, attack in product(RULES, PARTITIONS, ATTACKS):
        for seed in range(given.seeds):
            case = {"rule": rule, "partition": partition, "attack": attack, "seed": seed}
            lines.append(case | shares(rule, CELL | {"partition": partition, "attack": attack, "seed": seed}))
        print(f"{rule} {partition} {attack}: {given.seeds} seeds", flush=True)
    found = pd.DataFrame(lines)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    found.to_csv(given.output, index=False, float_format="%.6f")
    given.output.with_suffix(".md").write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
