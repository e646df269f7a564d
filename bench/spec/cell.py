"""Cell: one experiment as a frozen record of fields, each described where it is declared.

A cell holds everything that can change a stored number and nothing else: where the data file lies, how many workers
run and what the folder is called are no fields of it. Two cells with equal fields are one experiment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from flipbench.spec import reference, training_choices
from flipbench.spec.field_table import described

_COSINE = re.compile(r"cosine\b(?!\.py)")
CLEAN = "none"  # the attack of a clean twin
SHARE = "share"  # the data of malicious clients that are among the N
HONEST = "honest"  # intent of clients with natural label noise
NOISES = ("uniform", "confusable")  # attacks that stand for it
VALIDATION = "validation"  # evaluated on the examples that clients hold out, in place of the test set


def _as_reference(value: Any) -> str:
    if isinstance(value, Mapping):
        value = reference.from_mapping(value)
    if not isinstance(value, str):
        raise ValueError(f"needs a name like 'iid' or 'dirichlet(alpha=0.5)', got {value!r}")
    text = reference.canonical(value)
    if "|" in text and len(reference.parse_chain(text)) > 1:
        raise ValueError(f"only aggregators and attacks can be chains with '|', got {value!r}")
    return text


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
Clock = Literal["round", "participation", "local_step", "client_step", "shared_step"]


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid"))
class Cell:
    """The fields of one experiment; every field can be an axis of a grid.

    Attributes:
        dataset: a data set, with options (``mnist(train=5000)``).
        features: pixel scale: ``unit`` (/255), ``standard`` (unit, less mean, over deviation of the training images;
            or of given ``mean`` and ``std``), ``scaled(divisor=100)``. Of a table ``unit`` leaves the numbers as they
            are, and ``standard`` takes mean and deviation of each column; token ids have ``unit`` alone.
        partition: how training examples are dealt to clients: ``iid``, ``dirichlet(alpha=0.5)``,
            ``shards(per_client=2)``, ``similarity(gamma=0.5)``, ``label_bias(q=0.5)``; ``natural(minimum=2)``: each
            client is one of the data's own (a writer, a state) with at least so many examples.
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
        learning_rate: of local training.
        schedule: ``constant``, ``step(every=10, factor=0.1, floor=0)``, ``decay(rate=0.01)`` (lr / (1 + rate t)),
            ``cosine``; t counts rounds from 0, unless schedule_clock says otherwise.
        schedule_clock: what t counts: ``round``, ``participation`` (rounds in which the client took part before),
            ``local_step`` (steps of the round), ``client_step`` (all steps of the client), ``shared_step`` (all steps
            of all clients, in the order of their ids: one optimiser object for all).
        schedule_start: t begins at this number (a clock that an earlier run has moved).
        optimiser: of the local steps, with PyTorch's formulas: ``sgd``, ``sgd(nesterov=true)``,
            ``adam(beta1=0.9, beta2=0.999, epsilon=1e-8)``, ``adamw``, ``pytorch(name=RMSprop)``, or your own.
        momentum: of local SGD.
        optimiser_state: ``reset``: the optimiser's state (momentum buffers, moments) is made anew at the start of every
            round; ``kept``: a client keeps it from one of its rounds to the next.
        weight_decay: L2, added to the gradient of a local step; with ``adamw`` decoupled (weights shrink by learning
            rate times weight_decay).
        clip_gradient: norm to which the longer gradient of a client's step is scaled down, before weight decay; null:
            none is.
        algorithm: of the federation: ``fedavg``, ``fedprox(mu=0.01)`` (proximal term in local training),
            ``scaffold(option=2)`` (control variates), ``fednova`` (updates divided by the number of local steps).
        client_momentum: beta of m <- beta m + (1 - beta) update, kept by each client between its rounds and sent in
            place of the update (worker momentum; meant for local_steps: 1).
        clip_update: norm to which a longer update is scaled down before it is sent, by malicious clients too, after
            all that they do; null: none is.
        noise_multiplier: z of client-level differential privacy: the deviation of the Gaussian noise, over that which
            one client can add; 0: none. It needs a clip_update.
        noise_at: ``server``: noise of deviation z · clip_update · (largest weight of a client) on the answer of the
            rule; ``client``: of deviation z · clip_update on each update before it is sent (local privacy).
        client_weights: weights that the rule receives: ``examples`` (share of the round's training examples) or
            ``equal``.
        server_learning_rate: factor on the aggregated update.
        server_momentum: of the server's step.
        server_optimiser: of the server's step: ``sgd`` (with server_momentum), ``adam(beta1=0.9, beta2=0.99)``,
            ``yogi``, ``adagrad`` (FedAdam, FedYogi, FedAdagrad), or your own.
        evaluate_every: rounds between evaluations; the first and the last round are always evaluated.
        evaluate_last: rounds at the end that are all evaluated.
        evaluate_on: ``test`` (the test set), or ``validation`` (the examples that the clients hold out, with their true
            labels; the test set is not used): needs a validation_share.
        attack: ``none``, an attack with options (``targeted(source=6, target=4)``), or a chain of attacks that act in
            different places (``mirrored | scaled(factor=10)``).
        flip_rate: share of a malicious client's eligible labels that are flipped (or images that are stamped),
            exactly round(rate * eligible).
        malicious_fraction: share of the N clients that are malicious (nearest whole number, halves up);
            exclusive with malicious_count.
        malicious_count: number of malicious clients.
        malicious_data: what they hold: ``share`` (they are among the N clients, with shares of their own);
            ``of_class(label=1)`` (each all training examples of a class) or ``fresh(examples=600)`` (each so many of
            all training examples) makes them sybils, on top of the N clients.
        declared_byzantine: f, as the rule receives it; null: the true number among a round's clients (under client
            sampling the expected number, rounded up).
        flips_trained: false: labels are flipped after the batches were cut, so that training never sees the flips (a
            mistake of public code, on purpose).
        attack_start: first round of the attack, from 1.
        attack_stop: last round of the attack; null: the last.
        attack_availability: share of the rounds from attack_start to attack_stop in which malicious clients attack,
            exactly round(share * rounds), drawn per seed and nested over shares; in the others they are honest.
        intent: whose wrong labels these are: ``malicious`` (an attack), or ``honest``: natural label noise of honest
            clients, as many as would be malicious, by ``attack`` uniform or confusable, and no client attacks. A grid
            adds such cells by ``honest_noise``; tables show them as the intolerance of a rule, never as an attack.
        root_examples: training examples that the server keeps for itself, for rules that need a trusted update
            (fltrust); drawn per seed before the rest is dealt to the clients.
        aggregator: a rule with options, or a chain ``nnm | trimmed_mean``.
        seed: replicate; draws partition, malicious clients, flips, initial weights, batches and client sampling.
        device: ``cpu`` or ``cuda``: low bits differ, so the two are different experiments.
    """

    dataset: Name = described("mnist5k", "data", label="data set")
    features: Name = described("unit", "data")
    partition: Name = described("iid", "data")
    validation_share: Annotated[float, Field(ge=0, lt=1)] = described(0.0, "data", since=2)
    clients: Count = described(20, "federation")
    clients_per_round: Count | None = described(None, "federation")
    model: Name = described("mlp(widths=[100])", "model")
    initialisation: Name = described("default", "model", since=2)
    rounds: Count = described(30, "federation")
    local_epochs: Count | None = described(None, "local training")
    local_steps: Count | None = described(None, "local training")
    batch_size: Count | Literal["full"] = described(32, "local training")
    sampling: Literal["passes", "independent", "balanced"] = described("passes", "local training", since=2)
    drop_last: bool = described(False, "local training", since=2)
    augmentation: Name = described("none", "local training", since=2)
    loss: Name = described("cross_entropy", "local training", since=2)
    reduction: Literal["mean", "sum"] = described("mean", "local training", since=2)
    learning_rate: Rate = described(0.1, "local training")
    schedule: Name = described("constant", "local training")
    schedule_clock: Clock = described("round", "local training", since=2)
    schedule_start: Annotated[int, Field(ge=0)] = described(0, "local training", since=2)
    optimiser: Name = described("sgd", "local training", since=4)
    momentum: Momentum = described(0.0, "local training")
    optimiser_state: Literal["reset", "kept"] = described("reset", "local training", since=2)
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = described(0.0, "local training")
    clip_gradient: Rate | None = described(None, "local training", since=4)
    algorithm: Name = described("fedavg", "local training", since=4)
    client_momentum: Momentum = described(0.0, "local training")
    clip_update: Rate | None = described(None, "local training", since=2)
    noise_multiplier: Annotated[float, Field(ge=0, allow_inf_nan=False)] = described(0.0, "local training", since=4)
    noise_at: Literal["server", "client"] = described("server", "local training", since=4, label="noise added by the")
    client_weights: Literal["examples", "equal"] = described("examples", "server", since=2)
    server_learning_rate: Rate = described(1.0, "server")
    server_momentum: Momentum = described(0.0, "server")
    server_optimiser: Name = described("sgd", "server", since=4)
    evaluate_every: Count = described(1, "evaluation")
    evaluate_last: Count = described(1, "evaluation", since=2)
    evaluate_on: Literal["test", "validation"] = described("test", "evaluation", since=5, label="evaluated on")
    attack: Chain = described(CLEAN, "attack")
    flip_rate: Share = described(1.0, "attack", unit="percent")
    malicious_fraction: Share | None = described(None, "malicious clients", unit="percent")
    malicious_count: Annotated[int, Field(ge=0)] | None = described(None, "malicious clients")
    malicious_data: Name = described(SHARE, "malicious clients", since=2)
    declared_byzantine: Annotated[int, Field(ge=0)] | None = described(None, "server", label="declared f")
    flips_trained: bool = described(True, "attack", since=2)
    attack_start: Count = described(1, "attack", label="first attacked round")
    attack_stop: Count | None = described(None, "attack", label="last attacked round", null="the last")
    attack_availability: Annotated[float, Field(gt=0, le=1)] = described(1.0, "attack", since=2, unit="percent")
    intent: Literal["malicious", "honest"] = described("malicious", "attack", since=5)
    root_examples: Annotated[int, Field(ge=0)] = described(0, "server")
    aggregator: Chain = described("fedavg", "server")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = described(0, "run")
    device: Literal["cpu", "cuda"] = described("cpu", "run")

    @model_validator(mode="after")
    def _together(self) -> Cell:
        """Check the fields that only make sense together; each message names the fields to change."""
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
        if self.declared_byzantine is not None and self.declared_byzantine > self.members:
            raise ValueError(f"declared_byzantine is {self.declared_byzantine}, more than the {self.members} clients")
        if self.drop_last and (self.local_steps is not None or self.batch_size == "full"):
            which = "batch_size full" if self.batch_size == "full" else "local_steps"
            raise ValueError(f"drop_last is about the last batch of a pass, and {which} has none: leave drop_last out")
        if self.sampling != "passes" and (self.local_steps is None or self.batch_size == "full"):
            raise ValueError(f"sampling {self.sampling} needs local_steps and a batch_size that is a number")
        if _COSINE.match(self.schedule) and (self.schedule_clock != "round" or self.schedule_start):
            raise ValueError("schedule cosine ends with the last round: use schedule_clock round, schedule_start 0")
        if self.noise_multiplier and self.clip_update is None:
            raise ValueError(
                f"noise_multiplier is {self.noise_multiplier:g}, a multiple of what one client can add, and nothing "
                "bounds that: give clip_update, the norm to which longer updates are scaled down"
            )
        if self.evaluate_on == VALIDATION and not self.validation_share:
            raise ValueError("evaluate_on is validation, and no client holds out an example: give validation_share")
        if self.intent == HONEST and self.attacked:
            if self.attack.split("(")[0].strip() not in NOISES:
                raise ValueError(f"intent is honest, and natural label noise is the attack {' or '.join(NOISES)}")
            if self.malicious_data != SHARE:
                raise ValueError(f"intent is honest, and malicious_data {self.malicious_data} is for attackers alone")
        if (problem := training_choices.problem(self)) is not None:
            raise ValueError(problem)
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
        """Malicious clients on top of the N; there are none without an attack."""
        return self.malicious if self.malicious_data != SHARE and self.attacked else 0

    @property
    def members(self) -> int:
        """All clients: the N, then the sybils, in the order of their ids."""
        return self.clients + self.sybils

    @property
    def per_round(self) -> int:
        """Clients that take part in a round."""
        return self.members if self.clients_per_round is None else min(self.clients_per_round, self.members)

    @property
    def byzantine(self) -> int:
        """f as the rule receives it: declared, else the true (under sampling: expected, rounded up) number."""
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


def expected_malicious(cell: Mapping[Any, Any]) -> int:
    """How many malicious clients a round is expected to have, rounded up, from the row of an attacked cell."""
    malicious, clients, per_round = int(cell["malicious_count"]), int(cell["clients"]), cell["clients_per_round"]
    members = clients + (malicious if cell["malicious_data"] != SHARE else 0)
    all_take_part = per_round is None or per_round != per_round  # NaN in a table
    return -(-malicious * (members if all_take_part else int(per_round)) // members)


@lru_cache(maxsize=4096)
def _nearest(fraction: float, clients: int) -> int:
    """fraction * clients to the nearest whole number, halves up; through the shortest decimal, so 0.29 * 100 is 29."""
    return int(Fraction(repr(fraction)) * clients + Fraction(1, 2))


FIELDS = tuple(f.name for f in fields(Cell))  # in the order of tables
