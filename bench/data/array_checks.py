"""What the arrays of a data set must be; one reason in words for each that is not."""

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
LARGEST = float(np.finfo(np.float32).max)  # of a feature
TOO_LARGE = "is too large for a feature, which is float32 (up to 3.4e38): divide the column, or take its logarithm"
_CHANNELS = (1, 3, 4)  # grey, colour, colour with transparency


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
        return _too_large(x) or f"{NEEDED}, got {_came(x)}{_hint(x)}"
    kind = kind_of(x)
    if kind == "image" and x.ndim != 4:
        return f"images are needed as a uint8 tensor (n, channels, height, width), got shape {tuple(x.shape)}"
    if kind == "features" and x.ndim < 2:
        return f"features are needed as a float32 tensor (n, ...), got shape {tuple(x.shape)}"
    if kind == "tokens" and x.ndim != 2:
        return (
            f"token ids are needed as an int64 tensor (n, length), got shape {tuple(x.shape)}; images are uint8, and "
            "features floats"
        )
    return None


def _came(given: Any) -> str:
    """A type and shape, for messages."""
    return f"{given.dtype} {tuple(given.shape)}" if isinstance(given, Tensor | np.ndarray) else type(given).__name__


def _too_large(x: Any) -> str | None:
    """The first number that float32 cannot hold; None: that is not what is wrong."""
    if isinstance(x, np.ndarray) and x.dtype.kind == "f":
        wide = torch.from_numpy(x.astype(np.float64))
    elif isinstance(x, Tensor) and x.is_floating_point():
        wide = x.double()
    else:
        return None
    row, *place = first(wide.abs() > LARGEST)
    return f"{wide[(row, *place)].item():g} in {_feature(place)} of example {row} (both from 0) {TOO_LARGE}"


def _hint(x: Any) -> str:
    """What to do with what is often given instead."""
    if isinstance(x, tuple | dict):
        return (
            ": several inputs are joined in one row of features, and cut again by the model "
            "(docs/writing_a_model.md, Several inputs)"
        )
    if isinstance(x, list):
        return ": lists of different lengths; fill up short texts with a padding id"
    if hasattr(x, "__getitem__") and hasattr(x, "__len__") and not isinstance(x, np.ndarray | Tensor):
        return ": of a PyTorch Dataset take its tensors, x = torch.stack([x for x, _ in data])"
    if isinstance(x, np.ndarray) and x.dtype.kind in "OUS":
        return ": columns of texts become numbers with pandas.get_dummies(table), or are read by csv(path, label)"
    if isinstance(x, np.ndarray | Tensor):
        return ": features are x.astype('float32') of an array, x.float() of a tensor"
    return ""


def _feature(place: Any) -> str:
    """Where a feature stands in its example."""
    return f"feature {place[0] if len(place) == 1 else tuple(place)}"


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
        hint = ": y.astype('int64') of whole numbers" if isinstance(y, np.ndarray | Tensor) else ""
        return f"labels are needed as an int64 tensor ({examples},), got {_came(y)}{hint}"
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
        return (
            f"whole numbers (int64) are token ids, and token ids need vocabulary, the number of ids, got {vocabulary}; "
            "features are floats: x.astype('float32')"
        )
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
    return (
        f"{int((~sound).sum())} features are not finite; the first is {value} in {_feature(place)} of example {row} "
        "(both from 0): fill in or leave out what is missing"
    )


def problem_of_clients(clients: Any, names: Iterable[str], examples: int) -> str | None:
    """Why they are no natural clients of so many training examples."""
    number = len(tuple(names))
    if clients is None:
        return "client_names without clients: give the client of each training example too" if number else None
    if not (isinstance(clients, Tensor) and clients.dtype == torch.int64 and clients.shape == (examples,)):
        return (
            f"clients are needed as an int64 tensor ({examples},), one number a training example, got {_came(clients)}"
        )
    if int(clients.min()) < 0:
        return f"clients are numbered from 0, got {int(clients.min())}"
    if number and int(clients.max()) >= number:
        return f"clients run to {int(clients.max())}, but there are {number} client_names"
    return None


def first(mask: Tensor) -> tuple[int, ...]:
    """Where a mask with at least one true place is true first."""
    return tuple(int(i) for i in np.unravel_index(int(mask.flatten().int().argmax()), tuple(mask.shape)))
