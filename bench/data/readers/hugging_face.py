"""``hf(path)``: a data set saved by Hugging Face's datasets, as Flower Datasets gives them too (extra ``hf``).

Only a saved folder is read (``dataset.save_to_disk``): nothing is downloaded, and no loading script is run.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flipbench.data import locations, own_arrays
from flipbench.data.dataset import Dataset, Split, shortened
from flipbench.data.files import columns, file_kinds, whole_data
from flipbench.data.readers import image_files
from flipbench.data.splits import divided
from flipbench.errors import UserError
from flipbench.spec.suggestions import near

INSTALL = "pip install 'flipbench[hf]'"
_TEST = ("test", "validation", "valid")
_LABELS = ("label", "labels", "fine_label", "target", "character")


def hf(
    *,
    path: str,
    column: str | None = None,
    label: str | None = None,
    client: str | None = None,
    size: int | list[int] | None = None,
    colour: bool | None = None,
    vocabulary: int | None = None,
    padding: int | None = None,
    held_out: float = 0.2,
    train: int | None = None,
    test: int | None = None,
) -> Dataset:
    """A saved folder of Hugging Face's datasets: images, features or token ids, with labels.

    A DatasetDict with train and test (or validation), or one Dataset, of which a share is held out.

    Args:
        path: the folder that save_to_disk wrote.
        column: of the inputs: images, lists of numbers, or lists of token ids. None: the one column of images or lists;
            without any, all columns of numbers together.
        label: the column of labels; None: label, labels, fine_label, target or the one column of classes.
        client: the column that names the natural client of each example; None: there is none.
        size: of images: width and height, or [height, width]; None: as they are.
        colour: of images: 3 channels, or grey; None: as the first image is.
        vocabulary: number of token ids; lists of whole numbers are token ids where it is given.
        padding: the id that fills texts that are shorter than the longest.
        held_out: share to test on, of each class, or of each natural client, where there is one Dataset.
        train: size of a class-stratified subset of the training examples; None: all.
        test: the same for the test examples.

    Raises:
        UserError: datasets is not installed; no such folder or column; values that are no data set.
    """
    folder = locations.expanded(path)
    files = tuple(sorted(p for p in folder.rglob("*") if p.is_file())) if os.path.isdir(folder) else ()
    if not any(p.name in ("dataset_info.json", "dataset_dict.json") for p in files):
        file_kinds.refuse(folder, "hf", "a folder that save_to_disk of Hugging Face's datasets wrote")
    given = column, label, client, image_files.sized(size), colour, vocabulary, padding, held_out
    return shortened(whole_data.whole(_read, files, folder, *given), train, test)


def _read(
    folder: Path,
    column: str | None,
    label: str | None,
    client: str | None,
    size: tuple[int, int] | None,
    colour: bool | None,
    vocabulary: int | None,
    padding: int | None,
    share: float,
) -> Dataset:
    parts = _parts(folder)
    first = parts[0]
    names = first.column_names
    label = _label(folder, first, label)
    for name in filter(None, (column, client)):
        if name not in names:
            raise UserError(f"{folder}: no column {name!r}{near(name, names)}; there are {', '.join(names)}")
    inputs = _inputs(folder, first, column, {label, client})
    xs = [_examples(folder, part, inputs, size, colour, vocabulary, padding) for part in parts]
    if vocabulary is not None and len(xs) == 2 and xs[0].shape[1] != xs[1].shape[1]:
        longest = max(x.shape[1] for x in xs)
        xs = [torch.nn.functional.pad(x, (0, longest - x.shape[1]), value=padding or 0) for x in xs]
    ys, classes = _labels(folder, parts, label)
    owners, people = (None, ()) if client is None else own_arrays.numbered(list(map(str, parts[0][client])))
    split: Split = "files"
    if len(parts) == 1:
        if not 0 < share < 1:
            raise UserError(f"hf needs held_out above 0 and below 1, got {share}")
        rows, tried = divided(ys[0], owners, share, "hf split")
        xs, ys = [xs[0][rows], xs[0][tried]], [ys[0][rows], ys[0][tried]]
        split, owners = ("stratified", None) if owners is None else ("client", owners[rows])
    return Dataset(
        folder.name,
        classes,
        xs[0],
        ys[0],
        xs[1],
        ys[1],
        split=split,
        sources=(str(folder),),
        vocabulary=vocabulary,
        padding=padding,
        clients=owners,
        client_names=people,
    )


def _parts(folder: Path) -> tuple[Any, ...]:
    """The training part, and the test part where there is one."""
    if importlib.util.find_spec("datasets") is None:
        raise UserError(f"hf needs the package datasets, which is not installed here: {INSTALL}")
    import datasets

    try:
        held = datasets.load_from_disk(str(folder))
    except Exception as error:  # a damaged folder may raise almost anything
        said = " ".join(str(error).split())[:200]
        raise UserError(f"{folder} cannot be read by datasets: {said}") from error
    if not isinstance(held, datasets.DatasetDict):
        parts: tuple[Any, ...] = (held,)
    else:
        test = next((held[name] for name in _TEST if name in held), None)
        if "train" not in held:
            raise UserError(f"{folder}: hf needs the part train, and there are {', '.join(held)}")
        parts = (held["train"],) if test is None else (held["train"], test)
    if any(len(part) == 0 for part in parts):
        raise UserError(f"{folder}: a part holds no example")
    return parts


def _label(folder: Path, part: Any, label: str | None) -> str:
    names = part.column_names
    known = [n for n in names if type(part.features[n]).__name__ == "ClassLabel"]
    found = label or next((n for n in _LABELS if n in names), known[0] if len(known) == 1 else None)
    if found is None or found not in names:
        asked = f"no column {label!r}" if label else "no column of labels is known"
        raise UserError(f"{folder}: {asked}; name one with label, there are {', '.join(names)}")
    return found


def _inputs(folder: Path, part: Any, column: str | None, others: set[str | None]) -> list[str]:
    """The columns of the inputs."""
    if column is not None:
        return [column]
    kinds = {n: type(part.features[n]).__name__ for n in part.column_names if n not in others}
    wide = [
        n for n, kind in kinds.items() if kind in ("Image", "List", "Sequence", "LargeList") or kind.startswith("Array")
    ]
    if len(wide) > 1:
        raise UserError(f"{folder}: {' and '.join(wide)} could be the inputs: name one with column")
    numbers = [
        n
        for n, kind in kinds.items()
        if kind == "Value" and part.features[n].dtype.startswith(("int", "float", "uint"))
    ]
    if not wide and not numbers:
        raise UserError(f"{folder}: no column of images, lists or numbers; there are {', '.join(part.column_names)}")
    return wide or numbers


def _examples(
    folder: Path,
    part: Any,
    inputs: Sequence[str],
    size: tuple[int, int] | None,
    colour: bool | None,
    vocabulary: int | None,
    padding: int | None,
) -> Tensor:
    if len(inputs) == 1 and type(part.features[inputs[0]]).__name__ == "Image":
        return _images(folder, part[inputs[0]], size, colour)
    if vocabulary is not None:
        return _tokens(folder, part[inputs[0]], inputs[0], padding)
    try:
        made = [np.asarray(part.with_format("numpy")[name][:], dtype=np.float32) for name in inputs]
    except (TypeError, ValueError) as error:
        said = str(error)[:120]
        raise UserError(f"{folder}, column {' and '.join(inputs)}: needs numbers of one shape ({said})") from error
    return torch.from_numpy(np.stack(made, axis=1) if len(inputs) > 1 or made[0].ndim == 1 else made[0])


def _images(folder: Path, given: Any, size: tuple[int, int] | None, colour: bool | None) -> Tensor:
    arrays: list[Any] = []
    for row, image in enumerate(given):
        if image is None:
            raise UserError(f"{folder}: example {row} (from 0) has no image")
        colour = image.mode not in ("L", "1", "I", "I;16", "F") if colour is None else colour
        arrays.append(image_files.of_image(image, size, colour))
        if arrays[-1].shape != arrays[0].shape:
            one, other = (f"{a.shape[1]} x {a.shape[2]}" for a in (arrays[0], arrays[-1]))
            raise UserError(f"{folder}: example {row} (from 0) is {other} pixels, the first {one}: give a size")
    return torch.from_numpy(np.stack(arrays))


def _tokens(folder: Path, given: Any, column: str, padding: int | None) -> Tensor:
    texts = [np.asarray(text) for text in given]
    longest = max(map(len, texts))
    made = np.full((len(texts), longest), 0 if padding is None else padding, np.int64)
    for row, text in enumerate(texts):
        if text.ndim != 1 or text.dtype.kind not in "iu" or not len(text):
            raise UserError(f"{folder}, column {column}, example {row} (from 0): needs a list of token ids")
        if len(text) < longest and padding is None:
            raise UserError(
                f"{folder}, column {column}, example {row} (from 0): {len(text)} token ids, the longest text has "
                f"{longest}: give padding, the id that fills shorter ones"
            )
        made[row, : len(text)] = text
    return torch.from_numpy(made)


def _labels(folder: Path, parts: Sequence[Any], label: str) -> tuple[list[Tensor], tuple[str, ...]]:
    """Labels of each part, and the names of the classes."""
    feature = parts[0].features[label]
    given = [list(part[label]) for part in parts]
    for values in given:
        if (empty := next((i for i, v in enumerate(values) if v is None), None)) is not None:
            raise UserError(f"{folder}, column {label}, example {empty} (from 0): it has no label")
    if type(feature).__name__ == "ClassLabel":
        names = tuple(feature.names)
        return [torch.tensor(values, dtype=torch.int64) for values in given], names
    classes = columns.in_order(given[0])
    for values in given[1:]:
        if beyond := [str(v) for v in values if str(v) not in classes]:
            raise UserError(f"{folder}, column {label}: {beyond[0]!r} is a class of the test part only")
    return [torch.from_numpy(columns.numbers_of(list(map(str, v)), classes)) for v in given], classes
