"""What leaves the clients: updates clipped to a length, and the Gaussian noise of client-level differential privacy.

With ``noise_multiplier: z`` and ``clip_update: C``

    noise_at: client    a client sends clip(x_i) + N(0, (z C)^2 I)
    noise_at: server    the server adds N(0, (z C w)^2 I) to the answer of the rule, w the largest weight of a client

The noise is drawn from named seeds of replicate, round and client: it is the same for every rule, for a cell and its
clean twin, and in any stack. Sources: McMahan, Ramage, Talwar, Zhang, "Learning differentially private recurrent
language models", ICLR 2018, Algorithm 1 (noise of the server); Dwork & Roth 2014, §12.1 (local noise).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from flipbench.aggregators.contract import Cohort, cohort_of_cell
from flipbench.aggregators.numerics.norms import lengths
from flipbench.federation.malicious_clients import UpdateAttacker
from flipbench.federation.population import Population, generator
from flipbench.spec.cell import Cell

Ask = Callable[[Tensor, Cohort], Tensor]


def clipped(updates: Tensor, norms: Tensor, cell: Cell) -> Tensor:
    """Updates of which none is longer than `Cell.clip_update`.

    With noise an update that is not finite counts as zero: one client must not move the answer by more than the
    bound, whatever its training did. Without noise it stays as it is, and is left out before the rule.

    Args:
        updates: ``(..., dim)``; changed in place where no client keeps them.
        norms: ``(...)``, their lengths, float64.
        cell: gives the bound.
    """
    most, known = cell.clip_update, norms.numpy()
    if most is None:
        return updates
    finite = np.isfinite(known)
    long = (known > most) & finite
    if cell.noise_multiplier and not finite.all():
        updates = updates.masked_fill(~torch.from_numpy(finite).to(updates.device).unsqueeze(-1), 0.0)
    if not long.any():
        return updates
    shares = np.divide(most, known, out=np.ones_like(known), where=long)
    factors = torch.from_numpy(shares).to(updates).unsqueeze(-1)
    return updates * factors if cell.client_momentum else updates.mul_(factors)  # clients keep momenta


def largest_weight(cell: Cell, sizes: Sequence[int]) -> float:
    """The largest weight that any client can have in any round, as if the sizes of the clients were public.

    Args:
        cell: gives the weights and the clients of a round.
        sizes: training examples of each client.
    """
    n = cell.per_round
    if cell.client_weights == "equal":
        return 1.0 / n
    *others, most = sorted(sizes)
    total = most + sum(others[: n - 1])
    return most / total if total else 1.0 / n


class Noise:
    """The noise of a stack of cells."""

    def __init__(self, cells: Sequence[Cell], populations: Sequence[Population]) -> None:
        self.cells, self.cell = cells, cells[0]
        noisy = self.cell.noise_multiplier > 0
        self.at_client = noisy and self.cell.noise_at == "client"
        self.at_server = noisy and self.cell.noise_at == "server"
        self.scale = self.cell.noise_multiplier * (self.cell.clip_update or 0.0)  # z C
        weights = [largest_weight(c, p.sizes) for c, p in zip(cells, populations, strict=True)]
        self._of_server = [self.scale * weight for weight in weights]

    def to_messages(self, updates: Tensor, clients: Tensor, r: int) -> Tensor:
        """Clipped updates ``(cells, clients, dim)``, in place, with the noise that each client adds to its own."""
        out = updates.clone() if self.cell.client_momentum else updates  # clients keep momenta
        of_seed: dict[int, list[int]] = {}  # cells with one seed have the same clients in a round
        for s, cell in enumerate(self.cells):
            of_seed.setdefault(cell.seed, []).append(s)
        for alike in of_seed.values():
            for i, client in enumerate(clients[alike[0]].tolist()):
                unit = self._unit(self.cells[alike[0]], updates, "client noise", client, r)
                for s in alike:
                    out[s, i].add_(unit, alpha=self.scale)
        return out

    def to_answer(self, update: Tensor, r: int) -> Tensor:
        """The answer of the rule ``(cells, dim)`` with the noise of the server, if it adds any."""
        if not self.at_server:
            return update
        units = torch.stack([self._unit(cell, update, "server noise", r) for cell in self.cells])
        return update + units * torch.tensor(self._of_server).to(update).unsqueeze(-1)

    def _unit(self, cell: Cell, like: Tensor, purpose: str, *which: int) -> Tensor:
        """Standard normal numbers ``(dim,)``, drawn on the CPU for every device."""
        return torch.randn(like.shape[-1], generator=generator(cell.seed, purpose, *which)).to(like)


def noised_messages(
    updates: Tensor,
    noise: Noise,
    cohort: Cohort,
    r: int,
    attackers: Sequence[UpdateAttacker | None],
    ask: Ask,
) -> tuple[Tensor, Tensor]:
    """What clients send that add noise to their own updates.

    Malicious clients that train on false labels or images do as the honest ones. Those that attack the updates see
    what the honest clients send, with its noise; their own answer is clipped, and they leave the noise out.

    Args:
        updates: ``(cells, clients, dim)``, of local training.
        noise: of the stack.
        cohort: of the round.
        r: the round.
        attackers: for each cell the attack on updates of this round; None: it has none.
        ask: the rule, for an attack that tries it.

    Returns:
        The messages, and their lengths ``(cells, clients)`` before they were clipped.
    """
    norms, cell = lengths(updates).cpu(), noise.cell
    own = updates.clone() if any(attackers) else updates
    sent = noise.to_messages(clipped(updates, norms, cell), cohort.clients, r)
    for s, attacker in enumerate(attackers):
        if attacker is None:
            continue
        malicious = torch.tensor([c in attacker.malicious for c in cohort.clients[s].tolist()], device=sent.device)
        seen = torch.where(malicious.unsqueeze(-1), own[s], sent[s])
        alone = cohort_of_cell(cohort, (len(attackers),), s)
        answer = attacker.sent(seen, alone, r, ask)[malicious]
        found = lengths(answer).cpu()
        norms[s, malicious.cpu()] = found
        sent[s, malicious] = clipped(answer, found, cell)
    return sent, norms
