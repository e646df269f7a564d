"""Robust aggregation rules by the names that a grid uses; `contract` is all that a defence author reads.

``RULES`` is the registry of rules; ``__all__`` also names what the contract consists of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aggregators.contract import Aggregator, Cohort, Infeasible, per_cell
from aggregators.coordinatewise import median, trimmed_mean
from aggregators.krum import krum, multi_krum
from aggregators.mean import fedavg, mean

RULES: dict[str, Callable[..., Any]] = {f.__name__: f for f in (fedavg, mean, krum, multi_krum, median, trimmed_mean)}

__all__ = [
    "RULES",
    "Aggregator",
    "Cohort",
    "Infeasible",
    "fedavg",
    "krum",
    "mean",
    "median",
    "multi_krum",
    "per_cell",
    "trimmed_mean",
]
