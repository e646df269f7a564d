"""``flipbench list``: lists the names that a grid can use."""

from __future__ import annotations

from typing import Annotated

import typer


def list_names(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="[KIND]", help="Kind of names, like grid, aggregator, attack or dataset; default: all."),
    ] = None,
) -> None:
    """List the names that a grid can use, with their options, the defaults of these, and where each comes from."""
    from flipbench.cli import catalogue

    typer.echo(catalogue.text(kind))
