"""Normal form of a cell (one spelling for each experiment) and its clean twin (the experiment without the attack)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flipbench.spec.cell import CLEAN, HONEST, NOISES, SHARE, Cell
from flipbench.spec.field_groups import ATTACK_FIELDS, ATTACK_OPTIONS, USUAL
from flipbench.spec.training_choices import SGD

_WITHOUT_ATTACK = {name: USUAL[name] for name in ATTACK_FIELDS} | {"malicious_count": 0}


def normal(cell: Cell) -> Cell:
    """The same experiment in its one spelling: equal experiments have equal fields, hence one key.

    Without malicious clients or without an attack the fields of the attack say nothing; declared f and the number of
    malicious clients are made explicit. The optimiser state without momentum, the clock of a constant rate and where
    no noise is added say nothing either.
    """
    values: dict[str, Any] = {
        "malicious_fraction": None,
        "malicious_count": cell.malicious,
        "declared_byzantine": cell.byzantine,
        "clients_per_round": None if cell.per_round == cell.members else cell.per_round,
        "local_epochs": cell.epochs,
        "evaluate_last": min(cell.evaluate_last, cell.rounds),
    }
    if not cell.attacked:
        values |= _WITHOUT_ATTACK
    if not cell.momentum and cell.optimiser == SGD:
        values["optimiser_state"] = USUAL["optimiser_state"]
    if cell.schedule == "constant":
        values |= {name: USUAL[name] for name in ("schedule_clock", "schedule_start")}
    if not cell.noise_multiplier:
        values["noise_at"] = USUAL["noise_at"]
    return _vary(cell, values)


def clean_twin(cell: Cell) -> Cell:
    """The same experiment without the attack; the declared f stays. Its own twin when nothing is attacked.

    Sybils are there for the attack alone: the twin is the federation without them, and its f is less by as many.
    """
    return normal(_vary(cell, {"attack": CLEAN}))


def noise_twin(cell: Cell, share: float) -> Cell | None:
    """The same experiment in which the clients that would be malicious are honest, with natural label noise.

    Args:
        cell: an attacked cell.
        share: of their labels that are wrong, each equally likely one of the other classes.

    Returns:
        None where nothing is attacked, and for sybils: without an attack they are not there.
    """
    if not cell.attacked or cell.malicious_data != SHARE:
        return None
    plain = {name: USUAL[name] for name in ATTACK_OPTIONS}
    return normal(_vary(cell, {**plain, "attack": NOISES[0], "flip_rate": share, "intent": HONEST}))


def _vary(cell: Cell, values: Mapping[str, Any]) -> Cell:
    """`replace` without validation: another spelling of a valid cell is valid, and grids have 100,000 cells."""
    varied = object.__new__(Cell)
    varied.__dict__.update(cell.__dict__)
    varied.__dict__.update(values)
    return varied
