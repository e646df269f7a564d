"""From noise to the ε of client-level differential privacy, and back; docs/privacy.md has the formulas."""

from __future__ import annotations

from flipbench.errors import UserError
from flipbench.privacy import accounting
from flipbench.privacy.accounting import Neighbours, Place


def epsilon(
    noise_multiplier: float,
    *,
    rounds: int,
    clients: int,
    clients_per_round: int | None = None,
    noise_at: Place = "server",
    delta: float | None = None,
    neighbours: Neighbours = "replaced",
) -> float:
    """ε of a federation with the mean as its rule, or, with noise of the clients, with any rule.

    >>> import flipbench as fb
    >>> round(fb.epsilon(6.58, rounds=30, clients=100), 1)
    8.0

    Args:
        noise_multiplier: z, as in a grid.
        rounds, clients: as in a grid; ``clients`` with sybils, if any.
        clients_per_round: as in a grid; None: all.
        noise_at: as in a grid.
        delta: δ; None: 1e-5, or N^-1.1 where that is less.
        neighbours: ``replaced``: all data of one client are others, as in flipbench's tables. ``removed``: one client
            is missing, and with client sampling each takes part on its own, as papers on DP-FedAvg count.

    Returns:
        ε, an upper bound; inf without noise.

    Raises:
        UserError: a number out of range, or dp-accounting is not installed.
    """
    n, known = _checked(clients, clients_per_round, noise_at, delta, neighbours)
    return accounting.epsilon(float(noise_multiplier), rounds, clients, n, known, noise_at, neighbours)


def noise_multiplier(
    epsilon: float,
    *,
    rounds: int,
    clients: int,
    clients_per_round: int | None = None,
    noise_at: Place = "server",
    delta: float | None = None,
    neighbours: Neighbours = "replaced",
) -> float:
    """The least noise multiplier of three digits with at most this ε.

    >>> import flipbench as fb
    >>> fb.noise_multiplier(8, rounds=30, clients=100)
    6.58

    Args:
        epsilon: the wanted ε.
        rounds, clients, clients_per_round, noise_at, delta, neighbours: as in `epsilon`.

    Raises:
        UserError: a number out of range, or dp-accounting is not installed.
    """
    n, known = _checked(clients, clients_per_round, noise_at, delta, neighbours)
    return accounting.noise_multiplier(float(epsilon), rounds, clients, n, known, noise_at, neighbours)


def _checked(
    clients: int, per_round: int | None, noise_at: str, delta: float | None, neighbours: str
) -> tuple[int, float]:
    """Clients of a round, and δ."""
    if noise_at not in ("server", "client"):
        raise UserError(f"noise_at is server or client, got {noise_at!r}")
    if neighbours not in ("replaced", "removed"):
        raise UserError(f"neighbours is replaced or removed, got {neighbours!r}")
    if clients < 1:
        raise UserError(f"the number of clients is at least 1, got {clients}")
    return clients if per_round is None else per_round, accounting.usual_delta(clients) if delta is None else delta
