"""Rounds of one federation, or of a stack of alike ones: local training, aggregation, server step, evaluation.

A stack's cells agree in everything that shapes the computation (data, model, clients, rounds, optimiser, rule and
declared f); seeds, partitions drawn from them, attacks and flip rates may differ. The rule is the only call into a
defence: updates and cohort go in, one update comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from flipbench.aggregators.contract import Cohort, cohort_of_cell
from flipbench.aggregators.numerics.norms import lengths
from flipbench.federation import client_work, evaluated_examples, round_log
from flipbench.federation.aggregation import Aggregation
from flipbench.federation.algorithms.choices import scaffold
from flipbench.federation.algorithms.scaffold import Scaffold, put
from flipbench.federation.algorithms.server_steps import ServerSteps
from flipbench.federation.batch_sampling import participants
from flipbench.federation.checkpoints.keeper import Keeper
from flipbench.federation.checkpoints.state_codec import UnsaveableError, plain, rebuilt
from flipbench.federation.client_work import Habits, Work
from flipbench.federation.influence import influence
from flipbench.federation.local_updates import LocalUpdates, Trained
from flipbench.federation.malicious_clients import Relabeller, UpdateAttacker
from flipbench.federation.population import Population, class_counts
from flipbench.federation.private_updates import Noise, clipped, noised_messages
from flipbench.federation.round_log import EvaluatedRound, PhaseClock, RoundLog
from flipbench.federation.task import Parts, Task
from flipbench.plugins import guard
from flipbench.spec.cell import VALIDATION, Cell
from flipbench.spec.seeds import named_seed
from flipbench.training import evaluation, models, running_variances
from flipbench.training import flat_parameters as vectors
from flipbench.training.batches import Batches, merge
from flipbench.training.executors import choice
from flipbench.training.inputs import Inputs
from flipbench.training.optimisers import local, server
from flipbench.training.optimizer import Recipe

_TENSORS = ("weights", "previous", "velocity")  # of a federation's state, cells in front


def run(
    cells: Sequence[Cell],
    populations: Sequence[Population],
    task: Task,
    parts: Parts,
    keeper: Keeper | None = None,
) -> list[tuple[dict[str, Any], dict[str, float]]]:
    """Run a stack of alike cells.

    Args:
        cells: alike in all that shapes the computation.
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
    return finish(Federation(cells, populations, task, parts), keeper)


def finish(federation: Federation, keeper: Keeper | None = None) -> list[tuple[dict[str, Any], dict[str, float]]]:
    """All rounds of a federation that are left to its checkpoints; what it returns and raises, `run` says."""
    cells = federation.cells
    done = 0 if keeper is None else keeper.resume(federation)
    for r in range(done + 1, cells[0].rounds + 1):
        federation.round(r)
        if keeper is not None and r < cells[0].rounds:
            keeper.round_done(federation, r)
    return [(federation.result(s), federation.clock.shares(len(cells))) for s in range(len(cells))]


def _check_fixed(built: Sequence[nn.Module]) -> None:
    """What is not in the vector, frozen parameters and integer buffers, is the first model's for all cells."""
    sent = vectors.layout_of(built[0])
    first, *others = [{n: t for n, t in m.state_dict().items() if n not in sent} for m in built]
    if any(not torch.equal(t, other[n]) for other in others for n, t in first.items()):
        raise ValueError("cells whose models differ in what is not trained cannot run in one stack")


class Federation:
    """The moving parts of a stack: weights, momenta, the rule's memory, logs."""

    def __init__(self, cells: Sequence[Cell], populations: Sequence[Population], task: Task, parts: Parts) -> None:
        self.cells, self.populations, self.task, self.parts = cells, populations, task, parts
        self.cell = cells[0]  # what all cells agree in
        shape = (task.shape, task.classes)
        own = (parts.model, self.cell.model), (parts.initialise, self.cell.initialisation)
        with guard.foreign_parts(*own):
            built = [models.build(parts.model, *shape, named_seed(c.seed, "weights"), parts.initialise) for c in cells]
        self.trained = (  # called in training
            (parts.model, self.cell.model),
            (parts.augment, self.cell.augmentation),
            (parts.optimiser, self.cell.optimiser),
        )
        _check_fixed(built)
        self.layout = vectors.layout_of(built[0])
        with guard.foreign_parts(*own):
            self.net = choice.stack(built[0].to(task.train.device), *shape)
        model = Trained(self.net, self.layout, vectors.statistics(built[0]))
        self.variances = running_variances.places_of(built[0], self.layout)
        self.weights = torch.stack([vectors.flatten(m) for m in built]).to(task.train.device)  # (cells, dim)
        self.previous = torch.zeros_like(self.weights)
        self.velocity = torch.zeros_like(self.weights)
        self.habits = Habits(
            *(parts.schedule, parts.loss, parts.augment, task.black, self.net.random, parts.optimiser),
            getattr(parts.algorithm, "mu", 0.0),
        )
        self.rosters = [participants(c) for c in cells]
        self.turns = [[0] * c.members for c in cells]
        self.work = [Work(c, p, task.classes, self.habits) for c, p in zip(cells, populations, strict=True)]
        self.seeds = torch.tensor([c.seed for c in cells])
        self.relabellers = [
            None if p.dynamic is None else Relabeller(c, p, task.classes, {}, {})
            for c, p in zip(cells, populations, strict=True)
        ]
        self.attackers = [
            None if p.chain.updates is None else UpdateAttacker(c, p.chain.updates, frozenset(p.malicious))
            for c, p in zip(cells, populations, strict=True)
        ]
        self.variates = self._variates(model)
        plain = local.is_plain(parts.optimiser, self.cell.clip_gradient, self.habits.mu)
        self.local = LocalUpdates(self.cell, model, self.weights, plain, self.variates)
        self.server = None if isinstance(parts.server_optimiser, server.sgd) else self._server_steps(model)
        self.inputs = Inputs(task.train, task.pixels, kept=self.cell.batch_size == "full")
        self.shares: Tensor | None = None  # of the last round's clients
        self.aggregation = Aggregation(parts.rule, self.cell.aggregator)
        self.noise = Noise(cells, populations)
        self.norms = torch.zeros(0)  # of the round's updates as they were sent, (cells, clients) float64
        self.logs, self.clock = [RoundLog() for _ in cells], PhaseClock()

    def _variates(self, model: Trained) -> Scaffold | None:
        """SCAFFOLD's control variates, with the rule and attacks on them; None for another algorithm."""
        chosen, cell = self.parts.algorithm, self.cell
        if not isinstance(chosen, scaffold):
            return None
        attackers = [None if a is None else replace(a, purpose="attack on control variates") for a in self.attackers]
        rule = Aggregation(self.parts.rule, cell.aggregator)
        return Scaffold(chosen, self.weights, cell.members, model.learned, rule, attackers)

    def _server_steps(self, model: Trained) -> ServerSteps:
        cell, optimiser = self.cell, self.parts.server_optimiser
        return ServerSteps(
            optimiser, cell.server_optimiser, cell.server_learning_rate, self.layout, model.learned, len(self.cells)
        )

    def round(self, r: int) -> None:
        """One communication round."""
        cell = self.cell
        self.clock.start()
        clients = [self._clients(s, r) for s in range(len(self.cells))]
        factors = []
        if cell.schedule_clock != "round":
            factors = [w.factors(c, t) for w, c, t in zip(self.work, clients, self.turns, strict=True)]
        recipe = client_work.recipe(cell, self.habits, r, factors, self.weights.device)
        batches = self._batches(clients, r)
        ids = torch.tensor(clients)  # (cells, clients)
        cohort = self._cohort(ids, r)
        with guard.foreign_parts(*self.trained):
            updates = self.local.of_clients(self.weights, ids, self.inputs, batches, recipe, cohort.weights)
        updates = self._messages(updates, cohort, r)
        self.clock.lap("local")
        answer, bad = self.aggregation.update(updates, cohort, self.norms)
        update = self.noise.to_answer(answer, r)
        if cell.noise_multiplier:  # none was left out, those that are not finite were sent as zero
            bad = (~torch.isfinite(self.norms)).sum(1).tolist()
        if self.variates is not None:
            root = partial(self._root_change, self.weights, r) if cell.root_examples else None
            self.variates.aggregate(updates, cohort, r, self._attacked(r), root)
        self.weights = self._moved(update)
        clamped = running_variances.clamp(self.weights, self.variances) if self.variances else [0] * len(bad)
        self.previous = update
        self.clock.lap("aggregation")
        for log, number, negative in zip(self.logs, bad, clamped, strict=True):
            if number:
                log.nonfinite[str(r)] = number
            if negative:
                log.clamped[str(r)] = negative
        if r == 1 or r > cell.rounds - cell.evaluate_last or r % cell.evaluate_every == 0:
            self._evaluate(r, clients, updates, cohort, answer)
        self.clock.lap("evaluation")

    def _moved(self, update: Tensor) -> Tensor:
        """The global weights after the server's step, ``(cells, dim)``."""
        cell = self.cell
        if self.server is not None:
            return self.server.moved(self.weights, update)
        if cell.server_momentum:
            self.velocity.mul_(cell.server_momentum).add_(update)
        return self.weights + cell.server_learning_rate * (self.velocity if cell.server_momentum else update)

    def _clients(self, s: int, r: int) -> list[int]:
        roster = self.rosters[s]
        return list(range(self.cell.members)) if roster is None else roster[r - 1]

    def _batches(self, clients: list[list[int]], r: int) -> Batches:
        """The round's batches of all cells; cells with one seed read the same examples in the same order."""
        drawn: dict[int, Batches] = {}
        given = []
        for s, (cell, work) in enumerate(zip(self.cells, self.work, strict=True)):
            if cell.seed not in drawn:
                drawn[cell.seed] = work.drawn(clients[s], [self.turns[s][c] for c in clients[s]])
            for c in clients[s]:
                self.turns[s][c] += 1
            ask = partial(self._scores, s)
            given.append(work.of_round(drawn[cell.seed], clients[s], r, self.relabellers[s], ask))
        return merge(given, self.task.train.device)

    def _scores(self, s: int, rows: Tensor) -> Tensor:
        """Logits ``(rows, L)`` that the global model of one cell gives training examples."""
        source = self.populations[s].source
        x = self.task.train[(rows if source is None else source[rows]).to(self.task.train.device)]
        with guard.foreign_parts(*self.trained):
            return evaluation.scores(self.net, self.layout, self.weights[s], x)

    def _attacked(self, r: int) -> list[int]:
        """The cells whose malicious clients attack updates in a round."""
        return [s for s, p in enumerate(self.populations) if self.attackers[s] is not None and r in p.attack_rounds]

    def _messages(self, updates: Tensor, cohort: Cohort, r: int) -> Tensor:
        """What the clients send, ``(cells, clients, dim)``: after attacks, clipping and noise of their own.

        ``norms`` are the lengths before the updates are clipped.
        """
        attackers = [a if r in p.attack_rounds else None for a, p in zip(self.attackers, self.populations, strict=True)]
        ask = self.aggregation.question
        if self.noise.at_client:
            sent, self.norms = noised_messages(updates, self.noise, cohort, r, attackers, ask)
            return sent
        if any(attackers):
            updates = updates.clone()  # clients keep their own momenta, whatever they send
        for s, attacker in enumerate(attackers):
            if attacker is not None:
                updates[s] = attacker.sent(updates[s], cohort_of_cell(cohort, (len(self.cells),), s), r, ask)
        self.norms = lengths(updates).cpu()
        return clipped(updates, self.norms, self.cell)

    @property
    def cost(self) -> dict[str, int | None]:
        """Bytes that the clients of a round send and receive together, and those of one call of the rule at its peak.

        Sent is an update each, received the global model each; SCAFFOLD's control variates go with both. A few numbers
        beside them (sizes, steps) are not counted.
        """
        each = self.weights.shape[1] * self.weights.element_size() * (1 if self.variates is None else 2)
        one_way = self.cell.per_round * each
        return {"bytes_up": one_way, "bytes_down": one_way, "rule_peak": self.aggregation.peak}

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
            "kept": log["kept"] if any(row is not None for row in log["kept"]) else None,
            "class_counts": class_counts(population, self.cell.partition, self.task.classes),
            **{name: log[name] if any(map(any, log[name])) else None for name in round_log.NO_PREDICTION},
            "malicious": list(population.malicious),
            "flips": flips,
            "examples": list(population.sizes),
            "attacked_rounds": sorted(population.attack_rounds),
        }

    def _cohort(self, ids: Tensor, r: int) -> Cohort:
        if self.shares is None or self.rosters[0] is not None:
            self.shares = self._shares(ids).to(self.weights)
        more: dict[str, Any] = {}
        if self.cell.root_examples:
            start = self.weights
            more["trusted"] = lambda: self._root_update(start, r)
        return Cohort(
            byzantine=self.cell.byzantine,
            weights=self.shares,
            clients=ids.to(self.weights.device),
            previous=self.previous,
            model=self.weights,
            layout=self.layout,
            round=r,
            seeds=self.seeds,
            **more,
        )

    def _shares(self, ids: Tensor) -> Tensor:
        """Each client's share of the round's training examples, ``(cells, clients)`` float64, or equal ones."""
        if self.cell.client_weights == "equal":
            return torch.full(ids.shape, 1.0 / ids.shape[1], dtype=torch.float64)
        sizes = torch.tensor([p.sizes for p in self.populations], dtype=torch.float64).gather(1, ids)
        totals = sizes.sum(1, keepdim=True)
        return torch.where(totals > 0, sizes / totals.clamp(min=1), 1.0 / ids.shape[1])

    def _root_update(self, start: Tensor, r: int) -> Tensor:
        """The server trains on its own examples as a client would, ``(cells, dim)``."""
        batches, recipe, inputs = self._root_work(r)
        with guard.foreign_parts(*self.trained):
            return self.local.of_root(start, inputs, batches, recipe)

    def _root_change(self, start: Tensor, r: int) -> Tensor:
        """SCAFFOLD: the change of the server's own control variate, ``(cells, dim)``."""
        batches, recipe, inputs = self._root_work(r)
        with guard.foreign_parts(*self.trained):
            return self.local.change_of_root(start, inputs, batches, recipe)

    def _root_work(self, r: int) -> tuple[Batches, Recipe, Inputs]:
        """What the server trains on."""
        factors = [] if self.cell.schedule_clock == "round" else [w.root_factors(r) for w in self.work]
        recipe = client_work.recipe(self.cell, self.habits, r, factors, self.weights.device)
        batches = merge([w.of_root(r) for w in self.work], self.weights.device)
        return batches, recipe, Inputs(self.task.train, self.task.pixels)

    def _evaluate(self, r: int, clients: list[list[int]], updates: Tensor, cohort: Cohort, update: Tensor) -> None:
        """Write what an evaluated round says into the logs."""
        model = (self.net, self.layout, self.weights, self.task)
        with guard.foreign_parts(*self.trained):
            if self.cell.evaluate_on == VALIDATION:
                matrices, stamped = evaluated_examples.on_held_out(*model, self.populations)
            else:
                matrices, stamped = evaluated_examples.on_test(*model)
        norms = self.norms if self.cell.clip_update is None else lengths(updates).cpu()
        gaps = round_log.fedavg_gaps(updates, cohort.weights, update)
        kept = [self.aggregation.kept.of_cell(s) for s in range(len(self.cells))]
        evaluated = EvaluatedRound(r, clients, matrices, stamped, influence(updates, update), norms, gaps, kept)
        round_log.add(self.logs, evaluated)

    def state_of(self, s: int) -> dict[str, Any]:
        """All that moves in one cell, as plain values.

        Raises:
            UnsaveableError: a memory holds more than plain values and its owner's records, or is that of a stack.
        """
        memory, attacker, relabeller = self.aggregation.memory, self.attackers[s], self.relabellers[s]
        if memory is not None and len(self.cells) > 1:
            raise UnsaveableError("the memory of a rule in a stack cannot be told apart by cell")
        state = {
            **{name: getattr(self, name)[s] for name in _TENSORS},
            "local": self.local.state_of(s),
            "server": None if self.server is None else self.server.state_of(s),
            "turns": self.turns[s],
            "rule": memory,
            "attacker": None if attacker is None else attacker.memory,
            "asked": None if relabeller is None else (relabeller.asked, relabeller.changed),
            "log": asdict(self.logs[s]),
            "seconds": self.clock.shares(len(self.cells)),
        }
        return dict(plain(state, self._owners(s)))

    def restore(self, s: int, state: dict[str, Any]) -> None:
        """Bring one cell of a new federation to where it was when its state was taken.

        Args:
            s: which cell.
            state: of `state_of`.

        Raises:
            ValueError, KeyError, TypeError: it is of another federation.
        """
        device, attacker, relabeller = self.weights.device, self.attackers[s], self.relabellers[s]
        for name in _TENSORS:
            put(getattr(self, name)[s], state[name], name)
        self.local.restore(s, rebuilt(state["local"], device, self._owners(s)))
        if self.server is not None:
            self.server.restore(s, state["server"], device)
        self.turns[s] = list(state["turns"])
        if state["rule"] is not None:
            self.aggregation.memory = rebuilt(state["rule"], device, self._owners(s))
        if attacker is not None:
            attacker.memory = rebuilt(state["attacker"], device, self._owners(s))
        if relabeller is not None:
            relabeller.asked, relabeller.changed = (dict(counts) for counts in state["asked"])
        self.logs[s] = RoundLog(**state["log"])
        for phase, seconds in state["seconds"].items():
            self.clock.add(phase, seconds)

    def _owners(self, s: int) -> frozenset[str]:
        """The modules that may define what memories are made of: those of the rule and of the attack on updates."""
        rule, attacker = self.parts.rule, self.attackers[s]
        owners = [rule, getattr(rule, "rule", None), None if attacker is None else attacker.attack]
        return frozenset(type(owner).__module__ for owner in owners if owner is not None)
