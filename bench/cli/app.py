"""The command line: parse, call, print. Heavy imports stand inside the commands, so that a report starts at once."""

from __future__ import annotations

import gc
import os
import shlex
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import click
import typer
from typer.core import TyperGroup

from flipbench.errors import UserError
from flipbench.system import signals

DONE, DEFECT, MISTAKE, FAILED, INTERRUPTED = 0, 1, 2, 3, 130  # exit codes


class _Group(TyperGroup):
    """Shows a user's mistake as one message, and an interrupt as what it is."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(MISTAKE) from error
        except KeyboardInterrupt as error:
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from error


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="flipbench: how much do robust aggregators save when some clients flip labels?",
    epilog="Exit codes: 0 done, 1 a check failed, 2 your mistake, 3 some cells failed, 130 interrupted (cells kept).",
)


class Device(StrEnum):
    """Where to train."""

    cpu = "cpu"
    cuda = "cuda"


GridName = Annotated[str, typer.Argument(metavar="GRID", help="A shipped grid (flipbench list grid) or a YAML file.")]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="Override a field; FIELD.OPTION=VALUE sets an option; repeatable."
    ),
]
Aggregators = Annotated[
    list[str] | None, typer.Option("--aggregator", metavar="REF", help="Add a rule to the axis; repeatable.")
]
Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="Where the folders of grids lie.")]
OnDevice = Annotated[Device | None, typer.Option("--device", help="Override the grid's device.")]


@app.command()
def run(
    grid: GridName,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one a core.")] = 0,
    overrides: Sets = None,
    aggregators: Aggregators = None,
    results: Results = Path("results"),
    device: OnDevice = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch missing data, checksums checked.")] = False,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="Show progress.")] = True,
    retry_failed: Annotated[bool, typer.Option("--retry-failed/--keep-failed", help="Run failed cells again.")] = True,
    cell_timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="A cell that takes longer is recorded as failed.")
    ] = None,
    memory_limit: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Of each worker, like 4G; a cell that needs more fails.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask cluster that does the work, like tcp://host:8786.")
    ] = None,
    tls_ca: Annotated[Path | None, typer.Option(metavar="FILE", help="Of a tls:// scheduler: who signed it.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="Our certificate for it.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="The key of that certificate.")] = None,
) -> None:
    """Run what is missing of a grid, then draw tables and heatmaps."""
    if scheduler is None and ((workers or _cores()) > 1 or cell_timeout is not None or memory_limit is not None):
        from flipbench.execution import fork_server

        fork_server.start()  # its imports take as long as ours: side by side
    one = _read(grid, overrides, aggregators, device)
    from flipbench.execution import progress as shown
    from flipbench.execution import remote_cluster, runner
    from flipbench.system import limits

    folder = results / one.name
    count = workers or _cores()
    if download:
        with signals.in_order():
            _fetch({cell.dataset for cell in one.cells})
    watcher = shown.choose(count, quiet=not progress)
    size = None if memory_limit is None else limits.parse_size(memory_limit)
    crew = runner.Crew(limits.Limits(cell_timeout, size), remote_cluster.address(scheduler, tls_ca, tls_cert, tls_key))
    outcome = runner.run(
        one, folder, workers=count, progress=watcher, command=_command(), retry_failed=retry_failed, crew=crew
    )
    if outcome.interrupted:
        kept = f"{shown.counted(outcome.done, 'cell')} {'is' if outcome.done == 1 else 'are'}"
        typer.echo(f"interrupted: {kept} kept in {folder}; the same command goes on from there", err=True)
        raise typer.Exit(INTERRUPTED)
    with signals.in_order():
        _draw(folder)
    typer.echo(f"{shown.counted(outcome.ran, 'cell')} run, {outcome.done} done, {outcome.infeasible} infeasible")
    if outcome.elsewhere:
        typer.echo(f"{shown.counted(outcome.elsewhere, 'cell')} run in vain: another run on this folder was first")
    if outcome.failed:
        from flipbench.spec.labels import printable

        again = "it" if len(outcome.failed) == 1 else "them"
        failed = shown.counted(len(outcome.failed), "cell")
        typer.echo(f"{failed} failed; the same command tries {again} again:", err=True)
        for key, text in outcome.failed:
            typer.echo(f"  {key[:12]} {printable(text)}", err=True)
        raise typer.Exit(FAILED)


@app.command()
def plan(
    grid: GridName,
    overrides: Sets = None,
    aggregators: Aggregators = None,
    results: Results = Path("results"),
    device: OnDevice = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that the estimate counts with; 0: one a core.")] = 0,
    listed: Annotated[bool, typer.Option("--list", help="Print the cells.")] = False,
) -> None:
    """Say what a run would do: cells, done, infeasible, failed before, and how long the rest takes."""
    from flipbench.store import background_survey

    with background_survey.Underway() as looking:  # the store is looked over while the grid is read
        one = _read(grid, overrides, aggregators, device, lambda name: looking.begin(results / name))
        from flipbench.api import planning

        found = planning.plan(one, results / one.name, looking.result)
    if listed:
        for line in planning.listing(found):
            typer.echo(line)
    typer.echo(planning.text(one, found, workers or _cores()))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A grid's folder, like results/label_flip.")],
    metric: Annotated[
        str | None, typer.Option(metavar="METRIC", help="Like accuracy, source_recall_damage or accuracy_last5.")
    ] = None,
    rows: Annotated[str | None, typer.Option(metavar="FACT,...", help="Facts down; aggregator if left out.")] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="FACT,...", help="Facts across; attack,malicious_fraction if left out.")
    ] = None,
    where: Annotated[list[str] | None, typer.Option(metavar="FACT=VALUE", help="Only these cells; repeatable.")] = None,
    form: Annotated[str | None, typer.Option("--format", metavar="FORMAT", help="md, csv, tex or html.")] = None,
    every: Annotated[
        bool, typer.Option("--all-figures", help="Of a grid of thousands of cells too; takes minutes.")
    ] = False,
    every_earlier: Annotated[bool, typer.Option("--all-pictures", hidden=True)] = False,  # the option's first name
) -> None:
    """Redraw tables and heatmaps from what is stored; with an option, print the one table that it asks for."""
    if not os.path.lexists(folder / "plan.json"):  # what is no file there is told when it is read
        raise UserError(f"{folder} holds no plan.json: give the folder of a grid that was run, like results/label_flip")
    if any(given is not None for given in (metric, rows, columns, where or None, form)):
        from flipbench.report.write import chosen

        for option, axis in (("--rows", rows), ("--columns", columns)):
            if axis is not None and not axis.strip(" ,"):
                raise UserError(f"{option} needs a fact, like aggregator; leave it out for what is usual")
        down, across = ([f.strip() for f in (axis or "").split(",") if f.strip()] for axis in (rows, columns))
        typer.echo(chosen(folder, metric or "accuracy", down, across, where or [], form or "md"), nl=False)
        return
    with signals.in_order():
        _draw(folder, every or every_earlier)


@app.command()
def serve(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A grid's folder, like results/label_flip.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="On this machine; 0: a free one.")] = 8417,
) -> None:
    """Show the report in a browser on this machine, fresh while a run goes on."""
    from flipbench.cli import serve as cli_serve

    signals.as_python_does()
    cli_serve.serve(folder, port, typer.echo)


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(metavar="DIR_A", help="A grid's folder: before.")],
    after: Annotated[Path, typer.Argument(metavar="DIR_B", help="The same grid's folder: after.")],
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="METRIC", help="Repeatable; accuracy, source recall and attack success rate."),
    ] = None,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="md or csv.")] = "md",
    tolerance: Annotated[
        float, typer.Option(metavar="SHARE", help="A loss of at most so much is none; 0.01: one percentage point.")
    ] = 0.0,
) -> None:
    """Compare two results folders cell by cell; exit code 1: a metric got worse, or B lacks cells that A has done."""
    from flipbench.cli import compare as cli_compare

    text, worse = cli_compare.compare(before, after, metrics or (), form, tolerance)
    typer.echo(text, nl=False)
    if worse:
        raise typer.Exit(DEFECT)


@app.command()
def results(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A grid's folder, like results/label_flip.")],
    to: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Also write the cells: .csv, .json or .parquet.")
    ] = None,
) -> None:
    """Count what is stored: done, infeasible, failed, missing, stale, quarantined; export it."""
    from flipbench.cli import results as cli_results

    if to is not None:
        cli_results.ending_of(to)
    typer.echo(cli_results.text(cli_results.holdings(folder)))
    if to is not None:
        with signals.in_order():
            number = cli_results.export(folder, to)
        typer.echo(f"wrote {to} ({number} cells)")


@app.command("list")
def list_(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help="grid, aggregator, attack, dataset, ...")] = None,
) -> None:
    """List what a grid can name: the names, their options with defaults, and where they come from."""
    from flipbench.cli import list as cli_list

    typer.echo(cli_list.text(kind))


@app.command()
def data(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A data set, like ham10000.")],
    path: Annotated[Path | None, typer.Option(metavar="P", help="The file or folder that holds it.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch it, checksums checked.")] = False,
) -> None:
    """Show what was found of a data set: shape, classes, counts, hash, split."""
    from flipbench import data as sets
    from flipbench.spec.reference import parse

    ref = parse(name)
    with signals.in_order():
        found = sets.describe(str(ref if path is None else ref.with_option("path", str(path))), download=download)
    typer.echo(str(found))


@app.command()
def new(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="What to write: aggregator or attack.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file to make, like rules/my_rule.py.")],
    place: Annotated[
        str | None,
        typer.Option(metavar="PLACE", help="What an attack acts on: labels (the default), updates or examples."),
    ] = None,
) -> None:
    """Write a rule or an attack of ten lines that works, with its test beside it, to be written over."""
    from flipbench.cli import new as template

    made, test = template.new(kind, path, place)
    ref = f"{made}:{made.stem}"
    option = f"--aggregator {shlex.quote(ref)}" if kind == "aggregator" else f"--set {shlex.quote(f'attack={ref}')}"
    typer.echo(f"wrote {made} and {test}")
    typer.echo(f"test it:   pytest {shlex.quote(str(test))}")
    typer.echo(f"check it:  flipbench check {shlex.quote(ref)}")
    typer.echo(f"run it:    flipbench run smoke {option}")


@app.command()
def check(
    refs: Annotated[list[str], typer.Argument(metavar="REF", help="Shipped name, pkg.mod:name, path/file.py:name.")],
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="aggregator or attack; told by REF if left out.")
    ] = None,
    definition: Annotated[
        str | None, typer.Option(metavar="RULE", help="The published rule that REF claims to be.")
    ] = None,
    except_for: Annotated[
        list[str] | None, typer.Option("--except-for", metavar="PROPERTY", help="Excused by definition; repeatable.")
    ] = None,
) -> None:
    """Check that a rule or an attack keeps its word; the smallest failing case of each property."""
    from flipbench.cli import check as cli_check

    if kind not in (None, "aggregator", "attack"):
        raise UserError(f"--kind is aggregator or attack, got {kind!r}")
    found = [cli_check.check(ref, kind, except_for or (), definition) for ref in refs]
    typer.echo("\n\n".join(text for text, _ in found))
    if any(failures for _, failures in found):
        raise typer.Exit(DEFECT)


@app.command()
def kappa(
    rules: Annotated[
        list[str] | None, typer.Argument(metavar="[REF]...", help="Rules as grids name them; none: a choice of six.")
    ] = None,
    clients: Annotated[list[int] | None, typer.Option("--clients", metavar="N", help="Repeatable; 10 and 20.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of attacks and search.")] = 0,
    steps: Annotated[int, typer.Option(min=0, help="Of the search; 0: the battery alone.")] = 40,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where table and figure go.")] = Path(
        "results/kappa"
    ),
) -> None:
    """Measure how far f liars can move a rule (its robustness coefficient), beside the published bound."""
    from flipbench.cli import kappa as cli_kappa

    found = cli_kappa.findings(rules or [], clients or [10, 20], seed, steps, lambda r: typer.echo(r, err=True))
    typer.echo(cli_kappa.text(found))
    files = cli_kappa.write(found, out)
    typer.echo(f"wrote {', '.join(map(str, files))}")


@app.command()
def paper(
    which: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="A shipped reproduction or a YAML file; none: list.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, metavar="N", help="0, 1, ... in place of the file's.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A short run to see it work: not judged.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one a core.")] = 0,
    overrides: Sets = None,
    results: Results = Path("results"),
    device: OnDevice = None,
    progress: Annotated[bool, typer.Option("--progress/--no-progress", help="Show progress.")] = True,
) -> None:
    """Reproduce a published table: run its cells, print and write published beside ours with a verdict."""
    if which and (workers or _cores()) > 1:
        from flipbench.execution import fork_server

        fork_server.start()  # its imports take as long as ours: side by side
    from flipbench.cli import paper as cli_paper
    from flipbench.execution import progress as shown
    from flipbench.papers import reader
    from flipbench.spec.labels import printable

    if not which:
        typer.echo(cli_paper.listing())
        return
    sets = [*(overrides or []), *([f"device={device.value}"] if device else [])]
    papers = [reader.read(one, sets, seeds, quick) for one in which]
    count, failed, refused = workers or _cores(), 0, 0
    for one in papers:
        watcher = shown.choose(count, quiet=not progress)
        try:
            with signals.in_order():
                ran = cli_paper.run(one, results, workers=count, progress=watcher, command=_command())
        except UserError as error:  # mostly data that are not here: the other papers may need others
            if len(papers) == 1:
                raise
            typer.echo(f"{one.name} could not be run: {error}", err=True)
            refused += 1
            continue
        if ran.outcome.interrupted:
            kept = shown.counted(ran.outcome.done, "cell")
            typer.echo(f"interrupted: {kept} kept; the same command goes on from there", err=True)
            typer.echo(f"unfinished tables: {ran.files[0].parent}", err=True)
            raise typer.Exit(INTERRUPTED)
        typer.echo(cli_paper.text(ran))
        for key, text in ran.outcome.failed:
            typer.echo(f"failed: {key[:12]} {printable(text)}", err=True)
        failed += len(ran.outcome.failed)
    if refused or failed:
        raise typer.Exit(MISTAKE if refused else FAILED)


@app.command()
def schema(
    paper: Annotated[bool, typer.Option("--paper", help="Of paper files instead.")] = False,
) -> None:
    """Print the JSON schema of grid files, for editors."""
    from flipbench.grid import schema as grid_schema
    from flipbench.papers import schema as paper_schema

    typer.echo(paper_schema.text() if paper else grid_schema.text(), nl=False)


@app.command()
def version() -> None:
    """Print the versions of flipbench, Python and PyTorch."""
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as of

    for package in ("flipbench", "torch", "numpy"):
        try:
            typer.echo(f"{package} {of(package)}")
        except PackageNotFoundError:
            typer.echo(f"{package} (not installed as a package)")
    typer.echo(f"python {platform.python_version()}")


def main() -> None:
    """The script ``flipbench``."""
    signals.from_the_start()
    gc.set_threshold(200_000, 20, 100)  # 100,000 cells have no cycles: looking for some takes a fifth of the time
    app(prog_name="flipbench")


def _read(
    grid: str,
    overrides: list[str] | None,
    aggregators: list[str] | None,
    device: Device | None,
    named: Callable[[str], None] | None = None,
) -> Any:
    from flipbench.grid import reader as grids

    sets = [*(overrides or []), *([f"device={device.value}"] if device else [])]
    return grids.read(grid, sets, aggregators or [], named)


def _cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _fetch(references: set[str]) -> None:
    """Bring the data sets here before anything runs."""
    from flipbench import data as sets

    for ref in sorted(references):
        sets.describe(ref, download=True)


def _draw(folder: Path, every: bool = False) -> None:
    from flipbench.execution.progress import counted
    from flipbench.report import write as report

    known = report.read(folder)
    files = report.write(folder, known, every)
    typer.echo(report.summary_text(folder, known=known, every=every))
    for kind in sorted({f.parent for f in files}):
        typer.echo(f"{counted(sum(f.parent == kind for f in files), 'file')} in {kind}")


def _command() -> str:
    """The command as the user gave it, for the record."""
    return shlex.join(["flipbench", *sys.argv[1:]])


if __name__ == "__main__":
    main()
