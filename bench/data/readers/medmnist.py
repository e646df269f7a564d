"""MedMNIST: 2-D medical images in NumPy archives, 28, 64, 128 or 224 pixels wide (Yang et al. 2023)."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from flipbench.data import file_bytes
from flipbench.data.dataset import Dataset, shortened
from flipbench.data.files import places, whole_data
from flipbench.data.readers import archives
from flipbench.data.readers.medmnist_facts import SETS, Facts
from flipbench.errors import UserError
from flipbench.spec.suggestions import near

RECORD = "https://zenodo.org/records/10519652/files/"


def file_name(name: str, size: int) -> str:
    """``dermamnist.npz``, ``dermamnist_64.npz``."""
    return f"{name}.npz" if size == 28 else f"{name}_{size}.npz"


def facts(name: str, size: int) -> Facts:
    """What a set is.

    Raises:
        UserError: there is no such set, or none of this size.
    """
    if name == "chestmnist":
        raise UserError(
            "medmnist: an image of chestmnist may have several labels at once, and flipbench takes one a image"
        )
    if name not in SETS:
        raise UserError(f"medmnist has no 2-D set {name!r}{near(name, SETS)}; there are {', '.join(SETS)}")
    if size not in SETS[name].md5:
        raise UserError(f"medmnist: sizes are {', '.join(map(str, SETS[name].md5))}, got {size}")
    return SETS[name]


def medmnist(
    *,
    name: str = "dermamnist",
    size: int = 28,
    path: str | None = None,
    validation: bool = False,
    train: int | None = None,
    test: int | None = None,
) -> Dataset:
    """A 2-D set of MedMNIST, like dermamnist, of any of its sizes, from its NumPy archive.

    Args:
        name: of the set.
        size: width and height of the images: 28, 64, 128 or 224.
        path: the archive, or its folder; None: the usual places, and ~/.medmnist.
        validation: leave the test images out and test on the published validation images: to choose settings by.
        train: size of a class-stratified subset of the training images; None: all.
        test: the same for the test images.

    Raises:
        UserError: not found or broken; another set in its place.
    """
    facts(name, size)
    file = file_name(name, size)
    found = places.first(
        "medmnist",
        path,
        lambda place: _held(place, file),
        needed=file,
        advice=f"get it with 'flipbench data \"medmnist(name={name}, size={size})\" --download', or give its folder: "
        f"medmnist(name={name}, path='/some/folder')",
        more=(Path.home() / ".medmnist",),
    )
    return shortened(whole_data.whole(_read, (found,), found, name, size, validation), train, test)


def _held(place: Path, file: str) -> Path | None:
    if os.path.isfile(place):
        return place
    return place / file if os.path.isfile(place / file) else None


def _read(file: Path, name: str, size: int, validation: bool) -> Dataset:
    known = facts(name, size)
    digest = file_bytes.md5(file)
    other = next((f"{n} of size {s}" for n, f in SETS.items() for s, md5 in f.md5.items() if md5 == digest), None)
    if other is not None and digest != known.md5[size]:
        raise UserError(f"{file} holds {other} of MedMNIST, not {name} of size {size}")
    tested = "val" if validation else "test"
    held = archives.read(
        file, f"medmnist {name}", [f"{s}_{what}" for s in ("train", tested) for what in ("images", "labels")]
    )
    sides = [_side(file, side, held, known, size) for side in ("train", tested)]
    notes = () if digest == known.md5[size] else (f"{file.name} is not the file of MedMNIST 3",)
    left = "test" if validation else "validation"
    return Dataset(
        name=name,
        classes=known.classes,
        train_x=sides[0][0],
        train_y=sides[0][1],
        test_x=sides[1][0],
        test_y=sides[1][1],
        split="files" if notes else "official",
        sources=(str(file),),
        notes=(*notes, f"the published {left} images are left out"),
    )


def _side(file: Path, side: str, held: archives.Held, known: Facts, size: int) -> tuple[Tensor, Tensor]:
    images, labels = held[f"{side}_images"], held[f"{side}_labels"]
    wanted = (size, size) if known.channels == 1 else (size, size, 3)
    if images.dtype.name != "uint8" or images.shape[1:] != wanted:
        sizes = " x ".join(map(str, wanted))
        raise UserError(f"{file}: {side}_images needs uint8 images of {sizes}, got {images.dtype} {images.shape}")
    if labels.dtype.kind not in "iu" or labels.shape not in ((len(images), 1), (len(images),)):
        raise UserError(f"{file}: {side}_labels needs one whole number a image, got {labels.dtype} {labels.shape}")
    x = torch.from_numpy(images).view(len(images), size, size, -1).permute(0, 3, 1, 2).contiguous()
    return x, archives.labels(file, f"{side}_labels", labels, len(known.classes))
