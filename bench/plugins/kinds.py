"""The kinds of things that a grid can name, one for each field of a cell that holds a reference."""

from __future__ import annotations

from dataclasses import dataclass

from flipbench.errors import UserError
from flipbench.spec.suggestions import near


class PluginError(UserError):
    """A name that leads nowhere, or options that do not fit what it names."""


@dataclass(frozen=True)
class Kind:
    """What can be named in one field of a cell.

    Attributes:
        noun: as messages say it.
        module: where the shipped ones are registered.
        registry: the attribute of the module: name -> callable.
        group: the entry-point group for installed packages; null: none.
        positional: arguments that the bench passes by position; null: by its place (an attack), or it is never called.
        members: methods and attributes that are used of what is built with the options, in place of a call.
    """

    noun: str
    module: str
    registry: str
    group: str | None = None
    positional: int | None = None
    members: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {
    "aggregator": Kind("aggregator", "flipbench.aggregators", "RULES", "flipbench.aggregators", 2),
    "preaggregation": Kind(
        "pre-aggregation", "flipbench.aggregators", "PREAGGREGATIONS", "flipbench.preaggregations", 2
    ),
    "attack": Kind("attack", "flipbench.attacks", "ATTACKS", "flipbench.attacks"),
    "dataset": Kind("data set", "flipbench.data", "DATASETS", "flipbench.datasets", positional=0),
    "features": Kind("pixel scale", "flipbench.data.pixel_scaling", "FEATURES", positional=3),
    "partition": Kind("partition", "flipbench.data.partitions", "PARTITIONS", positional=3),
    "model": Kind("model", "flipbench.training.models", "MODELS", positional=2),
    "schedule": Kind("schedule", "flipbench.training.schedules", "SCHEDULES", positional=2),
    "initialisation": Kind("initialisation", "flipbench.training.initialisation", "INITIALISATIONS", positional=1),
    "augmentation": Kind(
        "augmentation", "flipbench.training.augmentation", "AUGMENTATIONS", members=("draw", "apply", "frozen")
    ),
    "optimiser": Kind(
        "optimiser",
        "flipbench.training.optimisers.local",
        "OPTIMISERS",
        "flipbench.optimisers",
        members=("init", "step"),
    ),
    "algorithm": Kind("algorithm", "flipbench.federation.algorithms.choices", "ALGORITHMS"),
    "server_optimiser": Kind(
        "server optimiser",
        "flipbench.training.optimisers.server",
        "SERVER_OPTIMISERS",
        "flipbench.optimisers",
        members=("init", "step"),
    ),
    "loss": Kind("loss", "flipbench.training.losses", "LOSSES", members=("weights",)),
    "malicious_data": Kind(
        "data of malicious clients", "flipbench.federation.sybil_data", "MALICIOUS_DATA", positional=3
    ),
}


def named(kind: str) -> Kind:
    """The kind of this name."""
    if kind not in KINDS:
        raise PluginError(f"there is no kind {kind!r}{near(kind, KINDS)}; there are {', '.join(KINDS)}")
    return KINDS[kind]
