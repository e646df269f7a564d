"""Completion of names in the shell (``flipbench --install-completion``)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_GRIDS = Path(__file__).parents[1] / "grids"


def grids(incomplete: str) -> list[str]:
    """Shipped grids, and YAML files and folders below the working folder."""
    shipped = [] if "/" in incomplete else [path.stem for path in sorted(_GRIDS.glob("*.yaml"))]
    return _beginning([*shipped, *_paths(incomplete, ".yaml")], incomplete)


def aggregators(incomplete: str) -> list[str]:
    """Shipped rules, and Python files below the working folder."""
    from flipbench import aggregators as shipped  # loads PyTorch: about a second

    return _beginning([*shipped.RULES, *_paths(incomplete, ".py")], incomplete)


def fields(incomplete: str) -> list[str]:
    """Fields of a cell, as ``--set`` takes them."""
    from flipbench.spec.cell import FIELDS

    return _beginning([f"{name}=" for name in FIELDS], incomplete)


def figure_options(incomplete: str) -> list[str]:
    """Options of figures, as ``--figure`` takes them."""
    from flipbench.spec.figure_options import NAMES

    return _beginning([f"{name}=" for name in NAMES], incomplete)


def listed(incomplete: str) -> list[str]:
    """What ``flipbench list`` takes: kinds, and the names of all kinds."""
    from flipbench.cli import catalogue, explanations

    return _beginning([*catalogue.KINDS, *explanations.names()], incomplete)


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def _paths(incomplete: str, ending: str) -> list[str]:
    """Folders, and files of one ending, whose path begins with the text."""
    folder, _, _ = incomplete.rpartition("/")
    try:
        entries = sorted(Path(folder or ("/" if incomplete.startswith("/") else ".")).iterdir())
    except OSError:
        return []
    prefix = f"{folder}/" if folder or incomplete.startswith("/") else ""
    return [f"{prefix}{e.name}{'/' if e.is_dir() else ''}" for e in entries if e.is_dir() or e.suffix == ending]
