"""What the arrays of a data set must be, and what is made of NumPy's; one reason in words for each that is not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flipbench.data.input_shape import DTYPES, InputKind

NEEDED = (
    "examples are needed as uint8 images (n, channels, height, width), float32 features (n, ...) or int64 token ids "
    "(n, length)"
)
_WHOLE = (torch.int8, torch.int16, torch.int32, torch.uint8)
_CHANNELS = (1, 3, 4)  # grey, colour, colour with transparency


def as_examples(given: Any) -> Any:
    """NumPy arrays as tensors: floating-point numbers become float32, signed whole numbers int64, uint8 stays.

    Whatever is no such array is answered as it is, for `problem_of_type` to refuse.
    """
    if isinstance(given, np.ndarray):
        if given.dtype.kind == "f":
            with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused
                return torch.from_numpy(given.astype(np.float32))
        if given.dtype.kind == "i":
            return torch.from_numpy(given.astype(np.int64))
        return torch.from_numpy(given.copy()) if given.dtype == np.uint8 else given
    if isinstance(given, Tensor) and given.dtype in (torch.float64, torch.float16, torch.bfloat16):
        return given.float()
    return given.long() if isinstance(given, Tensor) and given.dtype in _WHOLE[:3] else given


def as_numbers(given: Any) -> Any:
    """Labels or clients as an int64 tensor, from whole numbers of NumPy and PyTorch; else as they are."""
    if isinstance(given, np.ndarray) and given.dtype.kind in "iu":
        return torch.from_numpy(given.astype(np.int64))
    return given.long() if isinstance(given, Tensor) and given.dtype in _WHOLE else given


def kind_of(x: Tensor) -> InputKind:
    """What the examples of a sound tensor are, by its type."""
    return DTYPES[x.dtype]


def problem(
    x: Any, y: Any, classes: int, levels: int, vocabulary: int | None = None, padding: int | None = None
) -> str | None:
    """What is wrong with the examples and labels of one side; None: nothing."""
    wrong = problem_of_type(x)
    if wrong is None:
        wrong = problem_of_labels(y, len(x), classes) or problem_of_values(x, levels, vocabulary, padding)
    return wrong


def problem_of_type(x: Any) -> str | None:
    """Why it is no tensor of examples."""
    if not isinstance(x, Tensor) or x.dtype not in DTYPES:
        came = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor | np.ndarray) else type(x).__name__
        return f"{NEEDED}, got {came}"
    kind = kind_of(x)
    if kind == "image" and x.ndim != 4:
        return f"images are needed as a uint8 tensor (n, channels, height, width), got shape {tuple(x.shape)}"
    if kind == "features" and x.ndim < 2:
        return f"features are needed as a float32 tensor (n, ...), got shape {tuple(x.shape)}"
    if kind == "tokens" and x.ndim != 2:
        return f"token ids are needed as an int64 tensor (n, length), got shape {tuple(x.shape)}; images are uint8"
    return None


def channels_last(x: Tensor) -> str | None:
    """Why images seem to have their channels behind; None: they do not."""
    if kind_of(x) != "image" or x.shape[1] in _CHANNELS or x.shape[3] not in _CHANNELS:
        return None
    return (
        f"images are needed as (n, channels, height, width), and {tuple(x.shape)} seems to have the channels last: "
        "x.transpose(0, 3, 1, 2) of an array, x.permute(0, 3, 1, 2) of a tensor"
    )


def problem_of_labels(y: Any, examples: int, classes: int | None) -> str | None:
    """Why they are no labels of so many examples; classes None: any number of classes."""
    if not (isinstance(y, Tensor) and y.dtype == torch.int64 and y.shape == (examples,)):
        came = f"{y.dtype} {tuple(y.shape)}" if isinstance(y, Tensor | np.ndarray) else type(y).__name__
        return f"labels are needed as an int64 tensor ({examples},), got {came}"
    if not examples:
        return "it holds no example"
    if int(y.min()) < 0 or (classes is not None and int(y.max()) >= classes):
        if classes is None:
            return f"labels begin with 0, got {int(y.min())}"
        return f"labels run from {int(y.min())} to {int(y.max())}, but there are {classes} classes"
    return None


def problem_of_values(x: Tensor, levels: int, vocabulary: int | None, padding: int | None) -> str | None:
    """Why a model cannot be given the numbers of the examples."""
    kind = kind_of(x)
    if x.numel() == 0:
        return f"the {'images' if kind == 'image' else 'examples'} are empty: shape {tuple(x.shape)}"
    if kind != "tokens":
        if vocabulary is not None or padding is not None:
            return f"vocabulary and padding are for token ids (int64), and the examples are {x.dtype}"
        return _problem_of_levels(x, levels) if kind == "image" else _problem_of_features(x)
    if vocabulary is None or vocabulary < 1:
        return f"token ids need vocabulary, the number of ids, got {vocabulary}"
    if padding is not None and not 0 <= padding < vocabulary:
        return f"padding is id {padding}, but the vocabulary has ids 0 to {vocabulary - 1}"
    if (low := int(x.min())) < 0 or int(x.max()) >= vocabulary:
        row, column = first(x < 0 if low < 0 else x >= vocabulary)
        return (
            f"token {column} of example {row} (both from 0) is {int(x[row, column])}, but the vocabulary has ids 0 to "
            f"{vocabulary - 1}"
        )
    return None


def _problem_of_levels(x: Tensor, levels: int) -> str | None:
    return f"a pixel is {int(x.max())}, above levels={levels}" if int(x.max()) > levels else None


def _problem_of_features(x: Tensor) -> str | None:
    sound = torch.isfinite(x)
    if bool(sound.all()):
        return None
    row, *place = first(~sound)
    value = x[(row, *place)].item()
    at = place[0] if len(place) == 1 else tuple(place)
    return (
        f"{int((~sound).sum())} features are not finite; the first is {value} in feature {at} of example {row} (both "
        "from 0): fill in or leave out what is missing"
    )


def problem_of_clients(clients: Any, names: Iterable[str], examples: int) -> str | None:
    """Why they are no natural clients of so many training examples."""
    number = len(tuple(names))
    if clients is None:
        return "client_names without clients: give the client of each training example too" if number else None
    if not (isinstance(clients, Tensor) and clients.dtype == torch.int64 and clients.shape == (examples,)):
        came = f"{clients.dtype} {tuple(clients.shape)}" if isinstance(clients, Tensor) else type(clients).__name__
        return f"clients are needed as an int64 tensor ({examples},), one number a training example, got {came}"
    if int(clients.min()) < 0:
        return f"clients are numbered from 0, got {int(clients.min())}"
    if number and int(clients.max()) >= number:
        return f"clients run to {int(clients.max())}, but there are {number} client_names"
    return None


def first(mask: Tensor) -> tuple[int, ...]:
    """Where a mask with at least one true place is true first."""
    return tuple(int(i) for i in np.unravel_index(int(mask.flatten().int().argmax()), tuple(mask.shape)))
