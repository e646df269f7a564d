"""Checks of a cohort's fields against the updates that they belong to: the one place where weights are validated.

`Cohort.of` makes all of them. Every shipped rule checks the weights first (`aggregators.validation`), and the other
fields that it reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, prod
from typing import Any

import torch
from torch import Tensor

SUMS_TO = 1e-3  # how far from 1 a sum of shares may be: shares may be written with four decimals


def not_a_tensor(updates: object) -> str:
    """The sentence for updates that are no tensor."""
    kind = f"{type(updates).__module__}.{type(updates).__qualname__}".removeprefix("builtins.")
    return (
        f"updates must be a torch tensor (*cells, clients, dim), got {kind}: write "
        "torch.from_numpy(numpy.array(updates)), or call flipbench.aggregate(rule, updates), which takes arrays too"
    )


def check_fields(updates: Tensor, fields: Mapping[str, Any]) -> None:
    """Refuse fields of a cohort, by name, that do not fit the updates ``(*cells, clients, dim)``.

    Raises:
        ValueError: weights that are no shares (`check_weights`), a field of another shape, or a last update or a model
            that is not finite, or a layout of another model.
    """
    check_weights(updates, fields["weights"])
    for name, shape in (("clients", updates.shape[:-1]), ("seeds", updates.shape[:-2])):
        value = fields[name]
        if not isinstance(value, Tensor) or (value.ndim and value.shape != shape):
            raise ValueError(f"the cohort's {name} need the shape {tuple(shape)}, got {_shape_of(value)}")
    for name in {"previous", "model"} & set(fields):
        check_vector(name, fields[name], updates)
    check_layout(fields["layout"], updates.shape[-1])


def check_weights(updates: Tensor, weights: Tensor) -> None:
    """Refuse weights that are not each client's share of the examples.

    Args:
        updates: ``(*cells, clients, dim)``.
        weights: one a client, of 0 or more; those of a cell sum to 1, to `SUMS_TO` or the rounding of half precision.

    Raises:
        ValueError: anything else; says what came and what to do.
    """
    if not isinstance(weights, Tensor) or weights.shape != updates.shape[:-1]:
        shapes = f"{tuple(updates.shape)} and {_shape_of(weights)}"
        raise ValueError(f"updates (*cells, clients, dim) and the cohort's weights (*cells, clients) differ: {shapes}")
    # A few numbers, for which NumPy takes half of the time.
    wide = weights.dtype in (torch.float32, torch.float64) and weights.device.type == "cpu"
    shares = weights.detach().numpy() if wide else weights.detach().double().cpu().numpy()
    totals = shares.sum(-1)
    half = weights.dtype in (torch.float16, torch.bfloat16)
    within = max(SUMS_TO, 2 * torch.finfo(weights.dtype).eps) if half else SUMS_TO
    if shares.min(initial=0.0) >= 0 and abs(totals - 1.0).max(initial=0.0) <= within:
        return
    if not isfinite(shares.sum()):
        raise ValueError("the cohort's weights must be finite numbers, got NaN or infinity: give each client's share")
    if shares.min() < 0:
        raise ValueError(f"the cohort's weights must be 0 or more, got {shares.min():g}: give each client's share")
    total = float(totals.flat[abs(totals - 1.0).argmax()])
    if total == 0:
        raise ValueError(
            "the cohort's weights are all 0: give each client its share of the examples; the shares sum to 1"
        )
    raise ValueError(
        f"the cohort's weights must be shares that sum to 1, got a sum of {total:.6g}: divide by the sum, "
        "weights / weights.sum(-1, keepdim=True)"
    )


def check_vector(name: str, value: Any, updates: Tensor) -> None:
    """Refuse a vector of a cohort that is not ``(*cells, dim)`` or not finite.

    Raises:
        ValueError: says which field.
    """
    shape = (*updates.shape[:-2], updates.shape[-1])
    if not isinstance(value, Tensor) or tuple(value.shape) != shape:
        raise ValueError(f"the cohort's {name} needs the shape (*cells, dim) = {shape}, got {_shape_of(value)}")
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"the cohort's {name} must hold finite numbers, got NaN or infinity")


def check_layout(layout: Any, dim: int) -> None:
    """Refuse a layout that is not that of a model of ``dim`` numbers: its parameters cover them, each once.

    Raises:
        ValueError: says which parameter does not fit.
    """
    how = "give parameter name -> (slice, shape) for every parameter of the flattened model"
    if not isinstance(layout, Mapping):
        raise ValueError(f"the cohort's layout must be a mapping, got a {type(layout).__name__}: {how}")
    for name, place in layout.items():
        match place:
            case (slice(start=int(start), stop=int(stop), step=None | 1), [*shape]) if stop - start == prod(shape):
                pass
            case _:
                raise ValueError(f"the cohort's layout has {name!r} as {place!r}, whose slice and shape differ: {how}")
    edges = sorted((place.start, place.stop) for place, _ in layout.values())
    if [start for start, _ in edges] + [dim] != [0] + [stop for _, stop in edges]:
        raise ValueError(f"the cohort's layout does not cover the {dim} numbers of an update, each once: {how}")


def _shape_of(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else f"a {type(value).__name__}"
