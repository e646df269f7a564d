"""Attacks by the names that a grid uses; `contract` says where an attack can act."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attacks.backdoor import backdoor
from attacks.chain import Chain
from attacks.contract import Found, LabelFlip, Proposal, Scene, Stamped, Studio, Trials, Wire
from attacks.fang import fang_krum, fang_trimmed_mean
from attacks.label_flip import all_to_one, mirrored, permuted, resampled, shifted, swapped, targeted, uniform
from attacks.line_search import optimal_alie, optimal_ipm
from attacks.mimic import mimic
from attacks.model_flips import confusable, least_likely
from attacks.statistics_attacks import alie, min_max, min_sum
from attacks.update_attacks import free_rider, gaussian, ipm, scaled, sign_flip
from attacks.worst_case import worst_case

_LABELS = (
    mirrored,
    shifted,
    targeted,
    swapped,
    all_to_one,
    uniform,
    resampled,
    permuted,
    confusable,
    least_likely,
    worst_case,
)
_EXAMPLES = (backdoor,)
_UPDATES = (
    sign_flip,
    gaussian,
    alie,
    ipm,
    optimal_alie,
    optimal_ipm,
    mimic,
    min_max,
    min_sum,
    fang_krum,
    fang_trimmed_mean,
    scaled,
    free_rider,
)
ATTACKS: dict[str, Callable[..., Any]] = {f.__name__: f for f in (*_LABELS, *_EXAMPLES, *_UPDATES)}

__all__ = [
    "ATTACKS",
    "Chain",
    "Found",
    "LabelFlip",
    "Proposal",
    "Scene",
    "Stamped",
    "Studio",
    "Trials",
    "Wire",
    *ATTACKS,
]
