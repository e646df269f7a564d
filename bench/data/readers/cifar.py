"""CIFAR-10 and CIFAR-100: 60,000 colour images of 32 x 32 in 10 or 100 classes (Krizhevsky 2009).

Read are the Python version (pickles, by `restricted_pickle`) and the binary version, as folders, as torchvision keeps
them, or as the archives that are published, which need not be unpacked. Both hold the same images in the same order,
and give the same content hash.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from flipbench.data import file_bytes
from flipbench.data.dataset import Dataset, shortened
from flipbench.data.files import file_kinds, places, restricted_pickle, whole_data
from flipbench.data.readers import cifar_classes
from flipbench.errors import UserError

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Version:
    """One of the forms in which a release is published.

    Attributes:
        folder: that the archive holds.
        train, test: names of the files.
        archive: its name.
        archive_md5: as the authors publish it.
        md5: of the files, where they are known.
    """

    folder: str
    train: tuple[str, ...]
    test: str
    archive: str
    archive_md5: str
    md5: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """All files, training first."""
        return (*self.train, self.test)


@dataclass(frozen=True)
class Release:
    """One of the two data sets.

    Attributes:
        name: as grids name it.
        python, binary: its two forms.
        labels: of each binary record, the labels before the pixels, by the names of the Python version.
        classes: names by label name.
        other: the name of the other release.
    """

    name: str
    python: Version
    binary: Version
    labels: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]] = field(hash=False)
    other: str

    @property
    def advice(self) -> str:
        """How to get it."""
        return (
            f"get it with 'flipbench data {self.name} --download', or give the folder of torchvision, of the files or "
            f"of the archive: {self.name}(path='/some/folder')"
        )


# MD5 of the archives: www.cs.toronto.edu/~kriz/cifar.html; of the Python version's files: torchvision's cifar.py.
CIFAR10 = Release(
    name="cifar10",
    python=Version(
        "cifar-10-batches-py",
        tuple(f"data_batch_{i}" for i in range(1, 6)),
        "test_batch",
        "cifar-10-python.tar.gz",
        "c58f30108f718f92721af3b95e74349a",
        (
            "c99cafc152244af753f735de768cd75f",
            "d4bba439e000b95fd0a9bffe97cbabec",
            "54ebc095f3ab1f0389bbae665268c751",
            "634d18415352ddfa80567beed471001a",
            "482c414d41f54cd18b22e5b47cb7c3cb",
            "40351d587109b95175f43aff81a1287e",
        ),
    ),
    binary=Version(
        "cifar-10-batches-bin",
        tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        "test_batch.bin",
        "cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
    ),
    labels=("labels",),
    classes={"labels": cifar_classes.TEN},
    other="cifar100",
)
CIFAR100 = Release(
    name="cifar100",
    python=Version(
        "cifar-100-python",
        ("train",),
        "test",
        "cifar-100-python.tar.gz",
        "eb9058c3a382ffc7106e4002c42a8d85",
        ("16019d7e3df5f24257cddd939b257f8d", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
    ),
    binary=Version(
        "cifar-100-binary", ("train.bin",), "test.bin", "cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"
    ),
    labels=("coarse_labels", "fine_labels"),
    classes={"fine_labels": cifar_classes.FINE, "coarse_labels": cifar_classes.COARSE},
    other="cifar10",
)


def cifar10(*, path: str | None = None, train: int | None = None, test: int | None = None) -> Dataset:
    """CIFAR-10: 50,000 and 10,000 colour images, 32 x 32, 10 classes; Python or binary version, or an archive of it.

    Args:
        path: the folder of the files, of the archive, or of torchvision; None: the usual places.
        train: size of a class-stratified subset of the training images; None: all.
        test: the same for the test images.

    Raises:
        UserError: not found, incomplete or broken; CIFAR-100 in its place.
    """
    return shortened(_whole(CIFAR10, path, "labels"), train, test)


def cifar100(
    *,
    path: str | None = None,
    labels: Literal["fine", "coarse"] = "fine",
    train: int | None = None,
    test: int | None = None,
) -> Dataset:
    """CIFAR-100: 50,000 and 10,000 colour images, 32 x 32, 100 classes in 20 groups; Python or binary version.

    Args:
        path: the folder of the files, of the archive, or of torchvision; None: the usual places.
        labels: ``fine`` for the 100 classes, ``coarse`` for the 20 groups.
        train: size of a class-stratified subset of the training images; None: all.
        test: the same for the test images.

    Raises:
        UserError: not found, incomplete or broken; CIFAR-10 in its place.
    """
    return shortened(_whole(CIFAR100, path, f"{labels}_labels"), train, test)


@dataclass(frozen=True)
class _Found:
    """A version on this machine: its folder, or the archive."""

    version: Version
    place: Path

    @property
    def packed(self) -> bool:
        return self.place.name == self.version.archive

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.place,) if self.packed else tuple(self.place / part for part in self.version.parts)


def _whole(release: Release, path: str | None, label: str) -> Dataset:
    found = places.first(
        release.name,
        path,
        lambda place: _held(release, place),
        needed=f"{release.python.folder}, {release.binary.folder}, or the archive of one of them",
        advice=release.advice,
        inside=(release.python.folder, release.binary.folder),
    )
    return whole_data.whole(_read, found.files, release, found, label)


def _held(release: Release, place: Path) -> _Found | None:
    """The version that a folder or an archive holds."""
    other = CIFAR100 if release is CIFAR10 else CIFAR10
    theirs = [name for v in (other.python, other.binary) for name in (v.folder, v.archive, *v.parts)]
    ours = [name for v in (release.python, release.binary) for name in v.parts]
    if place.name in theirs and (place.name not in ours) and (os.path.isfile(place) or _complete(other, place)):
        raise UserError(
            f"{place} is of {other.name}, and {release.name} reads {release.python.folder} or another form of it"
        )
    for version in (release.python, release.binary):
        if os.path.isfile(place):
            if place.name == version.archive:
                return _Found(version, place)
            if place.name in version.parts:
                return _held(release, place.parent)
            continue
        there = [part for part in version.parts if os.path.isfile(place / part)]
        if len(there) == len(version.parts):
            return _Found(version, place)
        if there and (len(there) > 1 or version.folder == place.name):
            lacking = ", ".join(part for part in version.parts if part not in there)
            raise UserError(
                f"{place} holds {len(there)} of the {len(version.parts)} files of {release.name}; it lacks {lacking}"
            )
        if os.path.isfile(place / version.archive):
            return _Found(version, place / version.archive)
    if os.path.isfile(place):
        file_kinds.refuse(place, release.name, f"{release.python.folder} or {release.binary.folder}")
    return None


def _complete(release: Release, folder: Path) -> bool:
    """Whether a folder has all files of a version of the release."""
    versions = (release.python, release.binary)
    return any(all(os.path.isfile(folder / part) for part in version.parts) for version in versions)


def _read(release: Release, found: _Found, label: str) -> Dataset:
    version = found.version
    contents = (
        _members(release, found) if found.packed else {p: file_bytes.read(found.place / p) for p in version.parts}
    )
    parse = _of_pickle if version is release.python else _of_binary
    sides = [
        parse(release, contents[part], label, f"{found.place}: {part}" if found.packed else str(found.place / part))
        for part in version.parts
    ]
    train_x, train_y = (torch.cat([side[i] for side in sides[:-1]]) for i in (0, 1))
    official, note = _official(found, contents)
    return Dataset(
        name=release.name,
        classes=release.classes[label],
        train_x=train_x,
        train_y=train_y,
        test_x=sides[-1][0],
        test_y=sides[-1][1],
        split="official" if official else "files",
        sources=tuple(map(str, found.files)),
        notes=(note,) if note else (),
    )


def _official(found: _Found, contents: Mapping[str, bytes]) -> tuple[bool, str | None]:
    """Whether the files are those of the release, and what to say where they are not known to be."""
    version = found.version
    if found.packed and file_bytes.md5(found.place) == version.archive_md5:
        return True, None
    if version.md5:
        unlike = [p for p, known in zip(version.parts, version.md5, strict=True) if _md5(contents[p]) != known]
        return not unlike, f"{', '.join(unlike)}: not as in the release" if unlike else None
    return (
        False,
        "no checksums are published for the unpacked files of the binary version, so they are taken as they are",
    )


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _members(release: Release, found: _Found) -> dict[str, bytes]:
    """The files of an archive, read without unpacking it."""
    wanted = {f"{found.version.folder}/{part}": part for part in found.version.parts}
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(found.place, "r:*") as archive:
            for member in archive:
                part = wanted.get(member.name.removeprefix("./"))
                if part is None or not member.isfile():
                    continue
                if member.size > file_bytes.LIMIT or (file := archive.extractfile(member)) is None:
                    raise UserError(f"{found.place}: {part} is too large to be a file of {release.name}")
                contents[part] = file.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{found.place}: a damaged archive ({error}); get it anew") from error
    if lacking := [part for part in found.version.parts if part not in contents]:
        raise UserError(f"{found.place} lacks {', '.join(lacking)}: it is no archive of {release.name}, or cut off")
    return contents


def _of_pickle(release: Release, content: bytes, label: str, where: str) -> tuple[Tensor, Tensor]:
    if not content.startswith(b"\x80") and not content.startswith(b"("):
        raise UserError(f"{where}: needed is a pickle of {release.name}'s Python version; this is none")
    held: Any = restricted_pickle.loads(content, where)
    if not isinstance(held, dict):
        raise UserError(
            f"{where}: a batch of {release.name} is a mapping with data and {label}, this is a {type(held).__name__}"
        )
    batch = {k.decode("latin1") if isinstance(k, bytes) else k: v for k, v in held.items()}
    if label not in batch and any(k in batch for k in ("labels", "fine_labels")):
        raise UserError(
            f"{where} holds {release.other}, not {release.name}: its labels are called {_label_names(batch)}"
        )
    if "data" not in batch or label not in batch:
        raise UserError(
            f"{where}: a batch of {release.name} has data and {label}, this {', '.join(map(str, batch)) or 'nothing'}"
        )
    pixels, labels = batch["data"], np.asarray(batch[label])
    if not (
        isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == 2 and pixels.shape[1] == _PIXELS
    ):
        came = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise UserError(f"{where}: data needs uint8 of shape (n, {_PIXELS}), got {came}")
    if labels.dtype.kind not in "iu" or labels.shape != pixels.shape[:1]:
        raise UserError(f"{where}: {label} needs {len(pixels)} whole numbers, got {labels.dtype} {labels.shape}")
    return _tensors(pixels, labels, len(release.classes[label]), where)


def _label_names(batch: Mapping[str, Any]) -> str:
    return " and ".join(k for k in batch if isinstance(k, str) and k.endswith("labels"))


def _of_binary(release: Release, content: bytes, label: str, where: str) -> tuple[Tensor, Tensor]:
    size, ahead = _PIXELS + len(release.labels), len(release.labels)
    if not content or len(content) % size:
        other = _PIXELS + 3 - ahead
        if content and len(content) % other == 0:
            raise UserError(
                f"{where} holds {release.other}, not {release.name}: its records have {other} bytes, not {size}"
            )
        raise UserError(
            f"{where}: {len(content):,} bytes are not a multiple of {size}: the file is cut off, get it anew"
        )
    table = np.frombuffer(content, np.uint8).reshape(-1, size)
    return _tensors(table[:, ahead:], table[:, release.labels.index(label)], len(release.classes[label]), where)


def _tensors(pixels: Any, labels: Any, classes: int, where: str) -> tuple[Tensor, Tensor]:
    """``(n, 3, 32, 32)`` uint8 and ``(n,)`` int64."""
    if wrong := [int(row) for row in np.flatnonzero((labels < 0) | (labels >= classes))[:1]]:
        raise UserError(
            f"{where}: label {wrong[0]} (counted from 0) is {int(labels[wrong[0]])}, not one of 0 to {classes - 1}"
        )
    images = torch.from_numpy(np.array(pixels, order="C")).view(-1, 3, 32, 32)
    return images, torch.from_numpy(labels.astype(np.int64))
