"""HAM10000: 10,015 dermatoscopic images of pigmented skin lesions in 7 classes, as Kaggle's CSVs of 28 x 28.

A table is known by its header (``pixel0000 ... pixel0783,label``), not by its name. 7,470 lesions stand behind the
images, so the split is by lesion where the metadata file is at hand: images of one lesion on both sides of a split
make a model look too good. Source: Tschandl, Rosendahl and Kittler 2018, doi:10.1038/sdata.2018.161.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from flipbench.data import file_bytes, locations, parse_cache, pixel_csv
from flipbench.data.dataset import Dataset, shortened
from flipbench.data.files import file_kinds, whole_data
from flipbench.data.readers import ham10000_metadata
from flipbench.data.splits import held_out, held_out_groups
from flipbench.errors import UserError

# In the order of the CSV's label codes. Not alphabetical, and not the order of DermaMNIST (4 mel, 5 nv, 6 vasc).
CLASSES = ("akiec", "bcc", "bkl", "df", "nv", "vasc", "mel")
COUNTS = (327, 514, 1099, 115, 6705, 142, 1113)
METADATA = ("HAM10000_metadata.csv", "HAM10000_metadata.csv.gz", "HAM10000_metadata")
SIDE = 28
SHARE = 0.2  # of each class, held out
VALIDATION_NOTE = "a validation split of the training images, to choose settings by: the test images are left out"

By = Literal["auto", "lesion", "row"]


@dataclass(frozen=True)
class Table:
    """One of the tables of the release that are read here.

    Attributes:
        name: of the data set, as grids name it.
        file: its name; a file so named and not so inside is broken, never passed over.
        channels: of a pixel.
        advice: how to get it.
        sha256: of Kaggle's file; empty: not known.
    """

    name: str
    file: str
    channels: int
    advice: str
    sha256: str = ""

    @property
    def pixels(self) -> int:
        """Columns but the label."""
        return SIDE * SIDE * self.channels

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """In their order."""
        return (*(f"pixel{i:04d}" for i in range(self.pixels)), "label")

    @cached_property
    def header(self) -> bytes:
        """The first line."""
        return ",".join(self.columns).encode()

    @property
    def needed(self) -> str:
        """The header, for messages."""
        return f"the header pixel0000,...,pixel{self.pixels - 1:04d},label"


GREY = Table(
    "ham10000",
    "hmnist_28_28_L.csv",
    1,
    "get hmnist_28_28_L.csv, and HAM10000_metadata.csv for the split by lesion, from Kaggle (data set "
    "kmader/skin-cancer-mnist-ham10000; it needs a free account and has no open link, so --download cannot), put both "
    "into one of these folders, or name it: ham10000(path='/some/hmnist_28_28_L.csv')",
    "52aed5c673c906b8caff1c80a560541ca85ea315fa4baa41296b210576970ecc",
)
COLOUR = Table(
    "ham10000_colour",
    "hmnist_28_28_RGB.csv",
    3,
    "get hmnist_28_28_RGB.csv, and HAM10000_metadata.csv for the split by lesion, from Kaggle (data set "
    "kmader/skin-cancer-mnist-ham10000; it needs a free account, so --download cannot), put both into one of these "
    "folders, or name it: ham10000_colour(path='/some/hmnist_28_28_RGB.csv')",
)
TABLES = (GREY, COLOUR)
RELATIVES = {64: "8 x 8 grey", 64 * 3: "8 x 8 colour"}  # of the same release, by pixels; read by no data set
_SAID = {GREY.pixels: "28 x 28 grey", COLOUR.pixels: "28 x 28 colour", **RELATIVES}


def load(
    *,
    path: str | None = None,
    metadata: str | None = None,
    split: By = "auto",
    validation: bool = False,
    train: int | None = None,
    test: int | None = None,
) -> Dataset:
    """HAM10000: 10,015 images of skin lesions, 28 x 28 grey, 7 classes, split about 80 to 20 by class.

    Args:
        path: the CSV (plain or .gz), or a folder that holds it; None: the usual places.
        metadata: HAM10000_metadata.csv; None: the one beside the CSV, if it is there.
        split: ``lesion`` needs the metadata, ``row`` does not look for them, ``auto`` takes what is there.
        validation: leave the test images out altogether and test on a fifth of the training lesions (rows) instead: to
            choose settings by.
        train: size of a class-stratified subset of the training images; None: all.
        test: the same for the test images.

    Raises:
        UserError: not found or broken, with file, line and column; metadata that contradict the labels.
    """
    file, beside = _locate(GREY, path, metadata, split)
    return shortened(_of_table(GREY, file, beside, split, validation), train, test)


def ham10000_colour(
    *,
    path: str | None = None,
    metadata: str | None = None,
    split: By = "auto",
    validation: bool = False,
    train: int | None = None,
    test: int | None = None,
) -> Dataset:
    """HAM10000 in colour: 10,015 images of skin lesions, 28 x 28, 7 classes, from Kaggle's hmnist_28_28_RGB.csv.

    Args:
        path: the table (plain or .gz), or a folder that holds it; None: the usual places.
        metadata: HAM10000_metadata.csv; None: the one beside the table, if it is there.
        split: ``lesion`` needs the metadata, ``row`` does not look for them, ``auto`` takes what is there.
        validation: leave the test images out and test on a fifth of the training lesions (rows) instead.
        train: size of a class-stratified subset of the training images; None: all.
        test: the same for the test images.

    Raises:
        UserError: not found or broken, with file, line and column; metadata that contradict the labels.
    """
    file, beside = _locate(COLOUR, path, metadata, split)
    files = (file, *([beside] if beside else []))
    given = COLOUR, file, beside, split, validation
    return shortened(whole_data.whole(_of_table, files, *given), train, test)


def content(options: Mapping[str, Any]) -> str:
    """The content hash of `load` without parsing: of the CSV, and of the lesions where the split needs them."""
    file, beside = _locate(GREY, options.get("path"), options.get("metadata"), options.get("split", "auto"))
    return _content(file_bytes.digest(file), beside)


def _of_table(table: Table, file: Path, beside: Path | None, split: By, validation: bool) -> Dataset:
    def make() -> pixel_csv.Pixels:
        numbers = pixel_csv.parse(file_bytes.read(file).partition(b"\n")[2], table.columns, str(file), first_line=2)
        _check_labels(numbers[:, -1], file)
        return numbers

    digest = file_bytes.digest(file)
    numbers = parse_cache.cached(digest, len(table.columns), make)
    _check_labels(numbers[:, -1], file)
    labels = torch.from_numpy(numbers[:, -1].astype(np.int64))
    by_pixel = torch.from_numpy(np.ascontiguousarray(numbers[:, :-1])).view(-1, SIDE, SIDE, table.channels)
    notes, lesions = [], None
    if table.sha256 and digest != table.sha256:
        notes.append(f"the CSV is not byte for byte Kaggle's {table.file}")
    if beside is None:
        notes.append(row_note(split))
    else:
        rows = ham10000_metadata.read(beside)
        _check_metadata(rows, numbers[:, -1], beside)
        lesions = [row.lesion for row in rows]
    sources = (str(file), *([str(beside)] if beside else []))
    # The key of a cell has the hash of the grey file's bytes since before there was another; of colour that of tensors.
    sha256 = _content(digest, beside) if table is GREY else ""
    images = by_pixel.permute(0, 3, 1, 2).contiguous()
    return made(table.name, images, labels, lesions, validation, notes, sources, sha256)


def made(
    name: str,
    images: Tensor,
    labels: Tensor,
    lesions: Sequence[str] | None,
    validation: bool,
    notes: Sequence[str],
    sources: tuple[str, ...],
    sha256: str = "",
) -> Dataset:
    """The data set of images whose labels are known, split by lesion where the lesions are.

    Args:
        name: of the data set.
        images: ``(n, channels, height, width)`` uint8.
        labels: ``(n,)`` int64.
        lesions: the lesion of each image; None: the split is by row.
        validation: test on a part of the training rows; the test rows are on neither side.
        notes: beyond those on counts and on a validation split.
        sources: the files.
        sha256: of the content; empty: of the tensors.
    """
    rows, held = _divided(labels, lesions, "split")
    if validation:
        kept_lesions = None if lesions is None else [lesions[row] for row in rows.tolist()]
        kept, tried = _divided(labels[rows], kept_lesions, "validation split")
        rows, held = rows[kept], rows[tried]
    return Dataset(
        name=name,
        classes=CLASSES,
        train_x=images[rows],
        train_y=labels[rows],
        test_x=images[held],
        test_y=labels[held],
        split="row" if lesions is None else "lesion",
        sha256=sha256,
        sources=sources,
        notes=(*_count_notes(labels), *notes, *([VALIDATION_NOTE] if validation else [])),
    )


def _divided(labels: Tensor, lesions: Sequence[str] | None, purpose: str) -> tuple[Tensor, Tensor]:
    """Rows to train and to test on: by lesion where the lesions' names are known, else by row."""
    if lesions is None:
        return held_out(labels, round(SHARE * len(labels)), f"ham10000 {purpose} by row")
    return held_out_groups(labels, lesions, SHARE, f"ham10000 {purpose} by lesion")


def find(table: Table, path: str | None) -> Path:
    """The file of a table.

    Raises:
        NotFoundError: no place holds it.
        UserError: the path does not, or a folder holds two.
    """
    if path is not None and os.path.isfile(file := locations.expanded(path)):
        return _recognised(table, file)
    folders = locations.given(path, "ham10000") if path is not None else locations.searched("ham10000")
    for folder in folders:
        there = sorted([*folder.glob("*.csv"), *folder.glob("*.csv.gz")]) if os.path.isdir(folder) else []
        found = [
            f for f in there if f.name.removesuffix(".gz") == table.file or _meant(table, file_bytes.first_line(f))
        ]
        if len(found) > 1:
            raise UserError(f"{folder} holds {' and '.join(f.name for f in found)}: name the one you mean with path")
        if found:
            return _recognised(table, found[0])
    if path is not None:
        raise UserError(f"{path} holds no CSV with {table.needed}; {table.advice}")
    raise locations.missing(table.name, folders, table.advice)


def _meant(table: Table, header: bytes) -> bool:
    """Whether it is the right header or a damaged one, which must not be passed over; a relative's is neither."""
    if not header.startswith(b"pixel0000") or (pixels := _pixels(header)) in RELATIVES:
        return False
    if pixels is not None:
        return pixels == table.pixels
    columns = header.count(b",") + 1
    return table is min(TABLES, key=lambda one: abs(len(one.columns) - columns))


def _pixels(header: bytes) -> int | None:
    """How many pixels a table of the release with this header has; None: it is of no such table."""
    names = header.split(b",")
    sound = names[0] == b"pixel0000" and names[-1] == b"label" and len(names) - 1 in _SAID
    return len(names) - 1 if sound else None


def _recognised(table: Table, file: Path) -> Path:
    """The file, if its header is the right one."""
    header = file_bytes.first_line(file)
    if header != table.header:
        needed = f"{table.file}, with {table.needed}"
        if not file_kinds.said(file).endswith("zip archive"):
            file_kinds.refuse_no_text(file, table.name, needed)
        file_bytes.read(file)  # a damaged gzip file or a zip archive has a message of its own
        what = _other_header(table, header) or f"it is {file_kinds.said(file)}"
        raise UserError(f"{file}, line 1: {what}, and {table.name} reads {needed}")
    return file


def _other_header(table: Table, header: bytes) -> str:
    """What is wrong with a header; empty where there is none."""
    names = header.split(b",")
    if not header:
        return ""
    if (pixels := _pixels(header)) not in (None, table.pixels):
        reader = next((f" of the data set {one.name}" for one in TABLES if one.pixels == pixels), "")
        return f"this is the {_SAID[pixels or 0]} table{reader}, with {pixels} pixel columns"
    for number, (name, want) in enumerate(zip(names, table.columns, strict=False), start=1):
        if name != want.encode():
            begins = f", in a table that begins with {pixel_csv.printable(header)}" if number == 1 else ""
            return f"column {number} is {pixel_csv.printable(name)}, not {want}{begins}"
    return f"{len(names)} columns where {len(table.columns)} are needed"


def _locate(table: Table, path: str | None, metadata: str | None, split: By) -> tuple[Path, Path | None]:
    """The CSV, and the metadata where the split is to be by lesion; None: it is by row.

    Raises:
        UserError: they are needed and not there, or given and not needed.
    """
    file = find(table, path)
    if split == "row":
        if metadata is not None:
            raise UserError(f"{table.name}: split='row' makes no use of metadata: leave one of the two out")
        return file, None
    if metadata is not None:
        return file, locations.expanded(metadata)
    for name in METADATA:
        if os.path.isfile(file.parent / name):
            return file, file.parent / name
    if split == "lesion":
        raise UserError(f"split='lesion' needs HAM10000_metadata.csv beside {file}, or named with metadata='...'")
    return file, None


def _check_labels(labels: np.ndarray[Any, np.dtype[np.uint8]], file: Path) -> None:
    """See that the labels of a table are of the seven classes.

    Raises:
        UserError: one is not, with its line.
    """
    if int(labels.max()) >= len(CLASSES):
        row = int((labels >= len(CLASSES)).argmax())
        raise UserError(
            f"{file}, line {row + 2}, column label: needs a label from 0 to {len(CLASSES) - 1}, got {labels[row]}"
        )


def _check_metadata(
    groups: tuple[ham10000_metadata.Row, ...], labels: np.ndarray[Any, np.dtype[np.uint8]], beside: Path
) -> None:
    """Row by row: the diagnosis is the label's class."""
    for row, group in enumerate(groups):
        if row >= len(labels):
            break
        if group.diagnosis != CLASSES[labels[row]]:
            raise UserError(
                f"{beside}, line {group.line}, column dx: {group.diagnosis!r}, but line {row + 2} of the images has "
                f"label {labels[row]}, which is {CLASSES[labels[row]]!r}: the two files do not belong together, "
                "or their rows are not in the same order"
            )
    if len(groups) != len(labels):
        raise UserError(f"{beside}: {len(groups)} rows for {len(labels)} images: the two files do not belong together")


def _content(digest: str, beside: Path | None) -> str:
    if beside is None:
        return digest
    names = "\n".join(row.lesion for row in ham10000_metadata.read(beside))
    return file_bytes.combined(digest, hashlib.sha256(names.encode()).hexdigest())


def row_note(split: By) -> str:
    """What to say of a split by row."""
    why = "as asked" if split == "row" else "no metadata"
    return f"{why}: split by row, so images of one lesion may be on both sides"


def _count_notes(labels: Tensor) -> list[str]:
    """What to say where the classes have other counts than HAM10000's."""
    counts = tuple(torch.bincount(labels, minlength=len(CLASSES)).tolist())
    if counts == COUNTS:
        return []
    pairs = zip(CLASSES, counts, COUNTS, strict=True)
    unlike = ", ".join(f"{name} {got} instead of {known}" for name, got, known in pairs if got != known)
    return [f"class counts differ from those of HAM10000: {unlike}"]
