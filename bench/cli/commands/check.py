"""``flipbench check``: tests aggregators and attacks against the properties that their contracts demand."""

from __future__ import annotations

from typing import Annotated

import typer

from flipbench.cli.options import DEFECT
from flipbench.errors import UserError


def check(
    refs: Annotated[
        list[str],
        typer.Argument(metavar="REF", help="A shipped or installed name, package.module:name or path/file.py:name."),
    ],
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="aggregator or attack; default: recognised from REF.")
    ] = None,
    definition: Annotated[
        str | None, typer.Option(metavar="RULE", help="The published aggregator that REF claims to implement.")
    ] = None,
    except_for: Annotated[
        list[str] | None,
        typer.Option("--except-for", metavar="PROPERTY", help="Property that REF lacks by definition. Repeatable."),
    ] = None,
) -> None:
    """Check the properties of an aggregator or an attack; print the smallest failing case of each that fails."""
    from flipbench.cli import check_process

    if kind not in (None, "aggregator", "attack"):
        raise UserError(f"--kind is aggregator or attack, got {kind!r}")
    checked = [check_process.checked(ref, kind, except_for or (), definition) for ref in refs]
    typer.echo("\n\n".join(text for text, _ in checked))
    if any(failures for _, failures in checked):
        raise typer.Exit(DEFECT)
