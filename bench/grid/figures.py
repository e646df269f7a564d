"""The key ``figures:`` of a grid file: what to draw, as a list, or options of all figures with the list among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flipbench.errors import UserError
from flipbench.grid import yaml_tree
from flipbench.grid.yaml_tree import Node
from flipbench.spec import figure_options
from flipbench.spec.metric_names import DRAWABLE, of_settings
from flipbench.spec.suggestions import near

KINDS = ("heatmap", "pairs", "rounds")
KEYS = ("kind", "metric")
DRAW = "draw"  # beside the options of figures: what to draw

Wrong = Callable[[Node, str, str], None]  # notes a mistake: where, the field, the message


def read(node: Node, wrong: Wrong) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What to draw, and the options of all figures.

    Args:
        node: what stands under ``figures:``.
        wrong: is called with every mistake.
    """
    if node.kind == "mapping":
        return _options(node, wrong)
    if node.kind != "list":
        text = "needs a list, like - {kind: heatmap, metric: accuracy}, or options, like {width: 3.3, title: false}"
        wrong(node, "figures", f"{text}; got {yaml_tree.kind_of(node)}")
    return [_figure(figure, wrong) for figure in (node.items if node.kind == "list" else ())], {}


def _options(node: Node, wrong: Wrong) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    figures: list[dict[str, Any]] = []
    options: dict[str, Any] = {}
    for key, value in node.pairs:
        if key.value == DRAW and value.kind == "list":
            figures += [_figure(figure, wrong) for figure in value.items]
        elif key.value == DRAW:
            wrong(value, f"figures: {DRAW}", f"needs a list of figures, got {yaml_tree.kind_of(value)}")
        elif key.value in KEYS:
            wrong(key, "figures", "a figure stands in a list, like figures: [{kind: heatmap, metric: accuracy}]")
        elif key.value not in figure_options.NAMES:
            known = (*figure_options.NAMES, DRAW)
            text = f"unknown key {key.value!r}{near(str(key.value), known)}; figures have {', '.join(known)}"
            wrong(key, "figures", text)
        else:
            try:
                options[key.value] = figure_options.option(key.value, yaml_tree.plain(value))
            except UserError as error:
                wrong(value, f"figures: {key.value}", str(error))
    return figures, options


def _figure(node: Node, wrong: Wrong) -> dict[str, Any]:
    figure: dict[str, Any] = {}
    for key, value in node.pairs:
        if key.value not in KEYS:
            hint = near(str(key.value), KEYS)
            wrong(key, "figures", f"unknown key {key.value!r}{hint}; a figure has {', '.join(KEYS)}")
        elif not isinstance(value.value, str):
            wrong(value, f"figures: {key.value}", f"needs text, got {yaml_tree.kind_of(value)}")
        elif key.value == "kind" and value.value not in KINDS:
            hint = near(value.value, KINDS)
            wrong(value, "figures: kind", f"{value.value!r} is none of {', '.join(KINDS)}{hint}")
        elif key.value == "metric" and value.value not in DRAWABLE:
            hint = near(value.value, DRAWABLE) or of_settings(value.value)
            wrong(value, "figures: metric", f"{value.value!r} is none of {', '.join(DRAWABLE)}{hint}")
        else:
            figure[key.value] = value.value
    if node.kind != "mapping" or not any(k.value == "kind" for k, _ in node.pairs):
        wrong(node, "figures", "a figure needs a kind, like {kind: heatmap, metric: accuracy}")
    return figure
