"""Arrays of NumPy, tables of pandas and lists as tensors; labels and natural clients that are names as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flipbench.errors import UserError

_WHOLE = (torch.int8, torch.int16, torch.int32, torch.uint8)
_MOST_SHOWN = 8


def as_examples(given: Any) -> Any:
    """Examples as a tensor: numbers with a point and truth values become float32, signed whole numbers int64.

    uint8 stays. What would become another number (one above float32's largest), and what is no array, a table or a list
    of numbers, is answered as it is, for `array_checks.problem_of_type` to refuse.
    """
    given = as_array(given)
    if isinstance(given, np.ndarray):
        if given.dtype.kind == "f":
            with np.errstate(over="ignore"):
                narrow = given.astype(np.float32)
            return (
                given if _grew(torch.from_numpy(narrow), lambda: np.isfinite(given).all()) else torch.from_numpy(narrow)
            )
        if given.dtype.kind in "ib":
            return torch.from_numpy(given.astype(np.int64 if given.dtype.kind == "i" else np.float32))
        return torch.from_numpy(given.copy()) if given.dtype == np.uint8 else given
    if isinstance(given, Tensor) and given.dtype in (torch.float64, torch.float16, torch.bfloat16, torch.bool):
        return given if _grew(given.float(), lambda: torch.isfinite(given).all()) else given.float()
    return given.long() if isinstance(given, Tensor) and given.dtype in _WHOLE[:3] else given


def _grew(narrow: Tensor, was_finite: Any) -> bool:
    """Whether finite numbers became infinite."""
    return not bool(torch.isfinite(narrow).all()) and bool(was_finite())


def as_numbers(given: Any) -> Any:
    """Labels or clients as an int64 tensor, from whole numbers and truth values; else as they are."""
    given = as_array(given)
    if isinstance(given, np.ndarray) and given.dtype.kind in "iub":
        return torch.from_numpy(given.astype(np.int64))
    return given.long() if isinstance(given, Tensor) and given.dtype in (*_WHOLE, torch.bool) else given


def as_array(given: Any) -> Any:
    """NumPy's array of a table, a column or a list of numbers; everything else as it is."""
    if isinstance(given, list):
        try:
            return np.array(given)
        except ValueError:  # lists of different lengths
            return given
    if not isinstance(given, np.ndarray | Tensor) and hasattr(given, "to_numpy"):  # pandas, Polars
        return given.to_numpy()
    return given


def labelled(given: Sequence[Any], classes: Sequence[str] | None, name: str) -> tuple[list[Any], tuple[str, ...]]:
    """Labels as numbers, and the names of the classes in their order.

    Args:
        given: the labels of one or both sides, whole numbers or names.
        classes: names in label order; None: the numbers that occur, or the names that occur, by their letters.
        name: begins messages.

    Raises:
        UserError: labels that are numbers leave some out, or a label that is a name is no class.
    """
    sides = [as_array(side) for side in given]
    if all(isinstance(side, np.ndarray) and _of_names(side) for side in sides):
        names = [np.array([str(label) for label in side.tolist()]) for side in sides]
        known = tuple(sorted({*np.concatenate(names).tolist()})) if classes is None else tuple(classes)
        place = {label: i for i, label in enumerate(known)}
        for side in names:
            if (other := next((label for label in side.tolist() if label not in place), None)) is not None:
                raise UserError(f"{name}: the label {other!r} is none of the classes {', '.join(known)}")
        return [torch.tensor([place[label] for label in side.tolist()], dtype=torch.int64) for side in names], known
    numbers = [as_numbers(side) for side in sides]
    if classes is not None:
        return numbers, tuple(classes)
    sound = [side for side in numbers if isinstance(side, Tensor) and len(side) and int(side.min()) >= 0]
    number = max((int(side.max()) for side in sound), default=0) + 1
    if len(sound) == len(numbers):
        _refuse_gaps(torch.cat(sound), number, name)
    return numbers, tuple(map(str, range(number)))


def _of_names(side: NDArray[Any]) -> bool:
    """Whether they are texts, also as pandas keeps them."""
    return side.dtype.kind == "U" or (side.dtype.kind == "O" and all(isinstance(label, str) for label in side.flat))


def _refuse_gaps(labels: Tensor, number: int, name: str) -> None:
    """Classes that no example has, which are not named, come from labels that are no numbers from 0.

    Raises:
        UserError: there are some.
    """
    found = labels.unique().tolist()
    if len(found) == number:
        return
    lacking = [str(c) for c in range(number) if c not in {*found}] if number <= 10_000 else []
    few = ", ".join(lacking[:_MOST_SHOWN]) + (", ..." if len(lacking) > _MOST_SHOWN else "")
    said = f"no example has the label {few}" if lacking else f"only {len(found)} different labels occur"
    raise UserError(
        f"{name}: labels run to {number - 1}, and {said}: number the classes from 0, as with "
        f"np.unique(y, return_inverse=True)[1], or give classes, the {number} names, if those classes exist"
    )


def owned(given: Any) -> tuple[Any, tuple[str, ...]]:
    """Natural clients as numbers, and their names where they are names."""
    array = as_array(given)
    if isinstance(array, np.ndarray) and array.ndim == 1 and _of_names(array):
        return numbered(array)
    return as_numbers(array), ()


def numbered(names: Sequence[Any] | NDArray[Any]) -> tuple[Tensor, tuple[str, ...]]:
    """Numbers from 0 for names, in the order of the names, and the names."""
    known, numbers = np.unique(np.asarray(names), return_inverse=True)
    return torch.from_numpy(numbers.reshape(-1).astype(np.int64)), tuple(map(str, known))
