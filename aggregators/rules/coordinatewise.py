"""Coordinate by coordinate: trust the middle of what the clients say.

Each coordinate is treated on its own, so the answer need not lie near any one client's update.

    median:        the middle value; for an even n the mean of the two middle values, or (``torch.median``) the lower
    trimmed_mean:  the mean of what is left without the f lowest and the f highest values
    meamed:        the mean of the n - f values nearest to the median
    phocas:        the mean of the n - f values nearest to the trimmed mean (f values dropped on each side)

Of two values equally far from the centre the lower one counts.

Needs: 2f < n. Cost: O(n log² n) comparisons a coordinate, in one pass over the updates.
Sources: Yin, Chen, Ramchandran, Bartlett, "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates",
ICML 2018, Definitions 1 and 2 (there the trim is a fraction beta of n; here it is f, a number, or floor(beta n)); Xie,
Koyejo, Gupta, "Generalized Byzantine-tolerant SGD", 2018 (arXiv:1802.10116; meamed: mean around median); Xie, Koyejo,
Gupta, "Phocas: dimensional Byzantine-resilient stochastic gradient descent", 2018 (arXiv:1805.09682).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from flipbench.aggregators.contract import Cohort, Infeasible, Update, Updates
from flipbench.aggregators.numerics.order_statistics import band_mean, nearest_mean
from flipbench.aggregators.validation import guarded, needs_majority, whole_number


@guarded
def median(updates: Updates, cohort: Cohort, /, *, middle: Literal["mean", "lower"] = "mean") -> Update:
    """The median of each coordinate; for an even number of clients the mean of the two middle values (Yin 2018).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: f must be under half of the clients.
        middle: of an even number of clients: the mean of the two middle values, or the lower of them.

    Raises:
        Infeasible: unless 2f < n.
    """
    n, _ = needs_majority("median", updates, cohort)
    if middle not in ("mean", "lower"):
        raise ValueError(f"middle must be mean or lower, got {middle!r}")
    low = (n - 1) // 2
    return band_mean(updates, low, n // 2 + 1 if middle == "mean" else low + 1)


@guarded
def trimmed_mean(updates: Updates, cohort: Cohort, /, *, trim: int | None = None, beta: float | None = None) -> Update:
    """The mean of each coordinate without its ``trim`` lowest and ``trim`` highest values (Yin et al. 2018).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f.
        trim: how many values to drop on each side; null: f. With 0 it is the mean.
        beta: instead of trim, the share of the clients to drop on each side: floor(beta n) values.

    Raises:
        Infeasible: unless 2 trim < n.
    """
    n = updates.shape[-2]
    if trim is not None and beta is not None:
        raise ValueError("trimmed_mean takes trim or beta, not both")
    cut = cohort.byzantine if trim is None else whole_number("trim", trim, least=0)
    if beta is not None:
        if not 0 <= beta < 0.5:
            raise ValueError(f"beta must be from 0 to below 0.5, got {beta}")
        cut = int(Fraction(repr(float(beta))) * n)  # through the shortest decimal, so that 0.29 of 100 is 29
    if 2 * cut >= n:
        what = "f" if trim is None else "trim"
        raise Infeasible(f"trimmed_mean needs at least 2 {what} + 1 = {2 * cut + 1} clients, got {n}")
    return band_mean(updates, cut, n - cut)


@guarded
def meamed(updates: Updates, cohort: Cohort, /) -> Update:
    """The mean of each coordinate's n - f values nearest to its median (Xie et al. 2018).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f.

    Raises:
        Infeasible: unless 2f < n.
    """
    n, f = needs_majority("meamed", updates, cohort)
    return nearest_mean(updates, n - f, (n - 1) // 2, n // 2 + 1)


@guarded
def phocas(updates: Updates, cohort: Cohort, /) -> Update:
    """The mean of each coordinate's n - f values nearest to its trimmed mean (Xie et al. 2018).

    Args:
        updates: ``(*cells, clients, dim)``.
        cohort: gives f.

    Raises:
        Infeasible: unless 2f < n.
    """
    n, f = needs_majority("phocas", updates, cohort)
    return nearest_mean(updates, n - f, f, n - f)
