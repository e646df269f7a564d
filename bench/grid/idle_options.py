"""Values that change no number: options and fields without effect, as far as it follows from the grid.

Like attacks that cannot act (`grid.idle_attacks`), a value is named where every cell that has it is without effect, so
that an axis may begin with one, and a value may matter in some cells only. What comes from plug-ins is not judged.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from operator import attrgetter
from typing import Any

from flipbench.plugins import registry
from flipbench.spec.cell import CLEAN, FIELDS, Cell
from flipbench.spec.field_groups import USUAL
from flipbench.spec.reference import Reference, parse, parse_chain
from flipbench.spec.training_choices import FEDNOVA, SCAFFOLD, SGD, name_of

Reason = tuple[str, str]  # the field to name, and why its value changes nothing
_LEAVE = "leave it out, it changes no number"
_DRAWS = 20  # of updates, among which f matters to any rule that takes it
_looked_at = attrgetter(*(f for f in FIELDS if f not in ("seed", "device", "features", "initialisation", "model")))
_NAMED = (
    *("schedule", "schedule_clock", "schedule_start", "optimiser_state", "server_momentum", "noise_at", "loss"),
    *(
        "augmentation",
        "reduction",
        "algorithm",
        "validation_share",
        "attack",
        "flip_rate",
        "flips_trained",
        "attack_start",
        "attack_stop",
    ),
    *("attack_availability", "aggregator", "declared_byzantine"),
)


@dataclass
class IdleOptions:
    """What the cells of a grid have in common whose values change nothing.

    Attributes:
        sizes: the number of training examples of a data set; None where it is not known before it is loaded.
        kinds: cells that are judged alike -> one of them, and how many there are.
    """

    sizes: Callable[[str], int | None]
    kinds: dict[Any, list[Any]] = field(default_factory=dict)

    def see(self, cell: Cell) -> None:
        """Count a cell as the grid's file asks for it, before it is brought to its normal form."""
        kind = self.kinds.setdefault(_looked_at(cell), [cell, 0])
        kind[1] += 1

    def found(self) -> Iterator[tuple[str, Any, str]]:
        """Field, value and reason, of values that change nothing in any cell that has them."""
        totals: Counter[tuple[str, Any]] = Counter()
        idle: Counter[tuple[str, Any, str]] = Counter()
        for cell, number in self.kinds.values():
            totals.update({(name, getattr(cell, name)): number for name in _NAMED})
            for name, text in dict(_reasons(cell, self.sizes)).items():  # one reason a field
                idle[name, getattr(cell, name), text] += number
        for (name, value, text), number in idle.items():
            if number == totals[name, value] and value != USUAL[name]:
                yield name, value, text


def _reasons(cell: Cell, sizes: Callable[[str], int | None]) -> Iterator[Reason]:
    if cell.schedule == "constant":
        for name in ("schedule_clock", "schedule_start"):
            yield name, f"a constant schedule counts nothing; {_LEAVE}"
    elif (steps := _steps(cell, sizes)) is not None and _is_one(cell.schedule, cell.schedule_start, steps, cell.rounds):
        yield "schedule", f"{cell.schedule} leaves the learning rate as it is in {_counted(steps, cell)}; {_LEAVE}"
    if not cell.momentum and name_of(cell.optimiser) == SGD:
        yield "optimiser_state", f"without momentum there is no state to keep; {_LEAVE}"
    elif cell.rounds == 1:
        yield "optimiser_state", f"with one round no state is kept for another; {_LEAVE}"
    yield from _of_algorithm(cell)
    if cell.rounds == 1:
        yield "server_momentum", f"with one round there is no step before it; {_LEAVE}"
    if not cell.noise_multiplier:
        yield "noise_at", f"without a noise_multiplier there is no noise; {_LEAVE}"
    if (text := _of_augmentation(cell.augmentation)) is not None:
        yield "augmentation", text
    if parse(cell.loss).name == "class_balanced" and parse(cell.loss).options.get("power") == 0:
        yield "loss", f"a power of 0 weighs all classes alike; {_LEAVE}"
    if cell.batch_size == 1:
        yield "reduction", f"the sum over a batch of one example is its mean; {_LEAVE}"
    if cell.validation_share and cell.partition == "iid" and (examples := sizes(cell.dataset)) is not None:
        own = -(-(examples - cell.root_examples) // cell.clients)
        kept = own - round(Fraction(repr(cell.validation_share)) * own)
        share = f"a share of {cell.validation_share:g} of the {own} examples of a client is"
        if kept == own:
            yield "validation_share", f"{share} no example; {_LEAVE}"
        elif kept == 0:
            yield "validation_share", f"{share} all of them, so that nothing can be trained; give a smaller share"
    yield from _of_attack(cell)
    yield from _of_rule(cell.aggregator)
    if cell.declared_byzantine is not None and _takes_no_f(cell.aggregator):
        yield "declared_byzantine", f"{cell.aggregator} takes no f; {_LEAVE}"


def _of_algorithm(cell: Cell) -> Iterator[Reason]:
    algorithm = parse(cell.algorithm)
    if algorithm.name == "fedprox" and not algorithm.options.get("mu"):
        yield "algorithm", f"with mu=0 there is no proximal term; {_LEAVE}"
    if algorithm.name == SCAFFOLD and cell.rounds == 1:
        yield "algorithm", f"with one round all control variates are 0; {_LEAVE}"
    if algorithm.name == FEDNOVA and cell.local_steps is not None and cell.schedule_clock != "shared_step":
        yield "algorithm", f"all clients make {cell.local_steps} steps, so fednova is fedavg; {_LEAVE}"


def _of_attack(cell: Cell) -> Iterator[Reason]:
    if cell.attack == CLEAN:
        for name in ("flip_rate", "flips_trained", "attack_start", "attack_stop", "attack_availability"):
            yield name, f"there is no attack; {_LEAVE}"
        return
    last = min(cell.attack_stop or cell.rounds, cell.rounds)
    if (cell.attack_stop or 0) > cell.rounds:
        yield "attack_stop", f"round {cell.attack_stop} is after the last of {cell.rounds} rounds; {_LEAVE}"
    window = last - cell.attack_start + 1
    if window > 0 and round(Fraction(repr(cell.attack_availability)) * window) == window:
        text = f"a share of {cell.attack_availability:g} of the {window} rounds of the attack is each of them; {_LEAVE}"
        yield "attack_availability", text
    if _only_sends(cell.attack):
        for name in ("flip_rate", "flips_trained"):
            yield name, f"{cell.attack} changes updates alone, no label and no image; {_LEAVE}"
    for link in parse_chain(cell.attack):
        if _sends_as_is(str(link)):
            yield "attack", f"{link} sends the updates as they are; {_LEAVE}"


def _steps(cell: Cell, sizes: Callable[[str], int | None]) -> int | None:
    """How far the schedule's clock comes at most; None where it is not known."""
    if cell.schedule_clock in ("round", "participation"):
        return cell.rounds
    if cell.local_steps is not None:
        steps = cell.local_steps
    else:
        examples = sizes(cell.dataset)
        if examples is None:
            return None
        steps = (cell.epochs or 1) * (1 if cell.batch_size == "full" else math.ceil(examples / cell.batch_size))
    if cell.schedule_clock == "local_step":
        return steps
    return steps * cell.rounds * (cell.members if cell.schedule_clock == "shared_step" else 1)


def _counted(steps: int, cell: Cell) -> str:
    noun = "round" if cell.schedule_clock in ("round", "participation") else "step"
    return f"all {steps:,} {noun}s" if steps > 1 else f"the only {noun}"


@lru_cache(maxsize=4096)
def _is_one(schedule: str, start: int, steps: int, rounds: int) -> bool:
    """Whether a shipped schedule, which only rises or only falls, is 1 from the first to the last."""
    if not registry.is_shipped("schedule", parse(schedule).name):
        return False
    factor = registry.resolve("schedule", schedule)
    return bool(factor(start, rounds) == 1 == factor(start + steps - 1, rounds))


@lru_cache(maxsize=4096)
def _of_augmentation(augmentation: str) -> str | None:
    if parse(augmentation).name != "crop":
        return None
    crop: Any = registry.resolve("augmentation", augmentation)
    if crop.padding:
        return None
    if crop.flip:
        return f"padding=0 moves no image: all that is left is mirroring (flip={crop.flip:g})"
    return f"no image changes without padding and mirroring; {_LEAVE}"


@lru_cache(maxsize=4096)
def _only_sends(attack: str) -> bool:
    from flipbench.attacks.contract import place

    links = parse_chain(attack)
    if not all(registry.is_shipped("attack", link.name) for link in links):
        return False
    return all(place(registry.resolve("attack", link)) == "updates" for link in links)


@lru_cache(maxsize=4096)
def _sends_as_is(text: str) -> bool:
    """Whether a shipped attack on updates with options answers the updates that it is given."""
    from flipbench.attacks.contract import place
    from flipbench.grid.fields import one_attack

    link = parse(text)
    if not link.options or not registry.is_shipped("attack", link.name):
        return False
    attack = registry.resolve("attack", link)
    try:
        return place(attack) == "updates" and one_attack(attack, 8)
    except (ValueError, RuntimeError, ArithmeticError):  # said where attacks are checked
        return False


def _of_rule(aggregator: str) -> Iterator[Reason]:
    parts = parse_chain(aggregator)
    for link in parts[:-1]:
        if _passes(str(link)):
            yield "aggregator", f"{link} leaves the updates as they are; {_LEAVE}"
    if _is_mean(str(parts[-1])):
        yield "aggregator", f"with these options {parts[-1].name} is the mean of the updates, for which mean stands"


def _shipped_with_options(kind: str, link: Reference) -> bool:
    return bool(link.options) and registry.is_shipped(kind, link.name)


@lru_cache(maxsize=4096)
def _passes(text: str) -> bool:
    """Whether a shipped pre-aggregation with options answers the updates, in whatever order."""
    import torch

    if not _shipped_with_options("preaggregation", parse(text)):
        return False
    updates, cohort = _far_apart()
    mixed, _ = registry.resolve("preaggregation", text)(updates, cohort)
    if mixed.shape != updates.shape:
        return False
    order, other = updates.norm(dim=1).argsort(), mixed.norm(dim=1).argsort()
    return torch.allclose(updates[order], mixed[other], rtol=1e-6)


@lru_cache(maxsize=4096)
def _is_mean(text: str) -> bool:
    """Whether the options of a shipped rule make it the mean, which it is not without them."""
    link = parse(text)
    if not _shipped_with_options("aggregator", link):
        return False
    return _answers_mean(text) and not _answers_mean(link.name)


def _answers_mean(text: str) -> bool:
    import torch

    updates, cohort = _far_apart()
    try:
        answer = registry.resolve("aggregator", text)(updates, cohort)
    except (TypeError, ValueError, RuntimeError):  # infeasible; or it remembers, and is called in another way
        return False
    means = updates.mean(0), cohort.weights @ updates
    return isinstance(answer, torch.Tensor) and any(torch.allclose(answer, m, rtol=1e-5, atol=0) for m in means)


@lru_cache(maxsize=1024)
def _takes_no_f(aggregator: str) -> bool:
    """Whether a shipped rule or chain answers the same whatever f is."""
    import torch

    from flipbench.aggregators.contract import Cohort

    if not registry.all_shipped("aggregator", aggregator):
        return False
    rule, draws = registry.resolve("aggregator", aggregator), torch.Generator().manual_seed(0)
    for updates in torch.randn(_DRAWS, 13, 8, generator=draws):
        try:
            answers = [rule(updates, Cohort.of(updates, f)) for f in (0, 1, 4)]
        except (TypeError, ValueError, RuntimeError):  # it needs more than this, and may take f
            return False
        if not all(torch.equal(answers[0], answer) for answer in answers):
            return False
    return True


@lru_cache(maxsize=1)
def _far_apart() -> tuple[Any, Any]:
    """Updates of very different lengths, so that no radius of practical use is without effect on all of them."""
    import torch

    from flipbench.aggregators.contract import Cohort

    updates = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    updates = updates * torch.logspace(-6, 12, 16).unsqueeze(-1)
    weights = torch.arange(1, 17, dtype=torch.float32)
    return updates, Cohort.of(updates, 2, weights=weights / weights.sum())
