"""HAM10000: 10,015 dermatoscopic images of pigmented skin lesions in 7 classes, as Kaggle's 28 x 28 grey CSV.

The file is known by its header (``pixel0000 ... pixel0783,label``), not by its name. 7,470 lesions stand behind the
images, so the split is by lesion where the metadata file is at hand: images of one lesion on both sides of a split
make a model look too good. Source: Tschandl, Rosendahl and Kittler 2018, doi:10.1038/sdata.2018.161.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from flipbench.data import file_bytes, ham10000_metadata, locations, parse_cache, pixel_csv
from flipbench.data.dataset import Dataset, shortened
from flipbench.data.splits import held_out, held_out_groups
from flipbench.errors import UserError

# In the order of the CSV's label codes. Not alphabetical, and not the order of DermaMNIST (4 mel, 5 nv, 6 vasc).
CLASSES = ("akiec", "bcc", "bkl", "df", "nv", "vasc", "mel")
COUNTS = (327, 514, 1099, 115, 6705, 142, 1113)
NAMES = ("hmnist_28_28_L.csv", "hmnist_28_28_L.csv.gz")  # so named and not so inside: broken, never passed over
SIDE = 28
COLUMNS = (*(f"pixel{i:04d}" for i in range(SIDE * SIDE)), "label")
HEADER = ",".join(COLUMNS).encode()
KAGGLE_SHA256 = "52aed5c673c906b8caff1c80a560541ca85ea315fa4baa41296b210576970ecc"
RELATIVES = {28 * 28 * 3: "28 x 28 colour", 64: "8 x 8 grey", 64 * 3: "8 x 8 colour"}  # of the same release, by pixels
SHARE = 0.2  # of each class, held out

ADVICE = (
    "get hmnist_28_28_L.csv, and HAM10000_metadata.csv for the split by lesion, from Kaggle (data set "
    "kmader/skin-cancer-mnist-ham10000; it needs a free account and has no open link, so --download cannot), put both "
    "into one of these folders, or name it: ham10000(path='/some/hmnist_28_28_L.csv')"
)

By = Literal["auto", "lesion", "row"]


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
    file, beside = _locate(path, metadata, split)
    digest = file_bytes.digest(file)
    table = parse_cache.cached(digest, len(COLUMNS), lambda: _table(file))
    check_labels(table[:, -1], file)
    labels = torch.from_numpy(table[:, -1].astype(np.int64))
    images = torch.from_numpy(np.ascontiguousarray(table[:, :-1])).view(-1, 1, SIDE, SIDE)
    notes = [*count_notes(labels)]
    if digest != KAGGLE_SHA256:
        notes.append("the CSV is not byte for byte Kaggle's hmnist_28_28_L.csv")
    names = None
    if beside is None:
        notes.append(row_note(split))
    else:
        groups = ham10000_metadata.read(beside)
        check_metadata(groups, table[:, -1], beside)
        names = [g.lesion for g in groups]
    rows, held = divided(labels, names, validation)
    if validation:
        notes.append(VALIDATION_NOTE)
    whole = Dataset(
        name="ham10000",
        classes=CLASSES,
        train_x=images[rows],
        train_y=labels[rows],
        test_x=images[held],
        test_y=labels[held],
        split="row" if beside is None else "lesion",
        sha256=_content(digest, beside),
        sources=(str(file), *([str(beside)] if beside else [])),
        notes=tuple(notes),
    )
    return shortened(whole, train, test)


def divided(
    labels: torch.Tensor, names: Sequence[str] | None, validation: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows to train and to test on: by lesion where the lesions' names are known, else by row.

    Args:
        labels: ``(n,)`` int64.
        names: of the lesions.
        validation: test on a part of the training rows; the test rows are on neither side.
    """
    rows, held = _divided(labels, names, "split")
    if validation:
        kept_names = None if names is None else [names[row] for row in rows.tolist()]
        kept, tried = _divided(labels[rows], kept_names, "validation split")
        rows, held = rows[kept], rows[tried]
    return rows, held


def _divided(labels: torch.Tensor, names: Sequence[str] | None, purpose: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows to train and to test on: by lesion where the lesions' names are known, else by row."""
    if names is None:
        return held_out(labels, round(SHARE * len(labels)), f"ham10000 {purpose} by row")
    return held_out_groups(labels, names, SHARE, f"ham10000 {purpose} by lesion")


def content(options: Mapping[str, Any]) -> str:
    """The content hash without parsing the pixels: of the CSV, and of the lesions where the split needs them."""
    file, beside = _locate(options.get("path"), options.get("metadata"), options.get("split", "auto"))
    return _content(file_bytes.digest(file), beside)


def find(path: str | None) -> Path:
    """The CSV.

    Raises:
        NotFoundError: no place holds it.
        UserError: the path does not, or a folder holds two.
    """
    if path is not None and os.path.isfile(file := locations.expanded(path)):
        return _recognised(file)
    folders = locations.given(path, "ham10000") if path is not None else locations.searched("ham10000")
    for folder in folders:
        tables = sorted([*folder.glob("*.csv"), *folder.glob("*.csv.gz")]) if os.path.isdir(folder) else []
        found = [f for f in tables if f.name in NAMES or _meant(file_bytes.first_line(f))]
        if len(found) > 1:
            raise UserError(f"{folder} holds {' and '.join(f.name for f in found)}: name the one you mean with path")
        if found:
            return _recognised(found[0])
    if path is not None:
        raise UserError(f"{path} holds no CSV with the header pixel0000,...,pixel0783,label; {ADVICE}")
    raise locations.missing("ham10000", folders, ADVICE)


def _meant(header: bytes) -> bool:
    """Whether it is the right header or a damaged one, which must not be passed over; a relative's is neither."""
    return header.startswith(b"pixel0000") and _relative(header) is None


def _relative(header: bytes) -> str | None:
    """Which other table of the same release has this header."""
    names = header.split(b",")
    return RELATIVES.get(len(names) - 1) if names[0] == b"pixel0000" and names[-1] == b"label" else None


def _recognised(file: Path) -> Path:
    """The file, if its header is the right one."""
    header = file_bytes.first_line(file)
    if header != HEADER:
        file_bytes.read(file)  # a damaged gzip or a zip archive has a message of its own
        raise UserError(f"{file}, line 1: {_other_header(header)}")
    return file


def _locate(path: str | None, metadata: str | None, split: By) -> tuple[Path, Path | None]:
    """The CSV, and the metadata where the split is to be by lesion."""
    file = find(path)
    return file, beside_of(file, metadata, split)


def beside_of(file: Path, metadata: str | None, split: By) -> Path | None:
    """The metadata that belong to a table; None: the split is by row.

    Raises:
        UserError: they are needed and not there, or given and not needed.
    """
    if split == "row":
        if metadata is not None:
            raise UserError("ham10000: split='row' makes no use of metadata: leave one of the two out")
        return None
    if metadata is not None:
        return locations.expanded(metadata)
    for name in ("HAM10000_metadata.csv", "HAM10000_metadata.csv.gz", "HAM10000_metadata"):
        if os.path.isfile(file.parent / name):
            return file.parent / name
    if split == "lesion":
        raise UserError(f"split='lesion' needs HAM10000_metadata.csv beside {file}, or named with metadata='...'")
    return None


def _table(file: Path) -> pixel_csv.Pixels:
    _, _, body = file_bytes.read(file).partition(b"\n")
    table = pixel_csv.parse(body, COLUMNS, str(file), first_line=2)
    check_labels(table[:, -1], file)
    return table


def check_labels(labels: np.ndarray[Any, np.dtype[np.uint8]], file: Path) -> None:
    """See that the labels of a table are of the seven classes.

    Raises:
        UserError: one is not, with its line.
    """
    if int(labels.max()) >= len(CLASSES):
        row = int((labels >= len(CLASSES)).argmax())
        raise UserError(
            f"{file}, line {row + 2}, column label: needs a label from 0 to {len(CLASSES) - 1}, got {labels[row]}"
        )


def check_metadata(
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


VALIDATION_NOTE = "a validation split of the training images, to choose settings by: the test images are left out"


def count_notes(labels: torch.Tensor) -> list[str]:
    """What to say where the classes have other counts than HAM10000's."""
    notes = []
    counts = tuple(torch.bincount(labels, minlength=len(CLASSES)).tolist())
    if counts != COUNTS:
        pairs = zip(CLASSES, counts, COUNTS, strict=True)
        unlike = ", ".join(f"{name} {got} instead of {known}" for name, got, known in pairs if got != known)
        notes.append(f"class counts differ from those of HAM10000: {unlike}")
    return notes


def _other_header(header: bytes) -> str:
    """What is wrong with a header."""
    needed = "needed is the header pixel0000,...,pixel0783,label of hmnist_28_28_L.csv"
    names = header.split(b",")
    if not header:
        return f"the file is empty; {needed}"
    if relative := _relative(header):
        return f"this is the {relative} table, with {len(names) - 1} pixel columns; {needed}"
    for number, (name, want) in enumerate(zip(names, COLUMNS, strict=False), start=1):
        if name != want.encode():
            return f"column {number} is {pixel_csv.printable(name)}, not {want}; {needed}"
    return f"{len(names)} columns where {len(COLUMNS)} are needed; {needed}"
