"""Synthetic records with known numbers, and a store full of them: for the tests right of the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flipbench.analysis import frame as frames
from flipbench.analysis import metrics
from flipbench.spec.cell import Cell
from flipbench.spec.key import SCHEMA, key
from flipbench.spec.twins import clean_twin, normal
from flipbench.store.store import Store

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
QUICK = {"formats": ["svg", "png"]}  # half a second a figure less than with its PDF
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
    attack_told: dict[str, Any] | None = None,
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
        attack_told: how the attack works (``record["attack"]``); None: as of a version that did not say.
        seconds: each of the four phases takes a quarter.
        **facts: fields of the cell to replace.
    """
    cell = normal(replace(cell, **facts) if facts else cell)
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
        **({} if attack_told is None else {"attack": attack_told}),
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
        "figure_options": QUICK,
    }
    store.write_plan(plan)
    return store


def _put(store: Store, cell: Cell, mapping: Any, refused: bool) -> str:
    if refused:
        why = f"{cell.aggregator} needs at least 2f + 3 = {2 * cell.byzantine + 3} clients, got {cell.clients}"
        made = record(cell, status="infeasible", reason=why)
    else:
        steps = (0.25, 0.8, 1.0)
        counts = np.stack([confusion(normal(cell), mapping, progress) for progress in steps])
        made = record(cell, confusion=counts, rounds=[1, 2, cell.rounds], mapping=mapping)
    if store.read(made["key"]) is None:
        store.publish(made)
    return str(made["key"])


# ---- attacks of every kind -----------------------------------------------------------------------------------------

RULES = (
    *("fedavg", "krum", "multi_krum", "median", "trimmed_mean", "geometric_median", "centered_clipping"),
    *("nnm | trimmed_mean", "lfighter"),
)
STATIC = {"places": ["labels"], "adaptive": False, "dynamic": False, "search": None}
UPDATES = {"places": ["updates"], "adaptive": False, "dynamic": False, "search": None}
FOUND = [[c, 4] for c in range(10) if c != 4]


@dataclass(frozen=True)
class Made:
    """A made-up attack.

    Attributes:
        told: ``record["attack"]``.
        harm: accuracy that FedAvg loses at a malicious fraction of 0.4; the rules lose a share of it.
        mapping: of a label flip with a class map.
        target: of a backdoor.
    """

    told: dict[str, Any]
    harm: float
    mapping: Any = None
    target: int | None = None


def _searched(harm: float) -> Made:
    search = {"objective": "accuracy", "trials": 60, "harm": 0.3, "mapping": FOUND}
    return Made({"places": ["labels"], "adaptive": True, "dynamic": False, "search": search}, harm, FOUND)


ATTACKS: dict[str, Made] = {
    "mirrored": Made(STATIC, 0.11, LABEL_FLIPS["mirrored"]),
    "shifted": Made(STATIC, 0.12, [(c, (c + 1) % 10) for c in range(10)]),
    "targeted(source=6, target=4)": Made(STATIC, 0.04, [(6, 4)]),
    "targeted(source=[1, 3], target=[3, 6])": Made(STATIC, 0.08, [(1, 3), (3, 6)]),
    "swapped(first=4, second=9)": Made(STATIC, 0.09, [(4, 9), (9, 4)]),
    "all_to_one(target=0)": Made(STATIC, 0.38, LABEL_FLIPS["all_to_one(target=0)"]),
    "uniform": Made(STATIC, 0.05),
    "resampled": Made(STATIC, 0.05),
    "permuted(mapping={0: 6, 1: 7, 6: 0, 7: 1})": Made(STATIC, 0.1, [(0, 6), (1, 7), (6, 0), (7, 1)]),
    "confusable": Made(STATIC, 0.13),
    "least_likely": Made({**STATIC, "dynamic": True}, 0.2),
    "worst_case": _searched(0.42),
    "sign_flip": Made(UPDATES, 0.5),
    "gaussian": Made(UPDATES, 0.3),
    "alie": Made(UPDATES, 0.35),
    "ipm(epsilon=0.5)": Made(UPDATES, 0.3),
    "optimal_alie": Made({**UPDATES, "adaptive": True}, 0.55),
    "optimal_ipm": Made({**UPDATES, "adaptive": True}, 0.6),
    "mimic": Made(UPDATES, 0.02),
    "min_max": Made(UPDATES, 0.45),
    "fang_trimmed_mean": Made(UPDATES, 0.5),
    "free_rider": Made(UPDATES, 0.01),
    "targeted(source=6, target=4) | scaled(factor=10)": Made(
        {**STATIC, "places": ["labels", "updates"]}, 0.25, [(6, 4)]
    ),
    "backdoor(target=0)": Made({**STATIC, "places": ["examples"]}, 0.02, target=0),
}


def loss(cell: Cell, made: Made | None) -> float:
    """Made-up accuracy lost: more malicious clients, more harm; each rule its own share; seeds differ."""
    drawn = np.random.default_rng(
        int.from_bytes(hashlib.sha256(f"{cell.seed}{cell.aggregator}".encode()).digest()[:4], "big")
    )
    share = 1.0 if cell.aggregator == "fedavg" else 0.15 + 0.5 * float(drawn.random())
    start = 0.09 + 0.02 * float(drawn.random())
    return start + (made.harm * share * (cell.malicious / cell.clients / 0.4) ** 1.5 if made else 0.0)


def flat(lost: float, mapping: Any) -> np.ndarray:
    """(10, 10) counts, 1,000 examples a class, of which a share is lost to the map's targets or the next class."""
    counts, goes = np.zeros((10, 10), dtype=int), dict(mapping or ())
    wrong = min(1000, round(1000 * lost))
    for c in range(10):
        counts[c, c] += 1000 - wrong
        counts[c, goes.get(c, (c + 1) % 10)] += wrong
    return counts


def write_attacks(
    folder: Path,
    *,
    aggregators: Sequence[str] = RULES,
    attacks: Sequence[str] = tuple(ATTACKS),
    fractions: Sequence[float] = (0.2, 0.4),
    seeds: Sequence[int] = (0, 1, 2),
    infeasible: Sequence[tuple[str, float]] = (),
    base: Cell = BASE,
) -> Store:
    """A store like that of a grid of attacks: attacked cells and their clean twins."""
    store, keys = Store(folder), {}
    for aggregator in aggregators:
        for attack in attacks:
            for fraction in fractions:
                for seed in seeds:
                    cell = replace(base, aggregator=aggregator, attack=attack, malicious_fraction=fraction, seed=seed)
                    refused = (aggregator, fraction) in infeasible
                    keys[publish(store, cell, ATTACKS[attack], refused=refused)] = None
                    keys[publish(store, clean_twin(cell), None, refused=refused)] = None
    plan = {"grid": folder.name, "title": "Attacks, made up", "source": "name: attacks\n", "figure_options": QUICK}
    store.write_plan({**plan, "command": "flipbench run attacks", "keys": list(keys), "figures": []})
    return store


def publish(store: Store, cell: Cell, made: Made | None, *, lost: float | None = None, refused: bool = False) -> str:
    """One made-up cell into the store; its key."""
    if refused:
        one = record(cell, status="infeasible", reason=f"{cell.aggregator} needs more clients, got {cell.clients}")
    else:
        mapping = made.mapping if made else None
        last = loss(normal(cell), made) if lost is None else lost
        counts = np.stack([flat(min(0.9, last * more), mapping) for more in (3.0, 1.1, 1.0)])
        result: dict[str, Any] = {"attacked_rounds": [1, 2, 3, 4] if made else []}
        if made and made.target is not None:
            stamped = np.diag([1000] * 10)
            stamped[:, made.target] += np.diagonal(stamped) * 3 // 5
            stamped[np.arange(10), np.arange(10)] -= 600
            stamped[made.target] = 0
            result |= {"stamped": np.stack([stamped] * 3).tolist()}
        one = record(
            cell,
            confusion=counts,
            rounds=[1, 2, cell.rounds],
            mapping=mapping,
            attack_told={**made.told, "target": made.target} if made else None,
            result=result,
        )
    if store.read(one["key"]) is None:
        store.publish(one)
    return str(one["key"])


THREE_RULES = {"fedavg": 900, "median": 899, "krum": 800}  # of 1,000, in the mean over seeds
THREE_RULES_MAP = [(4, 9)]


def counts(right: int) -> np.ndarray:
    """(10, 10) with so many of 1,000 test examples recognised."""
    made = np.zeros((10, 10), dtype=int)
    for c in range(10):
        own = right // 10 + (c < right % 10)
        made[c, c], made[c, (c + 1) % 10] = own, 100 - own
    return made


def write_three_rules(
    folder: Path, seeds: int, skip: tuple[tuple[str, int], ...] = ()
) -> tuple[Any, Any, dict[str, Any]]:
    """Three rules under one attack: median near FedAvg, Krum far below, all hit by a hard or an easy seed alike."""
    store, keys = Store(folder), {}
    rng = np.random.default_rng(7)
    for seed in range(seeds):
        hard = int(rng.integers(-40, 40))
        for rule, right in THREE_RULES.items():
            if (rule, seed) in skip:
                continue
            own = int(rng.integers(-6, 7))
            cell = replace(
                BASE,
                aggregator=rule,
                attack="targeted(source=4, target=9)",
                flip_rate=1.0,
                malicious_fraction=0.2,
                seed=seed,
            )
            for wanted, lost, mapping in ((cell, 50, THREE_RULES_MAP), (clean_twin(cell), 0, None)):
                made = record(wanted, confusion=counts(right + hard + own - lost), mapping=mapping)
                store.publish(made)
                keys[made["key"]] = None
    store.write_plan({"grid": folder.name, "title": "t", "source": "", "command": "c", "keys": list(keys)})
    frame = frames.load(folder)
    return frame, metrics.evaluate(frame), json.loads((folder / "plan.json").read_text("utf-8"))
