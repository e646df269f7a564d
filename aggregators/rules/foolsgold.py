"""FoolsGold: sybils work for one goal, so their updates point the same way; honest clients differ more.

    H_i    the sum of all updates that client i sent so far
    c_ij   cos(H_i, H_j), c_ii = 0;  v_i = max_j c_ij
    pardon c_ij <- c_ij v_i / v_j  where v_j > v_i
    a_i    1 - max_j c_ij, over the largest of them, then kappa (ln(a / (1 - a)) + 1/2), each time cut to [0, 1]
    answer sum_i a_i x_i / sum_i a_i,  0 where no client counts;  the sum alone with ``average=False``, as printed

Compared are the clients of the round. Neither f nor the number of honest clients is used; clients that all agree are
all taken for sybils, and a single malicious client resembles no other.

Needs: memory of one vector a client. Cost: O(n² d), and a copy of the updates.
Source: Fung, Yoon, Beschastnikh, "The limitations of federated learning in sybil settings", RAID 2020, Algorithm 1
(without the optional weighting of features).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from flipbench.aggregators.contract import Cohort, Infeasible, Layout, Update, Updates
from flipbench.aggregators.numerics.norms import cosines
from flipbench.aggregators.numerics.order_statistics import weighted_sum
from flipbench.aggregators.numerics.output_layer import output_layer
from flipbench.aggregators.validation import all_finite, check

Memory = tuple[Mapping[int, Tensor], ...]  # for each cell: client -> the sum of what it sent
_HOW_TO_CALL = (
    "foolsgold remembers what clients sent, so it takes its memory and gives it back: rule = foolsgold(); "
    "state = rule.init(updates, cohort); update, state = rule(updates, cohort, state); "
    'or, for a single round, flipbench.aggregate("foolsgold", updates)'
)


@dataclass(frozen=True)
class foolsgold:  # noqa: N801 - named in grids like the functions beside it
    """Weights from the similarity of all that clients ever sent (Fung et al. 2020).

    Attributes:
        kappa: confidence, the slope of the logit.
        history: compare the sums of all updates; else those of the round alone.
        average: divide by the sum of the weights; else the weighted sum, as printed.
        last_layer: compare only the output layer's weights; needs the layout.
    """

    kappa: float = 1.0
    history: bool = True
    average: bool = True
    last_layer: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.kappa, bool) or not isinstance(self.kappa, int | float):
            raise TypeError(_HOW_TO_CALL if hasattr(self.kappa, "shape") else f"kappa is a number, got {self.kappa!r}")
        if not 0 < self.kappa < float("inf"):
            raise ValueError(f"kappa must be above 0, got {self.kappa}")

    def init(self, updates: Updates, cohort: Cohort, /) -> Memory:
        """Nothing remembered yet."""
        return tuple({} for _ in range(math.prod(updates.shape[:-2])))

    def __call__(self, updates: Updates, cohort: Cohort, state: Memory | None = None, /) -> tuple[Update, Memory]:
        """The update of the round and the memory after it.

        Raises:
            TypeError: no memory is given.
            Infeasible: a cell without a finite row, or ``last_layer`` without an output layer in the layout.
        """
        check(updates, cohort)
        if state is None:
            raise TypeError(_HOW_TO_CALL)
        cells, (n, dim) = updates.shape[:-2], updates.shape[-2:]
        flat = updates.detach().reshape(-1, n, dim)
        if len(state) != len(flat):
            raise ValueError(f"this memory is of {len(state)} cells, and the updates are of {len(flat)}")
        clients = cohort.clients.reshape(-1, n)
        answers = [self._cell(*one, cohort.layout) for one in zip(flat, clients, state, strict=True)]
        whole = answers[0][0].unsqueeze(0) if len(answers) == 1 else torch.stack([u for u, _ in answers])
        return whole.reshape(*cells, dim), tuple(m for _, m in answers)

    def _cell(
        self, updates: Updates, clients: Tensor, memory: Mapping[int, Tensor], layout: Layout
    ) -> tuple[Update, Mapping[int, Tensor]]:
        from flipbench.aggregators.numerics import foolsgold_kernel as compiled  # the compiler is loaded on first use

        if not all_finite(updates):  # the guard's policy; f plays no part here
            finite = torch.isfinite(updates).all(-1)
            if not bool(finite.any()):
                raise Infeasible(f"foolsgold needs at least 1 client with a finite update, got 0 of {len(updates)}")
            updates, clients = updates[finite], clients[finite]
        compared = updates
        if self.last_layer:
            layer = output_layer("foolsgold(last_layer=true)", layout, updates.shape[-1])
            compared = updates[:, layer.weight].contiguous()
        if self.history:
            compared, memory = _remember(compared, clients.tolist(), memory)
        weights = compiled.weigh(cosines(compared).cpu().numpy(), self.kappa, _rounding(compared.dtype))
        total = weights.sum()
        if self.average and total > 0:
            weights = weights / total
        return weighted_sum(updates, torch.from_numpy(weights)), memory


def _rounding(kind: torch.dtype) -> float:
    """How far below 1 the cosine of proportional updates may lie: the square of the angle by which rounding turns them.

    Cosines themselves are float64.
    """
    return max(8 * torch.finfo(torch.float64).eps, (16 * torch.finfo(kind).eps) ** 2)


def _remember(updates: Updates, ids: list[int], memory: Mapping[int, Tensor]) -> tuple[Updates, Mapping[int, Tensor]]:
    """The sums of what the round's clients sent, ``(clients, dim)``, and the memory with them."""
    if memory and all(client in memory for client in ids):  # as in every round but the first, when all take part
        sums = torch.stack([memory[client] for client in ids]).add_(updates)
    else:
        sums = updates.clone()
        for i, client in enumerate(ids):
            if client in memory:
                sums[i] += memory[client]
    if not all_finite(sums):
        most = torch.finfo(sums.dtype).max
        sums.clamp_(-most, most)
    # A row would keep the whole round's matrix alive, unless all of it is replaced at once.
    rows = sums if set(memory) <= set(ids) else [row.clone() for row in sums]
    return sums, {**memory, **dict(zip(ids, rows, strict=True))}
