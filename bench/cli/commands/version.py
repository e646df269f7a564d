"""``flipbench version``: prints versions."""

from __future__ import annotations

import typer


def version() -> None:
    """Print the versions of flipbench, PyTorch, NumPy and Python."""
    import platform
    from importlib import metadata

    for package in ("flipbench", "torch", "numpy"):
        try:
            typer.echo(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            typer.echo(f"{package} (not installed as a package)")
    typer.echo(f"python {platform.python_version()}")
