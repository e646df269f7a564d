"""``flipbench new``: writes a template of an aggregator, an attack or an optimiser, with its test."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from flipbench.cli.options import user_path


def new(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="What to write: aggregator, attack or optimiser.")],
    path: Annotated[
        Path, typer.Argument(metavar="PATH", parser=user_path, help="File to write, like rules/my_rule.py.")
    ],
    place: Annotated[
        str | None,
        typer.Option(metavar="PLACE", help="What an attack acts on: labels (the default), updates or examples."),
    ] = None,
) -> None:
    """Write a short working aggregator, attack or optimiser and its test, as a start for your own."""
    from flipbench.cli import new as templates

    made, test = templates.new(kind, path, place)
    reference = f"{made}:{made.stem}"
    option = "--aggregator " + shlex.quote(reference)
    if kind != "aggregator":
        option = "--set " + shlex.quote(f"{kind}={reference}")
    typer.echo(f"wrote {made} and {test}")
    typer.echo(f"test it:   pytest {shlex.quote(str(test))}")
    typer.echo(f"check it:  flipbench check {shlex.quote(reference)}")
    typer.echo(f"run it:    flipbench run smoke {option}")
