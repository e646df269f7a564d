"""``flipbench kappa``: measures robustness coefficients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flipbench.cli.options import user_path


def kappa(
    rules: Annotated[
        list[str] | None,
        typer.Argument(metavar="[REF]...", help="Aggregators, named as in grids; default: six of them."),
    ] = None,
    clients: Annotated[
        list[int] | None,
        typer.Option("--clients", metavar="N", help="Number of clients; default: 10 and 20. Repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the attacks and of the search.")] = 0,
    steps: Annotated[
        int, typer.Option(min=0, help="Steps of the search for a worse attack; 0 uses the fixed attacks only.")
    ] = 40,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", parser=user_path, help="Folder for the table and the figure.")
    ] = Path("results/kappa"),
) -> None:
    """Measure how far f malicious clients can move an aggregator (its robustness coefficient), beside the bound."""
    from flipbench.cli import kappa as robustness

    findings = robustness.findings(rules or [], clients or [10, 20], seed, steps, lambda r: typer.echo(r, err=True))
    typer.echo(robustness.text(findings))
    files = robustness.write(findings, out)
    typer.echo(f"wrote {', '.join(map(str, files))}")
