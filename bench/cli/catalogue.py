"""``flipbench list``: what a grid can name."""

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
    """One kind, or all of them, as text.

    Raises:
        UserError: no such kind.
    """
    kinds = ["grid", *TITLES]
    if kind is None:
        return "\n\n".join(_section(k) for k in kinds if k == "grid" or registry.catalogue(k))
    one = kind if kind in kinds else kind.removesuffix("s")  # people write `list attacks`
    if one not in kinds:
        raise UserError(f"nothing is listed under {kind!r}{near(kind, kinds)}; there are {', '.join(kinds)}")
    return _section(one)


def _section(kind: str) -> str:
    if kind == "grid":
        return "\n".join(["Grids", *(f"  {name}" for name in grid.shipped())])
    lines = [TITLES[kind]]
    for entry in registry.catalogue(kind):
        options = f"({', '.join(entry.options)})" if entry.options else ""
        origin = "" if entry.origin == "flipbench" else f"  [{entry.origin}]"
        lines.append(f"  {entry.name}{options}{origin}{_acts(kind, entry)}")
        lines += [f"      {entry.doc}"] if entry.doc else []
    return "\n".join(lines + (_foreign() if kind == "aggregator" else []))


def _acts(kind: str, entry: registry.Entry) -> str:
    """Where a shipped attack acts, and what it is told beyond others."""
    if kind != "attack" or entry.origin != "flipbench":
        return ""
    attack = registry.shipped(kind)[entry.name]
    told = [word for word in ("dynamic", "adaptive") if declares(attack, word)]
    return f"  on {', '.join([place(attack), *told])}"


def _foreign() -> list[str]:
    """The rules of other suites; they are not listed one by one, as that would load the whole suite."""
    lines = []
    for suite, facts in other_suites.SUITES.items():
        there = importlib.util.find_spec(facts.package) is not None
        lines.append(f"  {suite}:NAME  [{facts.package if there else f'not installed: {facts.install}'}]")
        lines.append(f"      A rule of {facts.package}, as it is; {suite}:help is answered with the names there are.")
    return lines
