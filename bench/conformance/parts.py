"""The checks of a part of training: a model, a data set, a partition, an optimiser, a loss and the like.

Each part is tried in a small federation, as a grid would use it, and compared with itself: run again, beside another
cell, and (an optimiser) row by row. What each kind must answer is checked where it is called, with messages of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from flipbench import data
from flipbench.conformance.cases import Broken, Defect, Unusable
from flipbench.data import in_memory
from flipbench.errors import UserError
from flipbench.federation import run_stack
from flipbench.federation.records import Job
from flipbench.plugins import registry
from flipbench.spec.cell import Cell
from flipbench.spec.suggestions import near
from flipbench.system import exception_text, process_settings
from flipbench.training.optimisers.contract import Step, check_answer, check_state

KINDS = (
    *("model", "dataset", "partition", "malicious_data", "features", "loss", "augmentation"),
    *("schedule", "initialisation", "optimiser", "server_optimiser"),
)
_TEST = 64  # examples to test on
_LAYOUT = {"0.weight": (slice(0, 12), (4, 3)), "0.bias": (slice(12, 16), (4,))}
_CLOSE = 1e-3  # of numbers that are added up in another order
_BESIDE: dict[str, dict[str, Any]] = {  # fields without which a kind does nothing
    "malicious_data": {"malicious_count": 2, "attack": "mirrored"},
    "server_optimiser": {"server_learning_rate": 0.01},
    "optimiser": {"learning_rate": 0.01},
}
_TEXTS = "transformer(width=8, depth=1, heads=2)"  # the model where the data are token ids


@dataclass(frozen=True)
class Part:
    """A part of training, as a grid names it.

    Attributes:
        kind: one of `KINDS`.
        ref: its reference.
        dataset: that it is tried with.
    """

    kind: str
    ref: str
    dataset: str

    def run(self, *neighbours: int) -> dict[str, Any]:
        """The result of a small cell, in one stack with the same cell of other seeds.

        Raises:
            Unusable: it failed.
        """
        used = self.ref if self.kind == "dataset" else self.dataset
        whole = data.load(used)
        in_memory.supply(used, data.shortened(whole, None, min(_TEST, len(whole.test_y))))
        fields: dict[str, Any] = {"clients": 7, "batch_size": 8, "rounds": 2, "local_steps": 2, "seed": 3}
        fields |= {"dataset": used, "model": _TEXTS if whole.kind == "tokens" else "softmax"}
        cell = Cell(**(fields | _BESIDE.get(self.kind, {}) | {self.kind: self.ref}))
        jobs = [Job(replace(cell, seed=seed), {}) for seed in neighbours]
        record = run_stack.perform([*jobs, Job(cell, {})], {})[-1]
        if record["status"] != "done":
            raise Unusable(f"7 clients with {used}", f"the cell {record['status']}: {record['reason']}")
        result: dict[str, Any] = record["result"]
        return result


@dataclass(frozen=True)
class PartProperty:
    """Something that must hold of a part; as `conformance.properties.Property`.

    Attributes:
        check: raises `Broken` where it does not.
        title: in a few words.
        impact: what a failure means for an experiment.
        fix: what to do about it.
        kinds: of parts that it is asked of.
    """

    check: Callable[[Part], None]
    title: str
    impact: str
    fix: str
    kinds: tuple[str, ...] = KINDS


@dataclass(frozen=True)
class PartCheck:
    """One property of one part; calling it raises `Defect` where it does not hold."""

    name: str
    property: PartProperty
    part: Part

    def __call__(self) -> None:
        one = self.property
        try:
            with process_settings.kept():
                one.check(self.part)
        except Broken as error:
            raise error.defect(self.name, one.impact, one.fix) from error
        except UserError as error:
            raise Defect(self.name, str(error), one.impact, one.fix, unusable=True) from error


def part_checks(kind: str, ref: str, dataset: str = "digits") -> list[PartCheck]:
    """The checks of a part.

    Args:
        kind: one of `KINDS`.
        ref: as a grid names it.
        dataset: that it is tried with.

    Raises:
        UserError: another kind; a reference that leads nowhere.
    """
    check_kind(kind)
    registry.resolve(kind, ref)
    part = Part(kind, ref, dataset)
    return [PartCheck(name, one, part) for name, one in PART_PROPERTIES.items() if kind in one.kinds]


def check_kind(kind: str) -> None:
    """See that there are checks of a kind.

    Raises:
        UserError: there are none.
    """
    if kind not in KINDS:
        raise UserError(f"there is no check of {kind!r}{near(kind, KINDS)}; there are {', '.join(KINDS)}")


def _works(part: Part) -> None:
    numbers = part.run()
    if not all(map(math.isfinite, _flat(numbers["norms"]))):
        raise Broken("two rounds", "an update is not finite")


def _repeatable(part: Part) -> None:
    one, other = part.run(), part.run()
    for what in ("confusion", "norms"):
        if one[what] != other[what]:
            raise Broken("the same cell, run twice", f"{what} differ")


def _stacked(part: Part) -> None:
    alone, beside = part.run(), part.run(4, 5)
    for one, other in zip(_flat(alone["norms"]), _flat(beside["norms"]), strict=True):
        if not math.isclose(one, other, rel_tol=_CLOSE, abs_tol=1e-5):
            raise Broken("in one stack with two other cells", f"an update of length {other:g} is {one:g} long alone")


def _flat(numbers: Any) -> Iterator[float]:
    if isinstance(numbers, list | tuple):
        for one in numbers:
            yield from _flat(one)
    elif numbers is not None:
        yield float(numbers)


def _rows(part: Part) -> None:
    together = _directions(part, slice(0, 3), lambda optimiser: optimiser)
    for r in range(3):
        alone = _directions(part, slice(r, r + 1), lambda optimiser: optimiser)
        for t, (one, many) in enumerate(zip(alone, together, strict=True), 1):
            if not torch.allclose(one[0], many[r], rtol=_CLOSE, atol=1e-6):
                raise Broken(f"row {r} of 3, step {t}", "its direction alone is another than beside the others")


def _kept_in_state(part: Part) -> None:
    one = _directions(part, slice(0, 3), lambda optimiser: optimiser)
    other = _directions(part, slice(0, 3), lambda _: registry.resolve(part.kind, part.ref))
    for t, (a, b) in enumerate(zip(one, other, strict=True), 1):
        if not torch.equal(a, b):
            raise Broken(f"step {t} of an optimiser made anew, with the state of the step before", "it steps elsewhere")


def _directions(part: Part, rows: slice, again: Callable[[Any], Any]) -> list[torch.Tensor]:
    """Directions of four steps; ``again`` gives the optimiser of the next step."""
    optimiser: Any = registry.resolve(part.kind, part.ref)
    if not hasattr(optimiser, "step"):
        return []  # sgd, which has code of its own
    draw = torch.Generator().manual_seed(0)
    weights = torch.randn(3, 16, generator=draw)[rows]
    state, found = check_state(optimiser.init(weights.clone(), dict(_LAYOUT)), len(weights), part.ref), []
    for t in range(1, 5):
        gradients = torch.randn(3, 16, generator=draw)[rows]
        lent = {name: value.clone() for name, value in state.items()}
        step = Step(torch.full((len(weights),), t), dict(_LAYOUT))
        answer = optimiser.step(weights.clone(), gradients.clone(), lent, step)
        direction, state = check_answer(answer, weights, state, part.ref)
        if not bool(direction.isfinite().all()):
            raise Broken(f"step {t}", "finite gradients give a direction that is not finite")
        found.append(direction.clone())
        weights = weights - 0.01 * direction
        optimiser = again(optimiser)
    return found


def _guarded(check: Callable[[Part], None]) -> Callable[[Part], None]:
    """An error of the author's code is a case that fails."""

    def run(part: Part) -> None:
        try:
            check(part)
        except (Broken, UserError):
            raise
        except Exception as error:
            raise Unusable(part.ref, f"raised {exception_text.with_line(error)}") from error

    return run


_STEPS = ("optimiser", "server_optimiser")
PART_PROPERTIES: dict[str, PartProperty] = {
    "works": PartProperty(
        _guarded(_works),
        "two rounds of a small federation work, and give finite updates",
        "every cell fails",
        "write what the message asks for (docs/writing_a_model.md, docs/writing_an_optimiser.md, docs/data.md)",
    ),
    "repeatable": PartProperty(
        _guarded(_repeatable),
        "the same cell gives the same bits again",
        "a stored result cannot be made again, and a difference to the clean twin is partly chance",
        "keep nothing between calls, and draw from the generator that is passed, or from torch's in a forward pass",
    ),
    "stack": PartProperty(
        _guarded(_stacked),
        "a cell beside others is the cell alone",
        "results depend on which cells happen to run together",
        "compute each client, and each cell, from itself alone",
    ),
    "rows": PartProperty(
        _guarded(_rows),
        "each row depends on itself alone",
        "what a client learns depends on who trains beside it",
        "reduce over columns (dim=1), never over rows (dim=0)",
        _STEPS,
    ),
    "state": PartProperty(
        _guarded(_kept_in_state),
        "all that it remembers is in its state",
        "a run that goes on from a checkpoint gives other numbers, and so do clients that keep their states",
        "put what it remembers into the dictionary that init makes and step answers",
        _STEPS,
    ),
}
