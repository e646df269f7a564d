"""Robust aggregation rules by the names that a grid uses; `contract` is all that a defence author reads.

    from flipbench.aggregators import Cohort, krum
    krum(updates, Cohort.of(updates, byzantine=4))

``RULES`` is the registry of rules, ``PREAGGREGATIONS`` that of what can stand in front of one; `compose` joins them.

Read by authors of defences. To extend: a rule is a module in `rules`, and its name here; kernels are in `numerics`.
"""

from __future__ import annotations

if __name__ != "flipbench.aggregators":  # found as a folder of the checkout: its classes would be others
    raise ImportError(
        "the package is called flipbench.aggregators: write 'from flipbench.aggregators import ...'", name="aggregators"
    )

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from flipbench.aggregators.compose import compose
from flipbench.aggregators.contract import Aggregator, Cohort, Infeasible, Layout, Update, Updates, per_cell
from flipbench.aggregators.rules.bulyan import bulyan
from flipbench.aggregators.rules.clipping import centered_clipping, norm_clipping
from flipbench.aggregators.rules.coordinatewise import meamed, median, phocas, trimmed_mean
from flipbench.aggregators.rules.distance_filters import aksel, cge, faba, monna
from flipbench.aggregators.rules.flame import flame
from flipbench.aggregators.rules.fltrust import fltrust
from flipbench.aggregators.rules.foolsgold import foolsgold
from flipbench.aggregators.rules.geometric_median import geometric_median
from flipbench.aggregators.rules.krum import krum, multi_krum
from flipbench.aggregators.rules.lfighter import lfighter
from flipbench.aggregators.rules.mda import mda
from flipbench.aggregators.rules.mean import fedavg, mean
from flipbench.aggregators.rules.preaggregation import arc, bucketing, clipping, nnm
from flipbench.aggregators.rules.signguard import signguard
from flipbench.aggregators.rules.spectral import caf, dnc
from flipbench.aggregators.rules.weighted import weighted_median, weighted_trimmed_mean

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
RULES: Mapping[str, Callable[..., Any]] = MappingProxyType({rule.__name__: rule for rule in _RULES})
PREAGGREGATIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {mix.__name__: mix for mix in (nnm, bucketing, clipping, arc)}
)

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
