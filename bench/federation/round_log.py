"""What is stored of a cell's rounds, and the seconds of each phase."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

NO_PREDICTION = ("no_prediction", "stamped_no_prediction")  # stored as None where every image has a prediction


@dataclass
class RoundLog:
    """What is stored of one cell: a list with one entry for each evaluated round, but for ``nonfinite``.

    Attributes:
        rounds: their numbers.
        confusion: ``(L, L)`` counts of the global model on the test set, rows true, columns predicted.
        clients: ids of those that took part.
        influence: of each client on the aggregated update.
        norms: of the clients' updates as the server gets them.
        fedavg_gap: distance of the aggregated update from FedAvg's, relative to the length of FedAvg's.
        no_prediction: ``(L,)`` test images of each true class that confusion leaves out: the model answered logits that
            are not finite (`training.evaluation`).
        stamped, stamped_no_prediction: as confusion and no_prediction, on stamped test images.
        kept: of each client 1 where the rule said that it kept it (`Cohort.tell_kept`), 0 where not; None: it told
            nothing.
        clamped: round -> running variances that the server's step made negative and that were set to zero
            (`training.running_variances`), of every round with some.
        nonfinite: round -> updates that were left out because they were not finite, of every round with some.
    """

    rounds: list[int] = field(default_factory=list)
    confusion: list[list[list[int]]] = field(default_factory=list)
    clients: list[list[int]] = field(default_factory=list)
    influence: list[list[float]] = field(default_factory=list)
    norms: list[list[float]] = field(default_factory=list)
    fedavg_gap: list[float] = field(default_factory=list)
    no_prediction: list[list[int]] = field(default_factory=list)
    stamped: list[list[list[int]]] = field(default_factory=list)
    stamped_no_prediction: list[list[int]] = field(default_factory=list)
    kept: list[list[int] | None] = field(default_factory=list)
    clamped: dict[str, int] = field(default_factory=dict)
    nonfinite: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.kept += [None] * (len(self.rounds) - len(self.kept))  # of a checkpoint from before this was recorded


@dataclass(frozen=True)
class EvaluatedRound:
    """One evaluated round of all cells of a stack; fields as in `RoundLog`, tensors with the cells in front.

    The confusions are ``(cells, L, L + 1)``, the last column of each being no_prediction.
    """

    number: int
    clients: list[list[int]]
    confusion: Tensor
    stamped: Tensor | None
    influence: Tensor
    norms: Tensor
    fedavg_gap: list[float]
    kept: list[list[int] | None]


def add(logs: Sequence[RoundLog], evaluated: EvaluatedRound) -> None:
    """Write an evaluated round into the log of each cell."""
    for s, log in enumerate(logs):
        log.rounds.append(evaluated.number)
        log.confusion.append(evaluated.confusion[s, :, :-1].tolist())
        log.no_prediction.append(evaluated.confusion[s, :, -1].tolist())
        if evaluated.stamped is not None:
            log.stamped.append(evaluated.stamped[s, :, :-1].tolist())
            log.stamped_no_prediction.append(evaluated.stamped[s, :, -1].tolist())
        log.clients.append(evaluated.clients[s])
        log.influence.append(evaluated.influence[s].tolist())
        log.norms.append(evaluated.norms[s].tolist())
        log.fedavg_gap.append(evaluated.fedavg_gap[s])
        log.kept.append(evaluated.kept[s])


def fedavg_gaps(updates: Tensor, weights: Tensor, update: Tensor) -> list[float]:
    """How far each cell's aggregated update is from FedAvg's, relative to the length of FedAvg's.

    Args:
        updates: ``(cells, clients, dim)``.
        weights: ``(cells, clients)``.
        update: ``(cells, dim)``.

    Returns:
        Of each cell 0 where both are equal, NaN where FedAvg's has no length.
    """
    # Element by element: a matrix product's last bits depend on where in memory a cell of the stack begins.
    fedavg = torch.zeros_like(update)
    for i in range(updates.shape[1]):
        fedavg.addcmul_(weights[:, i : i + 1], updates[:, i])
    gaps = torch.linalg.vector_norm((update - fedavg).double(), dim=-1).cpu()
    sizes = torch.linalg.vector_norm(fedavg.double(), dim=-1).cpu()
    # Nothing over nothing is no gap; something over nothing has no ratio.
    return [0.0 if not g else float(g / n) if n else float("nan") for g, n in zip(gaps, sizes, strict=True)]


@dataclass
class PhaseClock:
    """Seconds of each phase of all rounds so far."""

    local: float = 0.0
    aggregation: float = 0.0
    evaluation: float = 0.0
    _since: float = 0.0

    def start(self) -> None:
        """A round begins."""
        self._since = time.perf_counter()

    def lap(self, phase: str) -> None:
        """A phase ends and the next one begins."""
        now = time.perf_counter()
        self.add(phase, now - self._since)
        self._since = now

    def add(self, phase: str, seconds: float) -> None:
        """Count seconds that were spent on a phase."""
        setattr(self, phase, getattr(self, phase) + seconds)

    def shares(self, cells: int) -> dict[str, float]:
        """Seconds of each phase, shared out equally among so many cells."""
        return {k: v / cells for k, v in asdict(self).items() if not k.startswith("_")}
