"""``flipbench serve``: shows the report in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from flipbench.cli.options import GridFolder
from flipbench.system import signals


def serve(
    folder: GridFolder,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 means any that is free.")] = 8417,
) -> None:
    """Show the report in a browser on this machine; it is updated while a run goes on."""
    from flipbench.cli import report_server

    signals.as_python_does()
    report_server.serve(folder, port, typer.echo)
