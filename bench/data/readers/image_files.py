"""Image files as arrays: opened by Pillow, brought to one size; and ``images(path)``, a folder for each class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipbench.data import locations
from flipbench.data.dataset import Dataset, Split, shortened
from flipbench.data.files import array_cache, file_kinds, whole_data
from flipbench.data.splits import held_out
from flipbench.errors import UserError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
_TEST = ("test", "val", "valid", "validation")
_LARGEST = 4096


def images(
    *,
    path: str,
    size: int | list[int] | None = None,
    colour: bool = True,
    held_out: float = 0.2,
    train: int | None = None,
    test: int | None = None,
) -> Dataset:
    """Your own image files: a folder for each class, or folders train and test of such folders (as torchvision's).

    Classes are the folders' names, sorted. Images are read by Pillow and, with a size, brought to it (bilinear, with
    antialiasing; the shape may change).

    Args:
        path: the folder.
        size: width and height, or [height, width]; None: as they are, which must be the same for all.
        colour: 3 channels; false: grey.
        held_out: share of each class to test on, where there is no folder test (or val).
        train: size of a class-stratified subset of the training images; None: all.
        test: the same for the test images.

    Raises:
        UserError: not found, a file that is no image, images of several sizes.
    """
    folder, shape = locations.expanded(path), sized(size)
    if not os.path.isdir(folder):
        file_kinds.refuse(folder, "images", "a folder with a folder for each class")
    sides = _sides(folder)
    files = tuple(file for side in sides for _, file in side)
    given = shape, colour, held_out
    return shortened(whole_data.whole(_read, files, folder, sides, *given), train, test)


def sized(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    """Height and width.

    Raises:
        UserError: no one or two numbers from 1 on.
    """
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else (tuple(size) if len(size) == 2 else (0, 0))
    if not (1 <= height <= _LARGEST and 1 <= width <= _LARGEST):
        raise UserError(f"size needs a number from 1 to {_LARGEST}, or [height, width], got {size}")
    return height, width


Labelled = tuple[tuple[str, Path], ...]  # class and file of each image


def _sides(folder: Path) -> tuple[Labelled, ...]:
    """Class and file of each image: of the training and the test side, or of both together."""
    train = folder / "train"
    test = next((folder / name for name in _TEST if os.path.isdir(folder / name)), None)
    if os.path.isdir(train) and test is not None:
        return _classes(train), _classes(test)
    return (_classes(train if os.path.isdir(train) else folder),)


def _classes(folder: Path) -> Labelled:
    found = []
    for of_class in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        files = sorted(p for p in of_class.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
        if not files:
            raise UserError(f"{of_class} holds no image ({', '.join(ENDINGS)}): a folder is a class")
        found += [(of_class.name, file) for file in files]
    if not found:
        raise UserError(f"{folder} holds no folder with images: images needs a folder for each class")
    return tuple(found)


def _read(
    folder: Path, sides: tuple[Labelled, ...], size: tuple[int, int] | None, colour: bool, share: float
) -> Dataset:
    names = tuple(dict.fromkeys(name for name, _ in sides[0]))
    number = {name: i for i, name in enumerate(names)}
    for name, file in sides[-1]:
        if name not in number:
            raise UserError(
                f"{file}: class {name!r} is only on the test side; the training side has {', '.join(names)}"
            )
    x = arrays(
        [file for side in sides for _, file in side], size, colour, "give a size, like images(path=..., size=32)"
    )
    y = torch.tensor([number[name] for side in sides for name, _ in side])
    cut, split = len(sides[0]), "files"
    rows, held = torch.arange(cut), torch.arange(cut, len(y))
    if len(sides) == 1:
        if not 0 < share < 1:
            raise UserError(f"images needs held_out above 0 and below 1, got {share}")
        rows, held = held_out(y, max(1, round(share * len(y))), "images split")
        split = "stratified"
    made: Split = "stratified" if split == "stratified" else "files"
    return Dataset(folder.name, names, x[rows], y[rows], x[held], y[held], split=made, sources=(str(folder),))


def arrays(files: Sequence[Path], size: tuple[int, int] | None, colour: bool, advice: str) -> Tensor:
    """Images ``(n, channels, height, width)`` uint8, kept in the cache folder once they are made.

    Args:
        files: in the order wanted.
        size: height and width; None: as they are.
        colour: 3 channels; False: 1.
        advice: what to do where sizes differ.

    Raises:
        UserError: a file is no image, or they have several sizes.
    """
    import PIL

    facts = ["images", PIL.__version__, size, colour, whole_data.stamps(files)]
    made = array_cache.cached(facts, lambda: {"x": _stacked(files, size, colour, advice)})
    return torch.from_numpy(made["x"])


def _stacked(files: Sequence[Path], size: tuple[int, int] | None, colour: bool, advice: str) -> NDArray[Any]:
    first = _opened(files[0], size, colour)
    out = np.empty((len(files), *first.shape), np.uint8)
    for row, file in enumerate(files):
        image = first if row == 0 else _opened(file, size, colour)
        if image.shape != first.shape:
            one, other = (f"{i.shape[1]} x {i.shape[2]}" for i in (first, image))
            raise UserError(f"{file} is {other} pixels (height x width), {files[0]} is {one}: {advice}")
        out[row] = image
    return out


def _opened(file: Path, size: tuple[int, int] | None, colour: bool) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(file) as image:
            return of_image(image, size, colour)
    except Exception as error:  # Pillow's readers may raise almost anything for a damaged file
        said = " ".join(str(error).split())[:120]
        raise UserError(f"{file} is {file_kinds.said(file)} that cannot be read as an image: {said}") from error


def of_image(image: Any, size: tuple[int, int] | None, colour: bool) -> NDArray[np.uint8]:
    """``(channels, height, width)`` of an image of Pillow."""
    from PIL import Image

    plain = image.convert("RGB" if colour else "L")
    if size is not None and (plain.height, plain.width) != size:
        plain = plain.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    array = np.asarray(plain, np.uint8)
    return array.transpose(2, 0, 1) if colour else array[None]
