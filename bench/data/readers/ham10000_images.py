"""HAM10000's images themselves, at any size.

The classes, their order and the split by lesion are those of `ham10000`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from flipbench.data import locations
from flipbench.data.dataset import Dataset, shortened
from flipbench.data.files import file_kinds, places, whole_data
from flipbench.data.readers import ham10000, ham10000_metadata, image_files
from flipbench.data.readers.ham10000 import METADATA, By
from flipbench.errors import UserError

PARTS = ("HAM10000_images_part_1", "HAM10000_images_part_2", "HAM10000_images", "images")
ADVICE = (
    "get the folders HAM10000_images_part_1 and _2, and HAM10000_metadata.csv from Kaggle (data set "
    "kmader/skin-cancer-mnist-ham10000; it needs a free account, so --download cannot)"
)


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
    notes = []
    if extra:
        notes.append(f"{extra} images have no row in the metadata and are left out")
    if split == "row":
        notes.append(ham10000.row_note(split))
    names = None if split == "row" else [row.lesion for row in rows]
    return ham10000.made("ham10000_images", images, labels, names, validation, notes, (str(table), str(table.parent)))
