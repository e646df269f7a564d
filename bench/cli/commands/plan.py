"""``flipbench plan``: prints what a run would do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flipbench.cli.options import Aggregators, GridName, OnDevice, Results, Sets, read_grid
from flipbench.errors import UserError
from flipbench.system.limits import worker_count


def plan(
    grid: GridName,
    overrides: Sets = None,
    aggregators: Aggregators = None,
    results: Results = Path("results"),
    device: OnDevice = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Worker processes to estimate the time for; 0 means one per core.")
    ] = 0,
    listed: Annotated[bool, typer.Option("--list", help="Print one line per cell.")] = False,
    detect: Annotated[
        float | None,
        typer.Option(metavar="POINTS", help="Print how many seeds show such a difference between two rules."),
    ] = None,
    metric: Annotated[str, typer.Option(help="Of --detect: the metric that is compared.")] = "accuracy",
    spread: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="Of --detect: the standard deviation of the difference over seeds, in place of that of stored seeds.",
        ),
    ] = None,
) -> None:
    """Count the cells that are done, infeasible, failed or to run, and estimate the time. Nothing is run."""
    if detect is None and (spread is not None or metric != "accuracy"):
        raise UserError("--metric and --spread belong to --detect, like --detect 2 --spread 1.5")
    from flipbench.store import background_survey

    with background_survey.BackgroundSurvey() as looking:  # the store is read while the grid is read
        asked = read_grid(grid, overrides, aggregators, device, lambda name: looking.begin(results / name))
        from flipbench.api import planning

        planned = planning.plan(asked, results / asked.name, looking.result, worker_count(workers))
    if listed:
        for line in planning.listing(planned):
            typer.echo(line)
    typer.echo(str(planned))
    if detect is not None:
        from flipbench.api import detection

        typer.echo(str(detection.detect(asked, results / asked.name, detect, metric, spread)))
    if planned.trials:
        raise typer.Exit(2)  # a plug-in that cannot work, as for `run`
