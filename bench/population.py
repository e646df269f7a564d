"""Who holds which examples, who is malicious, and which labels they flip.

Everything is drawn per purpose from the cell's seed: two cells that differ in the rule, the attack or the number of
malicious clients share the partition; malicious sets are nested over fractions (the first m of one permutation) and
flipped examples over rates (the first k of one permutation), which makes differences between cells paired.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from attacks.chain import Chain
from attacks.contract import Proposal, Scene, Stamped, declares
from bench.cell import Cell, named_seed
from bench.errors import UserError

Partition = Callable[..., list[Tensor]]


@dataclass(frozen=True)
class Flip:
    """What became of one malicious client's labels or pictures.

    Attributes:
        client: its id.
        examples: that it holds.
        eligible: of them, in the attack's eyes.
        selected: of the eligible, exactly round(rate * eligible).
        changed: examples that carry another label now; of a dynamic attack known only when the federation is over.
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
        parts: for each client the sorted rows of the training set that it holds; every row is held once.
        root: rows that the server holds itself.
        malicious: ids of the malicious clients, ascending.
        labels: ``(examples,)`` int64, the true training labels.
        flipped: ``(examples,)`` int64, the labels that are trained on while the attack is on.
        flips: one record a malicious client and place.
        moved: ``(examples,)`` int64, which row of [training set, stamped training set] is trained on while the attack
            is on; None: nothing is stamped.
        dynamic: ``(examples,)`` bool, whose labels a dynamic attack chooses anew in every round; None: nobody's.
        chain: what the malicious clients do.
        attack_rounds: the rounds in which they do it.
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

    @property
    def sizes(self) -> tuple[int, ...]:
        """Examples that each client holds."""
        return tuple(len(p) for p in self.parts)


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
) -> Population:
    """Deal the training set to the clients and let the malicious ones prepare their examples.

    Args:
        cell: the facts.
        labels: ``(examples,)`` int64, the true training labels.
        classes: L.
        partition: ``(labels, clients, generator) -> rows of each client``.
        attack: an attack or a chain of them, or None.
        confusion: of a clean model, for an attack that asks.
        stamped: the whole training set as the chain's attack on examples would have it.

    Raises:
        UserError: more root examples than there are, or a partition or attack that does not fit the data.
    """
    root, held = _dealt(cell, labels, partition)
    malicious: tuple[int, ...] = ()
    if cell.attacked:
        drawn = torch.randperm(cell.clients, generator=generator(cell.seed, "malicious"))
        malicious = tuple(sorted(drawn[: cell.malicious].tolist()))
    if attack is None or not malicious:
        return Population(held, root, malicious, labels, labels, ())
    chain = Chain.of(attack)
    flipped, flips = labels.clone(), []
    dynamic = torch.zeros(len(labels), dtype=torch.bool) if declares(chain.labels, "dynamic") else None
    moved = torch.arange(len(labels)) if stamped is not None else None
    for client in malicious:
        rows = held[client]
        if chain.labels is not None:
            facts: dict[str, Any] = {}
            if confusion is not None and declares(chain.labels, "confusion"):
                facts["confusion"] = confusion
            scene = Scene(classes, labels, generator(cell.seed, "flipped labels", client), **facts)
            try:
                proposal = chain.labels(labels[rows], scene)
            except ValueError as error:
                raise UserError(f"attack {cell.attack}: {error}") from error
            chosen = _choose(proposal, cell.flip_rate, generator(cell.seed, "flipped examples", client))
            if dynamic is not None:
                dynamic[rows[chosen]] = True
            else:
                flipped[rows[chosen]] = proposal.labels[chosen]
            changed = int((flipped[rows] != labels[rows]).sum())
            flips.append(Flip(client, len(rows), int(proposal.eligible.sum()), len(chosen), changed))
        if stamped is not None and moved is not None:
            eligible = stamped.eligible[rows]
            offer = Proposal(stamped.labels[rows], eligible)
            chosen = _choose(offer, cell.flip_rate, generator(cell.seed, "flipped examples", client))
            flipped[rows[chosen]] = offer.labels[chosen]
            moved[rows[chosen]] += len(labels)
            changed = int((offer.labels[chosen] != labels[rows[chosen]]).sum())
            flips.append(Flip(client, len(rows), int(eligible.sum()), len(chosen), changed, "examples"))
    return Population(held, root, malicious, labels, flipped, tuple(flips), moved, dynamic, chain, attack_rounds(cell))


def _dealt(cell: Cell, labels: Tensor, partition: Partition) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The server's own examples and each client's, as rows of the training set."""
    if cell.root_examples >= len(labels):
        raise UserError(f"root_examples is {cell.root_examples}, but there are only {len(labels)} training examples")
    shuffled = torch.randperm(len(labels), generator=generator(cell.seed, "root"))
    root = shuffled[: cell.root_examples].sort().values
    rest = shuffled[cell.root_examples :].sort().values
    try:
        parts = partition(labels[rest], cell.clients, generator(cell.seed, "partition"))
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"partition {cell.partition}: {error}") from error
    return root, tuple(rest[p] for p in parts)


def attack_rounds(cell: Cell) -> frozenset[int]:
    """The rounds in which malicious clients attack: a share of the window, nested over shares."""
    window = range(cell.attack_start, min(cell.attack_stop or cell.rounds, cell.rounds) + 1)
    if cell.attack_availability == 1.0:
        return frozenset(window)
    order = torch.randperm(len(window), generator=generator(cell.seed, "attack rounds")).tolist()
    return frozenset(window[i] for i in order[: round(cell.attack_availability * len(window))])


def _choose(proposal: Proposal, rate: float, draws: torch.Generator) -> Tensor:
    """Exactly round(rate * eligible) of the eligible examples (as many draws, where drawn with replacement)."""
    eligible = proposal.eligible.nonzero().squeeze(1)
    number = round(rate * len(eligible))
    if proposal.with_replacement:
        return eligible[torch.randint(max(1, len(eligible)), (number,), generator=draws)]
    return eligible[torch.randperm(len(eligible), generator=draws)[:number]]


def class_map(attack: Any, classes: int) -> list[tuple[int, int]] | None:
    """Source and target of each class that the attack flips; None where the target is not fixed, or nothing is flipped.

    Asked of the attack itself, so that it holds for plug-ins: 64 examples of each class, all of which must agree.
    """
    flip = None if attack is None else Chain.of(attack).labels
    if flip is None or declares(flip, "dynamic") or declares(flip, "confusion") or declares(flip, "adaptive"):
        return None
    labels = torch.arange(classes).repeat_interleave(64)
    proposal = flip(labels, Scene(classes, labels, torch.Generator().manual_seed(0)))
    pairs = []
    for c in range(classes):
        mine = labels == c
        if not proposal.eligible[mine].any():
            continue
        targets = proposal.labels[mine].unique()
        if len(targets) != 1 or not proposal.eligible[mine].all():
            return None
        pairs.append((c, int(targets[0])))
    return pairs or None


class BatchStream:
    """Which examples each client trains on, as a pure function of (client, how often it has taken part).

    With ``local_steps`` a client reads full batches from an endless sequence of shuffled passes over its examples;
    with ``local_epochs`` each round makes whole passes, the last batch of a pass being smaller. Nothing depends on the
    labels, the rule or other clients.
    """

    def __init__(self, cell: Cell, parts: tuple[Tensor, ...], purpose: str = "batches") -> None:
        self.cell, self.parts, self.purpose = cell, parts, purpose
        self._pass: dict[int, tuple[int, Tensor]] = {}  # client -> the shuffled pass used last

    def round(self, clients: list[int], turns: list[int]) -> tuple[Tensor, Tensor | None]:
        """The batches of one round.

        Args:
            clients: who takes part.
            turns: for each, how many rounds it has taken part in before.

        Returns:
            ``(clients, steps, batch)`` int64 rows of the training set (padding 0), and the number of real examples
            of each batch ``(clients, steps)``, or None where all are full.
        """
        cell = self.cell
        sizes = [len(self.parts[c]) for c in clients]
        batch = max(1, max(sizes)) if cell.batch_size == "full" else cell.batch_size
        if cell.local_steps is not None and cell.batch_size != "full":
            rows = [
                self._span(c, t * cell.local_steps * batch, cell.local_steps * batch)
                for c, t in zip(clients, turns, strict=True)
            ]
            counts = None
            if not all(sizes):
                counts = torch.tensor([[batch if n else 0] * cell.local_steps for n in sizes])
            return torch.stack(rows).view(len(clients), cell.local_steps, batch), counts
        passes = cell.local_steps or cell.epochs or 1  # a full batch is a pass
        per_pass = max(1, max(-(-n // batch) for n in sizes))
        index = torch.zeros(len(clients), passes * per_pass, batch, dtype=torch.int64)
        counts = torch.zeros(len(clients), passes * per_pass, dtype=torch.int64)
        for i, (client, turn) in enumerate(zip(clients, turns, strict=True)):
            n = sizes[i]
            if not n:
                continue
            own = -(-n // batch)
            sizes_of_batches = torch.full((own,), batch)
            sizes_of_batches[-1] = n - (own - 1) * batch
            for k in range(passes):
                padded = torch.zeros(own * batch, dtype=torch.int64)
                padded[:n] = self._shuffled(client, turn * passes + k)
                index[i, k * own : (k + 1) * own] = padded.view(own, batch)
                counts[i, k * own : (k + 1) * own] = sizes_of_batches
        return index, None if bool((counts == batch).all()) else counts

    def _span(self, client: int, start: int, length: int) -> Tensor:
        """Positions start to start + length of the client's endless sequence of shuffled passes."""
        n = len(self.parts[client])
        if not n:
            return torch.zeros(length, dtype=torch.int64)
        pieces, position = [], start
        while position < start + length:
            number, offset = divmod(position, n)
            piece = self._shuffled(client, number)[offset : offset + start + length - position]
            pieces.append(piece)
            position += len(piece)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _shuffled(self, client: int, number: int) -> Tensor:
        """Pass ``number`` over a client's examples."""
        kept = self._pass.get(client)
        if kept is None or kept[0] != number:
            rows = self.parts[client]
            order = torch.randperm(len(rows), generator=generator(self.cell.seed, self.purpose, client, number))
            kept = self._pass[client] = (number, rows[order])
        return kept[1]


def participants(cell: Cell) -> list[list[int]] | None:
    """Who takes part in each round, ascending; None: everybody in every round."""
    if cell.per_round == cell.clients:
        return None
    return [
        sorted(torch.randperm(cell.clients, generator=generator(cell.seed, "sampling", r))[: cell.per_round].tolist())
        for r in range(1, cell.rounds + 1)
    ]
