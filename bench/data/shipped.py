"""The table of data sets that are flipbench's own: how each is loaded, what its classes are, what can be downloaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flipbench.data import downloads, idx, locations, packaged
from flipbench.data.dataset import Dataset
from flipbench.data.downloads import Remote
from flipbench.data.readers import (
    archives,
    cifar,
    csv_table,
    ham10000,
    ham10000_images,
    hugging_face,
    idx_sets,
    image_files,
    leaf_sets,
    medmnist,
    mnist_csv,
    package_tables,
    svhn,
    torchvision_sets,
)

Options = Mapping[str, Any]
SIZES = frozenset({"train", "test"})  # options that choose a subset, after the data were read
PATHS = frozenset({"path", "test_path", "metadata"})  # options that name a file or a folder


def _nothing(options: Options) -> None:
    """There is nothing that can be fetched."""


@dataclass(frozen=True)
class Shipped:
    """A data set of ours.

    Attributes:
        load: the data set with its options.
        classes: in label order, from the options, known without loading anything; None: only loading tells.
        content: the content hash from the options, without parsing; None: that of the whole data set once it is read.
        fetch: downloads what is lacking.
        fills: whether ``path`` is a folder that a download fills, and that need not be there before.
    """

    load: Callable[..., Dataset]
    classes: Callable[[Options], tuple[str, ...]] | None = None
    content: Callable[[Options], str] | None = None
    fetch: Callable[[Options], None] = _nothing
    fills: bool = False

    def absent(self, options: Options) -> str | None:
        """An option that names a file or folder which is not there, in words; None: all are."""
        for name in PATHS & options.keys() if not self.fills else ():
            if isinstance(given := options[name], str) and not os.path.exists(place := locations.expanded(given)):
                return f"{name}={given!r}: there is no file or folder {place.absolute()}"
        return None

    def hash(self, options: Options) -> str:
        """The content hash, which subset sizes do not enter."""
        if self.content is not None:
            return self.content(options)
        return self.load(**{name: value for name, value in options.items() if name not in SIZES}).sha256


def _packaged(load: Callable[..., Dataset], source: packaged.Packaged) -> Shipped:
    return Shipped(load, lambda options: source.classes, lambda options: packaged.content(source))


def _of_idx(load: Callable[..., Dataset], files: idx.Spec) -> Shipped:
    return Shipped(
        load,
        lambda options: files.classes,
        lambda options: idx.content(files, options.get("path")),
        lambda options: downloads.ensure(files, options.get("path")),
    )


def _emnist(options: Options) -> idx.Spec:
    return idx_sets.emnist_spec(options.get("by", "balanced"))


def _fetch_emnist(options: Options) -> None:
    files = _emnist(options)
    members = tuple(f"gzip/{part}.gz" for part in files.parts)
    remote = Remote(idx_sets.ARCHIVE, idx_sets.ARCHIVE_MD5, (idx_sets.ADDRESS,), members)
    downloads.ensure_files("emnist", files.folder, [remote], lambda: idx.find(files, options.get("path")))


def _fetch_by_loading(
    load: Callable[..., Dataset], folder: str, remotes: Callable[[Options], list[Remote]]
) -> Callable[[Options], None]:
    """Downloads where loading finds no files."""
    return lambda options: downloads.ensure_files(folder, folder, remotes(options), lambda: load(**options))


def _cifar(load: Callable[..., Dataset], release: cifar.Release) -> Shipped:
    archive = Remote(release.binary.archive, release.binary.archive_md5, ("https://www.cs.toronto.edu/~kriz/",))
    return Shipped(
        load,
        lambda options: release.classes.get(f"{options.get('labels', 'fine')}_labels") or release.classes["labels"],
        fetch=_fetch_by_loading(load, release.name, lambda options: [archive]),
    )


def _of_svhn(options: Options) -> list[Remote]:
    names = (svhn.TRAIN, svhn.TEST, *([svhn.EXTRA] if options.get("extra") else []))
    return [Remote(name, svhn.MD5[name], svhn.MIRRORS) for name in names]


def _of_medmnist(options: Options) -> list[Remote]:
    name, size = options.get("name", "dermamnist"), options.get("size", 28)
    return [Remote(medmnist.file_name(name, size), medmnist.facts(name, size).md5[size], (medmnist.RECORD,))]


SHIPPED: Mapping[str, Shipped] = {
    "mnist5k": _packaged(packaged.mnist5k, packaged.MNIST5K),
    "mnist": _of_idx(idx_sets.mnist, idx_sets.MNIST),
    "fashion_mnist": _of_idx(idx_sets.fashion_mnist, idx_sets.FASHION_MNIST),
    "ham10000": Shipped(ham10000.load, lambda options: ham10000.CLASSES, ham10000.content),
    "digits": _packaged(packaged.digits, packaged.DIGITS),
    "satellite": Shipped(
        package_tables.satellite,
        lambda options: package_tables.LAND,
        lambda options: package_tables.content_of_satellite(),
    ),
    "fars": Shipped(
        package_tables.fars,
        lambda options: package_tables.SEVERITIES,
        lambda options: package_tables.content_of_fars(),
    ),
    "splice": Shipped(
        package_tables.splice,
        lambda options: package_tables.JUNCTIONS,
        lambda options: package_tables.content_of_splice(),
    ),
    "cifar10": _cifar(cifar.cifar10, cifar.CIFAR10),
    "cifar100": _cifar(cifar.cifar100, cifar.CIFAR100),
    "svhn": Shipped(svhn.svhn, lambda options: svhn.CLASSES, fetch=_fetch_by_loading(svhn.svhn, "svhn", _of_svhn)),
    "emnist": Shipped(
        idx_sets.emnist,
        lambda options: _emnist(options).classes,
        lambda options: idx.content(_emnist(options), options.get("path")),
        _fetch_emnist,
    ),
    "kmnist": _of_idx(idx_sets.kmnist, idx_sets.KMNIST),
    "mnist_csv": Shipped(mnist_csv.mnist_csv, lambda options: mnist_csv.CLASSES),
    "femnist": Shipped(leaf_sets.femnist, lambda options: leaf_sets.CHARACTERS),
    "shakespeare": Shipped(leaf_sets.shakespeare, lambda options: tuple(leaf_sets.LETTERS)),
    "medmnist": Shipped(
        medmnist.medmnist,
        lambda options: medmnist.facts(options.get("name", "dermamnist"), options.get("size", 28)).classes,
        fetch=_fetch_by_loading(medmnist.medmnist, "medmnist", _of_medmnist),
    ),
    "ham10000_colour": Shipped(ham10000.ham10000_colour, lambda options: ham10000.CLASSES),
    "ham10000_images": Shipped(ham10000_images.ham10000_images, lambda options: ham10000.CLASSES),
    "npz": Shipped(archives.npz),
    "csv": Shipped(csv_table.csv),
    "images": Shipped(image_files.images),
    "hf": Shipped(hugging_face.hf),
    "torchvision": Shipped(torchvision_sets.torchvision, fetch=torchvision_sets.download, fills=True),
}
