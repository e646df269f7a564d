"""Deals the training set to clients, draws the malicious ones, and flips labels or stamps images of theirs.

Everything is drawn per purpose from the cell's seed: two cells that differ in the rule, the attack or the number of
malicious clients share the partition; malicious sets are nested over fractions (the first m of one permutation) and
flipped examples over rates (the first k of one permutation), which makes differences between cells paired.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from flipbench.attacks.chain import Chain
from flipbench.attacks.contract import LabelContext, Proposal, Stamped, declares
from flipbench.data.partitions import with_clients
from flipbench.errors import UserError
from flipbench.federation.sybil_data import MaliciousData
from flipbench.plugins import guard, registry
from flipbench.spec.cell import VALIDATION, Cell
from flipbench.spec.reference import parse
from flipbench.spec.seeds import named_seed
from flipbench.training import plugin_answers

IID = "iid"  # the partition by which all clients have the same classes, but for chance
Partition = Callable[..., list[Tensor]]


@dataclass(frozen=True)
class Flip:
    """Counts of one malicious client's examples.

    Attributes:
        client: its id.
        examples: number that the client holds.
        eligible: number of them that the attack may change.
        selected: number of the eligible ones that are chosen, exactly round(rate * eligible).
        changed: number with another label than the true one; of a dynamic attack known only after the last round.
        place: ``labels`` or ``examples``.
    """

    client: int
    examples: int
    eligible: int
    selected: int
    changed: int
    place: str = "labels"


@dataclass(frozen=True)
class Population:
    """The clients of one cell.

    Attributes:
        parts: for each client the sorted rows that it trains on; no row is held twice. Rows are those of the training
            set, followed by a copy for each sybil of what it holds (`source`).
        root: rows of the server's own examples.
        malicious: ids of the malicious clients, ascending.
        labels: ``(examples,)`` int64, the true labels of all rows.
        flipped: ``(examples,)`` int64, the labels that are trained on while the attack is on.
        flips: one record a malicious client and place.
        moved: ``(examples,)`` int64, which row of [training set, stamped training set] is trained on while the attack
            is on; None: nothing is stamped.
        dynamic: ``(examples,)`` bool, rows whose labels a dynamic attack chooses anew in every round; None: none.
        chain: the attacks of the malicious clients.
        attack_rounds: the rounds with an attack.
        source: ``(examples,)`` int64, for each row the row of the training set that it copies; None: there are no
            copies, each row is its own source.
        held_out: rows that the N clients hold out (``validation_share``), ascending, on which no client trains.
    """

    parts: tuple[Tensor, ...]
    root: Tensor
    malicious: tuple[int, ...]
    labels: Tensor
    flipped: Tensor
    flips: tuple[Flip, ...]
    moved: Tensor | None = None
    dynamic: Tensor | None = None
    chain: Chain = field(default_factory=Chain)
    attack_rounds: frozenset[int] = frozenset()
    source: Tensor | None = None
    held_out: Tensor = field(default_factory=partial(torch.zeros, 0, dtype=torch.int64))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Examples that each client holds."""
        return tuple(len(p) for p in self.parts)


def class_counts(population: Population, partition: str, classes: int) -> list[list[int]] | None:
    """Examples of each true class that each client trains on, ``(members, L)``; None where all are dealt alike.

    Args:
        population: the clients.
        partition: how they were dealt their examples.
        classes: L.
    """
    if parse(partition).name == IID:
        return None
    return [torch.bincount(population.labels[p], minlength=classes).tolist() for p in population.parts]


def generator(seed: int, purpose: str, *which: int) -> torch.Generator:
    """A CPU generator for one purpose of one replicate."""
    return torch.Generator().manual_seed(named_seed(seed, purpose, *which))


def populate(
    cell: Cell,
    labels: Tensor,
    classes: int,
    partition: Partition,
    attack: Any,
    *,
    confusion: Callable[[], Tensor] | None = None,
    stamped: Stamped | None = None,
    sybil_data: MaliciousData | None = None,
    owners: Tensor | None = None,
) -> Population:
    """Deal the training set to the clients and let the malicious ones prepare their examples.

    Args:
        cell: numbers of clients and shares, and the seed.
        labels: ``(examples,)`` int64, the true training labels.
        classes: L.
        partition: ``(labels, clients, generator) -> rows of each client``.
        attack: an attack or a chain of them, or None.
        confusion: computes the confusion matrix of a clean model, for an attack that declares ``confusion``.
        stamped: the whole training set after the chain's attack on examples.
        sybil_data: draws the rows of each sybil; needed by a cell with sybils.
        owners: ``(examples,)`` int64, the natural client of each; None: there are none.

    Raises:
        UserError: more root examples than there are, or a partition or attack that does not fit the data.
    """
    dealt = _deal(cell, labels, partition, owners)
    root, parts, malicious, source, pool = dealt.root, dealt.parts, _malicious(cell), None, labels
    if cell.sybils:
        assert sybil_data is not None
        parts, source = _with_sybils(cell, labels, dealt, sybil_data)
        labels = labels[source]
    parts, held_out = _without_validation(cell, parts)
    if attack is None or not malicious:
        return Population(parts, root, malicious, labels, labels, (), source=source, held_out=held_out)
    chain = Chain.of(attack)
    if not cell.flips_trained and (chain.labels is None or stamped is not None):
        raise UserError(f"flips_trained false is for attacks on labels alone, and attack {cell.attack} is none of them")
    flipped, flips = labels.clone(), []
    dynamic = torch.zeros(len(labels), dtype=torch.bool) if declares(chain.labels, "dynamic") else None
    origin = torch.arange(len(labels)) if source is None else source
    moved = origin.clone() if stamped is not None else None
    for client in malicious:
        rows = parts[client]
        if chain.labels is not None:
            offer = _proposal(cell, chain.labels, labels[rows], pool, classes, client, confusion)
            chosen = _choose(offer, cell.flip_rate, generator(cell.seed, "flipped examples", client))
            if dynamic is not None:
                dynamic[rows[chosen]] = True
            else:
                flipped[rows[chosen]] = offer.labels[chosen]
            changed = int((flipped[rows] != labels[rows]).sum())
            flips.append(Flip(client, len(rows), int(offer.eligible.sum()), len(chosen), changed))
        if stamped is not None and moved is not None:
            offer = Proposal(stamped.labels[origin[rows]], stamped.eligible[origin[rows]])
            chosen = _choose(offer, cell.flip_rate, generator(cell.seed, "flipped examples", client))
            flipped[rows[chosen]] = offer.labels[chosen]
            moved[rows[chosen]] += len(pool)
            changed = int((offer.labels[chosen] != labels[rows[chosen]]).sum())
            flips.append(Flip(client, len(rows), int(offer.eligible.sum()), len(chosen), changed, "examples"))
    if not cell.flips_trained:  # the flips are counted, and no client trains on them
        flipped, dynamic = labels, None
    rounds = attack_rounds(cell)
    known = malicious, labels, flipped, tuple(flips), moved, dynamic, chain, rounds, source
    return Population(parts, root, *known, held_out)


def _malicious(cell: Cell) -> tuple[int, ...]:
    """Ids of the malicious clients: the first of one permutation of the N, or the sybils behind them."""
    if not cell.attacked:
        return ()
    if cell.sybils:
        return tuple(range(cell.clients, cell.members))
    drawn = torch.randperm(cell.clients, generator=generator(cell.seed, "malicious"))
    return tuple(sorted(drawn[: cell.malicious].tolist()))


@dataclass(frozen=True)
class _Deal:
    """Rows of the training set: the server's own, those of all clients together, those of each of the N."""

    root: Tensor
    rest: Tensor
    parts: tuple[Tensor, ...]


def _deal(cell: Cell, labels: Tensor, partition: Partition, owners: Tensor | None) -> _Deal:
    """Split the training set into the server's own examples and each client's."""
    if cell.root_examples >= len(labels):
        raise UserError(f"root_examples is {cell.root_examples}, but there are only {len(labels)} training examples")
    shuffled = torch.randperm(len(labels), generator=generator(cell.seed, "root"))
    root = shuffled[: cell.root_examples].sort().values
    rest = shuffled[cell.root_examples :].sort().values
    partition = with_clients(partition, None if owners is None else owners[rest])
    try:
        with guard.foreign(partition, cell.partition) as call:
            own = call.lend("the labels", labels[rest])
            given = again = partition(own, cell.clients, generator(cell.seed, "partition"))
            if not registry.is_shipped("partition", parse(cell.partition).name):
                again = partition(own, cell.clients, generator(cell.seed, "partition"))
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"partition {cell.partition}: {error}") from error
    parts, twin = (plugin_answers.parts(each, len(rest), cell.clients, cell.partition) for each in (given, again))
    if not all(map(torch.equal, parts, twin)):
        raise UserError(f"partition {cell.partition} must draw from the generator that it is given: it deals otherwise")
    return _Deal(root, rest, tuple(rest[p] for p in parts))


def _with_sybils(
    cell: Cell, labels: Tensor, dealt: _Deal, sybil_data: MaliciousData
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Rows of all clients with those of the sybils, and the row of the training set that each row is."""
    parts, sources, end = list(dealt.parts), [torch.arange(len(labels))], len(labels)
    for client in range(cell.clients, cell.members):
        draws = generator(cell.seed, "sybil data", client - cell.clients)
        try:
            with guard.foreign(sybil_data, cell.malicious_data) as call:
                given = sybil_data(call.lend("the labels", labels[dealt.rest]), cell.clients, draws)
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"malicious_data {cell.malicious_data}: {error}") from error
        rows = plugin_answers.rows(given, len(dealt.rest), f"malicious_data {cell.malicious_data}")
        parts.append(torch.arange(end, end + len(rows)))
        sources.append(dealt.rest[rows])
        end += len(rows)
    return tuple(parts), torch.cat(sources)


def _without_validation(cell: Cell, parts: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Tensor]:
    """Each client's rows without its validation share, and the rows that the N clients hold out; all ascending.

    What sybils hold out are copies of examples that others may train on, and is not evaluated on.
    """
    nothing = torch.zeros(0, dtype=torch.int64)
    if not cell.validation_share:
        return parts, nothing
    left, held = [], []
    for client, rows in enumerate(parts):
        order = torch.randperm(len(rows), generator=generator(cell.seed, "validation", client))
        first = round(cell.validation_share * len(rows))
        left.append(rows[order[first:].sort().values])
        held.append(rows[order[:first]] if client < cell.clients else nothing)
    most = max(map(len, parts))
    if not any(len(rows) for rows in left):
        raise UserError(
            f"validation_share {cell.validation_share:g} of at most {most} examples leaves no client one to train on: "
            "give a smaller share"
        )
    held_out = torch.cat(held).sort().values
    if cell.evaluate_on == VALIDATION and not len(held_out):
        raise UserError(
            f"validation_share {cell.validation_share:g} of at most {most} examples of a client is none to evaluate "
            "on: give a larger share"
        )
    return tuple(left), held_out


def attack_rounds(cell: Cell) -> frozenset[int]:
    """The rounds in which malicious clients attack: a share of the window, nested over shares."""
    window = range(cell.attack_start, min(cell.attack_stop or cell.rounds, cell.rounds) + 1)
    if cell.attack_availability == 1.0:
        return frozenset(window)
    order = torch.randperm(len(window), generator=generator(cell.seed, "attack rounds")).tolist()
    return frozenset(window[i] for i in order[: round(cell.attack_availability * len(window))])


def _proposal(
    cell: Cell,
    flip: Any,
    labels: Tensor,
    pool: Tensor,
    classes: int,
    client: int,
    confusion: Callable[[], Tensor] | None,
) -> Proposal:
    """The labels that an attack proposes for one client's examples."""
    context = LabelContext(classes, pool, generator(cell.seed, "flipped labels", client))
    try:
        with guard.foreign(flip, cell.attack) as call:
            if confusion is not None and declares(flip, "confusion"):
                context = replace(context, confusion=lambda: call.lend("the confusion", confusion()))
            proposal: Any = flip(call.lend("the labels", labels), call.lend("context", context))
    except guard.SideEffectError:
        raise
    except ValueError as error:
        raise UserError(f"attack {cell.attack}: {error}") from error
    return _checked(proposal, len(labels), classes, f"attack {cell.attack}")


def _checked(proposal: Any, examples: int, classes: int, name: str) -> Proposal:
    """What an attack answered, if it is labels for so many examples."""
    if not isinstance(proposal, Proposal):
        got = type(proposal).__name__
        raise UserError(f"{name} must return flipbench.attacks.Proposal(labels, eligible), got {got}")
    plugin_answers.labels(proposal.labels, proposal.eligible, examples, classes, name)
    return proposal


def _choose(proposal: Proposal, rate: float, draws: torch.Generator) -> Tensor:
    """Exactly round(rate * eligible) of the eligible examples (as many draws, where drawn with replacement)."""
    eligible = proposal.eligible.nonzero().squeeze(1)
    number = round(rate * len(eligible))
    if proposal.with_replacement:
        return eligible[torch.randint(max(1, len(eligible)), (number,), generator=draws)]
    return eligible[torch.randperm(len(eligible), generator=draws)[:number]]


def class_map(attack: Any, classes: int, ref: str = "that was given") -> list[tuple[int, int]] | None:
    """Source and target of each class that the attack flips; None where the target is not fixed, or nothing is flipped.

    Asked of the attack itself, so that it holds for plug-ins: 64 examples of each class, all of which must agree.
    """
    flip = None if attack is None else Chain.of(attack).labels
    if flip is None or declares(flip, "dynamic") or declares(flip, "confusion") or declares(flip, "adaptive"):
        return None
    labels = torch.arange(classes).repeat_interleave(64)
    context = LabelContext(classes, labels, torch.Generator().manual_seed(0))
    with guard.foreign(flip, ref) as call:
        answer = flip(call.lend("the labels", labels), call.lend("context", context))
    proposal = _checked(answer, len(labels), classes, f"attack {ref}")
    pairs = []
    for c in range(classes):
        members = labels == c
        if not proposal.eligible[members].any():
            continue
        targets = proposal.labels[members].unique()
        if len(targets) != 1 or not proposal.eligible[members].all():
            return None
        pairs.append((c, int(targets[0])))
    return pairs or None
