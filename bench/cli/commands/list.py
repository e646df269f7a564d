"""``flipbench list``: lists the names that a grid can use, or explains one of them."""

from __future__ import annotations

from typing import Annotated

import typer

from flipbench.cli import completion


def list_names(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[KIND or NAME]",
            help="A kind, like grid, aggregator, attack, dataset or field, or one name, like krum; default: all kinds.",
            autocompletion=completion.listed,
        ),
    ] = None,
) -> None:
    """List the names that a grid can use, with options and defaults, or explain one of them: flipbench list krum."""
    from flipbench.cli import catalogue

    typer.echo(catalogue.text(what))
