"""``flipbench privacy``: the ε of a noise multiplier, and the noise multiplier of an ε."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer


class NoiseAt(StrEnum):
    """Who adds the noise."""

    server = "server"
    client = "client"


def privacy(
    rounds: Annotated[int, typer.Option("--rounds", metavar="R", help="Communication rounds.")],
    clients: Annotated[int, typer.Option("--clients", metavar="N", help="Clients of the federation.")],
    clients_per_round: Annotated[
        int | None, typer.Option("--clients-per-round", metavar="n", help="Clients drawn each round; default: all.")
    ] = None,
    epsilon: Annotated[
        float | None, typer.Option("--epsilon", metavar="E", help="The wanted epsilon: print its noise multiplier.")
    ] = None,
    noise_multiplier: Annotated[
        float | None, typer.Option("--noise-multiplier", metavar="Z", help="As in a grid: print its epsilon.")
    ] = None,
    noise_at: Annotated[NoiseAt, typer.Option("--noise-at", help="Who adds the noise.")] = NoiseAt.server,
    delta: Annotated[
        float | None, typer.Option("--delta", metavar="D", help="Default: 1e-5, or N^-1.1 where that is less.")
    ] = None,
) -> None:
    """Convert between the noise multiplier of a grid and the epsilon of client-level differential privacy."""
    from flipbench.api import privacy as between
    from flipbench.errors import UserError
    from flipbench.privacy.accounting import usual_delta

    if (epsilon is None) == (noise_multiplier is None):
        raise UserError("give one of --epsilon and --noise-multiplier")
    same: dict[str, Any] = {
        **{"rounds": rounds, "clients": clients, "clients_per_round": clients_per_round, "delta": delta},
        "noise_at": noise_at.value,
    }
    z = between.noise_multiplier(epsilon, **same) if epsilon is not None else noise_multiplier
    assert z is not None
    ours, usual = between.epsilon(z, **same), between.epsilon(z, neighbours="removed", **same)
    known = usual_delta(clients) if delta is None else delta
    typer.echo(f"noise_multiplier  {z:g}, noise_at {noise_at.value}")
    typer.echo(f"epsilon           {ours:.4g} with delta {known:.3g}, where all data of one client are replaced")
    typer.echo(f"                  {usual:.4g} as papers on DP-FedAvg count: one client missing, Poisson sampling")
    if noise_at is NoiseAt.server:
        typer.echo(
            "of fedavg, mean and clipping to a fixed radius; noise of the server has no epsilon with other rules"
        )
