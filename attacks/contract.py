"""The contract of attacks: label, example and update attacks, told apart by the name of their first parameter.

* ``labels``  : a label attack. ``attack(labels, context, /, *, option=...) -> Proposal`` says, for every example of one
  malicious client, which label it would carry if it were flipped and whether it may be flipped at all.
* ``examples``: an example attack (a backdoor). ``attack(examples, labels, context, /, *, option=...) -> Stamped`` says
  the same of images.
* ``updates`` : an update attack. ``attack(updates, context, /, *, option=...) -> updates`` replaces what the malicious
  clients of a round send, knowing everything that the honest ones send.

A class says where it acts by an attribute ``place``. In a grid, attacks that act in different places are chained with
``|``: ``targeted(source=6, target=4) | scaled(factor=10)``. Which of the eligible examples *are* poisoned (exactly
``round(rate * eligible)``) is drawn once, by the bench, for all attacks.

An attack never learns which rule it faces, and never sees test data or an honest client's labels one by one, unless
it declares ``adaptive = True`` (tables mark it then). An adaptive label attack is a frozen dataclass with
``search(trials: Trials) -> Found``, asked once before the federation begins; an adaptive update attack may ask
`UpdateContext.aggregate`. An update attack with memory is a frozen dataclass with
``init(updates, context) -> state`` and ``__call__(updates, context, state) -> (updates, state)``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import torch
from torch import Tensor

from flipbench.aggregators.contract import Layout

PLACES = ("labels", "examples", "updates")
Attack = TypeVar("Attack", bound=Callable[..., Any])


def _undeclared(what: str) -> NoReturn:
    raise ValueError(f"the attack asks for {what}, which is given only to an attack that declares it")


def _no_confusion() -> Tensor:
    _undeclared("the confusion of a clean model (the attribute `confusion = True`)")


def _no_rule(candidates: Tensor) -> Tensor:
    _undeclared("the rule's answer (the attribute `adaptive = True`)")


@dataclass(frozen=True)
class LabelContext:
    """What a label attack may know.

    Attributes:
        classes: L, the task's number of classes.
        pool: ``(examples,)`` int64, the labels of all clients together (for flips drawn from the label frequencies).
        generator: the attack's own generator: it depends on the seed and the client, never on the defence.
        scores: ``(examples, L)`` logits that the current global model gives the examples; only for an attack that
            declares ``dynamic = True`` and is therefore asked again in every round. All its examples are eligible.
        confusion: ``(L, L)`` float64, rows sum to 1: how a model of a federation without malicious clients, under
            FedAvg, spreads the training examples of each class over the classes; only for an attack that
            declares ``confusion = True``, because it costs a federation (one a seed, shared by all cells).
    """

    classes: int
    pool: Tensor
    generator: torch.Generator
    scores: Tensor | None = None
    confusion: Callable[[], Tensor] = _no_confusion


@dataclass(frozen=True)
class Proposal:
    """A label attack's answer for one client.

    Attributes:
        labels: ``(examples,)`` int64, the label each example would carry if flipped.
        eligible: ``(examples,)`` bool, whether the attack would flip it.
        with_replacement: examples are drawn with replacement, so fewer distinct ones may change.
    """

    labels: Tensor
    eligible: Tensor
    with_replacement: bool = False


@dataclass(frozen=True)
class ExampleContext:
    """What an example attack may know.

    Attributes:
        classes: L.
        low: the darkest value that a pixel of the training images takes, after scaling.
        high: the brightest.
    """

    classes: int
    low: float
    high: float


@dataclass(frozen=True)
class Stamped:
    """An example attack's answer; a function of the examples alone, so that test images can be stamped alike.

    Attributes:
        examples: ``(examples, channels, height, width)``, the poisoned images.
        labels: ``(examples,)`` int64, the labels that they would carry.
        eligible: ``(examples,)`` bool, whether the attack would poison it.
    """

    examples: Tensor
    labels: Tensor
    eligible: Tensor


@dataclass(frozen=True)
class UpdateContext:
    """What an update attack may know: all that travels in one round of one federation.

    Attributes:
        honest: ``(honest, dim)``, what the honest clients of the round send; never empty.
        weights: ``(honest + malicious,)``, each client's share of the examples, honest clients first.
        previous: ``(dim,)``, the last update that the server applied; zeros before the first.
        layout: parameter name -> (slice of dim, shape).
        round: from 1.
        generator: the attack's own, for this round: it depends on the seed and the round, never on the defence.
        aggregate: the real rule, for an attack that declares ``adaptive = True``: ``(trials, malicious, dim)``
            candidates for what the malicious clients send give ``(trials, dim)``, the server's update for each. A
            rule's memory does not change by asking.
        clients: ``(honest + malicious,)`` int64, their numbers, in the order of the weights; empty: unknown.
    """

    honest: Tensor
    weights: Tensor
    previous: Tensor
    layout: Layout
    round: int
    generator: torch.Generator
    aggregate: Callable[[Tensor], Tensor] = _no_rule
    clients: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))


LabelFlip = Callable[[Tensor, LabelContext], Proposal]


@dataclass(frozen=True)
class Trials:
    """What an adaptive label attack may try before the federation begins.

    Attributes:
        classes: L.
        counts: ``(L,)`` int64, how many examples of each class the malicious clients hold.
        run: trial federations with the cell's own rule, seed, clients and rate, one for each label flip (None: the
            malicious clients flip nothing): ``run(flips, rounds)`` gives for each the ``(L, L)`` int64 confusion matrix
            (rows true) after so many rounds; where the model's logits for some examples are not finite, ``(L, L + 1)``,
            the last column counting these: they are recognised as no class. Measured on training examples of all
            clients with their true labels, never on test data.
        rounds: of the cell.
        generator: of the search.
    """

    classes: int
    counts: Tensor
    run: Callable[[Sequence[LabelFlip | None], int], list[Tensor]]
    rounds: int
    generator: torch.Generator


@dataclass(frozen=True)
class Found:
    """The result of an adaptive label attack's search.

    Attributes:
        flip: the label flip that every malicious client will use.
        mapping: its source -> target, where it is a fixed map.
        report: plain values to be stored with the cell: ``objective``, ``harm`` (of the flip, in the trials),
            ``trials`` (how many were run) and whatever else a reader should know.
    """

    flip: LabelFlip
    mapping: Mapping[int, int] | None
    report: Mapping[str, Any]


def place(attack: Any) -> str:
    """Where an attack acts: its attribute ``place``, else the name of its first parameter.

    Raises:
        ValueError: neither is one of the three places.
    """
    bare = attack.func if isinstance(attack, partial) else attack
    named = getattr(bare, "place", None)
    if named is None:
        try:
            named = next(iter(inspect.signature(bare).parameters), None)
        except (ValueError, TypeError):
            named = None
    if named not in PLACES:
        raise ValueError(
            f"an attack's first parameter must be called labels, examples or updates (or its attribute `place` must "
            f"say so), which says where it acts; it is called {named!r}"
        )
    return str(named)


def declares(attack: Any, what: str) -> bool:
    """Whether an attack declares ``what = True``, through bound options too."""
    bare = attack.func if isinstance(attack, partial) else attack
    return bool(getattr(bare, what, False))


def declaring(*what: str) -> Callable[[Attack], Attack]:
    """Set each of the attributes to true: ``@declaring("adaptive")``."""

    def declared(attack: Attack) -> Attack:
        for name in what:
            setattr(attack, name, True)
        return attack

    return declared


RENAMED = {"Scene": "LabelContext", "Studio": "ExampleContext", "Wire": "UpdateContext"}

if not TYPE_CHECKING:  # a type checker would take every name for one that exists

    def __getattr__(name: str) -> NoReturn:
        """Name the class that a plug-in file imports by its former name."""
        raise former_name(__name__, name)


def former_name(module: str, name: str) -> Exception:
    """The error for a name that a module does not have: with the new one, where the class was renamed."""
    if name in RENAMED:
        return ImportError(f"{name} of {module} is called {RENAMED[name]}: import that name instead", name=module)
    return AttributeError(f"module {module!r} has no attribute {name!r}")
