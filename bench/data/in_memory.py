"""Data sets in the memory of this process, one copy for all cells.

Plug-ins are given copies (`plugins.guard`), so nothing here should ever change. Where it did, `forget` makes the next
cell load the data again.
"""

from __future__ import annotations

from functools import lru_cache

from flipbench import data
from flipbench.data.dataset import Dataset

_supplied: dict[str, tuple[Dataset, Dataset]] = {}  # as it came, and the copy of it that cells share


def supply(ref: str, dataset: Dataset) -> None:
    """Use this data set, which came over the wire, wherever a cell names ``ref``."""
    if ref not in _supplied or _supplied[ref][0] is not dataset:
        _supplied[ref] = dataset, dataset.copied()
        dataset_of.cache_clear()


@lru_cache(maxsize=4)
def dataset_of(ref: str, content: str = "") -> Dataset:
    """The data set of this name and content hash, loaded, or supplied over the wire; never to be written into."""
    return _supplied[ref][1] if ref in _supplied else data.load(ref)


def forget() -> None:
    """Load, or copy, every data set again when it is next needed."""
    data.forget()
    _supplied.update({ref: (original, original.copied()) for ref, (original, _) in _supplied.items()})
    dataset_of.cache_clear()
