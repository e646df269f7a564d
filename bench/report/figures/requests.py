"""Reads which figures a grid's file asks for, on top of the standard ones."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from flipbench.analysis.metric_columns import metric_column
from flipbench.errors import UserError
from flipbench.spec import figure_options
from flipbench.spec.figure_options import FigureOptions
from flipbench.spec.metric_names import HEADLINES

PAIRED = ("source_recall_damage", "attack_success_rate")  # source x target heatmaps
LARGE = 5_000  # cells; a grid of more has hundreds of figures, which would take minutes, so few of them are drawn
MOST_OF_LARGE = 8  # of its figures are drawn, kinds in turn
WIDEST_OF_LARGE = 48  # columns of a heatmap, 24 inches


def wanted(plan: Mapping[str, Any]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Metrics by kind of figure, and a sentence for each request that names no metric."""
    extra, wrong = asked(plan)
    names = {"heatmap": (*HEADLINES, *extra["heatmap"]), "pairs": (*PAIRED, *extra["pairs"])}
    return {kind: tuple(dict.fromkeys(chosen)) for kind, chosen in names.items()}, wrong


def asked(plan: Mapping[str, Any]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The same, without the standard ones."""
    found: dict[str, list[str]] = {"heatmap": [], "pairs": []}
    wrong = []
    for request in plan.get("figures") or ():
        kind, name = request.get("kind"), request.get("metric")
        if kind not in found or name is None:
            continue  # a figure of rounds is drawn anyway
        # In source x target heatmaps what was lost tells more than what is left.
        name = "source_recall_damage" if (kind, name) == ("pairs", "source_recall") else name
        try:
            metric_column(name)
        except UserError as error:
            wrong.append(f"a figure of the grid was not drawn: {error}")
            continue
        found[kind].append(name)
    return {kind: tuple(dict.fromkeys(names)) for kind, names in found.items()}, wrong


def options(plan: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> FigureOptions:
    """How the grid's file asks for its figures; what another version or machine cannot take is left at its default.

    Args:
        plan: of the grid.
        given: options in place of the file's.

    Raises:
        UserError: ``given`` has no such option, or a value that it cannot have.
    """
    found = {}
    for name, value in (plan.get("figure_options") or {}).items():
        with suppress(UserError):
            found[name] = figure_options.option(name, value)
    return FigureOptions(**found | figure_options.checked(given or {}))


def left_out(cells: int) -> list[str]:
    """A sentence where a grid is too large for all of its figures."""
    if cells <= LARGE:
        return []
    rest = f"{MOST_OF_LARGE} standard figures are drawn of a grid of {cells:,} cells, none of over {WIDEST_OF_LARGE}"
    more = "report.html shows every number, figures: in the grid asks for more, flipbench report --all-figures for all"
    return [f"at most {rest} columns: {more}"]
