"""Registry of the attacks, by the names that a grid uses; `contract` says where an attack can act.

Read by authors of attacks. To extend: an attack is a function in `labels`, `examples` or `updates`, and its name here.
"""

from __future__ import annotations

if __name__ != "flipbench.attacks":  # found as a folder of the checkout: its classes would be others
    raise ImportError(
        "the package is called flipbench.attacks: write 'from flipbench.attacks import ...'", name="attacks"
    )

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from flipbench.attacks.chain import Chain
from flipbench.attacks.contract import (
    ExampleContext,
    Found,
    LabelContext,
    LabelFlip,
    Proposal,
    Stamped,
    Trials,
    UpdateContext,
    former_name,
)
from flipbench.attacks.examples.backdoor import backdoor
from flipbench.attacks.labels.label_flip import (
    all_to_one,
    mirrored,
    permuted,
    resampled,
    shifted,
    swapped,
    targeted,
    uniform,
)
from flipbench.attacks.labels.model_based import confusable, least_likely
from flipbench.attacks.labels.searched import worst_case
from flipbench.attacks.updates.fang import fang_krum, fang_trimmed_mean
from flipbench.attacks.updates.mimic import mimic
from flipbench.attacks.updates.optimised import optimal_alie, optimal_ipm
from flipbench.attacks.updates.simple import free_rider, gaussian, ipm, scaled, sign_flip
from flipbench.attacks.updates.within_variance import alie, min_max, min_sum

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
ATTACKS: Mapping[str, Callable[..., Any]] = MappingProxyType({f.__name__: f for f in (*_LABELS, *_EXAMPLES, *_UPDATES)})

__all__ = [
    "ATTACKS",
    "Chain",
    "ExampleContext",
    "Found",
    "LabelContext",
    "LabelFlip",
    "Proposal",
    "Stamped",
    "Trials",
    "UpdateContext",
    *ATTACKS,
]

if not TYPE_CHECKING:  # a type checker would take every name for one that exists

    def __getattr__(name: str) -> NoReturn:
        """Name the class that a plug-in file imports by its former name."""
        raise former_name(__name__, name)
