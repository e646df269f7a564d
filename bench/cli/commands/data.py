"""``flipbench data``: describes a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flipbench.cli.options import user_path
from flipbench.system import signals


def data(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a data set, like ham10000.")],
    path: Annotated[
        Path | None, typer.Option(metavar="P", parser=user_path, help="File or folder that holds it.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Download the data set and check its checksums.")
    ] = False,
) -> None:
    """Describe a data set: shape, classes, counts, hash, split."""
    from flipbench.data import describe
    from flipbench.execution import cell_trials
    from flipbench.spec.reference import parse

    reference = parse(name)
    if path is not None:
        reference = reference.with_option("path", str(path))
    with signals.in_order():
        cell_trials.load([str(reference)])
        description = describe(str(reference), download=download)
    typer.echo(str(description))
