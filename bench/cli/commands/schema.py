"""``flipbench schema``: prints JSON schemas."""

from __future__ import annotations

from typing import Annotated

import typer


def schema(
    paper: Annotated[bool, typer.Option("--paper", help="Print the schema of paper files instead.")] = False,
) -> None:
    """Print the JSON schema of grid files, for editors."""
    from flipbench.grid import schema as grid_schema
    from flipbench.papers import schema as paper_schema

    typer.echo(paper_schema.text() if paper else grid_schema.text(), nl=False)
