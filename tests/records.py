"""Synthetic records with known numbers, and a store full of them: for the tests right of the store."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.cell import SCHEMA, Cell, clean_twin, key, normal
from bench.store import Store

CONTENT = {"dataset": "d" * 64}
CLASSES = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
BASE = Cell(
    dataset="mnist5k",
    clients=20,
    model="mlp(widths=[100])",
    rounds=4,
    local_epochs=1,
    batch_size=32,
    learning_rate=0.1,
)
LABEL_FLIPS: dict[str, Any] = {
    "mirrored": [(c, 9 - c) for c in range(10)],
    "targeted(source=4, target=9)": [(4, 9)],
    "all_to_one(target=0)": [(c, 0) for c in range(1, 10)],
}
# How much of a malicious client's pull passes the rule; not to be believed, only to be told apart.
LEAK = {"fedavg": 1.0, "krum": 0.1, "trimmed_mean": 0.4, "median": 0.3}


def record(
    cell: Cell = BASE,
    *,
    confusion: Any = None,
    rounds: Sequence[int] | None = None,
    mapping: Sequence[tuple[int, int]] | None = None,
    status: str = "done",
    reason: str | None = None,
    attempts: int = 1,
    classes: Sequence[str] | None = None,
    split: str = "official",
    result: dict[str, Any] | None = None,
    seconds: float = 1.0,
    **facts: Any,
) -> dict[str, Any]:
    """A record as a worker hands it over, without the body hash.

    Args:
        cell: the facts.
        confusion: (L, L) or (rounds, L, L) counts; one matrix stands for every evaluated round. None: 100 test
            examples of each of ten classes, all recognised.
        rounds: evaluated rounds; None: 1, 2, ... as many as there are matrices.
        mapping: of the attack.
        status: done, infeasible or failed.
        reason: of an infeasible or failed cell.
        attempts: how often it was tried.
        classes: names; None: the numbers.
        split: of the data set.
        result: entries that replace those of the made-up result.
        seconds: each of the four phases takes a quarter.
        **facts: fields of the cell to replace.
    """
    cell = normal(replace(cell, **facts))
    counts = np.asarray(np.eye(10, dtype=int) * 100 if confusion is None else confusion)
    if counts.ndim == 2:
        counts = np.stack([counts] * (len(rounds) if rounds else 3))
    names = list(classes) if classes else [str(c) for c in range(counts.shape[-1])]
    evaluated = list(rounds) if rounds else list(range(1, len(counts) + 1))
    done = status == "done"
    return {
        "schema": SCHEMA,
        "key": key(cell, CONTENT),
        "twin": key(clean_twin(cell), CONTENT),
        "status": status,
        "facts": asdict(cell),
        "content": dict(CONTENT),
        "task": {
            "dataset": cell.dataset,
            "classes": names,
            "split": split,
            "train": 4000,
            "test": int(counts[-1].sum()),
            "features": 784,
        }
        if done
        else None,
        "mapping": [list(pair) for pair in mapping] if mapping and done else None,
        "reason": reason,
        "traceback": "Traceback ...\nValueError: made up" if status == "failed" else None,
        "attempts": attempts,
        "result": {**_result(cell, evaluated, counts), **(result or {})} if done else None,
        "seconds": dict.fromkeys(("setup", "local", "aggregation", "evaluation"), seconds / 4),
        "provenance": {
            "flipbench": "0.1.0",
            "commit": "0123456789ab",
            "python": "3.11.0",
            "torch": "2.13.0",
            "numpy": "2.4.0",
            "platform": "Linux",
            "device": "cpu",
            "threads": 1,
            "finished": "2026-11-25T05:50:00Z",
        },
    }


def _result(cell: Cell, rounds: list[int], counts: np.ndarray) -> dict[str, Any]:
    n, bad = cell.per_round, cell.malicious
    gap = 0.0 if cell.aggregator == "fedavg" else 0.25
    return {
        "rounds": rounds,
        "confusion": counts.tolist(),
        "clients": [list(range(n))] * len(rounds),
        "influence": [[1.0 / n] * n] * len(rounds),
        # The flip shows: a malicious client's update is longer than its twin's.
        "norms": [[2.0 if c < bad else 1.0 for c in range(n)]] * len(rounds),
        "fedavg_gap": [gap] * len(rounds),
        "malicious": list(range(bad)),
        "flips": [
            {"client": c, "examples": 200, "eligible": 200, "selected": round(cell.flip_rate * 200), "changed": 100}
            for c in range(bad)
        ],
        "examples": [200] * cell.clients,
        "nonfinite": {},
    }


def confusion(cell: Cell, mapping: Sequence[tuple[int, int]] | None, progress: float = 1.0) -> np.ndarray:
    """(10, 10) counts of 100 test examples a class: the more malicious clients and flips, the more go to the target."""
    noise = int.from_bytes(hashlib.sha256(f"{cell.seed}{cell.aggregator}".encode()).digest()[:2], "big") % 5
    counts = np.zeros((10, 10), dtype=int)
    moved = round(100 * LEAK.get(cell.aggregator, 0.5) * cell.malicious / cell.clients * cell.flip_rate * 2)
    goes = dict(mapping or ())
    for c in range(10):
        wrong = min(100, round((8 + noise) / progress))
        taken = min(100 - wrong, moved) if c in goes else 0
        counts[c, (c + 1) % 10] += wrong
        counts[c, goes.get(c, c)] += taken
        counts[c, c] += 100 - wrong - taken
    return counts


def write_grid(
    folder: Path,
    *,
    aggregators: Sequence[str] = tuple(LEAK),
    attacks: dict[str, Any] | None = None,
    fractions: Sequence[float] = (0.1, 0.2, 0.3, 0.45),
    flip_rates: Sequence[float] = (0.5, 1.0),
    seeds: Sequence[int] = (0, 1, 2),
    infeasible: Sequence[tuple[str, float]] = (("krum", 0.45),),
    figures: Sequence[dict[str, Any]] = (),
    base: Cell = BASE,
) -> Store:
    """A store like that of the shipped label_flip grid: its plan, its attacked cells and their clean twins.

    Args:
        folder: ``results/<grid>``.
        aggregators, attacks (reference -> mapping or None), fractions, flip_rates, seeds: the axes.
        infeasible: (aggregator, malicious fraction) of cells whose rule refuses.
        figures: for the plan.
        base: the other facts.
    """
    store, keys = Store(folder), {}
    for aggregator in aggregators:
        for attack, mapping in (LABEL_FLIPS if attacks is None else attacks).items():
            for flip_rate in flip_rates:
                for fraction in fractions:
                    for seed in seeds:
                        cell = replace(
                            base,
                            aggregator=aggregator,
                            attack=attack,
                            flip_rate=flip_rate,
                            malicious_fraction=fraction,
                            seed=seed,
                        )
                        refused = (aggregator, fraction) in infeasible
                        keys[_put(store, cell, mapping, refused)] = None
                        keys[_put(store, clean_twin(cell), None, refused)] = None
    plan = {
        "grid": folder.name,
        "title": "Label flips, made up",
        "source": "name: label_flip\n",
        "command": "flipbench run label_flip",
        "keys": list(keys),
        "figures": list(figures),
    }
    store.write_plan(plan)
    return store


def _put(store: Store, cell: Cell, mapping: Any, refused: bool) -> str:
    if refused:
        why = f"{cell.aggregator} needs at least 2f + 3 = {2 * cell.byzantine + 3} clients, got {cell.clients}"
        made = record(cell, status="infeasible", reason=why)
    else:
        steps = (0.25, 0.5, 1.0)
        counts = np.stack([confusion(normal(cell), mapping, progress) for progress in steps])
        made = record(cell, confusion=counts, rounds=[1, 2, cell.rounds], mapping=mapping)
    if store.read(made["key"]) is None:
        store.publish(made)
    return str(made["key"])
