"""``flipbench results``: counts and exports stored cells."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flipbench.cli.options import GridFolder, user_path
from flipbench.errors import UserError
from flipbench.system import signals


def results(
    folder: GridFolder,
    to: Annotated[
        Path | None,
        typer.Option(
            "--export", metavar="FILE", parser=user_path, help="Also write the cells to a .csv, .json or .parquet file."
        ),
    ] = None,
    rounds_to: Annotated[
        Path | None,
        typer.Option(
            "--export-rounds",
            metavar="FILE",
            parser=user_path,
            help="Also write every evaluated round of every finished cell to a .csv file.",
        ),
    ] = None,
    failures: Annotated[
        bool, typer.Option("--failures", help="Print why cells failed, each reason once, with its traceback.")
    ] = False,
) -> None:
    """Count the stored cells: done, infeasible, failed, missing, earlier, quarantined. Optionally export them."""
    from flipbench.cli import export, holdings

    if to is not None:
        export.ending_of(to)  # a wrong name is reported before anything is read
    if rounds_to is not None and rounds_to.suffix.lower() != ".csv":
        raise UserError(f"--export-rounds needs a file that ends in .csv, got {rounds_to}")
    held = holdings.holdings(folder)
    typer.echo(holdings.failures(held) if failures else holdings.text(held))
    if to is not None:
        with signals.in_order():
            number = export.cells(folder, to)
        typer.echo(f"wrote {to} ({number} cells)")
    if rounds_to is not None:
        with signals.in_order():
            number = export.rounds(folder, rounds_to)
        typer.echo(f"wrote {rounds_to} ({number} evaluated rounds)")
