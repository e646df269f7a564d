"""``flipbench compare``: compares two results folders cell by cell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flipbench.cli.options import DEFECT, HeadlineChoice, user_path


def compare(
    before: Annotated[
        Path, typer.Argument(metavar="DIR_A", parser=user_path, help="Results folder of a grid, before the change.")
    ],
    after: Annotated[
        Path, typer.Argument(metavar="DIR_B", parser=user_path, help="Results folder of the same grid, after it.")
    ],
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            metavar="METRIC",
            help="Metric to compare; default: accuracy, source recall and attack success rate. Repeatable.",
        ),
    ] = None,
    headline: HeadlineChoice = None,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="Format of the output: md or csv.")] = "md",
    tolerance: Annotated[
        float, typer.Option(metavar="SHARE", help="Ignore losses up to this share; 0.01 is one percentage point.")
    ] = 0.0,
) -> None:
    """Compare two results folders cell by cell. Exit code 1: a metric got worse, or B lacks cells that A has done."""
    from flipbench.cli import comparison_text

    text, worse = comparison_text.compare(before, after, metrics or (), form, tolerance, headline)
    typer.echo(text, nl=False)
    if worse:
        raise typer.Exit(DEFECT)
