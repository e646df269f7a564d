"""Checks that every shipped rule makes first: of its cohort and options, and for updates that are not finite.

A row that holds a NaN or an infinity is proof of a faulty or malicious client. It is left out of the cohort, and f
shrinks by the number left out, not below 0; the weights of the rest are scaled to sum to 1 again. The answer is the one
that the rule gives to the remaining rows, each cell of a stack on its own. Where no row is left, the rule is
`Infeasible`.

A rule sees the clients in the order of their numbers (`Cohort.clients`), in whatever order they come. Where equally
good clients tie and the lower row counts, that is the client of the lower number, and sums are rounded alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from math import isfinite
from numbers import Integral
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

from flipbench.aggregators.cohort_checks import check_vector, check_weights, not_a_tensor
from flipbench.aggregators.contract import Cohort, Infeasible, Update, Updates, cohort_of_cell, unheard

P = ParamSpec("P")
Answer = TypeVar("Answer")  # of a rule an update, of a pre-aggregation updates and cohort
Step = Callable[Concatenate[Updates, Cohort, P], Answer]
_ROUNDED = 1e-6  # what the rounding of float32 leaves of a sum of shares


def guarded(rule: Step[P, Answer]) -> Step[P, Answer]:
    """Make a rule check its cohort, leave out rows that are not finite, and see clients in the order of their numbers.

    See the module's text.
    """
    finite = guarded_mix(rule)

    @wraps(rule)
    def ordered(updates: Updates, cohort: Cohort, /, *args: P.args, **options: P.kwargs) -> Answer:
        if isinstance(updates, Tensor) and isinstance(cohort, Cohort):  # the check says so otherwise
            updates, cohort = in_client_order(updates, cohort)
        return finite(updates, cohort, *args, **options)

    return ordered


def in_client_order(updates: Updates, cohort: Cohort) -> tuple[Updates, Cohort]:
    """The same clients, those of lower numbers in front; as they are where they stand so, or where shapes differ."""
    numbers = cohort.clients
    if numbers.shape != updates.shape[:-1] or bool((numbers[..., 1:] >= numbers[..., :-1]).all()):
        return updates, cohort
    order = numbers.argsort(dim=-1, stable=True)
    rows = order.unsqueeze(-1).expand(updates.shape)
    weights = cohort.weights.gather(-1, order) if cohort.weights.shape == order.shape else cohort.weights
    tell = cohort.tell_kept if cohort.tell_kept is unheard else partial(_told_in_order, cohort.tell_kept, order)
    return updates.gather(-2, rows), replace(cohort, weights=weights, clients=numbers.gather(-1, order), tell_kept=tell)


def _told_in_order(tell: Callable[..., None], order: Tensor, kept: Tensor, cell: int | None = None) -> None:
    """Pass on which clients were kept, in the order in which they came: row i of ``kept`` was row ``order[i]``."""
    came = (order if cell is None else order.reshape(-1, order.shape[-1])[cell]).to(kept.device)
    tell(torch.zeros_like(kept).scatter(-1, came, kept), cell=cell)


def _told_of_all(tell: Callable[..., None], rows: Tensor, kept: Tensor, cell: int | None = None) -> None:
    """Pass on which clients were kept of one cell, those that were left out before (not in ``rows``) among them."""
    every = torch.zeros(rows.shape, dtype=kept.dtype, device=kept.device)
    every[rows.to(kept.device)] = kept
    tell(every, cell=cell)


def guarded_mix(step: Step[P, Answer]) -> Step[P, Answer]:
    """Make a pre-aggregation check its cohort and leave out rows that are not finite; the order of the rows stays.

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
        TypeError: updates that are no floating-point tensor, no cohort, or an f that is not a whole number.
        ValueError: a shape that is not ``(*cells, clients, dim)``, no numbers at all, the cohort of other updates,
            weights that are no shares, or a negative f.
        Infeasible: no clients, or a stack of no cells.
    """
    if not isinstance(updates, Tensor):
        raise TypeError(not_a_tensor(updates))
    if not isinstance(cohort, Cohort):
        raise TypeError(
            f"a rule is called as rule(updates, cohort), and a cohort is a Cohort, got {type(cohort).__name__}: "
            "write Cohort.of(updates, byzantine=2), or call flipbench.aggregate(rule, updates, byzantine=2)"
        )
    if updates.ndim < 2:
        raise ValueError(f"updates must have the shape (*cells, clients, dim), got {tuple(updates.shape)}")
    if not updates.is_floating_point():
        raise TypeError(f"updates must be floating point, got {updates.dtype}: convert them with updates.float()")
    whole_number("byzantine (f)", cohort.byzantine, least=0)
    if updates.shape[-2] == 0:
        raise Infeasible("a rule needs at least 1 client, got 0")
    if 0 in updates.shape[:-2]:
        raise Infeasible("a rule needs at least 1 cell, got a stack of 0")
    if updates.shape[-1] == 0:
        raise ValueError(f"updates must hold at least one number a client, got the shape {tuple(updates.shape)}")
    check_weights(updates, cohort.weights)


def shares(updates: Updates, cohort: Cohort) -> Tensor:
    """The clients' weights, ``(*cells, clients)`` float64; where their sum is rounded (half), it is made 1."""
    weights = cohort.weights.double().expand(updates.shape[:-1])
    totals = weights.sum(-1, keepdim=True)
    return weights if bool(((totals - 1).abs() <= _ROUNDED).all()) else weights / totals


def previous_update(rule: str, updates: Updates, cohort: Cohort) -> Update:
    """The last update ``(*cells, dim)`` of the server, of the updates' type.

    Raises:
        ValueError: another shape, or a number that is not finite.
    """
    if not isinstance(cohort.previous, Tensor) or cohort.previous.shape != (*updates.shape[:-2], updates.shape[-1]):
        check_vector(f"previous (the last update, for {rule})", cohort.previous, updates)
    if not all_finite(cohort.previous):
        raise ValueError(f"{rule} needs a finite last update (the cohort's previous), got NaN or infinity")
    return cohort.previous.to(updates)


def trusted_update(rule: str, updates: Updates, cohort: Cohort) -> Update:
    """The server's own update ``(*cells, dim)``.

    Raises:
        Infeasible: there is no root data, or the server's own update is not finite.
        ValueError: another shape.
    """
    own = cohort.trusted()
    if not isinstance(own, Tensor) or own.shape != (*updates.shape[:-2], updates.shape[-1]):
        check_vector(f"trusted() (the server's own update, for {rule})", own, updates)
    if not all_finite(own):
        raise Infeasible(f"{rule} needs a finite update of the server's own, and training on the root data diverged")
    return own


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
        tell_kept=unheard if cohort.tell_kept is unheard else partial(_told_of_all, cohort.tell_kept, kept),
    )
