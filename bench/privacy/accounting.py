"""(ε, δ) of Gaussian noise that is added in many rounds, and the noise that an ε needs; by Google's dp-accounting.

Two ways to count, told apart by what two neighbouring federations differ in (docs/privacy.md):

    replaced   all data of one client are others; N and the clients of a round are known. One client moves a sum of
               vectors of length C by up to 2 C, so noise of deviation z C has the multiplier z / 2.
    removed    one client is missing. The multiplier is z. Client sampling is taken as if each client took part with
               probability q on its own, which is not what flipbench does: for comparison with papers alone.

Noise of the server, n of N clients a round, drawn without replacement: the bound of Wang, Balle & Kasiviswanathan
(AISTATS 2019, Theorem 27 of arXiv:1808.00087) on the Rényi divergence, composed over the rounds; or, where it is less,
`_known_rounds`. All clients in each round, and noise of the clients: exact, by Balle & Wang (ICML 2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Literal

from flipbench.errors import UserError

Neighbours = Literal["replaced", "removed"]
Place = Literal["server", "client"]
LIBRARY = "dp_accounting"
MISSING = "ε is computed by dp-accounting, which is not installed: pip install 'flipbench[privacy]'"
_LARGEST_DELTA = 1e-5
_LEAST, _MOST = 1e-6, 1e9  # noise multipliers that are looked at
# Of Rényi divergences. Those between whole numbers are interpolated by the library, at the price of two whole ones.
_ORDERS = (*range(2, 33), 40, 48, 56, 64, 96, 128, 256)
_DIGITS = 3  # of a noise multiplier


def installed() -> bool:
    """Whether the library that computes ε is there."""
    return find_spec(LIBRARY) is not None


def usual_delta(clients: int) -> float:
    """δ of a federation of so many clients: 1e-5, or N^-1.1 where that is less (McMahan et al. 2018).

    With δ near 1/N a mechanism that publishes one client would count as private.
    """
    return min(_LARGEST_DELTA, math.pow(clients, -1.1))


@lru_cache(maxsize=4096)
def epsilon(
    noise_multiplier: float,
    rounds: int,
    clients: int,
    per_round: int,
    delta: float,
    place: Place = "server",
    neighbours: Neighbours = "replaced",
    malicious: int = 0,
) -> float:
    """ε of a federation, an upper bound.

    Args:
        noise_multiplier: z, the deviation of the noise over that which one client can add.
        rounds: how often noise is added.
        clients: N.
        per_round: n of them take part in a round, drawn without replacement.
        delta: δ.
        place: the server adds the noise, and those who see the global models are to learn nothing; or each client
            does, and the server, who sees who takes part and what is sent, is to learn nothing either.
        neighbours: what two neighbouring federations differ in.
        malicious: so many of the clients know whether they were drawn themselves; where none was, the others were
            drawn from fewer.

    Returns:
        ε; inf without noise.

    Raises:
        UserError: a number out of range, or the library is not installed.
    """
    _check(rounds, clients, per_round, delta)
    if not (math.isfinite(noise_multiplier) and noise_multiplier >= 0):
        raise UserError(f"the noise multiplier is a finite number of at least 0, got {noise_multiplier}")
    if not installed():
        raise UserError(MISSING)
    if noise_multiplier == 0:
        return math.inf
    multiplier = noise_multiplier / 2 if neighbours == "replaced" else noise_multiplier
    share, others = per_round / clients, clients - malicious
    if share == 1:
        return _gaussian(multiplier / math.sqrt(rounds), delta)
    known = _known_rounds(multiplier, rounds, share, delta)
    if place == "client" or per_round >= others:
        return known
    return min(known, _sampled(multiplier, rounds, others, per_round, delta, neighbours))


@lru_cache(maxsize=4096)
def noise_multiplier(
    epsilon_wanted: float,
    rounds: int,
    clients: int,
    per_round: int,
    delta: float,
    place: Place = "server",
    neighbours: Neighbours = "replaced",
) -> float:
    """The least z whose ε is not above the wanted one, to three digits, rounded up.

    Args:
        epsilon_wanted: ε > 0.
        rounds, clients, per_round, delta, place, neighbours: as in `epsilon`.

    Raises:
        UserError: a number out of range, or the library is not installed.
    """
    if not (math.isfinite(epsilon_wanted) and epsilon_wanted > 0):
        raise UserError(f"the wanted ε is a finite number above 0, got {epsilon_wanted}")

    def enough(z: float) -> bool:
        return epsilon(z, rounds, clients, per_round, delta, place, neighbours) <= epsilon_wanted

    low, high = _LEAST, 1.0
    while not enough(high):
        low, high = high, 2 * high
        if high > _MOST:
            raise UserError(f"no noise multiplier up to {_MOST:g} gives ε = {epsilon_wanted:g} with δ = {delta:g}")
    while high / low > 1 + 1e-4:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return _rounded_up(high, enough)


def _rounded_up(value: float, enough: Callable[[float], bool]) -> float:
    """The next number of so few digits that is enough."""
    step = 10.0 ** (math.floor(math.log10(value)) + 1 - _DIGITS)
    steps = math.floor(value / step)
    while not enough(short := float(f"{steps * step:.{_DIGITS}g}")):
        steps += 1
    return short


def _check(rounds: int, clients: int, per_round: int, delta: float) -> None:
    for name, number in (("rounds", rounds), ("clients", clients), ("clients per round", per_round)):
        if number < 1:
            raise UserError(f"the number of {name} is at least 1, got {number}")
    if per_round > clients:
        raise UserError(f"{per_round} clients per round are more than the {clients} clients")
    if not 0 < delta < 1:
        raise UserError(f"δ is a probability above 0 and below 1, got {delta}")


def _gaussian(multiplier: float, delta: float) -> float:
    """ε of one Gaussian mechanism, exact; T of them with multiplier σ are one with σ / sqrt(T)."""
    import dp_accounting

    return float(dp_accounting.get_epsilon_gaussian(multiplier, delta))


def _known_rounds(multiplier: float, rounds: int, share: float, delta: float) -> float:
    """ε for one who knows in which rounds each client takes part: a binomial number K of them.

    Who takes part does not depend on the data, so δ(ε) is the mean of that of K Gaussian mechanisms over K.
    """
    import numpy as np
    from scipy import optimize, special, stats

    k = np.arange(1, rounds + 1)
    weights = stats.binom.logpmf(k, rounds, share)
    sigma = multiplier / np.sqrt(k)

    def log_delta(eps: float) -> float:
        """Equation 6 of Balle & Wang for each K, and the mean over K, in logarithms."""
        first = special.log_ndtr(0.5 / sigma - eps * sigma)
        second = eps + special.log_ndtr(-0.5 / sigma - eps * sigma)
        each = first + np.log1p(-np.exp(np.minimum(second - first, 0.0)))
        return float(special.logsumexp(each + weights))

    wanted = math.log(delta)
    high = _gaussian(multiplier / math.sqrt(rounds), delta)
    if log_delta(0.0) <= wanted:
        return 0.0
    with np.errstate(divide="ignore"):
        return float(min(high, optimize.brentq(lambda e: max(log_delta(e), -1e6) - wanted, 0.0, high + 1e-9)))


def _sampled(
    multiplier: float, rounds: int, clients: int, per_round: int, delta: float, neighbours: Neighbours
) -> float:
    """ε with client sampling that hides who takes part, by Rényi divergences."""
    import dp_accounting

    noise: Any = dp_accounting.GaussianDpEvent(multiplier)
    relations = dp_accounting.NeighboringRelation
    if neighbours == "replaced":
        event: Any = dp_accounting.SampledWithoutReplacementDpEvent(clients, per_round, noise)
        accountant = dp_accounting.rdp.RdpAccountant(orders=_ORDERS, neighboring_relation=relations.REPLACE_ONE)
    else:
        event = dp_accounting.PoissonSampledDpEvent(per_round / clients, noise)
        accountant = dp_accounting.rdp.RdpAccountant(orders=_ORDERS, neighboring_relation=relations.ADD_OR_REMOVE_ONE)
    return float(accountant.compose(event, rounds).get_epsilon(delta))
