"""Data sets by name: `load`, their content hash for the key of a cell, and what ``flipbench data NAME`` shows.

A data set is a function with keyword-only options that returns a `Dataset`; an installed package or a loose file can
offer one. Reading is one thing and fetching another: nothing is downloaded unless ``download=True``.

Read by authors of data sets and partitions. To extend: a data set is a module in `readers` and a line in the table of
`shipped`, a partition is a function in `partitions`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from flipbench.data import checksums
from flipbench.data.dataset import Dataset, shortened
from flipbench.data.files import whole_data
from flipbench.data.input_shape import InputShape
from flipbench.data.shipped import SHIPPED, Shipped
from flipbench.errors import UserError
from flipbench.plugins import guard, registry, source_hashes
from flipbench.plugins.definitions import kind_of
from flipbench.spec.reference import CODE, Reference, parse
from flipbench.system import exception_text
from flipbench.system.signals import is_users

__all__ = [
    "DATASETS",
    "Dataset",
    "Description",
    "absent",
    "class_names",
    "content_hash",
    "describe",
    "forget",
    "load",
    "shortened",
]


DATASETS: Mapping[str, Callable[..., Dataset]] = MappingProxyType({name: one.load for name, one in SHIPPED.items()})


def class_names(ref: str) -> tuple[str, ...] | None:
    """Names of the classes of a shipped data set; its files are read only where nothing else tells.

    Args:
        ref: like ``emnist(by=letters)``.

    Returns:
        None for a data set of a plug-in, and where the files that would tell are not here or cannot be used.
    """
    if (shipped := _ours(reference := _named(ref))) is None:
        return None
    try:
        if shipped.classes is not None:
            return shipped.classes(reference.options)
        return load(ref).classes
    except UserError:
        return None


def load(ref: str, *, download: bool = False) -> Dataset:
    """The data set that a reference names; a process reads the same content once, so it is never to be written into.

    Args:
        ref: like ``mnist(train=5000)``.
        download: fetch the files if no place holds them (where docs/data.md says that it can be).

    Raises:
        UserError: unknown name or option; files not found or broken; with what was needed and what to do.
    """
    reference = _checked(ref)
    if (shipped := _ours(reference)) is None:
        return _unchanged(str(reference), source_hashes.source_hash("dataset", ref))
    if download:
        shipped.fetch(reference.options)
    return _unchanged(str(reference), shipped.hash(reference.options))


def absent(ref: str) -> str | None:
    """What a reference to one of our data sets names and is not there, without reading anything; None: nothing is.

    Args:
        ref: like ``csv(path='mine.csv', label=outcome)``.
    """
    reference = _named(ref)
    shipped = _ours(reference)
    return None if shipped is None else shipped.absent(reference.options)


def forget() -> None:
    """Read every data set again when it is next named."""
    _load.cache_clear()
    whole_data.forget()


def content_hash(ref: str) -> str:
    """SHA-256 of the decompressed content that a reference leads to, for the cell's key; does not parse it.

    Equal to ``load(ref).sha256``. Subset sizes do not enter it.

    Raises:
        UserError: as `load`, but for what only parsing can find.
    """
    reference = _checked(ref)
    shipped = _ours(reference)
    return load(ref).sha256 if shipped is None else shipped.hash(reference.options)


@dataclass(frozen=True)
class Description:
    """Contents and origin of a data set; as text, what ``flipbench data NAME`` prints.

    Attributes:
        reference: as given, in its one spelling.
        shape: of one example: (channels, height, width) of an image.
        levels: of images: the largest pixel value of the scale.
        classes: name, training and test examples of each class, in label order.
        split: origin of the split into training and test, as in `Dataset`.
        sha256: of the content.
        sources: files read.
        notes: what a reader of results should know.
        clients: how many training examples each natural client has, ascending; empty: there are none.
    """

    reference: str
    shape: InputShape
    levels: int
    classes: tuple[tuple[str, int, int], ...]
    split: str
    sha256: str
    sources: tuple[str, ...]
    notes: tuple[str, ...]
    clients: tuple[int, ...] = ()

    def __str__(self) -> str:
        names = max(len("all"), *(len(name) for name, _, _ in self.classes))
        total = ("all", sum(c[1] for c in self.classes), sum(c[2] for c in self.classes))
        rows = [(str(i), *c) for i, c in enumerate(self.classes)] + [("", *total)]
        return "\n".join(
            [
                self.reference,
                _line_of_inputs(self.shape, self.levels),
                *_line_of_clients(self.clients),
                f"  split   {self.split}: {_SPLITS[self.split]}",
                f"  sha256  {self.sha256}",
                *(f"  file    {source}" for source in self.sources),
                *(f"  note    {note}" for note in self.notes),
                f"  {'class':<{names + 3}} {'train':>7} {'test':>7}",
                *(f"  {i:>2} {name:<{names}} {a:>7,} {b:>7,}" for i, name, a, b in rows),
            ]
        )


_SPLITS = {
    "official": "as published",
    "files": "as the files have it",
    "stratified": "our own, by class",
    "lesion": "our own, by class, all images of a lesion on one side",
    "row": "our own, by class and row",
    "client": "our own, a share of each natural client's examples",
}


def _line_of_inputs(shape: InputShape, levels: int) -> str:
    if shape.kind == "image":
        channels, height, width = shape
        return f"  images  {height} x {width}, {channels} channel{'s' * (channels > 1)}, levels 0 to {levels}"
    return f"  inputs  {shape.described}"


def _line_of_clients(sizes: tuple[int, ...]) -> list[str]:
    if not sizes:
        return []
    middle = statistics.median(sizes)
    return [f"  clients {len(sizes):,} natural ones of {sizes[0]:,} to {sizes[-1]:,} examples, median {middle:,g}"]


def describe(ref: str, *, download: bool = False) -> Description:
    """Contents and origin of a data set: shape, classes and counts, content hash, split, files, notes.

    Args:
        ref: like ``ham10000(path='/some/hmnist_28_28_L.csv')``.
        download: fetch the files if no place holds them.

    Raises:
        UserError: as `load`.
    """
    d = load(ref, download=download)
    return Description(
        reference=str(parse(ref)),
        shape=d.shape,
        levels=d.levels,
        classes=tuple((name, a, b) for name, (a, b) in zip(d.classes, d.counts, strict=True)),
        split=d.split,
        sha256=d.sha256,
        sources=d.sources,
        notes=d.notes,
        clients=d.client_sizes,
    )


def _checked(ref: str) -> Reference:
    """The reference, if its name and options are known."""
    reference = _named(ref)
    registry.resolve("dataset", reference)
    return reference


def _named(ref: str) -> Reference:
    """The reference in its full spelling."""
    return registry.links("dataset", ref)[0][1]


def _ours(reference: Reference) -> Shipped | None:
    return SHIPPED[reference.name] if registry.is_shipped("dataset", reference.name) else None


def _unchanged(ref: str, state: str | None) -> Dataset:
    """The data set as it was read; read again where a plug-in that loaded it by itself has written into it."""
    dataset, before = _load(ref, state)
    if checksums.of_dataset(dataset) != before:
        forget()
        dataset, before = _load(ref, state)
    return dataset


@lru_cache(maxsize=4)
def _load(ref: str, state: str | None) -> tuple[Dataset, dict[str, int]]:
    """Read what a reference names, with checksums; ``state`` is the content's hash: a changed file is read again."""
    loader, name = registry.resolve("dataset", ref), CODE.sub("", ref)
    try:
        with guard.foreign(loader, name, draws=True):
            dataset = loader()
    except guard.SideEffectError:
        raise
    except BaseException as error:  # a plug-in may raise anything, sys.exit included
        if is_users(error) or _ours(_named(ref)) is not None:
            raise
        raise UserError(f"data set {name} cannot be loaded: {exception_text.with_line(error)}") from error
    if not isinstance(dataset, Dataset):
        raise UserError(f"data set {name} returned {kind_of(dataset)}: a loader returns a flipbench.Dataset")
    if not guard.is_ours(loader):
        dataset = dataset.copied()  # what a plug-in keeps may change later
    return dataset, checksums.of_dataset(dataset)
