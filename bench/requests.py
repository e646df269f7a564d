"""What a grid's file asks to be drawn, on top of the standard pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.arrangement import measure
from bench.errors import UserError

STANDARD = ("accuracy", "accuracy_damage", "source_recall", "attack_success_rate")  # heatmaps
PAIRED = ("source_recall_damage", "attack_success_rate")  # source x target heatmaps


def wanted(plan: Mapping[str, Any]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Measures by kind of picture, and a sentence for each request that names no metric."""
    found = {"heatmap": list(STANDARD), "pairs": list(PAIRED)}
    wrong = []
    for request in plan.get("figures") or ():
        kind, name = request.get("kind"), request.get("metric")
        if kind not in found or name is None:
            continue  # a picture of rounds is drawn anyway
        # In source x target heatmaps what was lost tells more than what is left.
        name = "source_recall_damage" if (kind, name) == ("pairs", "source_recall") else name
        try:
            measure(name)
        except UserError as error:
            wrong.append(f"a figure of the grid was not drawn: {error}")
            continue
        found[kind].append(name)
    return {kind: tuple(dict.fromkeys(names)) for kind, names in found.items()}, wrong
