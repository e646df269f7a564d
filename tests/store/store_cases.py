"""Where a store keeps a cell, and all files of a folder."""

from __future__ import annotations

from pathlib import Path

from flipbench.store.store import Store


def path_of(store: Store, key: str) -> Path:
    return store.folder / "cells" / key[:2] / f"{key}.json"


def files_under(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
