"""ε and δ against integrals that share no code with the accountant, and against published numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest
from scipy import integrate

from flipbench.errors import UserError
from flipbench.privacy import accounting
from flipbench.privacy.accounting import epsilon, noise_multiplier, usual_delta

pytest.importorskip("dp_accounting", reason="ε needs the extra privacy")


def normal(x: float, mean: float, deviation: float) -> float:
    return math.exp(-(((x - mean) / deviation) ** 2) / 2) / (deviation * math.sqrt(2 * math.pi))


def delta_of_gaussians(eps: float, sigma: float, rounds: int) -> float:
    """The mean of (1 - exp(eps - loss))+ over the privacy loss of so many rounds, which is N(T/2σ², T/σ²)."""
    mean, deviation = rounds / (2 * sigma**2), math.sqrt(rounds) / sigma
    value, _ = integrate.quad(
        lambda x: (1 - math.exp(eps - x)) * normal(x, mean, deviation), eps, max(eps, mean) + 14 * deviation, limit=400
    )
    return value


def delta_of_sampling(eps: float, sigma: float, share: float) -> float:
    """One round in which a client may take part and move the answer from -1/2 to 1/2: ∫ (P - e^eps Q)+."""

    def excess(x: float) -> float:
        p, q = ((1 - share) * normal(x, 0, sigma) + share * normal(x, at, sigma) for at in (0.5, -0.5))
        return max(0.0, p - math.exp(eps) * q)

    value, _ = integrate.quad(excess, -12 * sigma, 12 * sigma + 1, limit=600, points=[0.0, 0.5])
    return value


@pytest.mark.parametrize(("z", "rounds", "delta"), [(1.0, 1, 1e-5), (4.0, 30, 1e-5), (0.7, 3, 1e-3), (40.0, 100, 1e-6)])
@pytest.mark.parametrize("neighbours", ["replaced", "removed"])
def test_rounds_of_all_clients_are_exact(z: float, rounds: int, delta: float, neighbours: Any) -> None:
    eps = epsilon(z, rounds, 50, 50, delta, "server", neighbours)
    sigma = z / 2 if neighbours == "replaced" else z
    assert delta_of_gaussians(eps, sigma, rounds) == pytest.approx(delta, rel=1e-4)
    # The Rényi divergence of order a is T a / 2σ²; its conversion (Mironov 2017, Proposition 3) is an upper bound.
    by_hand = min(
        rounds * a / (2 * sigma**2) + math.log(1 / delta) / (a - 1) for a in (1 + k / 50 for k in range(1, 9999))
    )
    assert eps < by_hand < 1.5 * eps + 0.1


def test_a_client_that_is_drawn_in_k_rounds_has_the_mean_over_k() -> None:
    z, rounds, n, clients, delta = 2.0, 6, 3, 10, 1e-4
    eps = epsilon(z, rounds, clients, n, delta, "client")
    q = n / clients
    mean = sum(
        math.comb(rounds, k) * q**k * (1 - q) ** (rounds - k) * delta_of_gaussians(eps, z / 2, k)
        for k in range(1, rounds + 1)
    )
    assert mean == pytest.approx(delta, rel=1e-3)


@pytest.mark.parametrize(("z", "n"), [(1.0, 1), (2.0, 10), (4.0, 50), (0.5, 90)])
def test_sampling_of_the_server_is_an_upper_bound_and_helps(z: float, n: int) -> None:
    eps = epsilon(z, 1, 100, n, 1e-5)
    assert delta_of_sampling(eps, z / 2, n / 100) <= 1e-5 * (1 + 1e-6)
    assert eps < epsilon(z, 1, 100, 100, 1e-5)
    assert epsilon(z, 20, 100, n, 1e-5) <= epsilon(z, 20, 100, n, 1e-5, "client")  # a server that sees all learns more


@pytest.mark.parametrize(
    ("z", "rounds", "per_round", "clients", "published"),
    # Opacus 1.6.0 and dp-accounting 0.6.0 (Rényi): σ = 4, q = 0.01, 10,000 steps; MNIST example, σ = 1.1, 60 epochs.
    [(4.0, 10_000, 1, 100, 1.0355), (1.1, 14_100, 256, 60_000, 2.6003)],
)
def test_poisson_sampling_has_the_numbers_of_other_libraries(
    z: float, rounds: int, per_round: int, clients: int, published: float
) -> None:
    assert epsilon(z, rounds, clients, per_round, 1e-5, "server", "removed") == pytest.approx(published, rel=0.002)


@pytest.mark.parametrize("per_round", [40, 10])
@pytest.mark.parametrize("wanted", [0.5, 8.0, 300.0])
def test_the_noise_of_an_epsilon_is_enough_and_not_too_much(wanted: float, per_round: int) -> None:
    z = noise_multiplier(wanted, 20, 40, per_round, 1e-5, "client")
    assert (
        epsilon(z, 20, 40, per_round, 1e-5, "client") <= wanted < epsilon(z * 0.985, 20, 40, per_round, 1e-5, "client")
    )
    assert float(f"{z:.3g}") == z


def test_no_noise_is_no_privacy_and_more_of_anything_goes_one_way() -> None:
    assert epsilon(0.0, 3, 10, 10, 1e-5) == math.inf
    assert [usual_delta(n) for n in (10, 1000)] == [1e-5, 1e-5]
    assert usual_delta(10**6) == pytest.approx(10**-6.6)
    known = [epsilon(z, 9, 20, 5, 1e-5, "client") for z in (0.5, 1.0, 5.0, 500.0)]
    assert known == sorted(known, reverse=True)
    assert epsilon(1.0, 9, 20, 5, 1e-5, "client") < epsilon(1.0, 10, 20, 5, 1e-5, "client")
    assert epsilon(1.0, 9, 20, 5, 1e-5, "client") < epsilon(1.0, 9, 20, 6, 1e-5, "client")
    assert epsilon(1e6, 1, 20, 5, 0.3, "client") == 0.0  # δ alone covers it


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((-1.0, 3, 10, 10, 1e-5), "noise multiplier is a finite number of at least 0, got -1"),
        ((math.nan, 3, 10, 10, 1e-5), "noise multiplier"),
        ((1.0, 0, 10, 10, 1e-5), "the number of rounds is at least 1, got 0"),
        ((1.0, 3, 10, 11, 1e-5), "11 clients per round are more than the 10 clients"),
        ((1.0, 3, 10, 10, 0.0), "δ is a probability above 0 and below 1, got 0"),
    ],
)
def test_bad_numbers_are_one_sentence(values: Any, said: str) -> None:
    with pytest.raises(UserError, match=said.replace(".", r"\.")):
        epsilon(*values)
    with pytest.raises(UserError, match="the wanted ε is a finite number above 0, got 0"):
        noise_multiplier(0.0, *values[1:3], 10, 1e-5)


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounting, "installed", lambda: False)
    with pytest.raises(UserError, match=r"pip install 'flipbench\[privacy\]'"):
        epsilon(1.5, 7, 10, 10, 1e-5)
