"""Mimic: every malicious client sends what one honest client sends, so that this one counts too often.

    mu    running mean of the honest updates, over rounds
    z     the direction in which honest updates differ most, by one step of power iteration a round:
          v = sum_i <x_i - mu, z> (x_i - mu);  z <- t/(1 + t) z + 1/(1 + t) v/||v||, to length 1;  t rounds seen before
    sent  x_i of the honest client with the largest <x_i, z>

z is learnt in the first ``warmup`` rounds of the attack; after them the attack keeps to the client that it mimicked in
the last of them. What is sent is honest, so no rule can tell it from an honest update; it harms where clients differ.

Cost: one pass over the honest updates and two float64 vectors.
Source: Karimireddy, He, Jaggi 2022, Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing, section 3.2 and
the appendix on its implementation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from flipbench.attacks.contract import UpdateContext
from flipbench.attacks.updates.honest_statistics import all_alike, finite, mean


@dataclass(frozen=True)
class Memory:
    """What the malicious clients have learnt of the honest ones.

    Attributes:
        rounds: in which they attacked so far.
        centre: ``(dim,)`` float64, mu.
        direction: ``(dim,)`` float64, z.
        client: the honest client that they mimicked last (its row among the honest where numbers are unknown).
    """

    rounds: int
    centre: Tensor
    direction: Tensor
    client: int


@dataclass(frozen=True)
class mimic:  # noqa: N801 - named in grids like the functions beside it
    """All send the update of one honest client, chosen to stand out (Karimireddy et al. 2022, section 3.2).

    Attributes:
        client: mimic this one, counted from 0 among the round's honest clients; null: learn which.
        warmup: rounds of the attack in which the direction is learnt, at least 1.
        fixed: after them keep to one client, as published, and in a round without it to the client farthest along the
            learnt direction; false: choose that one in every round.
    """

    place: ClassVar[str] = "updates"

    client: int | None = None
    warmup: int = 5
    fixed: bool = True

    def __post_init__(self) -> None:
        if self.client is not None and self.client < 0:
            raise ValueError(f"mimic needs a client of at least 0, got {self.client}")
        if self.warmup < 1:
            raise ValueError(f"mimic needs a warmup of at least 1 round, got {self.warmup}")

    def init(self, updates: Tensor, context: UpdateContext, /) -> Memory:
        """Nothing seen yet; a random direction to begin with."""
        dim = updates.shape[-1]
        drawn = torch.randn(dim, generator=context.generator, dtype=torch.float64).to(updates.device)
        return Memory(0, torch.zeros_like(drawn), drawn / drawn.norm(), 0)

    def __call__(self, updates: Tensor, context: UpdateContext, state: Memory, /) -> tuple[Tensor, Memory]:
        """What is sent, ``(malicious, dim)``, and the memory after it.

        Raises:
            ValueError: ``client`` names none of the round's honest clients.
        """
        honest = context.honest
        if self.client is not None:
            if self.client >= len(honest):
                raise ValueError(
                    f"mimic(client={self.client}) needs more than {self.client} honest clients in a round, "
                    f"got {len(honest)}"
                )
            return all_alike(honest[self.client], updates), state
        numbers = context.clients[: len(honest)].tolist() or list(range(len(honest)))
        if state.rounds < self.warmup:
            state = _learnt(honest, numbers, state)
        elif not self.fixed:
            state = Memory(state.rounds, state.centre, state.direction, numbers[_farthest(honest, state.direction)])
        row = numbers.index(state.client) if state.client in numbers else _farthest(honest, state.direction)
        return all_alike(honest[row], updates), state


def _learnt(honest: Tensor, numbers: list[int], state: Memory) -> Memory:
    """The memory after one more round of the warm-up."""
    t = state.rounds
    known = finite(honest)
    centre = (t * state.centre + mean(known)) / (1 + t)
    away = known - centre  # (honest, dim) float64
    spread = (away @ state.direction) @ away  # (dim,)
    length = spread.norm()
    direction = state.direction
    if length > 0:  # honest clients that agree show no direction
        # In the first round the random start counts for nothing.
        direction = (t * direction + spread / length) / (1 + t)
        direction = direction / direction.norm()
    return Memory(t + 1, centre, direction, numbers[_farthest(honest, direction)])


def _farthest(honest: Tensor, direction: Tensor) -> int:
    """The honest client farthest along a direction, among those whose update is finite; ties to the lowest."""
    along = honest.double() @ direction
    return int(torch.where(torch.isfinite(honest).all(-1), along, -torch.inf).argmax())
