"""What a defence author reads: updates in, one update out.

A rule is a plain function

    rule(updates, cohort, /, *, option=default) -> update

with ``updates`` of shape ``(*cells, clients, dim)`` (new minus old weights, one row a client) and the returned
update of shape ``(*cells, dim)`` (the step the server takes). A rule reduces over ``dim=-2``, so the same lines
serve one matrix and a stack of experiments, on the CPU and on CUDA. A rule with memory is a frozen dataclass with
``init(updates, cohort) -> state`` and ``__call__(updates, cohort, state) -> (update, state)``.

A server knows of the clients only what :class:`Cohort` says. Whatever a rule may know in future becomes a field of it,
so no rule's signature ever breaks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from flipbench.aggregators.cohort_checks import check_fields, check_vector, not_a_tensor

Updates = Tensor  # (*cells, clients, dim)
Update = Tensor  # (*cells, dim)
Layout = Mapping[str, tuple[slice, tuple[int, ...]]]  # parameter name -> (its slice of dim, its shape)


class Infeasible(ValueError):
    """A rule's conditions do not hold for this cohort; the text carries the numbers.

    Raising it is a *result*, not a crash: it is recorded, shown as a dash in tables and hatched in heatmaps.
    """


def _no_root_data() -> Update:
    raise Infeasible(
        "this rule needs the server's own update on its root data, and this cohort has none: give the cell root data "
        "(root_examples in a grid), or give that update beside a matrix of your own (trusted=...)"
    )


def unheard(kept: Tensor, cell: int | None = None) -> None:
    """Stands where the server does not ask which clients a rule kept."""


@dataclass(frozen=True)
class Always:
    """Gives one tensor, again and again: the server's own update."""

    value: Tensor

    def __call__(self) -> Tensor:
        return self.value


@dataclass(frozen=True)
class Cohort:
    """All that a server may assume about the clients of one round.

    Attributes:
        byzantine: f, the *declared* bound on malicious clients among the rows (not the true number).
        weights: ``(*cells, clients)``, each client's share of the training examples; rows sum to 1.
        clients: ``(*cells, clients)`` int64, the number of each row's client, for rules with memory.
        previous: ``(*cells, dim)``, the last update applied; zeros before the first.
        model: ``(*cells, dim)``, the weights of the global model that the clients started from, so that model + update
            is a client's model. Zeros outside a federation: there an update is compared as if it were a model.
        layout: parameter name -> (slice of dim, shape), in the order of the flattened model.
        trusted: gives the server's own update on its root data, ``(*cells, dim)``; raises Infeasible without any.
        round: the number of the round, from 1.
        seeds: ``(*cells,)`` int64, one seed an experiment: a rule that draws at random derives a generator of its own
            for each cell from the cell's seed and the round, never from a global one.
        tell_kept: takes which clients a rule kept, ``(*cells, clients)`` bool. A rule that chooses clients may call it,
            once, before it answers: ``cohort.tell_kept(kept)``. Optional: the answer must not depend on it, and a rule
            that gives every client some weight has nothing to tell.
    """

    byzantine: int
    weights: Tensor
    clients: Tensor
    previous: Tensor
    layout: Layout
    trusted: Callable[[], Update] = _no_root_data
    round: int = 1
    seeds: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    model: Tensor = field(default_factory=lambda: torch.zeros(()))
    tell_kept: Callable[..., None] = unheard

    @classmethod
    def of(cls, updates: Updates, byzantine: int = 0, **fields: Any) -> Cohort:
        """A cohort for a matrix of one's own: equal weights, clients 0..n-1, no history, one flat parameter.

        Args:
            updates: ``(*cells, clients, dim)``.
            byzantine: the declared f.
            **fields: any other field of :class:`Cohort`, by name; ``trusted`` may be the server's own update itself.

        Raises:
            TypeError: updates that are no tensor.
            ValueError: updates that are no matrix, or a field that does not fit them (`check_fields`).
        """
        if not isinstance(updates, Tensor):
            raise TypeError(not_a_tensor(updates))
        if updates.ndim < 2:
            raise ValueError(f"updates must have the shape (*cells, clients, dim), got {tuple(updates.shape)}")
        n, dim = updates.shape[-2:]
        # Of half precision, n shares of 1/n do not sum to 1.
        share = torch.promote_types(updates.dtype, torch.float32)
        plain: dict[str, Any] = {
            "weights": updates.new_full(updates.shape[:-1], 1.0 / max(1, n), dtype=share),
            "clients": torch.arange(n, device=updates.device).expand(updates.shape[:-1]),
            "previous": updates.new_zeros((*updates.shape[:-2], dim)),
            "layout": {"weights": (slice(0, dim), (dim,))},
            "seeds": torch.zeros(updates.shape[:-2], dtype=torch.int64),
        }
        if isinstance(fields.get("trusted"), Tensor):
            check_vector("trusted", fields["trusted"], updates)
            fields["trusted"] = Always(fields["trusted"])
        given = plain | fields
        if 0 not in updates.shape:  # that there is no client is what a rule says: Infeasible
            check_fields(updates, given)
        return cls(byzantine=byzantine, **given)


Mixed = tuple[Updates, Cohort]  # what a pre-aggregation makes of both


@runtime_checkable
class Aggregator(Protocol):
    """The shape of a rule without memory."""

    def __call__(self, updates: Updates, cohort: Cohort, /) -> Update: ...


def per_cell(rule: Callable[..., Update]) -> Callable[..., Update]:
    """Lift a rule written for one matrix ``(clients, dim)`` to stacks of cells, by looping over them.

    The lifted rule sees one cell's updates and that cell's own cohort.
    """

    @wraps(rule)
    def lifted(updates: Updates, cohort: Cohort, /, **options: Any) -> Update:
        if updates.ndim == 2:
            return rule(updates, cohort, **options)
        cells = updates.shape[:-2]
        if 0 in cells:
            raise Infeasible("a rule needs at least 1 cell, got a stack of 0")
        flat = updates.reshape(-1, *updates.shape[-2:])
        rows = [rule(flat[i], cohort_of_cell(cohort, cells, i), **options) for i in range(len(flat))]
        return torch.stack(rows).reshape(*cells, -1)

    return lifted


def cohort_of_cell(cohort: Cohort, cells: tuple[int, ...], index: int) -> Cohort:
    """The cohort of one cell of a stack; ``index`` counts the flattened leading dimensions ``cells``."""
    lead = len(cells)

    def pick(t: Tensor) -> Tensor:
        return t.reshape(-1, *t.shape[lead:])[index]

    return replace(
        cohort,
        weights=pick(cohort.weights),
        clients=pick(cohort.clients),
        previous=pick(cohort.previous),
        seeds=pick(cohort.seeds) if cohort.seeds.ndim else cohort.seeds,
        model=pick(cohort.model) if cohort.model.ndim else cohort.model,
        trusted=lambda: pick(cohort.trusted()),
        tell_kept=unheard if cohort.tell_kept is unheard else partial(cohort.tell_kept, cell=index),
    )
