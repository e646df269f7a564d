"""What one value of one field may be: its type, and for references the thing it names."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from flipbench import data
from flipbench.errors import UserError
from flipbench.plugins import first_load, registry, spelling
from flipbench.spec.cell import CLEAN, FIELDS, SHARE, Cell, Chain, Name
from flipbench.spec.reference import Reference, parse, parse_chain
from flipbench.spec.training_choices import ALGORITHMS
from flipbench.system import exception_text
from flipbench.system.limits import size_text

EVERY_PAIR = "every_pair"  # an attack that stands for one targeted attack for each ordered pair of classes

_LAYOUT = {"0.weight": (slice(0, 56), (8, 7)), "0.bias": (slice(56, 64), (8,))}  # of a small output layer
_REPEATED = {"steps", "starts", "repeats", "trials", "finalists"}  # options that say how often work is done
_MOST_TIMES = 10_000
_MOST_PARAMETERS = 1_000_000_000  # all clients of a round are trained at once, each with its own
_HINTS = typing.get_type_hints(Cell, include_extras=True)
# Fields whose value names a thing with options -> kind of thing in the registry, which is called like the field.
REFERENCES: dict[str, str] = {f: f for f in FIELDS if _HINTS[f] in (Name, Chain)}
_ADAPTERS: dict[str, TypeAdapter[Any]] = {f: TypeAdapter(_HINTS[f], config=ConfigDict(strict=True)) for f in FIELDS}


class FieldError(UserError):
    """A value that its field does not take; the text says what it takes."""


def checked(field: str, value: Any) -> Any:
    """The value as a cell holds it.

    Raises:
        FieldError: of a wrong type, out of range, no reference, or (a reference) naming nothing or with wrong options.
    """
    read = typed(field, value)
    if field == "algorithm" and ":" in read:
        raise FieldError(f"is one of {', '.join(ALGORITHMS)}, and cannot be your own, got {_shown(value)}")
    if field in REFERENCES and read != CLEAN and read != EVERY_PAIR:
        check_reference(REFERENCES[field], read)
        return spelling.spelled(REFERENCES[field], read)
    return read


def typed(field: str, value: Any) -> Any:
    """The value as a cell holds it, as far as its type decides it.

    Raises:
        FieldError: of a wrong type, out of range, or no reference.
    """
    if isinstance(value, list):
        raise FieldError(f"needs one value, got a list; to vary it, write it under axes: {field}: {_shown(value)}")
    try:
        return _ADAPTERS[field].validate_python(value)
    except ValidationError as error:
        raise FieldError(_said(error, value)) from error


def check_reference(kind: str, text: str) -> None:
    """See that the reference leads somewhere and that a shipped thing takes its options' values.

    Raises:
        FieldError: with what was needed.
    """
    try:
        first_load.check(kind, text)
        target = registry.resolve(kind, text)
        links = registry.links(kind, text)
    except (ValueError, TypeError) as error:
        raise FieldError(str(error)) from error
    if kind == "dataset" and (lacking := data.absent(text)) is not None:
        raise FieldError(f"{links[0][1].name}: {lacking}")
    for link_kind, link in links:
        if registry.is_shipped(link_kind, link.name):
            _check_repetitions(link)
    try:
        if kind in _TRIALS and registry.all_shipped(kind, text):
            _TRIALS[kind](target)
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        raise FieldError(_named(text, error)) from error


def _check_repetitions(part: Reference) -> None:
    """A rule or an attack that repeats its work does so in each round, and once while the grid is read."""
    for name in _REPEATED & part.options.keys():
        if isinstance(value := part.options[name], int) and value > _MOST_TIMES:
            raise FieldError(f"{part.name} needs {name} of at most {_MOST_TIMES:,}, got {value}")


def _named(text: str, error: Exception) -> str:
    """What is wrong with a reference; with its options where the message names none of them."""
    said = str(error) if isinstance(error, ValueError) else exception_text.with_type(error).partition("\n")[0]
    options = [name for part in parse_chain(text) for name in part.options]
    named = text in said or any(re.search(rf"\b{name}\b", said) for name in options)
    return f"{said}, as {text}" if options and not named else said


def check_attack(text: str, classes: int, shape: tuple[int, ...], honest: int) -> None:
    """See that shipped attacks fit the data and the clients, and that they take the values of their options.

    Args:
        text: the attack or chain.
        classes: of the data.
        shape: of one example of the data.
        honest: the largest number of honest clients that a round may have.

    Raises:
        FieldError: in the attack's own words.
    """
    if text == CLEAN:
        return
    import torch

    from flipbench.attacks.contract import ExampleContext, LabelContext, declares, place
    from flipbench.data.input_shape import InputShape

    labels, even = torch.arange(classes), torch.full((classes, classes), 1.0 / classes, dtype=torch.float64)
    for link in parse_chain(text):
        if not registry.is_shipped("attack", link.name):
            continue
        try:
            attack = registry.resolve("attack", link)
        except ValueError as error:
            raise FieldError(str(error)) from error
        try:
            if place(attack) == "labels" and not declares(attack, "adaptive"):
                attack(labels, LabelContext(classes, labels, torch.Generator().manual_seed(0), confusion=lambda: even))
            elif place(attack) == "examples" and InputShape.of(shape).kind == "image":
                attack(torch.zeros(classes, *shape), labels, ExampleContext(classes, 0.0, 1.0))
            elif place(attack) == "updates":
                one_attack(attack, honest)
        except (ValueError, RuntimeError, ArithmeticError) as error:
            raise FieldError(_named(str(link), error)) from error


def one_attack(attack: Any, honest: int) -> bool:
    """One round of two malicious clients; what overflows is no mistake.

    Args:
        attack: on updates.
        honest: the number of honest clients.

    Returns:
        Whether they send their updates as they are.
    """
    import torch

    from flipbench.attacks.contract import UpdateContext

    updates = torch.randn(honest + 2, 64, generator=torch.Generator().manual_seed(0))
    context = UpdateContext(
        honest=updates[:honest],
        weights=torch.full((honest + 2,), 1.0 / (honest + 2)),
        previous=updates[0],
        layout=_LAYOUT,
        round=1,
        generator=torch.Generator().manual_seed(0),
        aggregate=lambda candidates: candidates.mean(dim=1),
        clients=torch.arange(honest + 2),
    )
    if hasattr(attack, "init"):
        sent, _ = attack(updates[honest:], context, attack.init(updates[honest:], context))
    else:
        sent = attack(updates[honest:], context)
    return torch.equal(sent, updates[honest:])


def check_deal(field: str, text: str, clients: int, labels: Any, owners: Any = None) -> None:
    """See that a shipped partition, or shipped data of malicious clients, can be dealt.

    Args:
        field: ``partition`` or ``malicious_data``.
        text: its value.
        clients: N.
        labels: ``(examples,)`` int64, the training labels without the server's own.
        owners: ``(examples,)`` int64, their natural clients; None: there are none.

    Raises:
        FieldError: in the words of the partition.
    """
    if text == SHARE or not registry.is_shipped(field, parse(text).name):
        return
    import torch

    from flipbench.data.partitions import with_clients

    try:
        deal = registry.resolve(field, text)
        if field == "partition":
            deal = with_clients(deal, owners)
        deal(labels, clients, torch.Generator().manual_seed(0))
    except (ValueError, RuntimeError, ArithmeticError) as error:
        raise FieldError(_named(text, error)) from error


def check_model(text: str, shape: tuple[int, ...], classes: int) -> None:
    """See that a shipped model can be made for the data; nothing is allocated.

    Raises:
        FieldError: in the words of the model.
    """
    if not registry.is_shipped("model", parse(text).name):
        return
    try:
        net = _build(registry.resolve("model", text), shape, classes)
    except (ValueError, RuntimeError) as error:
        raise FieldError(_named(text, error)) from error
    number = sum(parameter.numel() for parameter in net.parameters())
    if number > _MOST_PARAMETERS:
        raise FieldError(
            f"{text} has {number:,} parameters, {size_text(4 * number)} for each client of a round, and at most "
            f"{_MOST_PARAMETERS:,} are taken: make it narrower"
        )


def _try_model(model: Callable[..., Any]) -> None:
    """For images so large, or texts, that only mistakes of the options themselves remain."""
    from flipbench.data.input_shape import InputShape, OtherInputError

    for shape in (InputShape((1, 512, 512)), InputShape((64,), "tokens", 64, 0), InputShape((64,), "features")):
        with suppress(OtherInputError):
            _build(model, shape, 2)
            return


def _build(model: Callable[..., Any], shape: tuple[int, ...], classes: int) -> Any:
    """The model; nothing is allocated."""
    import torch

    with torch.device("meta"):
        return model(shape, classes)


def _try_schedule(schedule: Callable[..., float]) -> None:
    for t in (0, 9):
        schedule(t, 10)


def _try_features(features: Callable[..., Any]) -> None:
    import torch

    pixels = torch.tensor([[0], [255]], dtype=torch.uint8)
    for scaled in features(pixels, pixels, 255):
        if not bool(scaled.isfinite().all()) or bool((scaled == scaled[0]).all()):
            raise ValueError(f"pixels of 0 and 255 become {', '.join(f'{x:g}' for x in scaled.flatten().tolist())}")


def _try_initialisation(draw: Callable[..., None]) -> None:
    import torch

    draw(torch.zeros(2, 2))


def _try_rule(rule: Callable[..., Any]) -> None:
    """Options that no cohort could make right (trim=-1); whether the rule is feasible is the cell's business."""
    import torch

    from flipbench.aggregators.contract import Cohort, Infeasible

    updates = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    cohort = Cohort.of(updates, 1, layout=_LAYOUT, trusted=lambda: updates[0])
    with suppress(Infeasible):
        if hasattr(rule, "init"):
            answer, _ = rule(updates, cohort, rule.init(updates, cohort))
        else:
            answer = rule(updates, cohort)
        if not bool(answer.isfinite().all()):
            raise ValueError("it answers finite updates with one that is not finite; take a smaller value")


def _try_optimiser(optimiser: Any) -> None:
    """Two steps of two rows, of which none may move a weight to where it is no number."""
    import torch

    if not hasattr(optimiser, "step"):  # SGD
        return
    weights, gradients = torch.randn(2, 2, 64, generator=torch.Generator().manual_seed(0))
    state = optimiser.init(weights, _LAYOUT)
    for t in (1, 2):
        step = SimpleNamespace(t=torch.tensor([t, t]), layout=_LAYOUT)
        direction, state = optimiser.step(weights, gradients, state, step)
        if not bool(direction.isfinite().all()):
            raise ValueError("finite gradients give a direction that is not finite")


_TRIALS: dict[str, Callable[[Any], Any]] = {
    "aggregator": _try_rule,
    "schedule": _try_schedule,
    "features": _try_features,
    "initialisation": _try_initialisation,
    "model": _try_model,
    "optimiser": _try_optimiser,
    "server_optimiser": _try_optimiser,
}


def _said(error: ValidationError, value: Any) -> str:
    """Pydantic's reasons in one line, with what came unless a reason says so itself."""
    texts, own = [], False
    for detail in error.errors(include_url=False, include_input=False):
        own |= detail["type"] == "value_error"
        text = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
        texts.append(text if own else text[:1].lower() + text[1:])
    reason = " or ".join(dict.fromkeys(texts))
    return reason if own else f"{reason}, got {_shown(value)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, default=repr, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."
