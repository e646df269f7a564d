"""Says where the cells of one table were made by different code, libraries or processors, with counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from flipbench.spec.labels import is_nothing

# What numbers depend on beyond keys: low bits at the least. The commit stands for the engine of older records.
DECIDING = ("engine", "python", "torch", "numpy", "numba", "device", "processor", "threads")
_MOST = 4  # different values that a sentence has room for


def sentences(done: pd.DataFrame) -> Iterator[tuple[str, tuple[str, ...]]]:
    """One sentence a fact that differs, and the keys of the cells that are not of the commonest value.

    Args:
        done: rows of finished cells, of `analysis.frame.load`.
    """
    for name in DECIDING:
        column = f"provenance_{name}"
        if column not in done or done.empty:
            continue
        values = done[column].map(lambda value: None if is_nothing(value) else str(value))
        if name == "engine":
            values = values.where(values.notna(), _older(done))
        values = values.fillna("not recorded")
        counts = values.value_counts()
        if len(counts) < 2 or (name != "engine" and set(counts.index) - {"not recorded"} == {counts.index[0]}):
            continue
        said = [f"{count} by {_named(name, value)}" for value, count in counts.items()][:_MOST]
        said += [f"{int(counts.iloc[_MOST:].sum())} by others"] if len(counts) > _MOST else []
        yield (
            f"cells of different {_NOUN.get(name, f'{name} versions')} stand together: {', '.join(said)}",
            tuple(done.loc[values != counts.index[0], "key"]),
        )


_NOUN = {"engine": "code", "device": "devices", "processor": "processors", "threads": "numbers of threads"}


def _named(name: str, value: Any) -> str:
    if name in ("device", "processor", "engine") or value == "not recorded":
        return str(value)
    return f"{value} {name}" if name == "threads" else f"{name} {value}"


def _older(done: pd.DataFrame) -> pd.Series[Any]:
    """Records from before the engine was recorded, by the commit or the version that wrote them."""
    return done.apply(_commit, axis=1) if len(done) else pd.Series(dtype=object)


def _commit(row: Mapping[str, Any]) -> str:
    commit, version = row.get("provenance_commit"), row.get("provenance_flipbench")
    if not is_nothing(commit):
        return f"commit {commit}"
    return "not recorded" if is_nothing(version) else f"flipbench {version}"
