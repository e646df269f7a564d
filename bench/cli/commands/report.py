"""``flipbench report``: draws the tables and figures of a stored grid again, or prints one table."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from flipbench.cli import completion
from flipbench.cli.options import GridFolder, HeadlineChoice
from flipbench.errors import UserError
from flipbench.spec import figure_options
from flipbench.system import signals


def report(
    folder: GridFolder,
    metric: Annotated[
        str | None,
        typer.Option(metavar="METRIC", help="Metric of the table, like accuracy_last5 or source_recall_damage."),
    ] = None,
    rows: Annotated[
        str | None, typer.Option(metavar="FIELD,...", help="Fields down the side of the table; default: aggregator.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(metavar="FIELD,...", help="Fields across its top; default: attack,malicious_fraction."),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(metavar="FIELD=VALUE", help="Use only cells with this value. Repeatable.")
    ] = None,
    headline: HeadlineChoice = None,
    form: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="Format of the table: md, csv, tex or html.")
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(metavar="GRID", help="Take title, labels, headline and figures from this grid file; run nothing."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all-figures", help="Draw all figures of a grid of thousands of cells too, for minutes.")
    ] = False,
    figure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Draw figures with this option, like width=3.3, height=2.5, title=false, caption=false, "
            "font=STIXGeneral or formats=pdf,svg. Repeatable.",
            autocompletion=completion.figure_options,
        ),
    ] = None,
    every_earlier: Annotated[bool, typer.Option("--all-pictures", hidden=True)] = False,  # the option's first name
) -> None:
    """Draw the tables and heatmaps of stored results again. With options, print the one table that they ask for."""
    if not os.path.lexists(folder / "plan.json"):  # anything else that is wrong with it is reported when it is read
        raise UserError(f"{folder} holds no plan.json: give the folder of a grid that was run, like results/label_flip")
    look, of_table = figure_options.of_texts(figure or []), (metric, rows, columns, where or None, form)
    one = any(option is not None for option in of_table)
    if one and (look or every or every_earlier):
        given = "--figure" if look else "--all-figures"
        text = "leave it out, or leave out --metric, --rows, --columns, --where and --format to draw the report"
        raise UserError(f"{given} is of the report's figures, and one table has none: {text}")
    if grid is not None:
        relabel(folder, grid)
    if not one:
        with signals.in_order():
            draw(folder, every or every_earlier, look, headline)
        return
    from flipbench.report.write import chosen

    down, across = _fields("--rows", rows), _fields("--columns", columns)
    text = chosen(folder, metric or "accuracy", down, across, where or [], form or "md", headline)
    typer.echo(text, nl=False)


def relabel(folder: Path, grid: str) -> None:
    """Put title, labels, headline and figures of a grid into the plan of its results.

    Args:
        folder: of the results.
        grid: name or path.

    Raises:
        UserError: the grid has mistakes, or is of another name than the results.
    """
    from flipbench.grid import reader
    from flipbench.store.store import Store

    store, known = Store(folder), reader.read(grid)
    plan = store.read_plan()
    if plan.get("grid") != known.name:
        raise UserError(f"{folder} holds results of the grid {plan.get('grid')}, and {grid} is the grid {known.name}")
    labels = [list(entry) for entry in known.labels]
    drawn = {"figures": list(known.figures), "figure_options": dict(known.figure_options)}
    drawn |= {"headline": str(known.headline)}
    store.write_plan({**plan, "title": known.title, **drawn, "labels": labels})


def draw(folder: Path, every: bool = False, look: Mapping[str, Any] | None = None, headline: str | None = None) -> None:
    """Write the report of a folder, and print its summary and where the files are.

    Args:
        folder: of a grid.
        every: also figures that are left out of large grids.
        look: options of figures in place of the grid's.
        headline: which rounds the numbers are of, in place of the grid's.

    Raises:
        UserError: the folder cannot be read or written.
    """
    from flipbench.execution.progress import counted
    from flipbench.report import write

    typer.echo(f"drawing tables, figures and the report page in {folder}", err=True)
    known = write.read(folder, repairs=True, headline=headline)
    files = write.write(folder, known, every, look)
    typer.echo(write.summary_text(folder, known=known, every=every))
    for kind in sorted({f.parent for f in files} - {folder}):
        typer.echo(f"{counted(sum(f.parent == kind for f in files), 'file')} in {kind}")
    for file in sorted(f for f in files if f.parent == folder):
        typer.echo(f"to be opened in a browser: {file}")


def _fields(option: str, text: str | None) -> list[str]:
    if text is None:
        return []
    fields = [name.strip() for name in text.split(",") if name.strip()]
    if not fields:
        raise UserError(f"{option} needs a field, like aggregator; leave the option out for the default")
    return fields
