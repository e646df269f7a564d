"""Who gets which training examples: ``partition(labels, clients, generator, /, *, option) -> rows of each client``.

Every example goes to exactly one client; the rows of a client are ascending. All draws come from the given generator,
on the CPU, so that a partition depends on the seed, the labels and the number of clients alone. The number of classes
is the largest label plus one. `natural` is another case: the data say whose an example is (`with_clients`).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor

from flipbench.errors import UserError

Partition = Callable[..., list[Tensor]]


def iid(labels: Tensor, clients: int, generator: torch.Generator, /, *, batch: int = 1) -> list[Tensor]:
    """Shuffled and dealt evenly: sizes differ by at most one batch (McMahan et al. 2017, section 3, "IID").

    Args:
        labels: ``(n,)`` int64.
        clients: N.
        generator: of the draws, on the CPU.
        batch: examples dealt at a time, in turn, the last ones being fewer: the batches of one shuffled loader
            (Tolpegin et al. 2020, code). It matters only where N * batch does not divide the examples.

    Returns:
        N int64 tensors of rows.

    Raises:
        UserError: more clients than examples, or than batches; a batch below 1.
    """
    _check("iid", labels, clients)
    if batch < 1 or clients > -(-len(labels) // batch):
        raise UserError(f"iid needs a batch from 1 to {max(1, (len(labels) - 1) // max(1, clients - 1))}, got {batch}")
    shuffled = torch.randperm(len(labels), generator=generator)
    if batch == 1:
        return _sorted(shuffled.tensor_split(clients))
    pieces = shuffled.split(batch)
    return _sorted([torch.cat(pieces[i::clients]) for i in range(clients)])


def dirichlet(
    labels: Tensor, clients: int, generator: torch.Generator, /, *, alpha: float, minimum: int = 1
) -> list[Tensor]:
    """Each class is shared out by its own draw from Dirichlet(alpha); small alpha: few clients hold a class.

    Yurochkin et al. 2019 (Bayesian Nonparametric Federated Learning of Neural Networks, experiments) and Li et al. 2022
    (Federated Learning on Non-IID Data Silos, label skew). Where these draw again and again until every client has
    enough examples, which at small alpha may go on for ever, here each client short of ``minimum`` gets random
    examples of whichever client holds most at the time.

    Args:
        labels: ``(n,)`` int64.
        clients: N.
        generator: of the draws, on the CPU.
        alpha: concentration, above 0; large: nearly even.
        minimum: examples that each client gets at least.

    Returns:
        N int64 tensors of rows.

    Raises:
        UserError: alpha is not a positive number; more clients, or N * minimum more, than examples.
    """
    _check("dirichlet", labels, clients)
    if not 0 < alpha < float("inf"):
        raise UserError(f"dirichlet needs a finite alpha above 0, got {alpha}")
    _check_minimum("dirichlet", labels, clients, minimum)
    owner = torch.empty(len(labels), dtype=torch.int64)
    for c in range(_classes(labels)):
        of_class = (labels == c).nonzero().squeeze(1)
        of_class = of_class[torch.randperm(len(of_class), generator=generator)]
        cuts = (_dirichlet(clients, alpha, generator).cumsum(0)[:-1] * len(of_class)).round().long()
        for client, rows in enumerate(of_class.tensor_split(cuts)):
            owner[rows] = client
    return _owned(_topped_up(owner, clients, minimum, generator), clients)


def shards(labels: Tensor, clients: int, generator: torch.Generator, /, *, per_client: int = 2) -> list[Tensor]:
    """Sorted by label, cut into N * per_client shards, of which a client gets per_client random ones.

    McMahan et al. 2017 (Communication-Efficient Learning of Deep Networks, section 3, "Non-IID"). Shards differ
    in size by at most one; examples of one class are shuffled before the cut.

    Args:
        labels: ``(n,)`` int64.
        clients: N.
        generator: of the draws, on the CPU.
        per_client: shards that a client gets; a client sees at most so many classes, where shards lie within classes.

    Returns:
        N int64 tensors of rows.

    Raises:
        UserError: per_client below 1, or more shards than examples.
    """
    _check("shards", labels, clients)
    if per_client < 1:
        raise UserError(f"shards needs per_client of 1 or more, got {per_client}")
    number = clients * per_client
    if number > len(labels):
        raise UserError(
            f"shards needs an example a shard: {clients} clients x {per_client} shards = {number}, "
            f"and there are {len(labels)} examples"
        )
    pieces = _by_label(labels, torch.randperm(len(labels), generator=generator)).tensor_split(number)
    order = torch.randperm(number, generator=generator).view(clients, per_client)
    return _sorted([torch.cat([pieces[i] for i in of_client]) for of_client in order.tolist()])


def similarity(labels: Tensor, clients: int, generator: torch.Generator, /, *, gamma: float) -> list[Tensor]:
    """A share gamma of the examples is dealt iid, the rest sorted by label and dealt in order; sizes within one.

    The "s % similarity" of Karimireddy et al. 2020 (SCAFFOLD, section 7) with gamma = s / 100, which ByzFL calls gamma
    similarity. gamma = 1 is iid, gamma = 0 a run of the sorted examples for each client.

    Args:
        labels: ``(n,)`` int64.
        clients: N.
        generator: of the draws, on the CPU.
        gamma: share, 0 to 1; round(gamma * n) examples.

    Returns:
        N int64 tensors of rows.

    Raises:
        UserError: gamma outside 0 to 1; more clients than examples.
    """
    _check("similarity", labels, clients)
    if not 0 <= gamma <= 1:
        raise UserError(f"similarity needs gamma from 0 to 1, got {gamma}")
    shuffled = torch.randperm(len(labels), generator=generator)
    mixed = round(gamma * len(labels))
    even = shuffled[:mixed].tensor_split(clients)
    # The first clients hold the odd examples of the even part, so the last ones get those of the sorted part.
    runs = _by_label(labels, shuffled[mixed:]).flip(0).tensor_split(clients)[::-1]
    return _sorted([torch.cat(pair) for pair in zip(even, runs, strict=True)])


def label_bias(labels: Tensor, clients: int, generator: torch.Generator, /, *, q: float) -> list[Tensor]:
    """Clients in one group a class; an example goes to its class's group with probability q, else to another one.

    Fang et al. 2020 (Local Model Poisoning Attacks to Byzantine-Robust Federated Learning, section 4.1): with L classes
    the other groups are equally likely, and within a group the clients are. q = 1/L is iid. Client i belongs to group
    i mod L, so groups differ by at most one client where N is not a multiple of L. A client that the draw leaves empty
    gets a random example of the largest client.

    Args:
        labels: ``(n,)`` int64.
        clients: N, at least L.
        generator: of the draws, on the CPU.
        q: probability, 0 to 1.

    Returns:
        N int64 tensors of rows.

    Raises:
        UserError: q outside 0 to 1; fewer clients than classes, or more than examples.
    """
    _check("label_bias", labels, clients)
    if not 0 <= q <= 1:
        raise UserError(f"label_bias needs q from 0 to 1, got {q}")
    groups = _classes(labels)
    if clients < groups:
        raise UserError(f"label_bias needs at least one client a class: {groups} classes, got {clients} clients")
    n = len(labels)
    stays = torch.rand(n, generator=generator, dtype=torch.float64) < q
    away = torch.randint(1, max(2, groups), (n,), generator=generator)  # to one of the L - 1 others
    group = torch.where(stays, labels, (labels + away) % groups)
    members = clients // groups + (torch.arange(groups) < clients % groups).long()  # clients in each group
    # Drawn as a fraction, because the number of clients to choose from differs between groups.
    which = (torch.rand(n, generator=generator, dtype=torch.float64) * members[group]).long()
    return _owned(_topped_up(group + groups * which, clients, 1, generator), clients)


def one_label(labels: Tensor, clients: int, generator: torch.Generator, /) -> list[Tensor]:
    """One class a client, in turn: client i holds class i mod L, and clients of a class share it evenly.

    The setting of Fung et al. 2020 (The Limitations of Federated Learning in Sybil Settings). Classes without examples
    are passed over.

    Args:
        labels: ``(n,)`` int64.
        clients: N, at least the number of classes with examples.
        generator: of the draws, on the CPU.

    Returns:
        N int64 tensors of rows.

    Raises:
        UserError: fewer clients than classes, or more clients of a class than it has examples.
    """
    _check("one_label", labels, clients)
    present = labels.unique().tolist()
    if clients < len(present):
        raise UserError(f"one_label needs at least one client a class: {len(present)} classes, got {clients} clients")
    parts: list[Tensor] = [labels.new_empty(0)] * clients
    for i, c in enumerate(present):
        of_class = (labels == c).nonzero().squeeze(1)
        holders = range(i, clients, len(present))
        if len(holders) > len(of_class):
            raise UserError(
                f"one_label needs an example of class {c} for each of {len(holders)} clients, got {len(of_class)}"
            )
        shuffled = of_class[torch.randperm(len(of_class), generator=generator)]
        for client, rows in zip(holders, shuffled.tensor_split(len(holders)), strict=True):
            parts[client] = rows
    return _sorted(parts)


def natural(
    labels: Tensor, clients: int, generator: torch.Generator, owners: Tensor | None, /, *, minimum: int = 2
) -> list[Tensor]:
    """Each client is one natural client of the data, like a writer, and holds exactly that one's examples.

    Natural clients with fewer than ``minimum`` examples take no part; where more remain than N, N of them are drawn.
    They keep the order of the data. Caldas et al. 2018 (LEAF: A Benchmark for Federated Settings).

    Args:
        labels: ``(n,)`` int64; they play no part.
        clients: N.
        generator: of the draw, on the CPU.
        owners: ``(n,)`` int64, the natural client of each example; None: there are none.
        minimum: examples that a client has at least.

    Returns:
        N int64 tensors of rows; examples of natural clients that take no part are in none of them.

    Raises:
        UserError: the data have no natural clients, or fewer than N with so many examples; a minimum below 1.
    """
    if owners is None:
        raise UserError("natural needs data with natural clients, like femnist, shakespeare or fars; these have none")
    if minimum < 1:
        raise UserError(f"natural needs a minimum of 1 or more, got {minimum}")
    sizes = torch.bincount(owners)
    fit, there = (sizes >= minimum).nonzero().squeeze(1), int((sizes > 0).sum())
    if not 1 <= clients <= len(fit):
        raise UserError(
            f"natural needs a natural client for each client: of {there} natural clients {len(fit)} have at least "
            f"{minimum} example{'s' * (minimum > 1)}, and there are to be {clients} clients; "
            + (f"take at most {len(fit)}" if fit.numel() else f"lower minimum to at most {int(sizes.max())}")
        )
    chosen = fit if clients == len(fit) else fit[torch.randperm(len(fit), generator=generator)[:clients]].sort().values
    place = torch.full((len(sizes),), clients)
    place[chosen] = torch.arange(clients)
    return _owned(place[owners], clients + 1)[:clients]


PARTITIONS: Mapping[str, Partition] = MappingProxyType(
    {f.__name__: f for f in (iid, dirichlet, shards, similarity, label_bias, one_label, natural)}
)


def with_clients(partition: Partition, owners: Tensor | None) -> Partition:
    """The partition as a function of labels, clients and generator, where it is given the natural clients too.

    Args:
        partition: resolved, perhaps with its options.
        owners: ``(n,)`` int64, the natural client of each example that is dealt; None: there are none.
    """
    if (partition.func if isinstance(partition, partial) else partition) is not natural:
        return partition

    def dealt(labels: Tensor, clients: int, generator: torch.Generator, /) -> list[Tensor]:
        return partition(labels, clients, generator, owners)

    return dealt


def _check(name: str, labels: Tensor, clients: int) -> None:
    if clients < 1:
        raise UserError(f"{name} needs at least 1 client, got {clients}")
    if clients > len(labels):
        raise UserError(f"{name} needs an example a client: {clients} clients, and there are {len(labels)} examples")


def _check_minimum(name: str, labels: Tensor, clients: int, minimum: int) -> None:
    if minimum < 0 or minimum * clients > len(labels):
        raise UserError(
            f"{name} needs a minimum from 0 to {len(labels) // clients} ({len(labels)} examples, {clients} clients), "
            f"got {minimum}"
        )


def _classes(labels: Tensor) -> int:
    return int(labels.max()) + 1


def _sorted(parts: list[Tensor] | tuple[Tensor, ...]) -> list[Tensor]:
    return [p.sort().values for p in parts]


def _by_label(labels: Tensor, rows: Tensor) -> Tensor:
    """The rows in the order of their labels, as they come within a label."""
    return rows[labels[rows].argsort(stable=True)]


def _dirichlet(size: int, alpha: float, generator: torch.Generator) -> Tensor:
    """One draw from the symmetric Dirichlet distribution, ``(size,)`` float64.

    Through logarithms: a Gamma(alpha) variable is a Gamma(alpha + 1) one times U^(1/alpha), and at alpha = 1e-3 the
    power is below the smallest number in most draws. The largest U counts as 1, which the shares do not notice, so
    that even at alpha = 1e-320 one client is left with a share.
    """
    larger = torch._standard_gamma(torch.full((size,), alpha + 1, dtype=torch.float64), generator=generator)
    power = (1 - torch.rand(size, generator=generator, dtype=torch.float64)).log()  # of U in (0, 1]
    return (larger.log() + (power - power.max()) / alpha).softmax(0)


def _topped_up(owner: Tensor, clients: int, minimum: int, generator: torch.Generator) -> Tensor:
    """Owners of the examples after random examples of the largest clients went to those short of the minimum.

    While a client is short, the largest has more than the minimum, because N * minimum <= n: so this ends, and no
    client both gives and takes: the numbers are settled first, and each giver's examples are drawn at once.
    """
    sizes = torch.bincount(owner, minlength=clients).tolist()
    largest = [(-size, client) for client, size in enumerate(sizes)]  # of equals, the lowest client
    heapq.heapify(largest)
    takers: dict[int, list[int]] = {}
    for client in range(clients):
        for _ in range(minimum - sizes[client]):
            size, giver = largest[0]
            heapq.heapreplace(largest, (size + 1, giver))
            takers.setdefault(giver, []).append(client)
    for giver, receivers in sorted(takers.items()):
        held = (owner == giver).nonzero().squeeze(1)
        owner[held[torch.randperm(len(held), generator=generator)[: len(receivers)]]] = torch.tensor(receivers)
    return owner


def _owned(owner: Tensor, clients: int) -> list[Tensor]:
    """The rows of each client, ascending."""
    order = owner.argsort(stable=True)
    return list(order.split(torch.bincount(owner, minlength=clients).tolist()))
