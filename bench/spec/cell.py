"""One experiment as frozen facts, its key and its named seeds.

A cell says everything that can change a stored number and nothing else: where the data file lies, how many workers
run and what the folder is called are not facts of it. Two cells with equal facts are one experiment.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import fields
from fractions import Fraction
from functools import lru_cache
from operator import itemgetter
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from flipbench.spec import reference

_COSINE = re.compile(r"cosine\b(?!\.py)")
SCHEMA = 1  # of the stored record; a change of meaning of any fact or number raises it

CLEAN = "none"  # the attack of a clean twin
SHARE = "share"  # the data of malicious clients that are among the N


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
        validation_share: share of each client's examples that is held out and never trained on, exactly
            round(share * n); weights count what is left.
        clients: N, clients in the federation (without sybils: ``malicious_data``).
        clients_per_round: clients drawn each round, without replacement; null: all.
        model: ``softmax``, ``mlp(widths=[100])``, ``cnn``, ``cnn(channels=[20, 50], hidden=[500])``.
        initialisation: of the weights: ``default`` (PyTorch's), ``zeros``, ``normal(std=1)``,
            ``uniform(low=0, high=0.01)``, ``xavier(magnitude=1)``; biases are zero in all but ``default``.
        rounds: communication rounds.
        local_epochs: passes over its own examples that a client makes each round; exclusive with local_steps.
        local_steps: steps that a client makes each round; 1 is FedSGD.
        batch_size: examples in a local step; ``full`` takes all of a client's.
        sampling: how batches are drawn with local_steps: ``passes`` (shuffled passes, one after the other),
            ``independent`` (each batch anew, no example twice in it), ``balanced`` (each example: one of the client's
            classes, then one of its examples, with replacement).
        drop_last: with local_epochs, whether the smaller last batch of a pass is left out.
        augmentation: of training images: ``none``, ``crop(padding=4, flip=0.5)`` (random crop of the padded image,
            mirrored with that probability; drawn at every use, or with ``frozen=true`` once an example).
        loss: ``cross_entropy``, or ``class_balanced(counts=client, power=1)``: weighted by the count of an example's
            class to the power -1, among the client's labels or the ``federation``'s.
        reduction: ``mean`` or ``sum`` of the losses of a batch; weight decay is added to either as it is.
        learning_rate: of local SGD.
        schedule: ``constant``, ``step(every=10, factor=0.1, floor=0)``, ``decay(rate=0.01)`` (lr / (1 + rate t)),
            ``cosine``; t counts rounds from 0, unless schedule_clock says otherwise.
        schedule_clock: what t counts: ``round``, ``participation`` (rounds in which the client took part before),
            ``local_step`` (steps of the round), ``client_step`` (all steps of the client), ``shared_step`` (all steps
            of all clients, who take turns in the order of their ids: one optimiser object for all).
        schedule_start: t begins at this number (a clock that an earlier run has moved).
        momentum: of local SGD.
        optimiser_state: ``reset``: the momentum buffer is zero at the start of every round; ``kept``: a client keeps
            it from one of its rounds to the next.
        weight_decay: L2, added to the gradient of local SGD.
        client_momentum: beta of m <- beta m + (1 - beta) update, kept by each client between its rounds and sent in
            place of the update (worker momentum; meant for local_steps: 1).
        clip_update: norm to which a longer update is scaled down before it is sent, by malicious clients too, after
            all that they do; null: none is.
        client_weights: weights that the rule is told: ``examples`` (share of the round's training examples) or
            ``equal``.
        server_learning_rate: factor on the aggregated update.
        server_momentum: of the server's step.
        evaluate_every: rounds between evaluations; the first and the last round are always evaluated.
        evaluate_last: rounds at the end that are all evaluated.
        attack: ``none``, an attack with options (``targeted(source=6, target=4)``), or a chain of attacks that act in
            different places (``mirrored | scaled(factor=10)``).
        flip_rate: share of a malicious client's eligible labels that are flipped (or pictures that are stamped),
            exactly round(rate * eligible).
        malicious_fraction: share of the N clients that are malicious (nearest whole number, halves up);
            exclusive with malicious_count.
        malicious_count: number of malicious clients.
        malicious_data: what they hold: ``share`` (they are among the N clients, with shares of their own);
            ``of_class(label=1)`` (each all training examples of a class) or ``fresh(examples=600)`` (each so many of
            all training examples) makes them sybils, on top of the N clients.
        declared_byzantine: f, as told to the rule; null: the true number among a round's clients (under client
            sampling the expected number, rounded up).
        flips_trained: false: labels are flipped after the batches were cut, so that training never sees the flips (a
            mistake of public code, on purpose).
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
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    clients: Count = 20
    clients_per_round: Count | None = None
    model: Name = "mlp(widths=[100])"
    initialisation: Name = "default"
    rounds: Count = 30
    local_epochs: Count | None = None
    local_steps: Count | None = None
    batch_size: Count | Literal["full"] = 32
    sampling: Literal["passes", "independent", "balanced"] = "passes"
    drop_last: bool = False
    augmentation: Name = "none"
    loss: Name = "cross_entropy"
    reduction: Literal["mean", "sum"] = "mean"
    learning_rate: Rate = 0.1
    schedule: Name = "constant"
    schedule_clock: Literal["round", "participation", "local_step", "client_step", "shared_step"] = "round"
    schedule_start: Annotated[int, Field(ge=0)] = 0
    momentum: Momentum = 0.0
    optimiser_state: Literal["reset", "kept"] = "reset"
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    client_momentum: Momentum = 0.0
    clip_update: Rate | None = None
    client_weights: Literal["examples", "equal"] = "examples"
    server_learning_rate: Rate = 1.0
    server_momentum: Momentum = 0.0
    evaluate_every: Count = 1
    evaluate_last: Count = 1
    attack: Chain = CLEAN
    flip_rate: Share = 1.0
    malicious_fraction: Share | None = None
    malicious_count: Annotated[int, Field(ge=0)] | None = None
    malicious_data: Name = SHARE
    declared_byzantine: Annotated[int, Field(ge=0)] | None = None
    flips_trained: bool = True
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
        if self.malicious_data != SHARE and self.malicious_fraction is not None:
            raise ValueError(
                f"malicious_fraction is a share of the clients, and malicious_data {self.malicious_data} puts "
                "malicious clients on top of them: give malicious_count"
            )
        if self.malicious_data == SHARE and self.malicious > self.clients:
            raise ValueError(f"malicious_count is {self.malicious}, more than the {self.clients} clients")
        if self.clients_per_round is not None and self.clients_per_round > self.members:
            raise ValueError(f"clients_per_round is {self.clients_per_round}, more than the {self.members} clients")
        if self.drop_last and (self.local_steps is not None or self.batch_size == "full"):
            which = "batch_size full" if self.batch_size == "full" else "local_steps"
            raise ValueError(f"drop_last is about the last batch of a pass, and {which} has none: leave drop_last out")
        if self.sampling != "passes" and (self.local_steps is None or self.batch_size == "full"):
            raise ValueError(f"sampling {self.sampling} needs local_steps and a batch_size that is a number")
        if _COSINE.match(self.schedule) and (self.schedule_clock != "round" or self.schedule_start):
            raise ValueError("schedule cosine ends with the last round: use schedule_clock round, schedule_start 0")
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
    def sybils(self) -> int:
        """Malicious clients on top of the N; there are none where nobody attacks."""
        return self.malicious if self.malicious_data != SHARE and self.attacked else 0

    @property
    def members(self) -> int:
        """All clients: the N and the sybils, whose ids follow theirs."""
        return self.clients + self.sybils

    @property
    def per_round(self) -> int:
        """Clients that take part in a round."""
        return self.members if self.clients_per_round is None else min(self.clients_per_round, self.members)

    @property
    def byzantine(self) -> int:
        """f as the rule is told it: declared, else the true (under sampling: expected, rounded up) number."""
        stayed_away = self.malicious if self.malicious_data != SHARE and not self.attacked else 0  # f is less by them
        if self.declared_byzantine is not None:
            return max(0, self.declared_byzantine - stayed_away)
        return -(-(self.malicious - stayed_away) * self.per_round // self.members)

    @property
    def attacked(self) -> bool:
        """Whether anything is attacked at all."""
        return self.attack != CLEAN and self.malicious > 0

    @property
    def epochs(self) -> int | None:
        """Local passes a round; one where neither epochs nor steps are given."""
        return (self.local_epochs or 1) if self.local_steps is None else None


def expected_malicious(facts: Mapping[Any, Any]) -> int:
    """How many malicious clients a round is expected to have, rounded up, from the facts of an attacked cell's row."""
    malicious, clients, per_round = int(facts["malicious_count"]), int(facts["clients"]), facts["clients_per_round"]
    members = clients + (malicious if facts["malicious_data"] != SHARE else 0)
    everybody = per_round is None or per_round != per_round  # NaN in a table
    return -(-malicious * (members if everybody else int(per_round)) // members)


@lru_cache(maxsize=4096)
def _nearest(fraction: float, clients: int) -> int:
    """fraction * clients to the nearest whole number, halves up; through the shortest decimal, so 0.29 * 100 is 29."""
    return int(Fraction(repr(fraction)) * clients + Fraction(1, 2))


FIELDS = tuple(f.name for f in fields(Cell))  # in the order of tables
_SORTED = sorted(FIELDS)
_in_order = itemgetter(*_SORTED)

_OF_THE_ATTACK: dict[str, Any] = {
    "attack": CLEAN,
    "flip_rate": 1.0,
    "flips_trained": True,
    "attack_start": 1,
    "attack_stop": None,
    "attack_availability": 1.0,
}
_LATER: dict[str, Any] = {
    "validation_share": 0.0,
    "initialisation": "default",
    "sampling": "passes",
    "drop_last": False,
    "augmentation": "none",
    "loss": "cross_entropy",
    "reduction": "mean",
    "schedule_clock": "round",
    "schedule_start": 0,
    "optimiser_state": "reset",
    "clip_update": None,
    "client_weights": "examples",
    "evaluate_last": 1,
    "malicious_data": SHARE,
    "flips_trained": True,
    "attack_availability": 1.0,
}  # facts newer than stored cells: in keys unless at this value


def normal(cell: Cell) -> Cell:
    """The same experiment in its one spelling: equal experiments have equal facts, hence one key.

    Without malicious clients or without an attack the attack's options say nothing; declared f and the number of
    malicious clients are made explicit. So are the buffers of a momentum of 0 and the clock of a constant rate.
    """
    facts: dict[str, Any] = {
        "malicious_fraction": None,
        "malicious_count": cell.malicious,
        "declared_byzantine": cell.byzantine,
        "clients_per_round": None if cell.per_round == cell.members else cell.per_round,
        "local_epochs": cell.epochs,
        "evaluate_last": min(cell.evaluate_last, cell.rounds),
    }
    if not cell.attacked:
        facts |= {"malicious_count": 0, "malicious_data": SHARE, **_OF_THE_ATTACK}
    if not cell.momentum:
        facts["optimiser_state"] = "reset"
    if cell.schedule == "constant":
        facts |= {"schedule_clock": "round", "schedule_start": 0}
    return _vary(cell, facts)


def clean_twin(cell: Cell) -> Cell:
    """The same experiment with the flip left out; the declared f stays. Its own twin when nothing is attacked.

    Sybils are there for the attack alone: the twin is the federation without them, and its f is less by as many.
    """
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
    return key_of_normal(normal(cell), content)


def key_of_normal(cell: Cell, content: Mapping[str, str]) -> str:
    """`key` of a cell that is in its normal form already, as the cells of a grid are.

    Hashed is the canonical JSON of schema, facts and content, put together of parts: 100,000 cells share few values.
    """
    values = _in_order(vars(cell))
    facts = ",".join(filter(None, map(_member, _SORTED, map(type, values), values)))
    text = f'{{"content":{_hashes(tuple(content.items()))},"facts":{{{facts}}},"schema":{SCHEMA}}}'
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=65536)
def _member(name: str, kind: type, value: Any) -> str:
    """One fact as canonical JSON, nothing of a later fact at its old value.

    The type tells 1 from 1.0 and True, which are equal; -0.0 is 0.0.
    """
    if name in _LATER and value == _LATER[name]:
        return ""
    if name == "dataset":
        value = _without_path(value)
    return canonical_json({name: value + 0.0 if kind is float else value})[1:-1].decode()


@lru_cache(maxsize=4096)
def _hashes(content: tuple[tuple[str, str], ...]) -> str:
    return canonical_json(dict(content)).decode()


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
