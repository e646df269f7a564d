"""Which optimisers and algorithms go together with which fields of a cell."""

from __future__ import annotations

from typing import Any

from flipbench.spec import reference

SGD, FEDAVG, SCAFFOLD, FEDNOVA = "sgd", "fedavg", "scaffold", "fednova"
ALGORITHMS = (FEDAVG, "fedprox", SCAFFOLD, FEDNOVA)


def name_of(text: str) -> str:
    """The name of a reference without its options."""
    return text if "(" not in text else reference.parse(text).name


def problem(cell: Any) -> str | None:
    """Why the optimisers and the algorithm of a cell do not fit its other fields; None where they do."""
    local = name_of(cell.optimiser)
    if local != SGD and cell.momentum:
        return f"momentum is of optimiser sgd, and optimiser is {cell.optimiser}: leave momentum out"
    nesterov = (
        local == SGD and cell.optimiser != SGD and reference.parse(cell.optimiser).options.get("nesterov") is True
    )
    if nesterov and not cell.momentum:
        return f"optimiser {cell.optimiser} needs a momentum: set momentum, or leave nesterov out"
    if cell.server_momentum and name_of(cell.server_optimiser) != SGD:
        return (
            f"server_momentum is of server_optimiser sgd, and server_optimiser is {cell.server_optimiser}: leave "
            "server_momentum out (its beta1 is a momentum)"
        )
    return None if cell.algorithm == FEDAVG else _of_algorithm(cell, name_of(cell.algorithm))


def _has_nesterov(optimiser: str) -> bool:
    return optimiser != SGD and reference.parse(optimiser).options.get("nesterov") is True


def _of_algorithm(cell: Any, algorithm: str) -> str | None:
    if ":" in algorithm:
        return f"algorithm is one of {', '.join(ALGORITHMS)}, and cannot be your own: {cell.algorithm}"
    if algorithm not in (SCAFFOLD, FEDNOVA):
        return None
    reads = "control variates" if algorithm == SCAFFOLD else "numbers of local steps"
    if name_of(cell.optimiser) != SGD:
        return f"algorithm {algorithm} knows the {reads} of sgd alone, and optimiser is {cell.optimiser}: use sgd"
    if cell.optimiser_state != "reset":
        return f"algorithm {algorithm} needs optimiser_state reset: a kept buffer would be in the {reads}"
    if cell.client_momentum:
        return f"client_momentum is of updates that are sent as they are, and not of algorithm {algorithm}: set it to 0"
    if algorithm == SCAFFOLD and cell.clip_update is not None:
        return "clip_update bounds updates, and algorithm scaffold sends control variates too: leave clip_update out"
    if algorithm == FEDNOVA and cell.noise_multiplier:
        return (
            "noise_multiplier needs what one client can add, and algorithm fednova scales each update by the steps of "
            "all clients: leave noise_multiplier out"
        )
    return None
