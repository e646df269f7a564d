"""``flipbench paper``: reproduces published tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flipbench.cli.options import (
    FAILED,
    INTERRUPTED,
    MISTAKE,
    OnDevice,
    Results,
    Sets,
    ShowProgress,
    Workers,
    command_line,
)
from flipbench.cli.options import overrides as overrides_of
from flipbench.errors import UserError
from flipbench.system import signals
from flipbench.system.limits import worker_count


def paper(
    which: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Shipped reproductions or YAML files; none: list the shipped ones."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Use the seeds 0 to N - 1 instead of the file's.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Run a short version to see it work; its numbers are not judged.")
    ] = False,
    workers: Workers = 0,
    overrides: Sets = None,
    results: Results = Path("results"),
    device: OnDevice = None,
    progress: ShowProgress = True,
) -> None:
    """Reproduce published tables: run their cells, then print published and measured numbers with a verdict."""
    count = worker_count(workers)
    if which and count > 1:
        from flipbench.execution import fork_server

        fork_server.start()  # its imports take as long as ours and go on beside them
    from flipbench.cli import reproduction
    from flipbench.execution import progress as progress_display
    from flipbench.execution.progress import counted
    from flipbench.papers import reader
    from flipbench.spec.distinct_texts import printable

    if not which:
        typer.echo(reproduction.listing())
        return
    papers = [reader.read(name, overrides_of(overrides, device), seeds, quick) for name in which]
    failed, refused = 0, 0
    for asked in papers:
        display = progress_display.choose(count, quiet=not progress)
        try:
            with signals.in_order():
                ran = reproduction.run(asked, results, workers=count, progress=display, command=command_line())
        except UserError as error:  # mostly missing data: the other papers may need other data sets
            if len(papers) == 1:
                raise
            typer.echo(f"{asked.name} could not be run: {error}", err=True)
            refused += 1
            continue
        if ran.outcome.interrupted:
            kept = counted(ran.outcome.done, "cell")
            typer.echo(f"interrupted: {kept} kept; the same command goes on from there", err=True)
            typer.echo(f"unfinished tables: {ran.files[0].parent}", err=True)
            raise typer.Exit(INTERRUPTED)
        typer.echo(reproduction.text(ran))
        for key, text in ran.outcome.failed:
            typer.echo(f"failed: {key[:12]} {printable(text)}", err=True)
        failed += len(ran.outcome.failed)
    if refused or failed:
        raise typer.Exit(MISTAKE if refused else FAILED)
