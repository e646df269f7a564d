"""The federation's speed as a table, from pytest-benchmark's JSON: ratios of one run, with their circumstances.

python -m tests.speed.table results/speed/federation.json > results/speed/federation.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main(path: str) -> None:
    told = json.loads(Path(path).read_text())
    machine, commit = told["machine_info"], told["commit_info"]
    runs = told["benchmarks"]
    print("# Speed of the federation\n")
    print(
        "Made by `make speed`: one thread, medians, all of one run. Other machines give other seconds; the ratios are"
    )
    print("what to compare.\n")
    cpu = machine.get("cpu", {})
    print(
        f"{cpu.get('brand_raw', machine['machine'])}, Python {machine['python_version']}, {told['datetime'][:10]}, ",
        end="",
    )
    print(f"commit {commit['id'][:12]}{' with local changes' if commit['dirty'] else ''}.\n")
    protocol(extra(runs, "protocol"))
    training(extra(runs, "training"))


def extra(runs: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [r for r in runs if r["extra_info"].get("kind") == kind]


def protocol(runs: list[dict[str, Any]]) -> None:
    if not runs:
        return
    print("## A step of the federation\n")
    print("20 clients, batch 32, FedSGD with client momentum 0.9, mirrored labels, trimmed mean, Fashion-MNIST; local")
    print("step, rule and server together. ByzFL 0.0.11 ran the same protocol right after, where it was installed.\n")
    print("| model | parameters | flipbench, ms | ByzFL, ms | times faster |\n|---|---:|---:|---:|---:|")
    for run in runs:
        info, mine = run["extra_info"], run["stats"]["median"]
        other = info.get("byzfl_seconds")
        there = f"{other * 1e3:.0f} | {other / mine:.1f}" if other else "– | –"
        print(f"| {info['model']} | {info['parameters']:,} | {mine * 1e3:.1f} | {there} |")
    print()


def training(runs: list[dict[str, Any]]) -> None:
    if not runs:
        return
    print("## Local training\n")
    print("MLP 784-200-200-7, 20 clients with weights of their own, batch 32, 13 steps; beside it one 1024³ product.\n")
    print("| momentum | GFLOP/s | of the product's GFLOP/s | share |\n|---:|---:|---:|---:|")
    for run in runs:
        i = run["extra_info"]
        print(
            f"| {i['momentum']} | {i['gflops']:.0f} | {i['gemm_gflops']:.0f} | {i['gflops'] / i['gemm_gflops']:.0%} |"
        )
    print()


if __name__ == "__main__":
    main(sys.argv[1])
