"""``flipbench check``: tests aggregators, attacks and parts of training against what their contracts demand."""

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
        str | None,
        typer.Option(metavar="KIND", help="aggregator, attack, optimiser, model, dataset ...; default: recognised."),
    ] = None,
    definition: Annotated[
        str | None, typer.Option(metavar="RULE", help="The published aggregator that REF claims to implement.")
    ] = None,
    except_for: Annotated[
        list[str] | None,
        typer.Option("--except-for", metavar="PROPERTY", help="Property that REF lacks by definition. Repeatable."),
    ] = None,
    dataset: Annotated[
        str, typer.Option(metavar="DATASET", help="Data that a part of training is tried with, like splice.")
    ] = "digits",
) -> None:
    """Check an aggregator, an attack or a part of training; print the smallest failing case of each property."""
    from flipbench.cli import check_process
    from flipbench.conformance.parts import KINDS

    if kind not in (None, "aggregator", "attack", *KINDS):
        raise UserError(f"--kind is aggregator, attack, {', '.join(KINDS[:-1])} or {KINDS[-1]}, got {kind!r}")
    checked = [check_process.checked(ref, kind, except_for or (), definition, dataset) for ref in refs]
    typer.echo("\n\n".join(text for text, _ in checked))
    if any(failures for _, failures in checked):
        raise typer.Exit(DEFECT)
