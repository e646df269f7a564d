"""Text of ``flipbench list``: the names that a grid can use."""

from __future__ import annotations

import importlib.util

from flipbench.attacks.contract import declares, place
from flipbench.errors import UserError
from flipbench.grid import reader as grid
from flipbench.plugins import other_suites, registry
from flipbench.spec.suggestions import near

TITLES = {
    "aggregator": "Aggregators",
    "preaggregation": "Pre-aggregations (write them before a rule: nnm | krum)",
    "attack": "Attacks",
    "dataset": "Data sets",
    "features": "Pixel scales",
    "partition": "Partitions",
    "model": "Models",
    "schedule": "Learning-rate schedules",
    "initialisation": "Initial weights",
    "augmentation": "Augmentation of training images",
    "loss": "Losses of local training",
    "malicious_data": "Data of malicious clients",
}


def text(kind: str | None) -> str:
    """The names of one kind, or of all kinds, as text.

    Raises:
        UserError: no such kind.
    """
    kinds = ["grid", *TITLES]
    if kind is None:
        return "\n\n".join(_section(k) for k in kinds if k == "grid" or registry.catalogue(k))
    singular = kind if kind in kinds else kind.removesuffix("s")  # `flipbench list attacks` is a natural request
    if singular not in kinds:
        raise UserError(f"nothing is listed under {kind!r}{near(kind, kinds)}; there are {', '.join(kinds)}")
    return _section(singular)


def _section(kind: str) -> str:
    if kind == "grid":
        return "\n".join(["Grids", *(f"  {name}" for name in grid.shipped())])
    lines = [TITLES[kind]]
    for entry in registry.catalogue(kind):
        options = f"({', '.join(entry.options)})" if entry.options else ""
        origin = "" if entry.origin == "flipbench" else f"  [{entry.origin}]"
        lines.append(f"  {entry.name}{options}{origin}{_place(kind, entry)}")
        lines += [f"      {entry.doc}"] if entry.doc else []
    return "\n".join(lines + (_foreign() if kind == "aggregator" else []))


def _place(kind: str, entry: registry.Entry) -> str:
    """``on labels, dynamic``: what a shipped attack changes, and what it declares."""
    if kind != "attack" or entry.origin != "flipbench":
        return ""
    attack = registry.shipped(kind)[entry.name]
    needs = [word for word in ("dynamic", "adaptive") if declares(attack, word)]
    return f"  on {', '.join([place(attack), *needs])}"


def _foreign() -> list[str]:
    """How rules of other suites are named; listing each of them would import the whole suite."""
    lines = []
    for suite, spec in other_suites.SUITES.items():
        installed = importlib.util.find_spec(spec.package) is not None
        lines.append(f"  {suite}:NAME  [{spec.package if installed else f'not installed: {spec.install}'}]")
        lines.append(f"      A rule of {spec.package}, unchanged; {suite}:help lists the names.")
    return lines
