"""Text of ``flipbench list``: the names that a grid can use."""

from __future__ import annotations

import importlib.util

from flipbench.attacks.contract import declares, place
from flipbench.cli import explanations
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
    "optimiser": "Optimisers of local training",
    "algorithm": "Algorithms of the federation",
    "server_optimiser": "Optimisers of the server's step",
    "initialisation": "Initial weights",
    "augmentation": "Augmentation of training images",
    "loss": "Losses of local training",
    "malicious_data": "Data of malicious clients",
}
KINDS = ("grid", *TITLES, "field")


def text(what: str | None) -> str:
    """The names of one kind, or of all kinds, or all that is known of one name.

    Args:
        what: a kind like ``aggregator`` (or ``aggregators``), a name like ``krum``, ``label_flip`` or ``flip_rate``;
            None: all kinds but the fields.

    Raises:
        UserError: no such kind or name.
    """
    if what is None:
        return "\n\n".join(_section(k) for k in KINDS if k == "grid" or (k in TITLES and registry.catalogue(k)))
    kind = next((k for k in (what, what.removesuffix("s")) if k in KINDS), None)  # both `attack` and `attacks`
    if kind == what:
        return _section(kind)
    found = [explanations.of_name(k, what) for k in explanations.kinds_of(what)]  # `attacks` is a grid, too
    if found or kind is not None:
        return "\n\n".join(found if kind is None else [_section(kind), *found])
    known = [*KINDS, *explanations.names()]
    raise UserError(
        f"nothing is listed under {what!r}{near(what, known)}; the kinds are {', '.join(KINDS)}, and one name of any "
        "of them is explained, like flipbench list krum"
    )


def _section(kind: str) -> str:
    if kind == "grid":
        return "\n".join(["Grids (flipbench list NAME shows one)", *map(_grid_line, grid.shipped())])
    if kind == "field":
        return "\n".join(["Fields of a cell", *explanations.field_lines()])
    lines = [TITLES[kind]]
    for entry in registry.catalogue(kind):
        options = f"({', '.join(entry.options)})" if entry.options else ""
        origin = "" if entry.origin == "flipbench" else f"  [{entry.origin}]"
        lines.append(f"  {entry.name}{options}{origin}{_place(kind, entry)}")
        lines += [f"      {entry.doc}"] if entry.doc else []
    return "\n".join(lines + (_foreign() if kind == "aggregator" else []))


def _grid_line(name: str) -> str:
    return f"  {name}\n{explanations.grid_purpose(name)}"


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
