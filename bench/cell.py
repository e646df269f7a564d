"""One experiment as frozen facts, its key and its named seeds.

A cell says everything that can change a stored number and nothing else: where the data file lies, how many workers
run and what the folder is called are not facts of it. Two cells with equal facts are one experiment.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from bench import reference

SCHEMA = 1  # of the stored record; a change of meaning of any fact or number raises it

CLEAN = "none"  # the attack of a clean twin


def _as_reference(value: Any) -> str:
    if isinstance(value, Mapping):
        value = reference.from_mapping(value)
    if not isinstance(value, str):
        raise ValueError(f"needs a name like 'iid' or 'dirichlet(alpha=0.5)', got {value!r}")
    one = reference.canonical(value)
    if "|" in one and len(reference.parse_chain(one)) > 1:
        raise ValueError(f"only aggregators and attacks can be chains with '|', got {value!r}")
    return one


def _as_chain(value: Any) -> str:
    if isinstance(value, Mapping):
        value = reference.from_mapping(value)
    if not isinstance(value, str):
        raise ValueError(f"needs a name like 'krum' or 'mirrored', or a chain of names with '|', got {value!r}")
    return reference.canonical(value)


Name = Annotated[str, BeforeValidator(_as_reference)]
Chain = Annotated[str, BeforeValidator(_as_chain)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Cell:
    """The facts of one experiment; every field can be an axis of a grid.

    Attributes:
        dataset: a data set, with options (``mnist(train=5000)``).
        features: pixel scale: ``unit`` (/255), ``standard`` (unit, less mean, over deviation of the training images;
            or of given ``mean`` and ``std``), ``scaled(divisor=100)``.
        partition: how training examples are dealt to clients: ``iid``, ``dirichlet(alpha=0.5)``,
            ``shards(per_client=2)``, ``similarity(gamma=0.5)``, ``label_bias(q=0.5)``.
        clients: N, clients in the federation.
        clients_per_round: clients drawn each round, without replacement; null: all.
        model: ``softmax``, ``mlp(widths=[100])``, ``cnn``, ``cnn(channels=[20, 50], hidden=[500])``.
        rounds: communication rounds.
        local_epochs: passes over its own examples that a client makes each round; exclusive with local_steps.
        local_steps: steps that a client makes each round; 1 is FedSGD.
        batch_size: examples in a local step; ``full`` takes all of a client's.
        learning_rate: of local SGD, on the gradient of the mean loss of the batch.
        schedule: ``constant``, ``step(every=10, factor=0.1, floor=0)``, ``decay(rate=0.01)`` (lr / (1 + rate t)),
            ``cosine``; t counts rounds from 0.
        momentum: of local SGD; its buffer starts at zero in every round.
        weight_decay: L2, added to the gradient of local SGD.
        client_momentum: beta of m <- beta m + (1 - beta) update, kept by each client between its rounds and sent in
            place of the update (worker momentum; meant for local_steps: 1).
        server_learning_rate: factor on the aggregated update.
        server_momentum: of the server's step.
        evaluate_every: rounds between evaluations; the first and the last round are always evaluated.
        attack: ``none``, an attack with options (``targeted(source=6, target=4)``), or a chain of attacks that act in
            different places (``mirrored | scaled(factor=10)``).
        flip_rate: share of a malicious client's eligible labels that are flipped (or pictures that are stamped),
            exactly round(rate * eligible).
        malicious_fraction: share of the N clients that are malicious (nearest whole number, halves up);
            exclusive with malicious_count.
        malicious_count: number of malicious clients.
        declared_byzantine: f, as told to the rule; null: the true number among a round's clients (under client
            sampling the expected number, rounded up).
        attack_start: first round of the attack, from 1.
        attack_stop: last round of the attack; null: the last.
        attack_availability: share of the rounds from attack_start to attack_stop in which malicious clients attack,
            exactly round(share * rounds), drawn per seed and nested over shares; in the others they are honest.
        root_examples: training examples that the server keeps for itself, for rules that need a trusted update
            (fltrust); drawn per seed before the rest is dealt to the clients.
        aggregator: a rule with options, or a chain ``nnm | trimmed_mean``.
        seed: replicate; draws partition, malicious clients, flips, initial weights, batches and client sampling.
        device: ``cpu`` or ``cuda``: low bits differ, so the two are different experiments.
    """

    dataset: Name = "mnist5k"
    features: Name = "unit"
    partition: Name = "iid"
    clients: Count = 20
    clients_per_round: Count | None = None
    model: Name = "mlp(widths=[100])"
    rounds: Count = 30
    local_epochs: Count | None = None
    local_steps: Count | None = None
    batch_size: Count | Literal["full"] = 32
    learning_rate: Rate = 0.1
    schedule: Name = "constant"
    momentum: Momentum = 0.0
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    client_momentum: Momentum = 0.0
    server_learning_rate: Rate = 1.0
    server_momentum: Momentum = 0.0
    evaluate_every: Count = 1
    attack: Chain = CLEAN
    flip_rate: Share = 1.0
    malicious_fraction: Share | None = None
    malicious_count: Annotated[int, Field(ge=0)] | None = None
    declared_byzantine: Annotated[int, Field(ge=0)] | None = None
    attack_start: Count = 1
    attack_stop: Count | None = None
    attack_availability: Annotated[float, Field(gt=0, le=1)] = 1.0
    root_examples: Annotated[int, Field(ge=0)] = 0
    aggregator: Chain = "fedavg"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    device: Literal["cpu", "cuda"] = "cpu"

    @model_validator(mode="after")
    def _together(self) -> Cell:
        """Facts that only make sense together; each message names the fields to change."""
        if self.local_epochs is not None and self.local_steps is not None:
            raise ValueError("local_epochs and local_steps are both set: keep one (local_steps: 1 is FedSGD)")
        if self.malicious_fraction is not None and self.malicious_count is not None:
            raise ValueError("malicious_fraction and malicious_count are both set: keep one")
        if self.malicious > self.clients:
            raise ValueError(f"malicious_count is {self.malicious}, more than the {self.clients} clients")
        if self.clients_per_round is not None and self.clients_per_round > self.clients:
            raise ValueError(f"clients_per_round is {self.clients_per_round}, more than the {self.clients} clients")
        if self.attack_stop is not None and self.attack_stop < self.attack_start:
            raise ValueError(f"attack_stop is {self.attack_stop}, before attack_start {self.attack_start}")
        return self

    @property
    def malicious(self) -> int:
        """The true number of malicious clients among all N."""
        if self.malicious_count is not None:
            return self.malicious_count
        return _nearest(float(self.malicious_fraction or 0.0), self.clients)

    @property
    def per_round(self) -> int:
        """Clients that take part in a round."""
        return self.clients if self.clients_per_round is None else self.clients_per_round

    @property
    def byzantine(self) -> int:
        """f as the rule is told it: declared, else the true (under sampling: expected, rounded up) number."""
        if self.declared_byzantine is not None:
            return self.declared_byzantine
        return -(-self.malicious * self.per_round // self.clients)

    @property
    def attacked(self) -> bool:
        """Whether anything is attacked at all."""
        return self.attack != CLEAN and self.malicious > 0

    @property
    def epochs(self) -> int | None:
        """Local passes a round; one where neither epochs nor steps are given."""
        return (self.local_epochs or 1) if self.local_steps is None else None


@lru_cache(maxsize=4096)
def _nearest(fraction: float, clients: int) -> int:
    """fraction * clients to the nearest whole number, halves up; through the shortest decimal, so 0.29 * 100 is 29."""
    return int(Fraction(repr(fraction)) * clients + Fraction(1, 2))


FACTS = tuple(f.name for f in fields(Cell))  # in the order of tables

_OF_THE_ATTACK: dict[str, Any] = {
    "attack": CLEAN,
    "flip_rate": 1.0,
    "attack_start": 1,
    "attack_stop": None,
    "attack_availability": 1.0,
}
_LATER: dict[str, Any] = {"attack_availability": 1.0}  # facts newer than stored cells: in keys unless at this value


def normal(cell: Cell) -> Cell:
    """The same experiment in its one spelling: equal experiments have equal facts, hence one key.

    Without malicious clients or without an attack the attack's options say nothing; declared f and the number of
    malicious clients are made explicit.
    """
    facts: dict[str, Any] = {
        "malicious_fraction": None,
        "malicious_count": cell.malicious,
        "declared_byzantine": cell.byzantine,
        "clients_per_round": None if cell.per_round == cell.clients else cell.per_round,
        "local_epochs": cell.epochs,
    }
    if not cell.attacked:
        facts |= {"malicious_count": 0, **_OF_THE_ATTACK}
    return _vary(cell, facts)


def clean_twin(cell: Cell) -> Cell:
    """The same experiment with the flip left out; the declared f stays. Its own twin when nothing is attacked."""
    return normal(_vary(cell, _OF_THE_ATTACK))


def _vary(cell: Cell, facts: Mapping[str, Any]) -> Cell:
    """`replace` without validation: another spelling of a valid cell is valid, and grids have 100,000 cells."""
    one = object.__new__(Cell)
    one.__dict__.update(cell.__dict__)
    one.__dict__.update(facts)
    return one


def key(cell: Cell, content: Mapping[str, str]) -> str:
    """The cell's name in the store: SHA-256 over everything that can change its numbers.

    Args:
        cell: the facts; spelled normally first.
        content: hashes of what the facts only name: the data set's bytes, and the source of each plug-in used.
    """
    facts = dict(vars(normal(cell)))
    facts["dataset"] = _without_path(cell.dataset)
    for name, before in _LATER.items():
        if facts[name] == before:
            del facts[name]
    return hashlib.sha256(canonical_json({"schema": SCHEMA, "facts": facts, "content": dict(content)})).hexdigest()


@lru_cache(maxsize=4096)
def _without_path(dataset: str) -> str:
    """Where a data file lies changes no number; what it holds enters the key as its hash."""
    return str(reference.parse(dataset).without("path", "metadata"))


def canonical_json(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces, shortest floats, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def named_seed(seed: int, purpose: str, *which: int) -> int:
    """A 63-bit seed for one purpose of one replicate (and one client, one pass, ...).

    Neither the rule nor the attack enters, so that every rule meets the same clients, flips and batches.
    """
    digest = hashlib.sha256("\x1f".join([str(seed), purpose, *map(str, which)]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
