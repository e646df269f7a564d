"""Robust aggregation rules by the names that a grid uses; `contract` is all that a defence author reads.

    from aggregators import Cohort, krum
    krum(updates, Cohort.of(updates, byzantine=4))

``RULES`` is the registry of rules, ``PREAGGREGATIONS`` that of what can stand in front of one; `compose` joins them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aggregators.bulyan import bulyan
from aggregators.clipping import centered_clipping, norm_clipping
from aggregators.contract import Aggregator, Cohort, Infeasible, Layout, Update, Updates, per_cell
from aggregators.coordinatewise import median, trimmed_mean
from aggregators.filters import aksel, cge, faba, monna
from aggregators.flame import flame
from aggregators.fltrust import fltrust
from aggregators.foolsgold import foolsgold
from aggregators.geometric import geometric_median
from aggregators.krum import krum, multi_krum
from aggregators.lfighter import lfighter
from aggregators.mda import mda
from aggregators.mean import fedavg, mean
from aggregators.mixing import arc, bucketing, clipping, compose, nnm
from aggregators.nearest import meamed, phocas
from aggregators.signguard import signguard
from aggregators.spectral import caf, dnc
from aggregators.weighted import weighted_median, weighted_trimmed_mean

_RULES: tuple[Callable[..., Any], ...] = (
    fedavg,
    mean,
    krum,
    multi_krum,
    median,
    trimmed_mean,
    geometric_median,
    meamed,
    bulyan,
    mda,
    centered_clipping,
    norm_clipping,
    caf,
    foolsgold,
    fltrust,
    dnc,
    signguard,
    flame,
    lfighter,
    monna,
    aksel,
    cge,
    faba,
    phocas,
    weighted_median,
    weighted_trimmed_mean,
)
RULES: dict[str, Callable[..., Any]] = {rule.__name__: rule for rule in _RULES}
PREAGGREGATIONS: dict[str, Callable[..., Any]] = {mix.__name__: mix for mix in (nnm, bucketing, clipping, arc)}

__all__ = [
    "PREAGGREGATIONS",
    "RULES",
    "Aggregator",
    "Cohort",
    "Infeasible",
    "Layout",
    "Update",
    "Updates",
    "aksel",
    "arc",
    "bucketing",
    "bulyan",
    "caf",
    "centered_clipping",
    "cge",
    "clipping",
    "compose",
    "dnc",
    "faba",
    "fedavg",
    "flame",
    "fltrust",
    "foolsgold",
    "geometric_median",
    "krum",
    "lfighter",
    "mda",
    "meamed",
    "mean",
    "median",
    "monna",
    "multi_krum",
    "nnm",
    "norm_clipping",
    "per_cell",
    "phocas",
    "signguard",
    "trimmed_mean",
    "weighted_median",
    "weighted_trimmed_mean",
]
