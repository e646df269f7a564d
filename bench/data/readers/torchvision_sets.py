"""``torchvision:NAME``: image sets of torchvision, where it is installed, read from its own folders.

torchvision checks its files by their checksums; some of them are pickles, which it loads itself. Any class of
torchvision.datasets that tells training from test by ``train`` or ``split`` and gives an image and a label serves.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flipbench.data import locations
from flipbench.data.dataset import Dataset, shortened
from flipbench.data.files import array_cache, whole_data
from flipbench.data.readers import image_files
from flipbench.errors import UserError
from flipbench.spec.suggestions import near
from flipbench.system import exception_text
from flipbench.system.signals import is_users

INSTALL = "install the torchvision that belongs to your PyTorch: pip install torchvision"
_SPLITS = (
    ({"train": True}, {"train": False}),
    ({"split": "train"}, {"split": "test"}),
    ({"split": "train"}, {"split": "val"}),
)


def torchvision(
    *,
    name: str,
    path: str,
    size: int | list[int] | None = None,
    colour: bool | None = None,
    options: dict[str, str] | None = None,
    train: int | None = None,
    test: int | None = None,
) -> Dataset:
    """An image set of torchvision, written ``torchvision:NAME(path='...')``, like torchvision:STL10.

    Args:
        name: of the class in torchvision.datasets.
        path: the folder that torchvision calls root.
        size: width and height, or [height, width]; None: as they are, which must be the same for all.
        colour: 3 channels, or grey; None: as the first image is.
        options: further ones of the class, like {split: letters} of EMNIST.
        train: size of a class-stratified subset of the training images; None: all.
        test: the same for the test images.

    Raises:
        UserError: torchvision is not installed, has no such set, or does not find its files.
    """
    folder = locations.expanded(path)
    kind = _class(name)
    if not os.path.isdir(folder):
        raise UserError(f"torchvision:{name} needs path, the folder that torchvision calls root; {folder} is none")
    files = tuple(sorted(p for p in folder.rglob("*") if p.is_file()))
    given = image_files.sized(size), colour, tuple(sorted((options or {}).items()))
    return shortened(whole_data.whole(_read, files, kind, name, folder, files, *given), train, test)


def download(options: Mapping[str, Any]) -> None:
    """Let torchvision fetch a set into the folder, with its own checksums.

    Raises:
        UserError: it cannot.
    """
    name, folder = str(options.get("name")), locations.expanded(str(options.get("path")))
    for given in _split(name, _class(name)):
        _made(_class(name), name, folder, {**given, **(options.get("options") or {}), "download": True})


def _class(name: str) -> Any:
    if importlib.util.find_spec("torchvision") is None:
        raise UserError(f"torchvision:{name} needs the package torchvision, which is not installed here: {INSTALL}")
    try:
        module = importlib.import_module("torchvision.datasets")
    except BaseException as error:  # one that does not fit this PyTorch may raise anything
        if is_users(error):
            raise
        said = exception_text.with_type(error).partition("\n")[0][:200]
        raise UserError(
            f"torchvision:{name}: torchvision is installed but does not load ({said}); {INSTALL}"
        ) from error
    known = [n for n in getattr(module, "__all__", vars(module)) if isinstance(getattr(module, n, None), type)]
    if name not in known:
        raise UserError(f"torchvision has no data set {name!r}{near(name, known)}; there are {', '.join(known)}")
    kind = getattr(module, name)
    _split(name, kind)
    return kind


def _split(name: str, kind: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options that ask for training and for test images."""
    known = inspect.signature(kind).parameters
    if "root" in known and "train" in known:
        return _SPLITS[0]
    if "root" in known and "split" in known:
        return _SPLITS[2] if "val" in (inspect.getdoc(kind) or "") and "'test'" not in _quotes(kind) else _SPLITS[1]
    raise UserError(
        f"torchvision:{name} cannot be used: it does not tell training from test images by train or split; "
        "images(path) reads a folder for each class"
    )


def _quotes(kind: Any) -> str:
    return (inspect.getdoc(kind) or "").replace('"', "'").replace("`", "'")


def _made(kind: Any, name: str, folder: Path, options: dict[str, Any]) -> Any:
    try:
        return kind(root=str(folder), **options)
    except BaseException as error:  # a class of another package may raise anything
        if is_users(error):
            raise
        said = exception_text.with_type(error).partition("\n")[0][:200]
        raise UserError(f"torchvision:{name} from {folder}: {said}") from error


def _read(
    kind: Any,
    name: str,
    folder: Path,
    files: tuple[Path, ...],
    size: tuple[int, int] | None,
    colour: bool | None,
    options: tuple[tuple[str, Any], ...],
) -> Dataset:
    version = importlib.import_module("torchvision").__version__
    facts = ["torchvision", version, name, str(folder), size, colour, options, whole_data.stamps(files)]
    held = array_cache.cached(facts, lambda: _arrays(kind, name, folder, size, colour, dict(options)))
    return Dataset(
        name=f"torchvision:{name}",
        classes=tuple(map(str, held["classes"])),
        train_x=torch.from_numpy(held["train_x"]),
        train_y=torch.from_numpy(held["train_y"]),
        test_x=torch.from_numpy(held["test_x"]),
        test_y=torch.from_numpy(held["test_y"]),
        split="files",
        sources=(str(folder),),
    )


def _arrays(
    kind: Any, name: str, folder: Path, size: tuple[int, int] | None, colour: bool | None, options: dict[str, Any]
) -> array_cache.Arrays:
    made: dict[str, Any] = {}
    largest = 0
    known: Any = None
    for side, given in zip(("train", "test"), _split(name, kind), strict=True):
        held = _made(kind, name, folder, {**given, **options})
        known = getattr(held, "classes", None) if known is None else known
        arrays, labels = [], []
        for row in range(len(held)):
            try:
                image, label = held[row]
                grey = image.mode in ("L", "1", "I", "F")
            except (TypeError, ValueError, AttributeError) as error:
                raise UserError(
                    f"torchvision:{name}: an example is no image with a label, so it cannot be used"
                ) from error
            colour = not grey if colour is None else colour
            if isinstance(label, bool) or not isinstance(label, int | np.integer):
                raise UserError(
                    f"torchvision:{name}: a label is {type(label).__name__}, and flipbench takes whole numbers"
                )
            arrays.append(image_files.of_image(image, size, colour))
            labels.append(int(label))
            if arrays[-1].shape != arrays[0].shape:
                one, other = (f"{a.shape[1]} x {a.shape[2]}" for a in (arrays[0], arrays[-1]))
                raise UserError(f"torchvision:{name}: image {row} is {other} pixels, the first {one}: give a size")
        made |= {f"{side}_x": np.stack(arrays), f"{side}_y": np.array(labels, dtype=np.int64)}
        largest = max(largest, *labels)
    names = [str(n) for n in known] if known is not None and len(known) > largest else map(str, range(largest + 1))
    return made | {"classes": np.array(list(names))}
