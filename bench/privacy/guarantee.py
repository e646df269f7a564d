"""The (ε, δ) of one cell, or why none can be stated. An ε that may be wrong is never given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flipbench.privacy import accounting, sensitivity
from flipbench.spec.cell import CLEAN, SHARE
from flipbench.spec.reference import parse, parse_chain

# Shipped attacks on labels and images that learn nothing of honest clients but labels in general and global models.
_FROM_MODELS_ALONE = frozenset(
    {"mirrored", "shifted", "targeted", "swapped", "all_to_one", "uniform", "resampled", "permuted", "least_likely"}
    | {"backdoor"}
)
_FEATURES, _LOSSES = frozenset({"unit", "scaled", "standard"}), frozenset({"cross_entropy", "class_balanced"})


@dataclass(frozen=True)
class Guarantee:
    """What a federation with noise guarantees for the data of each honest client.

    Attributes:
        epsilon: ε; None: not known.
        delta: δ.
        reason: why ε is not known; empty where it is.
    """

    epsilon: float | None
    delta: float
    reason: str = ""


def of_cell(cell: Mapping[str, Any]) -> Guarantee | None:
    """The guarantee of a cell; None where it adds no noise.

    Args:
        cell: its fields, as in a table; ``places`` and ``adaptive``, of the attack.
    """
    z = float(cell["noise_multiplier"])
    if not z:
        return None
    members, per_round = _clients(cell)
    delta = accounting.usual_delta(members)
    for reason in _doubts(cell):
        return Guarantee(None, delta, reason)
    share = 1.0
    if cell["noise_at"] == "server":
        known = sensitivity.of_rule(str(cell["aggregator"]), float(cell["clip_update"]))
        assert known is not None  # `_doubts` has looked
        share = known
    if not accounting.installed():
        return Guarantee(None, delta, accounting.MISSING)
    malicious = int(cell["malicious_count"]) if cell["attack"] != CLEAN else 0
    rounds, place = int(cell["rounds"]), cell["noise_at"]
    found = accounting.epsilon(z / share, rounds, members, per_round, delta, place, malicious=malicious)
    return Guarantee(found, delta)


def _clients(cell: Mapping[str, Any]) -> tuple[int, int]:
    """All clients, and those of a round."""
    sybils = cell["malicious_data"] != SHARE and cell["attack"] != CLEAN
    members = int(cell["clients"]) + (int(cell["malicious_count"]) if sybils else 0)
    drawn = cell["clients_per_round"]
    return members, members if drawn is None or drawn != drawn else min(int(drawn), members)


def _doubts(cell: Mapping[str, Any]) -> Iterator[str]:
    """Why the noise does not bound what the global models tell of a client."""
    central, attack = cell["noise_at"] == "server", str(cell["attack"])
    places = tuple(cell["places"] or ())
    if central and sensitivity.of_rule(str(cell["aggregator"]), float(cell["clip_update"])) is None:
        yield (
            f"one client can move the answer of {cell['aggregator']} by more than its share: noise of the server has "
            "no ε with this rule, noise of the clients has"
        )
    if central and "updates" in places:
        yield "malicious clients see the updates of honest clients before the server adds noise"
    if attack != CLEAN and places != ("updates",):
        if cell["adaptive"]:
            yield "the attack was searched with the data of honest clients, without noise"
        names = [link.name for link in parse_chain(attack)]
        unknown = [name for name in names if name not in _FROM_MODELS_ALONE]
        if "confusable" in names:
            yield "the attack knows a model that was trained on the data of honest clients"
        elif len(unknown) > ("updates" in places):  # one link acts on updates
            yield f"what {attack} knows of honest clients is not known"
    features, loss = parse(str(cell["features"])), parse(str(cell["loss"]))
    if features.name == "standard" and not {"mean", "std"} <= features.options.keys():
        yield "features are scaled by the mean and deviation of all clients' data: give standard(mean=..., std=...)"
    if loss.name == "class_balanced" and loss.options.get("counts") == "federation":
        yield "the loss uses the counts of all clients' labels"
    if features.name not in _FEATURES or loss.name not in _LOSSES:
        yield "what a plug-in for features or the loss takes from all clients' data is not known"
