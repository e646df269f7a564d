"""Krum: trust whoever keeps the closest company.

    score_i = sum of ||x_i - x_j||² over the n - f - 2 nearest others j; the lowest wins, ties to the lowest index

Public code differs from it: distances as they are (``power=1``: Jebreel et al. 2024, LFighter) or to the fourth power
(``power=4``: Karimireddy et al. 2022, bucketing), n - f updates kept (``keep='n-f'``: Fung et al. 2020, FoolsGold), f
as large as leaves a neighbour (``strict=False``).

Needs: n >= 2f + 3. Cost: O(n² d) for the distances, less than one matrix product X X^T.
Source: Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries: Byzantine Tolerant Gradient
Descent", NeurIPS 2017, §4 (Krum) and §5 (Multi-Krum).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from flipbench.aggregators.contract import Cohort, Infeasible, Update, Updates
from flipbench.aggregators.numerics.distances import pick_row
from flipbench.aggregators.numerics.order_statistics import mean_of_rows
from flipbench.aggregators.numerics.selection import squares
from flipbench.aggregators.validation import guarded, whole_number


@guarded
def krum(updates: Updates, cohort: Cohort, /, *, power: float = 2.0, strict: bool = True) -> Update:
    """The one update with the least sum of squared distances to its n - f - 2 nearest others (Blanchard 2017, §4).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f.
        power: of the distances in the scores.
        strict: whether n >= 2f + 3 is asked for; else a single neighbour is enough, n >= f + 3.

    Raises:
        Infeasible: unless n >= 2f + 3 (n >= f + 3 where not strict).
    """
    _check_size("krum", updates.shape[-2], cohort.byzantine, strict)
    chosen = scores(squares(updates), cohort.byzantine, power).argmin(-1)
    cohort.tell_kept(_rows(updates, chosen.unsqueeze(-1)))
    return pick_row(updates, chosen)


@guarded
def multi_krum(
    updates: Updates,
    cohort: Cohort,
    /,
    *,
    keep: int | Literal["n-f"] | None = None,
    power: float = 2.0,
    strict: bool = True,
) -> Update:
    """The mean of the ``keep`` updates with the lowest Krum scores (Blanchard et al. 2017, §5).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f.
        keep: how many updates to average, 1 to n - f - 2; null: n - f - 2; ``n-f``: as in some public code.
        power: of the distances in the scores.
        strict: whether n >= 2f + 3 is asked for; else a single neighbour is enough, n >= f + 3.

    Raises:
        Infeasible: unless n >= 2f + 3 (n >= f + 3 where not strict) and keep <= n - f - 2 or ``n-f``.
    """
    n, f = updates.shape[-2], cohort.byzantine
    _check_size("multi_krum", n, f, strict)
    most = n - f - 2
    if keep == "n-f":
        return _mean_of_lowest(updates, cohort, power, n - f)
    kept = most if keep is None else whole_number("keep", keep, least=1)
    if kept > most:
        raise Infeasible(
            f"multi_krum can keep at most n - f - 2 = {most} of {n} clients for f = {f}, got keep = {kept}"
        )
    return _mean_of_lowest(updates, cohort, power, kept)


def scores(apart: Tensor, byzantine: int, power: float = 2.0) -> Tensor:
    """Krum's scores from squared distances ``(*cells, n, n)``, zeros on the diagonal: ``(*cells, n)`` float64."""
    if not 0 < power < float("inf"):
        raise ValueError(f"power must be a finite number above 0, got {power}")
    if power != 2.0:
        apart = apart ** (power / 2)
    # The least of a row is 0, its distance to itself (or to an equal, which leaves the same values): not a neighbour.
    return apart.sort(-1).values[..., 1 : apart.shape[-1] - byzantine - 1].sum(-1)


def _rows(updates: Updates, index: Tensor) -> Tensor:
    """Rows by number ``(*cells, k)`` as ``(*cells, clients)`` bool."""
    none = torch.zeros(updates.shape[:-1], dtype=torch.bool, device=index.device)
    return none.scatter(-1, index, True)


def _mean_of_lowest(updates: Updates, cohort: Cohort, power: float, kept: int) -> Update:
    lowest = scores(squares(updates), cohort.byzantine, power).argsort(dim=-1, stable=True)[..., :kept]
    cohort.tell_kept(_rows(updates, lowest))
    return mean_of_rows(updates, lowest)


def _check_size(rule: str, clients: int, byzantine: int, strict: bool) -> None:
    if not strict and clients < byzantine + 3:
        raise Infeasible(
            f"{rule}(strict=false) needs at least f + 3 = {byzantine + 3} clients for f = {byzantine}, got {clients}"
        )
    if not strict:
        return
    if clients < 2 * byzantine + 3:
        raise Infeasible(
            f"{rule} needs at least 2f + 3 = {2 * byzantine + 3} clients for f = {byzantine}, got {clients}"
        )
