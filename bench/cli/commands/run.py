"""``flipbench run``: runs the missing cells of a grid, then draws its report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flipbench.cli.commands.report import draw
from flipbench.cli.options import (
    FAILED,
    INTERRUPTED,
    Aggregators,
    GridName,
    HeadlineChoice,
    OnDevice,
    Results,
    Sets,
    ShowProgress,
    Workers,
    command_line,
    read_grid,
    user_path,
)
from flipbench.system import signals
from flipbench.system.limits import worker_count

if TYPE_CHECKING:
    from flipbench.execution.runner import Outcome
    from flipbench.grid.reader import Grid


def run(
    grid: GridName,
    workers: Workers = 0,
    overrides: Sets = None,
    aggregators: Aggregators = None,
    results: Results = Path("results"),
    device: OnDevice = None,
    headline: HeadlineChoice = None,
    download: Annotated[
        bool, typer.Option("--download", help="Download missing data sets and check their checksums.")
    ] = False,
    progress: ShowProgress = True,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed/--keep-failed", help="Run the cells again that failed in an earlier run.")
    ] = True,
    trial: Annotated[
        bool, typer.Option("--trial/--no-trial", help="Try one small cell of each kind of plug-in first.")
    ] = True,
    cell_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Record a cell that takes longer as failed.")
    ] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Memory of each worker process, like 4G; a cell that needs more fails."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Run on this Dask cluster, like tcp://host:8786.")
    ] = None,
    tls_ca: Annotated[
        Path | None, typer.Option(metavar="FILE", parser=user_path, help="Certificate authority of a tls:// scheduler.")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", parser=user_path, help="Client certificate for a tls:// scheduler.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", parser=user_path, help="Private key of the client certificate.")
    ] = None,
) -> None:
    """Run the missing cells of a grid, then draw its tables and heatmaps."""
    count = worker_count(workers)
    if scheduler is None and (count > 1 or cell_timeout is not None or memory_limit is not None):
        from flipbench.execution import fork_server

        fork_server.start()  # its imports take as long as ours and go on beside them
    asked = read_grid(grid, overrides, aggregators, device, headline=headline)
    from flipbench.execution import cell_trials, remote_cluster, runner
    from flipbench.execution import progress as progress_display
    from flipbench.execution.progress import counted
    from flipbench.system import limits

    folder = results / asked.name
    if download:
        with signals.in_order():
            _fetch({cell.dataset for cell in asked.cells})
    with signals.in_order():
        cells = asked.cells if asked.tuning is None else (*asked.cells, *asked.tuning.trials)
        cell_trials.before_run(cells, folder, trial, elsewhere=scheduler is not None)
        if scheduler is None and (need := cell_trials.memory(cells, folder, count)) and need.warning:
            typer.echo(f"warning: {need.warning}", err=True)
    display = progress_display.choose(count, quiet=not progress)
    size = None if memory_limit is None else limits.parse_size(memory_limit)
    options = runner.WorkerOptions(
        limits.Limits(cell_timeout, size), remote_cluster.address(scheduler, tls_ca, tls_cert, tls_key)
    )

    def cells_of(part: Grid, into: Path) -> Outcome:
        given: Any = {"command": command_line(), "retry_failed": retry_failed, "options": options}
        return runner.run(part, into, workers=count, progress=display, **given)

    def one(part: Grid, into: Path) -> Outcome:
        if asked.tuning is not None:
            typer.echo(f"{part.title}: {counted(len(part.cells), 'cell')} in {into}", err=True)
        if part.seeds is None:
            return cells_of(part, into)
        from flipbench.api import seed_stages

        return seed_stages.run(part, into, cells_of, lambda text: typer.echo(text, err=True))

    if asked.tuning is None:
        _print(one(asked, folder), folder)
    else:
        from flipbench.api import tuning

        _print(tuning.run(asked, folder, one, retry_failed=retry_failed), folder)


def _fetch(datasets: Iterable[str]) -> None:
    """Download the data sets before anything runs."""
    from flipbench import data

    for reference in sorted(datasets):
        data.describe(reference, download=True)


def _print(outcome: Outcome, folder: Path) -> None:
    """Print the outcome and draw the report; exit with a code other than 0 where cells are missing."""
    from flipbench.execution.progress import counted
    from flipbench.spec.distinct_texts import printable

    if outcome.interrupted:
        kept = f"{counted(outcome.done, 'cell')} {'is' if outcome.done == 1 else 'are'}"
        typer.echo(f"interrupted: {kept} kept in {folder}; the same command goes on from there", err=True)
        raise typer.Exit(INTERRUPTED)
    if not outcome.only_trials:
        with signals.in_order():
            draw(folder)
    typer.echo(f"{counted(outcome.ran, 'cell')} run, {outcome.done} done, {outcome.infeasible} infeasible")
    if outcome.elsewhere:
        typer.echo(f"{counted(outcome.elsewhere, 'cell')} run in vain: another run on this folder was first")
    if outcome.failed:
        again = "it" if len(outcome.failed) == 1 else "them"
        failed = counted(len(outcome.failed), "cell")
        if outcome.only_trials:
            typer.echo("trials failed, so nothing is chosen; --keep-failed leaves their candidates out", err=True)
        typer.echo(f"{failed} failed; the same command tries {again} again:", err=True)
        for key, text in outcome.failed:
            typer.echo(f"  {key[:12]} {printable(text)}", err=True)
        raise typer.Exit(FAILED)
