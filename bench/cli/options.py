"""Options that several commands share, and what is read from them."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flipbench.cli import completion

if TYPE_CHECKING:
    from flipbench.grid.reader import Grid

DONE, DEFECT, MISTAKE, FAILED, INTERRUPTED = 0, 1, 2, 3, 130  # exit codes


class Device(StrEnum):
    """Where to train."""

    cpu = "cpu"
    cuda = "cuda"


def user_path(text: str) -> Path:
    """A path with ``~`` spelled out: the shell does it in ``--results ~/out``, but not in ``--results=~/out``."""
    return Path(os.path.expanduser(text))


GridName = Annotated[
    str,
    typer.Argument(
        metavar="GRID",
        help="Name of a shipped grid (see flipbench list grid) or a YAML file.",
        autocompletion=completion.grids,
    ),
]
GridFolder = Annotated[
    Path,
    typer.Argument(metavar="DIR", parser=user_path, help="Results folder of one grid, like results/label_flip."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Override a field of the grid; FIELD.OPTION=VALUE sets an option of its value. Repeatable.",
        autocompletion=completion.fields,
    ),
]
Aggregators = Annotated[
    list[str] | None,
    typer.Option(
        "--aggregator",
        metavar="REF",
        help="Add an aggregator to the axis. Repeatable.",
        autocompletion=completion.aggregators,
    ),
]
Results = Annotated[
    Path,
    typer.Option("--results", metavar="DIR", parser=user_path, help="Folder that holds one results folder per grid."),
]
HeadlineChoice = Annotated[
    str | None,
    typer.Option(
        "--headline",
        metavar="HEADLINE",
        help="Which evaluated rounds the numbers are of: last, mean_last(k) or min_last(k); default: as the grid says.",
    ),
]
OnDevice = Annotated[Device | None, typer.Option("--device", help="Train on this device, whatever the grid says.")]
Workers = Annotated[int, typer.Option(min=0, help="Number of worker processes; 0 means one per core.")]
ShowProgress = Annotated[bool, typer.Option("--progress/--no-progress", help="Show progress while cells run.")]


def overrides(sets: Sequence[str] | None, device: Device | None) -> list[str]:
    """The overrides of a grid from ``--set`` and ``--device``, as ``FIELD=VALUE``."""
    return [*(sets or []), *([f"device={device.value}"] if device else [])]


def read_grid(
    grid: str,
    sets: Sequence[str] | None,
    aggregators: Sequence[str] | None,
    device: Device | None,
    named: Callable[[str], None] | None = None,
    headline: str | None = None,
) -> Grid:
    """The grid that the options describe.

    Args:
        grid: shipped name or YAML file.
        sets: values of ``--set``.
        aggregators: values of ``--aggregator``.
        device: value of ``--device``.
        named: called with the grid's name as soon as it is known.
        headline: value of ``--headline``.

    Raises:
        UserError: the grid has mistakes; the message holds all of them.
    """
    from flipbench.grid import reader
    from flipbench.spec.distinct_texts import printable

    found = reader.read(grid, overrides(sets, device), aggregators or [], named, headline)
    for text in found.warnings:
        typer.echo(f"warning: {printable(text, 500)}", err=True)
    return found


def command_line() -> str:
    """The command as the user gave it, for the provenance of results."""
    return shlex.join(["flipbench", *sys.argv[1:]])
