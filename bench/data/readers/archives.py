"""NumPy archives (.npz): arrays by their names, without pickles; and ``npz(path)``, a data set of one's own in them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipbench.data import locations
from flipbench.data.dataset import Dataset, Split, shortened
from flipbench.data.files import file_kinds, whole_data
from flipbench.data.own_arrays import labelled, numbered
from flipbench.data.splits import divided
from flipbench.errors import UserError

Held = Mapping[str, NDArray[Any]]
# Names that others use for the same arrays: Keras, MedMNIST, scikit-learn.
_SIDES = (
    ("x_train", "y_train", "x_test", "y_test"),
    ("X_train", "y_train", "X_test", "y_test"),
    ("train_x", "train_y", "test_x", "test_y"),
    ("train_images", "train_labels", "test_images", "test_labels"),
)
_WHOLE = (("x", "y"), ("X", "y"), ("images", "labels"), ("data", "target"))


def npz(
    *,
    path: str,
    classes: list[str] | None = None,
    vocabulary: int | None = None,
    padding: int | None = None,
    channels_last: bool = False,
    held_out: float = 0.2,
    train: int | None = None,
    test: int | None = None,
) -> Dataset:
    """Your own arrays in a NumPy archive: images (uint8), features (floats) or token ids (int64), with labels.

    The archive holds x_train, y_train, x_test and y_test (or train_x, ..., or train_images, ...), or x and y, of which
    a share is held out. It may hold clients, the natural client of each training example; and for token ids vocabulary
    and padding.

    Args:
        path: the archive.
        classes: names in label order; None: the numbers from 0 to the largest label.
        vocabulary: number of token ids; None: as the archive says.
        padding: the id that fills the end of a text; None: as the archive says, if it does.
        channels_last: images are (n, height, width, channels), as TensorFlow keeps them.
        held_out: share of the examples to test on, of each class, or of each natural client where there are any; for
            an archive of x and y.
        train: size of a class-stratified subset of the training examples; None: all.
        test: the same for the test examples.

    Raises:
        UserError: not found or broken; arrays that are no data set.
    """
    file = locations.expanded(path)
    given = (None if classes is None else tuple(classes), vocabulary, padding, channels_last, held_out)
    return shortened(whole_data.whole(_read, (file,), file, *given), train, test)


def read(file: Path, reader: str, names: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
    """Arrays of an archive, by their names.

    Args:
        file: the archive.
        reader: for messages.
        names: the arrays needed; None: all.

    Raises:
        UserError: it is none, is damaged, lacks an array, or an array is of Python's objects.
    """
    if file_kinds.said(file) != "a NumPy archive (.npz)":
        file_kinds.refuse(file, reader, "a NumPy archive (.npz)")
    try:
        with np.load(file, allow_pickle=False) as archive:
            if names is not None and (lacking := [name for name in names if name not in archive.files]):
                raise UserError(
                    f"{file}: {reader} needs {', '.join(lacking)}, and the archive holds {', '.join(archive.files)}"
                )
            return {name: archive[name] for name in (archive.files if names is None else names)}
    except UserError:
        raise
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{file}: a damaged or cut off NumPy archive ({str(error)[:120]}); get it anew") from error
    except ValueError as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            said = "an array of Python objects would have to be unpickled, which runs code: save plain numbers"
        else:
            said = f"a damaged NumPy archive ({str(error)[:120]}); get it anew"
        raise UserError(f"{file}: {said}") from error


def labels(file: Path, name: str, given: NDArray[Any], classes: int | None) -> Tensor:
    """Labels ``(n,)`` int64.

    Raises:
        UserError: no whole numbers, or outside the classes.
    """
    flat = given.reshape(-1) if given.ndim == 2 and given.shape[1] == 1 else given
    if flat.ndim != 1 or flat.dtype.kind not in "iu" or not len(flat):
        raise UserError(f"{file}: {name} needs whole numbers (n,), the labels, got {given.dtype} {given.shape}")
    wrong = flat < 0 if classes is None else (flat < 0) | (flat >= classes)
    if wrong.any():
        row = int(wrong.argmax())
        most = "" if classes is None else f" to {classes - 1}"
        raise UserError(f"{file}: {name}: label {row} (counted from 0) is {flat[row]}, not one of 0{most}")
    return torch.from_numpy(flat.astype(np.int64))


def _read(
    file: Path,
    classes: tuple[str, ...] | None,
    vocabulary: int | None,
    padding: int | None,
    channels_last: bool,
    share: float,
) -> Dataset:
    held = read(file, "npz")
    names = next((n for n in _SIDES if all(name in held for name in n)), None)
    whole = next((n for n in _WHOLE if all(name in held for name in n)), None)
    if names is None and whole is None:
        raise UserError(
            f"{file}: npz needs x_train, y_train, x_test and y_test, or x and y, and it holds {', '.join(held)}"
        )
    y_names = names[1::2] if names else whole[1:] if whole else ()
    ys = [labels(file, name, held[name], None if classes is None else len(classes)) for name in y_names]
    xs = [_examples(held[name], channels_last) for name in (names[::2] if names else whole[:1] if whole else ())]
    for x, y, name in zip(xs, ys, y_names, strict=True):
        if len(x) != len(y):
            raise UserError(f"{file}: {len(y)} labels {name} for {len(x)} examples")
    owners, people = _clients(held)
    split: Split = "files"
    if names is None:
        if not 0 < share < 1:
            raise UserError(f"npz needs held_out above 0 and below 1, got {share}")
        (x,), (y,) = xs, ys
        if owners is not None and len(owners) != len(y):
            raise UserError(f"{file}: clients needs {len(y)} numbers, got {len(owners)}")
        rows, tried = divided(y, owners, share, "npz split")
        xs, ys, split = [x[rows], x[tried]], [y[rows], y[tried]], "stratified" if owners is None else "client"
        owners = None if owners is None else owners[rows]
    if classes is None and "classes" in held:
        classes = tuple(map(str, held["classes"]))
    ys, known = labelled(ys, classes, str(file))
    return Dataset(
        name=str(held["name"]) if "name" in held else file.stem,
        classes=known,
        train_x=xs[0],
        train_y=ys[0],
        test_x=xs[1],
        test_y=ys[1],
        split=_split_of(held, split),
        levels=_number(held, "levels") or 255,
        sources=(str(file),),
        vocabulary=_number(held, "vocabulary") if vocabulary is None else vocabulary,
        padding=_number(held, "padding") if padding is None else padding,
        clients=owners,
        client_names=people,
    )


def _clients(held: Held) -> tuple[Tensor | None, tuple[str, ...]]:
    return (None, ()) if "clients" not in held else numbered(held["clients"])


def _split_of(held: Held, split: Split) -> Split:
    """As the archive says, where `Dataset.as_reference` wrote it."""
    known: tuple[Split, ...] = get_args(Split)
    return next((name for name in known if "split" in held and str(held["split"]) == name), split)


def _number(held: Held, name: str) -> int | None:
    return int(held[name]) if name in held and held[name].size == 1 else None


def _examples(x: NDArray[Any], channels_last: bool) -> Any:
    """Images with their channels in the second place; the rest as it is."""
    if x.dtype == np.uint8 and x.ndim == 3:
        return x[:, None]  # grey images
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if channels_last and x.ndim == 4 else x
