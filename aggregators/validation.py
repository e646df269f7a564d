"""Checks that every shipped rule makes first: of its cohort and options, and for updates that are not finite.

A row that holds a NaN or an infinity is proof of a faulty or malicious client. It is left out of the cohort, and f
shrinks by the number left out, not below 0; the weights of the rest are scaled to sum to 1 again. The answer is the one
that the rule gives to the remaining rows, each cell of a stack on its own. Where no row is left, the rule is
`Infeasible`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from math import isfinite
from numbers import Integral
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

from flipbench.aggregators.contract import Cohort, Infeasible, Updates, cohort_of_cell

P = ParamSpec("P")
Answer = TypeVar("Answer")  # of a rule an update, of a pre-aggregation updates and cohort
Step = Callable[Concatenate[Updates, Cohort, P], Answer]


def guarded(step: Step[P, Answer]) -> Step[P, Answer]:
    """Make a rule or a pre-aggregation check its cohort and leave out rows that are not finite (see the module's text).

    The cells of a stack must keep equally many rows where a pre-aggregation's answer has to be one stack again;
    otherwise it is `Infeasible`.
    """

    @wraps(step)
    def checked(updates: Updates, cohort: Cohort, /, *args: P.args, **options: P.kwargs) -> Answer:
        check(updates, cohort)
        updates = updates.detach()
        if all_finite(updates):
            return step(updates, cohort, *args, **options)
        finite = torch.isfinite(updates).all(-1)  # (*cells, clients)
        cells = updates.shape[:-2]
        if not cells:
            return step(*keep_rows(updates, cohort, finite), *args, **options)
        flat, kept = one_axis_of_cells(updates), finite.reshape(-1, updates.shape[-2])
        answers = [
            step(*keep_rows(flat[i], cohort_of_cell(cohort, cells, i), kept[i]), *args, **options)
            for i in range(len(flat))
        ]
        together: Answer = _stacked(answers, cells, cohort, kept)
        return together

    return checked


def _stacked(answers: list[Any], cells: tuple[int, ...], cohort: Cohort, kept: Tensor) -> Any:
    """The cells' answers as the answer of their stack; ``kept`` is ``(all cells, clients)`` bool."""
    if isinstance(answers[0], Tensor):
        return torch.stack(answers).reshape(*cells, -1)
    counts = kept.sum(-1)
    if int(counts.min()) < int(counts.max()):
        raise Infeasible(
            f"a stack cannot keep {int(counts.min())} finite updates in one cell and {int(counts.max())} in another: "
            "compose(pre, rule) takes such a stack cell by cell"
        )
    updates = torch.stack([u for u, _ in answers])
    fewer = replace(
        cohort,
        byzantine=answers[0][1].byzantine,
        weights=torch.stack([c.weights for _, c in answers]).reshape(*cells, -1),
        clients=torch.stack([c.clients for _, c in answers]).reshape(*cells, -1),
    )
    return updates.reshape(*cells, *updates.shape[1:]), fewer


def check(updates: Updates, cohort: Cohort) -> None:
    """Refuse updates and cohorts that no rule can work on.

    Raises:
        TypeError: updates that are not floating point, or an f that is not a whole number.
        ValueError: a shape that is not ``(*cells, clients, dim)``, no numbers at all, the cohort of other updates, or
            a negative f.
        Infeasible: no clients.
    """
    if updates.ndim < 2:
        raise ValueError(f"updates must have the shape (*cells, clients, dim), got {tuple(updates.shape)}")
    if not updates.is_floating_point():
        raise TypeError(f"updates must be floating point, got {updates.dtype}: convert them with updates.float()")
    whole_number("byzantine (f)", cohort.byzantine, least=0)
    if updates.shape[-2] == 0:
        raise Infeasible("a rule needs at least 1 client, got 0")
    if updates.shape[-1] == 0:
        raise ValueError(f"updates must hold at least one number a client, got the shape {tuple(updates.shape)}")
    if cohort.weights.shape != updates.shape[:-1]:
        shapes = f"{tuple(updates.shape)} and {tuple(cohort.weights.shape)}"
        raise ValueError(f"updates (*cells, clients, dim) and the cohort's weights (*cells, clients) differ: {shapes}")


def whole_number(name: str, value: object, least: int) -> int:
    """The value as an int; a bool, a fraction or a number below ``least`` is refused."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return int(value)


def needs_majority(rule: str, updates: Updates, cohort: Cohort) -> tuple[int, int]:
    """The numbers n and f, once 2f < n holds.

    Raises:
        Infeasible: unless 2f < n.
    """
    n, f = updates.shape[-2], cohort.byzantine
    if 2 * f >= n:
        raise Infeasible(f"{rule} needs at least 2f + 1 = {2 * f + 1} clients for f = {f}, got {n}")
    return n, f


def positive(name: str, value: object, most: float = float("inf")) -> float:
    """A finite number above 0 and at most ``most``; anything else is refused."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not 0 < value < float("inf") or value > most:
        limit = "" if most == float("inf") else f" and at most {most:g}"
        raise ValueError(f"{name} must be above 0{limit}, got {value}")
    return float(value)


def all_finite(updates: Tensor) -> bool:
    """Whether every element is finite, in one pass where it is so.

    A sum with a NaN or an infinity in it is never finite; a sum that overflows is no proof, so the elements decide.
    """
    return isfinite(float(updates.sum())) or bool(torch.isfinite(updates).all())


def one_axis_of_cells(updates: Updates) -> Tensor:
    """``(*cells, clients, dim)`` as ``(all cells, clients, dim)``, whatever sizes are zero."""
    return updates.unsqueeze(0) if updates.ndim == 2 else updates.flatten(0, -3)


def keep_rows(updates: Updates, cohort: Cohort, kept: Tensor) -> tuple[Updates, Cohort]:
    """One cell without the rows where ``kept`` (``(clients,)`` bool) is false; f shrinks by their number.

    Raises:
        Infeasible: no row is kept.
    """
    left_out = int((~kept).sum())
    if left_out == 0:
        return updates, cohort
    n = updates.shape[-2]
    if left_out == n:
        raise Infeasible(f"a rule needs at least 1 client with a finite update, got 0 of {n}")
    weights = cohort.weights[kept]
    total = weights.sum()
    return updates[kept], replace(
        cohort,
        byzantine=max(0, cohort.byzantine - left_out),
        weights=weights / total if total > 0 else torch.full_like(weights, 1.0 / len(weights)),
        clients=cohort.clients[kept],
    )
