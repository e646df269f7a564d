"""Golden numbers: small problems whose answers tell whether shipped code still gives the numbers of its version.

Rules answer fixed matrices; everything else runs as tiny cells on `digits`. Another processor or library changes low
bits, so numbers are compared with a tolerance; a changed formula moves them further.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch

from flipbench.aggregators import PREAGGREGATIONS, RULES, Cohort
from flipbench.conformance.cases import layout
from flipbench.federation import run_stack
from flipbench.federation.records import Job
from flipbench.plugins import kinds, registry
from flipbench.spec.cell import Cell
from tests.helpers.paths import GOLDEN

FILE = GOLDEN / "numbers.json"
WITHIN = 2e-3  # of a list's largest value
# The scale of lists of smaller values: the gap of a mean to FedAvg is rounding, about 1e-8, and differs by processor.
LEAST_SCALE = 1e-3

_BASE: dict[str, Any] = {
    **{"dataset": "digits(train=240, test=120)", "clients": 8, "malicious_count": 2, "rounds": 3, "local_steps": 2},
    **{"model": "softmax", "batch_size": 10, "attack": "mirrored", "seed": 5},
}
_OPTIONS = {
    "targeted": "targeted(source=3, target=8)",
    "swapped": "swapped(first=3, second=8)",
    "all_to_one": "all_to_one(target=0)",
    "permuted": "permuted(mapping={1: 7, 7: 4, 4: 1})",
    "backdoor": "backdoor(target=0, size=2)",
    "worst_case": "worst_case(trials=14, finalists=2)",
    "dirichlet": "dirichlet(alpha=0.5)",
    "shards": "shards(per_client=2)",
    "similarity": "similarity(gamma=0.5)",
    "label_bias": "label_bias(q=0.5)",
    "step": "step(every=1)",
    "decay": "decay(rate=0.5)",
    "of_class": "of_class(label=1)",
    "fresh": "fresh(examples=30)",
    "crop": "crop(padding=1)",
    "clipping": "clipping(radius=1)",
    "optimiser adam": "adam(amsgrad=true)",
    "pytorch": "pytorch(name=RMSprop, options={alpha: 0.9})",
    "fedprox": "fedprox(mu=0.1)",
    "features scaled": "scaled(divisor=100)",
    "mlp": "mlp(widths=[9])",
    "cnn": "cnn(channels=[3], kernel=3, hidden=[8])",
    "resnet": "resnet(depth=20, width=2)",
    "vgg": "vgg(depth=11, width=2, hidden=[8], norm=batch)",
    "vit": "vit(patch=4, dim=8, depth=1, heads=2)",
    "lstm": "lstm(embedding=4, hidden=6, layers=1)",
    "transformer": "transformer(width=8, depth=1, heads=2, dropout=0.1)",
}
_NEEDS: dict[str, dict[str, Any]] = {
    **{name: {"server_learning_rate": 0.01} for name in ("adam", "yogi", "adagrad", "pytorch")},
    "backdoor": {"flip_rate": 0.5},
    "one_label": {"clients": 10},
    "label_bias": {"clients": 10},
    "cnn": {"learning_rate": 0.05},
    "vgg": {"dataset": "tests.helpers.input_kinds:images", "learning_rate": 0.05},
    "lenet": {"dataset": "tests.helpers.input_kinds:images"},
    "lstm": {"dataset": "tests.helpers.input_kinds:tokens", "learning_rate": 0.5},
    "transformer": {"dataset": "tests.helpers.input_kinds:tokens"},
    "natural": {"dataset": "tests.helpers.input_kinds:features", "features": "standard"},
}
# What all cells share: the fields that no shipped name stands for, and pieces of the model's code.
ENGINE: dict[str, dict[str, Any]] = {
    "epochs": {"local_steps": None, "local_epochs": 1, "drop_last": True},
    "full batches": {"batch_size": "full"},
    "independent batches": {"sampling": "independent"},
    "balanced batches": {"sampling": "balanced"},
    "clients sampled": {"clients_per_round": 5, "client_weights": "equal"},
    "momentum": {"momentum": 0.9, "optimiser_state": "kept", "weight_decay": 0.01},
    "client momentum": {"client_momentum": 0.8, "clip_update": 0.3},
    "server momentum": {"server_momentum": 0.9, "server_learning_rate": 0.5},
    "other steps": {"optimiser": "sgd(nesterov=true)", "momentum": 0.5, "weight_decay": 0.01, "clip_gradient": 0.5},
    "kept moments": {"optimiser": "adamw", "optimiser_state": "kept", "weight_decay": 0.1, "clients_per_round": 5},
    "first variates": {"algorithm": "scaffold(option=1)", "clients_per_round": 5, "weight_decay": 0.01},
    "uneven steps": {"algorithm": "fednova", "local_steps": None, "local_epochs": 2, "momentum": 0.5},
    "sums": {"reduction": "sum", "learning_rate": 0.01},
    "participation": {"schedule": "step(every=1)", "schedule_clock": "participation", "clients_per_round": 4},
    "shared steps": {"schedule": "decay(rate=0.1)", "schedule_clock": "shared_step", "schedule_start": 3},
    "late flips": {"flips_trained": False, "flip_rate": 0.5},
    "attacked rounds": {"attack_start": 2, "attack_availability": 0.5, "rounds": 5},
    "validation": {"validation_share": 0.25},
    "evaluated on validation": {"validation_share": 0.25, "evaluate_on": "validation"},
    "wrong f": {"aggregator": "krum", "declared_byzantine": 1},
    "chain": {"attack": "mirrored | scaled(factor=3)", "aggregator": "nnm | trimmed_mean"},
    "no attack": {"attack": "none", "malicious_count": 0},
    "deep": {"model": "mlp(widths=[9, 7])"},
    "batch norm": {
        "model": "cnn(channels=[3, 4], kernel=3, padding=1, hidden=[8], norm=batch)",
        "augmentation": "crop(padding=1)",
    },
    "dropout": {"model": "cnn(channels=[4], kernel=3, padding=1, hidden=[8], dropout=0.2, channel_dropout=0.2)"},
    "root data": {"aggregator": "fltrust", "root_examples": 20},
}


def cases() -> dict[str, Cell]:
    """Name -> cell; an entry's name is its kind and its name, as in the table of versions."""
    found = {f"engine {name}": _cell(**values) for name, values in ENGINE.items()}
    for kind in kinds.KINDS:
        if kind in ("aggregator", "preaggregation"):
            continue
        for name in registry.shipped(kind):
            if (kind, name) in NEEDS_FILES:
                continue
            value = _OPTIONS.get(f"{kind} {name}", _OPTIONS.get(name, name))
            if kind == "dataset":
                value = f"{name}(train=120, test=60)"
            found[f"{kind} {name}"] = _cell(**{kind: value}, **_NEEDS.get(name, {}))
    return found


NEEDS_FILES = {("dataset", name) for name in registry.shipped("dataset") if name not in ("mnist5k", "digits")}


def _cell(**values: Any) -> Cell:
    return Cell(**_BASE | values)


def matrices() -> dict[str, tuple[torch.Tensor, Cohort]]:
    """Fixed updates, float64: spread, in two camps, with rows that coincide, and far outliers."""
    draw = np.random.RandomState(11)
    spread = draw.standard_normal((11, 15))
    camps = spread * 0.01 + np.where(np.arange(11) < 6, 1.0, -1.0)[:, None] * draw.standard_normal(15)
    coincide = np.repeat(spread[:4], (5, 3, 2, 1), axis=0)
    far = spread + np.where(np.arange(11) < 2, 40.0, 0.0)[:, None]
    weights = torch.from_numpy(1 + draw.random_sample(11))
    found = {}
    for name, values in {"spread": spread, "camps": camps, "coincide": coincide, "far": far}.items():
        updates = torch.from_numpy(values.copy())
        trusted = torch.from_numpy(draw.standard_normal(15))
        cohort = Cohort.of(
            updates,
            2,
            weights=weights / weights.sum(),
            previous=torch.from_numpy(0.3 * draw.standard_normal(15)),
            layout=layout(15),
            trusted=lambda answer=trusted: answer,
            round=2,
        )
        found[name] = updates, cohort
    return found


@cache
def numbers() -> dict[str, Any]:
    """Name -> numbers of every golden case, rounded to six digits."""
    return {**dict(_rules()), **_cells()}


def _rules() -> Iterable[tuple[str, Any]]:
    for name in PREAGGREGATIONS:
        mix = registry.resolve("preaggregation", _OPTIONS.get(name, name))
        for about, (updates, cohort) in matrices().items():
            yield f"preaggregation {name}: {about}", _plain(mix(updates, cohort)[0].flatten())
    for name in RULES:
        rule = registry.resolve("aggregator", _OPTIONS.get(name, name))
        for about, (updates, cohort) in matrices().items():
            if hasattr(rule, "init"):
                answer, state = rule(updates, cohort, rule.init(updates, cohort))
                answer = torch.cat([answer, rule(-updates, cohort, state)[0]])
            else:
                answer = rule(updates, cohort)
            yield f"aggregator {name}: {about}", _plain(answer)


def _cells() -> dict[str, Any]:
    stacks: dict[Any, list[tuple[str, Cell]]] = {}
    for name, cell in cases().items():
        stacks.setdefault(run_stack.stackable(cell), []).append((name, cell))
    found = {}
    for stack in stacks.values():
        jobs = [Job(cell, {} if ":" in cell.dataset else {"dataset": "golden"}) for _, cell in stack]
        for (name, _), record in zip(stack, run_stack.perform(jobs, {}), strict=True):
            if record["status"] != "done":
                raise AssertionError(f"{name}: {record['reason']}\n{record['traceback']}")
            result = record["result"]
            found[name] = {
                "confusion": result["confusion"][-1],
                "norms": _plain(torch.tensor(result["norms"], dtype=torch.float64).flatten()),
                "gap": _plain(torch.tensor(result["fedavg_gap"], dtype=torch.float64)),
                "flips": [flip["changed"] for flip in result["flips"]],
            }
    return found


def _plain(values: torch.Tensor) -> list[float]:
    return [float(f"{value:.6g}") for value in values.tolist()]


def stored() -> dict[str, Any]:
    """What `numbers` was when the versions of the table were recorded."""
    return dict(json.loads(FILE.read_text("utf-8"))) if FILE.exists() else {}


def entry(name: str) -> str:
    """The entry of the table that a case is about: ``aggregator krum: far`` is about ``aggregator krum``."""
    return "engine" if name.startswith("engine ") else name.partition(":")[0]


def differing(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Names of the cases whose numbers differ by more than rounding; of those that both have."""
    return [name for name in now.keys() & before.keys() if not _same(now[name], before[name])]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(
            _same_counts(a[part], b[part]) if part == "confusion" else _same(a[part], b[part]) for part in a
        )
    one, other = np.array(a, dtype=float), np.array(b, dtype=float)
    if one.shape != other.shape:
        return False
    scale = max(LEAST_SCALE, float(np.nanmax(np.abs(other), initial=0.0)))
    return bool(np.allclose(one, other, rtol=0, atol=WITHIN * scale, equal_nan=True))


def _same_counts(a: Any, b: Any) -> bool:
    """Whether at most three test examples are answered otherwise."""
    return bool(np.abs(np.array(a) - np.array(b)).sum() <= 6)
