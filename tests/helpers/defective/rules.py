"""Rules with one well-known defect each, and the property by which the kit must find it."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flipbench.aggregators import Cohort, Infeasible, per_cell
from flipbench.aggregators.validation import guarded


@dataclass(frozen=True)
class Defective:
    """A rule, the property that must fail, what it claims to be, and words that its defect must hold."""

    rule: Any
    property: str
    definition: str | None = None
    words: str = ""

    def __str__(self) -> str:
        return str(getattr(self.rule, "__name__", type(self.rule).__name__))


def _needs(n: int, least: int) -> None:
    if n < least:
        raise Infeasible(f"needs at least {least} clients, got {n}")


def _apart(x: Tensor) -> Tensor:
    around = (x - x[..., :1, :]).double()
    return (around.unsqueeze(-2) - around.unsqueeze(-3)).square().sum(-1)


def _winner(x: Tensor, scores: Tensor) -> Tensor:
    return torch.stack([c[i] for c, i in zip(x.flatten(0, -3), scores.argmin(-1).flatten(), strict=True)])


def _krum(x: Tensor, cohort: Cohort, near: int, power: float = 1.0, itself: bool = False) -> Tensor:
    n, f = x.shape[-2], cohort.byzantine
    _needs(n, 2 * f + 3)
    squares = _apart(x)
    if not itself:
        squares.diagonal(dim1=-2, dim2=-1).fill_(torch.inf)
    scores = (squares.sort(-1).values[..., :near] ** power).sum(-1)
    stack = x if x.ndim > 2 else x.unsqueeze(0)
    return _winner(stack, scores).reshape(*x.shape[:-2], x.shape[-1])


@guarded
def tells_of_others(x: Tensor, cohort: Cohort, /) -> Tensor:
    longest = x.double().norm(dim=-1) >= x.double().norm(dim=-1).median(-1, keepdim=True).values
    cohort.tell_kept(longest)  # and the answer is the median of all
    return x.double().quantile(0.5, dim=-2).to(x)


@guarded
def tells_counts(x: Tensor, cohort: Cohort, /) -> Tensor:
    cohort.tell_kept(torch.ones(x.shape[:-1]))
    return x.double().quantile(0.5, dim=-2).to(x)


@guarded
def krum_one_neighbour_more(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _krum(x, cohort, x.shape[-2] - cohort.byzantine - 1)


@guarded
def krum_unsquared(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _krum(x, cohort, x.shape[-2] - cohort.byzantine - 2, power=0.5)


@guarded
def krum_squared_twice(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _krum(x, cohort, x.shape[-2] - cohort.byzantine - 2, power=2.0)


@guarded
def krum_self_counted(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _krum(x, cohort, x.shape[-2] - cohort.byzantine - 2, itself=True)


@guarded
def krum_cdist(x: Tensor, cohort: Cohort, /) -> Tensor:
    n, f = x.shape[-2], cohort.byzantine
    _needs(n, 2 * f + 3)
    squares = torch.cdist(x, x) ** 2
    scores = squares.sort(-1).values[..., 1 : n - f - 1].sum(-1)
    stack = x if x.ndim > 2 else x.unsqueeze(0)
    return _winner(stack, scores).reshape(*x.shape[:-2], x.shape[-1])


@guarded
def krum_too_few_clients(x: Tensor, cohort: Cohort, /) -> Tensor:
    n, f = x.shape[-2], cohort.byzantine
    _needs(n, f + 3)
    squares = _apart(x)
    squares.diagonal(dim1=-2, dim2=-1).fill_(torch.inf)
    scores = squares.sort(-1).values[..., : n - f - 2].sum(-1)
    stack = x if x.ndim > 2 else x.unsqueeze(0)
    return _winner(stack, scores).reshape(*x.shape[:-2], x.shape[-1])


def krum_nan_wins(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _krum(x, cohort, x.shape[-2] - cohort.byzantine - 2)  # argmin takes a NaN for the least


def _majority(x: Tensor, cohort: Cohort) -> tuple[int, int]:
    n, f = x.shape[-2], cohort.byzantine
    _needs(n, 2 * f + 1)
    return n, f


@guarded
def median_lower(x: Tensor, cohort: Cohort, /) -> Tensor:
    _majority(x, cohort)
    return x.median(dim=-2).values


@guarded
def trimmed_slice(x: Tensor, cohort: Cohort, /) -> Tensor:
    f = _majority(x, cohort)[1]
    return x.sort(dim=-2).values[..., f:-f, :].mean(-2)


@guarded
def trimmed_by_subtraction(x: Tensor, cohort: Cohort, /) -> Tensor:
    n, f = _majority(x, cohort)
    ordered = x.sort(dim=-2).values
    extremes = ordered[..., :f, :].sum(-2) + ordered[..., n - f :, :].sum(-2)
    return (x.sum(-2) - extremes) / (n - 2 * f)


@guarded
def trimmed_clamped(x: Tensor, cohort: Cohort, /) -> Tensor:
    n = x.shape[-2]
    f = min(cohort.byzantine, (n - 1) // 2)
    return x.sort(dim=-2).values[..., f : n - f, :].mean(-2)


def trimmed_cut_down(x: Tensor, cohort: Cohort, /) -> Tensor:
    n, f = x.shape[-2], int(cohort.byzantine)
    _needs(n, 2 * f + 1)
    return x.sort(dim=-2).values[..., f : n - f, :].mean(-2)


@guarded
def trimmed_index_error(x: Tensor, cohort: Cohort, /) -> Tensor:
    n, f = x.shape[-2], cohort.byzantine
    return x.sort(dim=-2).values.unbind(-2)[f + (n - 1) // 2 - f if 2 * f < n else n + f].clone()


def mutates(x: Tensor, cohort: Cohort, /) -> Tensor:
    x[~torch.isfinite(x)] = 0.0
    return _median(x)


def mutates_by_numpy(x: Tensor, cohort: Cohort, /) -> Tensor:
    x.numpy()[..., 0, 0] += 1
    return _median(x)


def mutates_data(x: Tensor, cohort: Cohort, /) -> Tensor:
    cohort.previous.data.mul_(2)
    return _median(x)


def mutates_weights(x: Tensor, cohort: Cohort, /) -> Tensor:
    cohort.weights.div_(2)
    return _median(x)


def mutates_model(x: Tensor, cohort: Cohort, /) -> Tensor:
    cohort.model.zero_()
    return _median(x)


def sets_the_dtype(x: Tensor, cohort: Cohort, /) -> Tensor:
    torch.set_default_dtype(torch.float64)
    return _median(x)


def goes_elsewhere(x: Tensor, cohort: Cohort, /) -> Tensor:
    os.chdir("/")
    return _median(x)


@guarded
def aliases(x: Tensor, cohort: Cohort, /) -> Tensor:
    _needs(x.shape[-2], 1)
    return x[..., 0, :]


def first_counts_more(x: Tensor, cohort: Cohort, /) -> Tensor:
    return (_median(x) * 9 + x[..., 0, :].clamp(-9, 9)) / 10


def _median(x: Tensor) -> Tensor:
    n = x.shape[-2]
    s = x.sort(dim=-2).values
    return (s[..., (n - 1) // 2, :] + s[..., n // 2, :]) / 2


@guarded
def global_torch(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x[..., torch.randperm(x.shape[-2]), :])


@guarded
def global_numpy(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x[..., np.random.permutation(x.shape[-2]), :])


@guarded
def global_python(x: Tensor, cohort: Cohort, /) -> Tensor:
    random.seed(0)
    return _median(x)


_OWN = torch.Generator().manual_seed(1)


@guarded
def own_generator(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x[..., torch.randint(x.shape[-2], (x.shape[-2],), generator=_OWN), :])


@guarded
def wrong_dtype(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x.float())


@guarded
def wrong_shape(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x).unsqueeze(0)


@guarded
def stack_leaks(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x).clamp(-x.abs().mean(), x.abs().mean())  # the mean over all cells


@guarded
def one_matrix_only(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x).reshape(x.shape[1])


def batch_mean_nan(x: Tensor, cohort: Cohort, /) -> Tensor:
    centre = x.mean(dim=-2, keepdim=True)
    return _median(x - centre) + centre.squeeze(-2)


def other_cells_nan(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x) + 0 * x.mean()


@guarded
def fixed_epsilon(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x) / (1 + 1e-3 / x.square().sum((-1, -2)).unsqueeze(-1).clamp(min=1e-9))


@guarded
def half_step(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x) / 2


@guarded
def needs_contiguous(x: Tensor, cohort: Cohort, /) -> Tensor:
    return _median(x.view(*x.shape[:-2], -1).reshape(x.shape))


@guarded
def squares_overflow(x: Tensor, cohort: Cohort, /) -> Tensor:
    n, f = _majority(x, cohort)
    far = (x - x.mean(-2, keepdim=True)).square().sum(-1)  # infinite for everybody beside 1e30
    kept = far.argsort(dim=-1, stable=True)[..., : n - f]
    return x.gather(-2, kept.unsqueeze(-1).expand(*kept.shape, x.shape[-1])).mean(-2)


@guarded
def half_the_bits(x: Tensor, cohort: Cohort, /) -> Tensor:
    _majority(x, cohort)
    kept = x.sort(dim=-2).values
    return _median(kept.half()).to(x.dtype) if x.dtype == torch.float32 else _median(kept)


@dataclass(frozen=True)
class KeepsState:
    """A memory that is changed in place, and known by row number."""

    seen: list[Tensor] = field(default_factory=list)

    def init(self, x: Tensor, cohort: Cohort, /) -> dict[str, Tensor]:
        return {"sum": torch.zeros_like(x)}

    def __call__(self, x: Tensor, cohort: Cohort, state: dict[str, Tensor], /) -> tuple[Tensor, dict[str, Tensor]]:
        state["sum"] += x
        return _median(state["sum"]), state


unpicklable = per_cell(lambda x, cohort: _median(x))

RULES = (
    Defective(krum_one_neighbour_more, "definition", "krum", "n - f - 1 neighbours"),
    Defective(krum_unsquared, "definition", "krum", "not squared"),
    Defective(krum_squared_twice, "definition", "krum", "squared twice"),
    Defective(krum_self_counted, "definition", "krum", "neighbour of its own"),
    Defective(krum_cdist, "translation", None, "n = 26"),
    Defective(krum_too_few_clients, "bounds", "krum", "n >= 5"),
    Defective(krum_nan_wins, "non_finite", None, "sent"),
    Defective(median_lower, "definition", "median", "lower of the two middle values"),
    Defective(trimmed_slice, "bounds", "trimmed_mean", "f = 0"),
    Defective(trimmed_by_subtraction, "malicious", None, "1e+12"),
    Defective(trimmed_clamped, "bounds", None, "f = "),
    Defective(trimmed_cut_down, "bounds", "trimmed_mean", "f = 0.5"),
    Defective(trimmed_index_error, "bounds", "median", "IndexError"),
    Defective(tells_of_others, "kept", None, "of no client that it kept"),
    Defective(tells_counts, "kept", None, "torch.bool of shape"),
    Defective(mutates, "inputs", None, "the updates changed"),
    Defective(mutates_by_numpy, "inputs", None, "the updates changed"),
    Defective(mutates_data, "inputs", None, "cohort.previous changed"),
    Defective(mutates_weights, "inputs", None, "cohort.weights changed"),
    Defective(mutates_model, "inputs", None, "cohort.model changed"),
    Defective(sets_the_dtype, "settings", None, "torch's default dtype"),
    Defective(goes_elsewhere, "settings", None, "the working folder"),
    Defective(aliases, "aliasing", None, "a view of the updates"),
    Defective(first_counts_more, "order"),
    Defective(global_torch, "randomness", None, "torch's"),
    Defective(global_numpy, "randomness", None, "NumPy's"),
    Defective(global_python, "randomness", None, "Python's"),
    Defective(own_generator, "repeatable", None, "the second answer"),
    Defective(wrong_dtype, "form", None, "float64"),
    Defective(wrong_shape, "form", None, "(*cells, dim)"),
    Defective(stack_leaks, "stack", None, "alone"),
    Defective(one_matrix_only, "stack"),
    Defective(batch_mean_nan, "non_finite", None, "nan"),
    Defective(other_cells_nan, "stack", None, "a NaN in cell 1"),
    Defective(fixed_epsilon, "scale", None, "everything times"),
    Defective(half_step, "unanimity"),
    Defective(needs_contiguous, "strides", None, "view"),
    Defective(squares_overflow, "malicious", None, "1e+30"),
    Defective(half_the_bits, "precision"),
    Defective(KeepsState(), "memory"),
    Defective(unpicklable, "pickles"),
)
