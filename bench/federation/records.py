"""The record of a cell, as it is stored: what was run, how it ended, and its provenance."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import torch

from flipbench.plugins import source_hashes
from flipbench.spec.cell import Cell
from flipbench.spec.field_groups import ATTACK_FIELDS
from flipbench.spec.key import PLACES, SCHEMA, key
from flipbench.spec.reference import parse
from flipbench.spec.twins import clean_twin, normal
from flipbench.system import private_paths, processor, source_checkout

Record = dict[str, Any]


_TEXTS = ("reason", "traceback")


@dataclass(frozen=True)
class Job:
    """A cell to run, and the hashes of what its fields name."""

    cell: Cell
    content: Mapping[str, str]


def record(
    job: Job, provenance: Mapping[str, Any], status: str, failed_before: Mapping[str, int] | None, **more: Any
) -> Record:
    """What is stored of a cell; ``attempts`` counts its failed tries of earlier runs and the one that ended so.

    Texts that plug-ins may have written (``reason``, ``traceback``) are stored without a user's folders.
    """
    blank: Record = dict.fromkeys(("task", "mapping", "attack", "reason", "traceback", "result", "cost"), None)
    own_key = key(job.cell, job.content)
    return {
        **blank,
        "schema": SCHEMA,
        "key": own_key,
        "twin": key(clean_twin(job.cell), {k: v for k, v in job.content.items() if k not in ATTACK_FIELDS}),
        "status": status,
        "facts": _public(asdict(normal(job.cell))),
        "content": dict(job.content),
        "attempts": 1 + (failed_before or {}).get(own_key, 0),
        "seconds": {},
        "provenance": {**provenance, **_machine(job.cell.device)},
        **{name: private_paths.in_text(value) if name in _TEXTS and value else value for name, value in more.items()},
    }


def failure(
    job: Job, provenance: Mapping[str, Any], reason: str, attempts: Mapping[str, int], text: str | None = None
) -> Record:
    """The record of a cell that failed."""
    return record(job, provenance, "failed", attempts, reason=reason, traceback=text)


def _public(facts: dict[str, Any]) -> dict[str, Any]:
    """The fields without the folders of data files: no key depends on them, and they may name a user."""
    dataset = parse(facts["dataset"])
    for option in PLACES & dataset.options.keys():
        if isinstance(value := dataset.options[option], str):
            dataset = dataset.with_option(option, private_paths.shortened(value))
    return {**facts, "dataset": str(dataset)}


def _machine(device: str) -> dict[str, Any]:
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" and torch.cuda.is_available() else "cpu",
        "processor": processor.model(),
        "threads": torch.get_num_threads(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def run_provenance() -> dict[str, Any]:
    """Provenance that is the same for all cells of a run; no environment variable ever enters it."""
    return {
        "flipbench": version("flipbench"),
        "commit": source_checkout.running(),
        "engine": source_hashes.engine_source(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "numba": version("numba"),
        "platform": platform.platform(),
    }
