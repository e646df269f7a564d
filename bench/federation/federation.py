"""One federation, or a stack of alike ones: rounds of local training, aggregation, server step, evaluation.

A stack's cells agree in everything that shapes the computation (data, model, clients, rounds, optimiser, rule and
declared f); seeds, partitions drawn from them, attacks and flip rates may differ. The rule is the only call into a
defence: updates and cohort go in, one update comes out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flipbench.aggregators.contract import Cohort, cohort_of_cell
from flipbench.aggregators.numerics.norms import lengths
from flipbench.aggregators.validation import all_finite
from flipbench.federation import client_work
from flipbench.federation.batch_sampling import participants
from flipbench.federation.checkpoint import Keeper
from flipbench.federation.client_work import Habits, Work
from flipbench.federation.influence import influence
from flipbench.federation.malicious_clients import Relabeller, Senders, without_trace
from flipbench.federation.population import Population
from flipbench.federation.sybil_data import MaliciousData
from flipbench.spec.cell import Cell
from flipbench.spec.seeds import named_seed
from flipbench.training import evaluation, models
from flipbench.training import flat_parameters as vectors
from flipbench.training.augmentation import none
from flipbench.training.batches import Batches, merge
from flipbench.training.initialisation import Initialisation, default
from flipbench.training.inputs import Inputs, Pixels
from flipbench.training.layers import stacked_model
from flipbench.training.local_sgd import LocalRound, train
from flipbench.training.losses import cross_entropy
from flipbench.training.optimizer import Recipe


class BadUpdateError(RuntimeError):
    """A rule returned something that cannot be applied, or changed its inputs."""


@dataclass(frozen=True)
class Task:
    """A data set ready for training, on the device.

    Attributes:
        train: ``(examples, *shape)`` float32; with an attack on examples twice as many, the stamped ones behind.
        test: ``(examples, *shape)`` float32.
        test_labels: ``(examples,)`` int64.
        classes: L.
        stamped_test: test images with the trigger that the attack would stamp, ``(some, *shape)``; None without one.
        stamped_labels: their true labels.
        black: ``shape``, a black image, scaled; needed by augmentation.
        pixels: of the training images, on the CPU; None where they are not known, or not all that train is made of.
    """

    train: Tensor
    test: Tensor
    test_labels: Tensor
    classes: int
    stamped_test: Tensor | None = None
    stamped_labels: Tensor | None = None
    black: Tensor | None = None
    pixels: Pixels | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        c, h, w = self.train.shape[1:]
        return c, h, w


@dataclass(frozen=True)
class Parts:
    """What the names in a cell stand for.

    Attributes:
        model: ``(shape, classes) -> nn.Module``.
        schedule: ``(t, rounds) -> factor on the learning rate``, t from 0.
        rule: the aggregator.
        initialise: draws the initial weights.
        loss: `training.losses`.
        augment: `training.augmentation`.
        sybil_data: what each sybil holds.
    """

    model: Callable[..., nn.Module]
    schedule: Callable[[int, int], float]
    rule: Callable[..., Any]
    initialise: Initialisation = default
    loss: Any = field(default_factory=cross_entropy)
    augment: Any = field(default_factory=none)
    sybil_data: MaliciousData | None = None


@dataclass
class _Log:
    """What is stored of one cell."""

    rounds: list[int] = field(default_factory=list)
    confusion: list[list[list[int]]] = field(default_factory=list)
    clients: list[list[int]] = field(default_factory=list)
    influence: list[list[float]] = field(default_factory=list)
    norms: list[list[float]] = field(default_factory=list)
    fedavg_gap: list[float] = field(default_factory=list)
    stamped: list[list[list[int]]] = field(default_factory=list)
    nonfinite: dict[str, int] = field(default_factory=dict)


@dataclass
class _Clock:
    """Seconds per phase."""

    local: float = 0.0
    aggregation: float = 0.0
    evaluation: float = 0.0
    _since: float = 0.0

    def start(self) -> None:
        self._since = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        setattr(self, phase, getattr(self, phase) + now - self._since)
        self._since = now


def run(
    cells: Sequence[Cell],
    populations: Sequence[Population],
    task: Task,
    parts: Parts,
    keeper: Keeper | None = None,
) -> list[tuple[dict[str, Any], dict[str, float]]]:
    """Run a stack of alike cells.

    Args:
        cells: the facts of each; alike in all that shapes the computation.
        populations: the clients of each.
        task: the data.
        parts: model, schedule and rule.
        keeper: of checkpoints; the cells go on from theirs, to the same numbers.

    Returns:
        For each cell the raw result (as stored) and seconds per phase (the stack's, shared out equally).

    Raises:
        Infeasible: the rule's conditions do not hold, or an attack's.
        BadUpdateError: the rule's answer has the wrong shape or type, is not finite, or its inputs were changed.
        BadAttackError: the same of an attack's answer.
    """
    federation = Federation(cells, populations, task, parts)
    done = 0 if keeper is None else keeper.resume(federation)
    for r in range(done + 1, cells[0].rounds + 1):
        federation.round(r)
        if keeper is not None and r < cells[0].rounds:
            keeper.round_done(federation, r)
    seconds = {k: v / len(cells) for k, v in asdict(federation.clock).items() if not k.startswith("_")}
    return [(federation.result(s), dict(seconds)) for s in range(len(cells))]


class Federation:
    """The moving parts of a stack: weights, momenta, the rule's memory, logs."""

    def __init__(self, cells: Sequence[Cell], populations: Sequence[Population], task: Task, parts: Parts) -> None:
        self.cells, self.populations, self.task, self.parts = cells, populations, task, parts
        self.facts = cells[0]
        shape = (task.shape, task.classes)
        built = [models.build(parts.model, *shape, named_seed(c.seed, "weights"), parts.initialise) for c in cells]
        self.net, self.layout = stacked_model.stack(built[0]), vectors.layout_of(built[0])
        device = task.train.device
        self.weights = torch.stack([vectors.flatten(m) for m in built]).to(device)  # (cells, dim)
        self.previous = torch.zeros_like(self.weights)
        self.velocity = torch.zeros_like(self.weights)
        everybody, dim = self.facts.members, self.weights.shape[1]
        kept = everybody if self.facts.optimiser_state == "kept" and self.facts.momentum else 0
        self.momenta = torch.zeros(len(cells), everybody if self.facts.client_momentum else 0, dim, device=device)
        self.buffers = torch.zeros(len(cells), kept, dim, device=device)  # of local SGD
        self.rosters = [participants(c) for c in cells]
        self.turns = [[0] * c.members for c in cells]
        self.habits = Habits(parts.schedule, parts.loss, parts.augment, task.black, self.net.random)
        self.work = [Work(c, p, task.classes, self.habits) for c, p in zip(cells, populations, strict=True)]
        self.seeds = torch.tensor([c.seed for c in cells])
        self.relabellers = [
            None if p.dynamic is None else Relabeller(c, p, task.classes, {}, {})
            for c, p in zip(cells, populations, strict=True)
        ]
        self.senders = [
            None if p.chain.updates is None else Senders(c, p.chain.updates, frozenset(p.malicious))
            for c, p in zip(cells, populations, strict=True)
        ]
        self.inputs = Inputs(task.train, task.pixels, kept=self.facts.batch_size == "full")
        self.shares: Tensor | None = None  # of the last round's clients
        self.state: Any = None
        self.norms = torch.zeros(0)  # of the round's updates as they were sent, (cells, clients) float64
        self.logs, self.clock = [_Log() for _ in cells], _Clock()

    def round(self, r: int) -> None:
        """One communication round."""
        facts = self.facts
        self.clock.start()
        clients = [self._clients(s, r) for s in range(len(self.cells))]
        factors = []
        if facts.schedule_clock != "round":
            factors = [w.factors(c, t) for w, c, t in zip(self.work, clients, self.turns, strict=True)]
        recipe = client_work.recipe(facts, self.habits, r, factors, self.weights.device)
        batches = self._batches(clients, r)
        ids = torch.tensor(clients)  # (cells, clients)
        updates = self._local_updates(ids, batches, recipe)
        cohort = self._cohort(ids, updates, r)
        updates = self._clipped(self._sent(updates, cohort, r))
        self.clock.lap("local")
        update, bad = self._aggregate(updates, cohort)
        if facts.server_momentum:
            self.velocity.mul_(facts.server_momentum).add_(update)
        before = self.weights
        self.weights = before + facts.server_learning_rate * (self.velocity if facts.server_momentum else update)
        self.previous = update
        self.clock.lap("aggregation")
        for log, number in zip(self.logs, bad, strict=True):
            if number:
                log.nonfinite[str(r)] = number
        if r == 1 or r > facts.rounds - facts.evaluate_last or r % facts.evaluate_every == 0:
            self._record(r, clients, updates, cohort, update)
        self.clock.lap("evaluation")

    def _clients(self, s: int, r: int) -> list[int]:
        roster = self.rosters[s]
        return list(range(self.facts.members)) if roster is None else roster[r - 1]

    def _batches(self, clients: list[list[int]], r: int) -> Batches:
        """The round's batches of all cells; cells with one seed read the same examples in the same order."""
        drawn: dict[int, Batches] = {}
        given = []
        for s, (cell, one) in enumerate(zip(self.cells, self.work, strict=True)):
            if cell.seed not in drawn:
                drawn[cell.seed] = one.drawn(clients[s], [self.turns[s][c] for c in clients[s]])
            for c in clients[s]:
                self.turns[s][c] += 1
            facts = (drawn[cell.seed], clients[s], r, self.relabellers[s], partial(self._scores, s))
            given.append(one.of_round(*facts))
        return merge(given, self.task.train.device)

    def _scores(self, s: int, rows: Tensor) -> Tensor:
        """Logits ``(rows, L)`` that the global model of one cell gives training examples."""
        source = self.populations[s].source
        x = self.task.train[(rows if source is None else source[rows]).to(self.task.train.device)]
        return evaluation.scores(self.net, self.layout, self.weights[s], x)

    def _sent(self, updates: Tensor, cohort: Cohort, r: int) -> Tensor:
        """The clients' updates after the attacks on updates; without any they are handed on as they are."""
        attacked = [s for s, p in enumerate(self.populations) if self.senders[s] is not None and r in p.attack_rounds]
        if not attacked:
            return updates
        out = updates.clone()  # clients keep their own momenta, whatever they send
        ask = without_trace(self.parts.rule, self.state)
        for s in attacked:
            sender = self.senders[s]
            assert sender is not None
            alone = cohort_of_cell(cohort, (len(self.cells),), s)
            out[s] = sender.sent(updates[s], alone, r, ask)
        return out

    def _clipped(self, updates: Tensor) -> Tensor:
        """The updates, longer ones scaled down to the length that is let through; ``norms`` are of before."""
        self.norms = lengths(updates).cpu()
        most = self.facts.clip_update
        if most is None:
            return updates
        known = self.norms.numpy()
        long = (known > most) & np.isfinite(known)  # what is not finite stays so
        if not long.any():
            return updates
        shares = np.divide(most, known, out=np.ones_like(known), where=long)
        factors = torch.from_numpy(shares).to(updates).unsqueeze(-1)
        return updates * factors if self.facts.client_momentum else updates.mul_(factors)  # clients keep momenta

    def result(self, s: int) -> dict[str, Any]:
        """What is stored of one cell."""
        population, relabeller = self.populations[s], self.relabellers[s]
        flips = [asdict(f) for f in population.flips]
        if relabeller is not None:  # the share that changed over all rounds, of what was selected
            for flip in (f for f in flips if f["place"] == "labels" and f["client"] in relabeller.asked):
                share = relabeller.changed[flip["client"]] / relabeller.asked[flip["client"]]
                flip["changed"] = round(share * flip["selected"])
        log = asdict(self.logs[s])
        return log | {
            "stamped": log["stamped"] or None,
            "malicious": list(population.malicious),
            "flips": flips,
            "examples": list(population.sizes),
            "attacked_rounds": sorted(population.attack_rounds),
        }

    def _local_updates(self, ids: Tensor, batches: Batches, recipe: Recipe) -> Tensor:
        """What the clients send: their updates, or with client momentum m <- beta m + (1 - beta) update."""
        beta = self.facts.client_momentum
        everybody, kept = ids.shape[1] == self.facts.members, bool(self.buffers.shape[1])
        work = LocalRound(self.net, self.layout, self.weights, self.inputs, batches, recipe)
        if beta and everybody and batches.index.shape[2] == 1 and not kept:
            return train(replace(work, momenta=self.momenta, keep=beta))
        place = ids.to(self.weights.device).unsqueeze(-1).expand(*ids.shape, self.weights.shape[1])
        if kept:
            buffers = self.buffers if everybody else self.buffers.gather(1, place)
            updates = train(replace(work, buffers=buffers))
            if not everybody:
                self.buffers.scatter_(1, place, buffers)
        else:
            updates = train(work)
        if not beta:
            return updates
        if everybody:
            return self.momenta.lerp_(updates, 1.0 - beta)
        sent = self.momenta.gather(1, place).lerp_(updates, 1.0 - beta)
        self.momenta.scatter_(1, place, sent)
        return sent

    def _cohort(self, ids: Tensor, updates: Tensor, r: int) -> Cohort:
        if self.shares is None or self.rosters[0] is not None:
            self.shares = self._shares(ids).to(updates.dtype).to(updates.device)
        facts: dict[str, Any] = {}
        if self.facts.root_examples:
            start = self.weights
            facts["trusted"] = lambda: self._root_update(start, r)
        return Cohort(
            byzantine=self.facts.byzantine,
            weights=self.shares,
            clients=ids.to(updates.device),
            previous=self.previous,
            layout=self.layout,
            round=r,
            seeds=self.seeds,
            **facts,
        )

    def _shares(self, ids: Tensor) -> Tensor:
        """Each client's share of the round's training examples, ``(cells, clients)`` float64, or equal ones."""
        if self.facts.client_weights == "equal":
            return torch.full(ids.shape, 1.0 / ids.shape[1], dtype=torch.float64)
        sizes = torch.tensor([p.sizes for p in self.populations], dtype=torch.float64).gather(1, ids)
        totals = sizes.sum(1, keepdim=True)
        return torch.where(totals > 0, sizes / totals.clamp(min=1), 1.0 / ids.shape[1])

    def _root_update(self, start: Tensor, r: int) -> Tensor:
        """The server trains on its own examples as a client would, ``(cells, dim)``."""
        factors = [] if self.facts.schedule_clock == "round" else [w.root_factors(r) for w in self.work]
        recipe = client_work.recipe(self.facts, self.habits, r, factors, start.device)
        batches = merge([w.of_root(r) for w in self.work], start.device)
        inputs = Inputs(self.task.train, self.task.pixels)
        return train(LocalRound(self.net, self.layout, start, inputs, batches, recipe)).squeeze(1)

    def _aggregate(self, updates: Tensor, cohort: Cohort) -> tuple[Tensor, list[int]]:
        """The rule's update, and for each cell how many updates were left out because they are not finite."""
        if all_finite(self.norms):
            return self._ask(updates, cohort), [0] * len(self.cells)
        finite = torch.isfinite(updates).all(-1).cpu()  # a norm that overflows is no proof: the elements are
        if bool(finite.all()):
            return self._ask(updates, cohort), [0] * len(self.cells)
        if self.state is not None and len(self.cells) > 1:
            raise BadUpdateError("updates that are not finite reached a rule with memory within a stack")
        answers = [self._ask_without(updates, cohort, s, finite[s]) for s in range(len(self.cells))]
        return torch.stack(answers), (~finite).sum(1).tolist()

    def _ask_without(self, updates: Tensor, cohort: Cohort, s: int, keep: Tensor) -> Tensor:
        """One cell's update from the clients whose updates are finite; f shrinks by those left out."""
        if not bool(keep.any()):
            return torch.zeros_like(self.weights[s])
        rows = keep.nonzero().squeeze(1).to(updates.device)
        weights = cohort.weights[s : s + 1, rows]
        total = weights.sum(1, keepdim=True)
        some = replace(
            cohort,
            byzantine=max(0, cohort.byzantine - int((~keep).sum())),
            weights=torch.where(total > 0, weights / total.clamp(min=1e-30), 1.0 / len(rows)),
            clients=cohort.clients[s : s + 1, rows],
            previous=cohort.previous[s : s + 1],
            seeds=cohort.seeds[s : s + 1],
            trusted=lambda: cohort.trusted()[s : s + 1],
        )
        return self._ask(updates[s : s + 1, rows], some)[0]

    def _ask(self, updates: Tensor, cohort: Cohort) -> Tensor:
        """The only call into a defence, and the checks of its answer."""
        rule, name = self.parts.rule, self.facts.aggregator
        version = updates._version
        if hasattr(rule, "init"):
            if self.state is None:
                self.state = rule.init(updates, cohort)
            update, self.state = rule(updates, cohort, self.state)
        else:
            update = rule(updates, cohort)
        wanted = (updates.shape[0], updates.shape[2])
        if not isinstance(update, Tensor) or update.shape != wanted:
            came = tuple(update.shape) if isinstance(update, Tensor) else type(update).__name__
            raise BadUpdateError(f"{name} must return a tensor of shape (*cells, dim) = {wanted}, got {came}")
        if updates._version != version:
            raise BadUpdateError(f"{name} changed the updates that it was given; work on a copy (updates.clone())")
        if update.dtype != updates.dtype or update.device != updates.device:
            raise BadUpdateError(
                f"{name} must return {updates.dtype} on {updates.device}, got {update.dtype} on {update.device}"
            )
        if not all_finite(update):
            raise BadUpdateError(
                f"{name} returned an update that is not finite in round {cohort.round}, from finite updates"
            )
        # A view of a row would change when clients move on (momenta are updated in place).
        shared = update.untyped_storage().data_ptr() == updates.untyped_storage().data_ptr()
        return update.clone() if shared else update

    def _record(self, r: int, clients: list[list[int]], updates: Tensor, cohort: Cohort, update: Tensor) -> None:
        """The raw facts of an evaluated round."""
        task = self.task
        matrices = evaluation.confusion(
            self.net, self.layout, self.weights, task.test, task.test_labels, task.classes
        ).cpu()
        stamped = self._stamped()
        shares = influence(updates, update)
        norms = self.norms if self.facts.clip_update is None else lengths(updates).cpu()
        # Element by element: a matrix product's last bits depend on where in memory a cell of the stack begins.
        fedavg = torch.zeros_like(update)
        for i in range(updates.shape[1]):
            fedavg.addcmul_(cohort.weights[:, i : i + 1], updates[:, i])
        gaps = torch.linalg.vector_norm((update - fedavg).double(), dim=-1).cpu()
        sizes = torch.linalg.vector_norm(fedavg.double(), dim=-1).cpu()
        for s, log in enumerate(self.logs):
            log.rounds.append(r)
            log.confusion.append(matrices[s].tolist())
            if stamped is not None:
                log.stamped.append(stamped[s].tolist())
            log.clients.append(clients[s])
            log.influence.append(shares[s].tolist())
            log.norms.append(norms[s].tolist())
            # Nothing over nothing is no gap; something over nothing has no ratio.
            log.fedavg_gap.append(0.0 if not gaps[s] else float(gaps[s] / sizes[s]) if sizes[s] else float("nan"))

    def _stamped(self) -> Tensor | None:
        """Confusion on stamped test images, ``(cells, L, L)``."""
        task = self.task
        if task.stamped_test is None or task.stamped_labels is None:
            return None
        facts = (task.stamped_test, task.stamped_labels, task.classes)
        return evaluation.confusion(self.net, self.layout, self.weights, *facts).cpu()
