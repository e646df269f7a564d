"""HAM10000 in colour: Kaggle's table of 28 x 28, and the images themselves at any size.

The classes, their order and the split by lesion are those of `ham10000`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flipbench.data import file_bytes, ham10000, ham10000_metadata, locations, parse_cache, pixel_csv
from flipbench.data.dataset import Dataset, shortened
from flipbench.data.files import file_kinds, places, whole_data
from flipbench.data.ham10000 import By
from flipbench.data.readers import image_files
from flipbench.errors import UserError

NAME = "hmnist_28_28_RGB.csv"
SIDE = 28
COLUMNS = (*(f"pixel{i:04d}" for i in range(SIDE * SIDE * 3)), "label")
HEADER = ",".join(COLUMNS).encode()
METADATA = ("HAM10000_metadata.csv", "HAM10000_metadata")
PARTS = ("HAM10000_images_part_1", "HAM10000_images_part_2", "HAM10000_images", "images")
ADVICE = (
    "get hmnist_28_28_RGB.csv, or the folders HAM10000_images_part_1 and _2, and HAM10000_metadata.csv from Kaggle "
    "(data set kmader/skin-cancer-mnist-ham10000; it needs a free account, so --download cannot)"
)


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
    file = places.first("ham10000", path, _table_in, needed=NAME, advice=ADVICE)
    beside = ham10000.beside_of(file, metadata, split)
    files = (file, *([beside] if beside else []))
    return shortened(whole_data.whole(_of_table, files, file, beside, split, validation), train, test)


def ham10000_images(
    *,
    path: str | None = None,
    size: int | list[int] = 64,
    metadata: str | None = None,
    split: By = "lesion",
    validation: bool = False,
    train: int | None = None,
    test: int | None = None,
) -> Dataset:
    """HAM10000's images themselves at any size, in colour: folders of JPEG files with HAM10000_metadata.csv.

    Each row of the metadata names an image, its lesion and its diagnosis; the file is looked for in the folder and in
    HAM10000_images_part_1 and _2 below it. Images without a row are left out and noted.

    Args:
        path: folder of the images and the metadata; None: the usual places.
        size: width and height, or [height, width]; the originals are 600 x 450.
        metadata: HAM10000_metadata.csv; None: the one in the folder.
        split: ``lesion``: all images of a lesion on one side; ``row``: each image for itself; ``auto``: by lesion.
        validation: leave the test images out and test on a fifth of the training lesions (rows) instead.
        train: size of a class-stratified subset of the training images; None: all.
        test: the same for the test images.

    Raises:
        UserError: not found, an image of the metadata without a file, or a file that is no image.
    """
    table, folder = places.first(
        "ham10000",
        path,
        lambda place: _folder_in(place, metadata),
        needed=f"{METADATA[0]} and its images",
        advice=ADVICE,
    )
    rows = ham10000_metadata.read(table)
    files, extra = _files(folder, table, rows)
    given = table, rows, files, image_files.sized(size), split, validation, extra
    return shortened(whole_data.whole(_of_images, (table, *files), *given), train, test)


def _table_in(place: Path) -> Path | None:
    if os.path.isfile(place):
        _check_header(place)
        return place
    tables = sorted([*place.glob("*.csv"), *place.glob("*.csv.gz")])
    found = [f for f in tables if f.name.startswith(NAME) or file_bytes.first_line(f) == HEADER]
    if len(found) > 1:
        raise UserError(f"{place} holds {' and '.join(f.name for f in found)}: name the one you mean with path")
    for file in found:
        _check_header(file)
    return found[0] if found else None


def _check_header(file: Path) -> None:
    if (header := file_bytes.first_line(file)) == HEADER:
        return
    needed = f"{NAME}, with the header pixel0000,...,pixel2351,label"
    file_kinds.refuse_no_text(file, "ham10000_colour", needed)
    file_bytes.read(file)  # a damaged gzip file has a message of its own
    if header == ham10000.HEADER:
        raise UserError(
            f"{file} is the 28 x 28 grey table: it is read as data set ham10000, and ham10000_colour reads {NAME}"
        )
    file_kinds.refuse(file, "ham10000_colour", needed)


def _of_table(file: Path, beside: Path | None, split: By, validation: bool) -> Dataset:
    def make() -> pixel_csv.Pixels:
        body = file_bytes.read(file).partition(b"\n")[2]
        return pixel_csv.parse(body, COLUMNS, str(file), first_line=2)

    table = parse_cache.cached(file_bytes.digest(file), len(COLUMNS), make)
    ham10000.check_labels(table[:, -1], file)
    labels = torch.from_numpy(table[:, -1].astype(np.int64))
    by_pixel = torch.from_numpy(np.ascontiguousarray(table[:, :-1])).view(-1, SIDE, SIDE, 3)
    names, notes = None, [*ham10000.count_notes(labels)]
    if beside is None:
        notes.append(ham10000.row_note(split))
    else:
        rows = ham10000_metadata.read(beside)
        ham10000.check_metadata(rows, table[:, -1], beside)
        names = [row.lesion for row in rows]
    sources = (str(file), *([str(beside)] if beside else []))
    images = by_pixel.permute(0, 3, 1, 2).contiguous()
    return _made("ham10000_colour", images, labels, names, validation, notes, sources)


def _folder_in(place: Path, metadata: str | None) -> tuple[Path, Path] | None:
    """The metadata and the folder of the images."""
    if os.path.isfile(place):
        file_kinds.refuse(place, "ham10000_images", f"a folder with {METADATA[0]} and the folders of its images")
    if metadata is not None:
        return locations.expanded(metadata), place
    table = places.file_in(place, *METADATA)
    return None if table is None else (table, place)


def _files(folder: Path, table: Path, rows: Sequence[ham10000_metadata.Row]) -> tuple[tuple[Path, ...], int]:
    """The file of each row, and how many other images there are."""
    known: dict[str, Path] = {}
    for place in (folder, *(folder / part for part in PARTS)):
        if os.path.isdir(place):
            for entry in sorted(place.iterdir()):
                if entry.suffix.lower() in image_files.ENDINGS:
                    known.setdefault(entry.stem, entry)
    files = []
    for row in rows:
        if row.image not in known:
            there = f"{len(known)} images are there" if known else f"no image is in it or in {', '.join(PARTS[:2])}"
            raise UserError(f"{table}, line {row.line}, column image_id: {row.image}.jpg is not in {folder}; {there}")
        files.append(known[row.image])
    return tuple(files), len(known) - len({*files})


def _of_images(
    table: Path,
    rows: Sequence[ham10000_metadata.Row],
    files: Sequence[Path],
    size: tuple[int, int] | None,
    split: By,
    validation: bool,
    extra: int,
) -> Dataset:
    numbers = {name: i for i, name in enumerate(ham10000.CLASSES)}
    for row in rows:
        if row.diagnosis not in numbers:
            known = ", ".join(ham10000.CLASSES)
            raise UserError(f"{table}, line {row.line}, column dx: {row.diagnosis!r} is none of HAM10000's: {known}")
    labels = torch.tensor([numbers[row.diagnosis] for row in rows])
    images = image_files.arrays(files, size, True, "give a size")
    notes = [*ham10000.count_notes(labels)]
    if extra:
        notes.append(f"{extra} images have no row in the metadata and are left out")
    if split == "row":
        notes.append(ham10000.row_note(split))
    names = None if split == "row" else [row.lesion for row in rows]
    return _made("ham10000_images", images, labels, names, validation, notes, (str(table), str(table.parent)))


def _made(
    name: str,
    images: Tensor,
    labels: Tensor,
    lesions: Sequence[str] | None,
    validation: bool,
    notes: list[str],
    sources: tuple[str, ...],
) -> Dataset:
    rows, held = ham10000.divided(labels, lesions, validation)
    if validation:
        notes = [*notes, ham10000.VALIDATION_NOTE]
    return Dataset(
        name=name,
        classes=ham10000.CLASSES,
        train_x=images[rows],
        train_y=labels[rows],
        test_x=images[held],
        test_y=labels[held],
        split="row" if lesions is None else "lesion",
        sources=sources,
        notes=tuple(notes),
    )
