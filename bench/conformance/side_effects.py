"""Checks of side effects: a rule leaves its inputs, settings of the process and later calls unchanged, and pickles.

Each check takes a `Subject` and raises `Broken` at the first, smallest case that fails.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flipbench.aggregators.contract import Infeasible
from flipbench.conformance.cases import Broken, Case, Subject, draw, same
from flipbench.system import process_settings
from flipbench.system.process_settings import Snapshot

GENERATORS: dict[str, Callable[[], Any]] = {
    "torch's": lambda: torch.get_rng_state().numpy().tobytes(),
    "NumPy's": lambda: tuple(a.tobytes() if isinstance(a, np.ndarray) else a for a in np.random.get_state()),
    "Python's": random.getstate,
}


@contextmanager
def disturbed() -> Iterator[None]:
    """Global generators in a state that no seed gives, for a while; then as they were."""
    kept = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        torch.rand(1)
        np.random.rand()
        random.random()
        yield
    finally:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])
        random.setstate(kept[2])


@contextmanager
def quiet_settings(where: Case | str) -> Iterator[None]:
    """Within it no setting of the process may change; generators are the matter of another check."""
    before = Snapshot()
    try:
        yield
    finally:
        changed = [name for name in before.set_back() if name not in process_settings.GENERATORS]
    if changed:
        raise Broken(where, f"changed {' and '.join(changed)}")


def settings(subject: Subject) -> None:
    """No setting of the process is changed: dtype, precision, working folder and all else that other cells rely on."""
    with process_settings.kept():
        cases = list(_cases(subject))  # asks the rule which sizes it takes
    for case in cases:
        with quiet_settings(case), suppress(Infeasible, Broken):
            subject.ask(case)


def inputs(subject: Subject) -> None:
    """Neither the updates nor the cohort are changed, not even where a row is not finite."""
    for case in _cases(subject, spoilt=True):
        before, layout = {name: t.clone() for name, t in _tensors(case).items()}, dict(case.cohort.layout)
        with suppress(Infeasible, ValueError, TypeError, ArithmeticError, Broken):
            subject.ask(case)
        if dict(case.cohort.layout) != layout:
            raise Broken(case, "cohort.layout changed")
        for name, t in _tensors(case).items():
            if not torch.equal(t.nan_to_num(nan=1e30), before[name].nan_to_num(nan=1e30)):
                raise Broken(case, f"{name} changed")


def randomness(subject: Subject) -> None:
    """No global generator is read, moved or seeded."""
    for case in _cases(subject):
        with disturbed():
            before = {name: state() for name, state in GENERATORS.items()}
            with suppress(Infeasible):
                subject.ask(case)
            for name, state in GENERATORS.items():
                if state() != before[name]:
                    raise Broken(case, f"{name} global generator moved")


def aliasing(subject: Subject) -> None:
    """The answer shares no memory with the updates or the cohort."""
    for case in _cases(subject):
        with suppress(Infeasible):
            answer = subject.ask(case)
            for name, t in _tensors(case).items():
                if answer.numel() and answer.untyped_storage().data_ptr() == t.untyped_storage().data_ptr():
                    raise Broken(case, f"the answer is a view of {name}")


def repeatable(subject: Subject) -> None:
    """The same question twice: the same answer, bit for bit, whatever the global generator holds."""
    for case in _cases(subject):
        with suppress(Infeasible):
            n, d = case.updates.shape[-2:]
            first = subject.ask(case).clone()
            with disturbed():
                subject.ask(draw(n, d, 0, seed=3))  # another question between
                second = subject.ask(case)
            same(case, second, first, "the second answer", 0.0)


def pickles(subject: Subject) -> None:
    """The rule can be sent to another process and answers there as here."""
    try:
        again = pickle.loads(pickle.dumps(subject.rule))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise Broken("the rule itself", f"cannot be pickled: {error}") from error
    copy = Subject(again, subject.name)
    for case in _cases(subject):
        with suppress(Infeasible):
            same(case, copy.ask(case), subject.ask(case), "the answer after pickling", 0.0)


def _cases(subject: Subject, spoilt: bool = False) -> Iterator[Case]:
    """Small cohorts, one matrix and a stack; some with a row that is not finite."""
    for n, f in subject.sizes(1, 2, 3, 5, 11, 26):
        for d in (1, 12):
            yield draw(n, d, f)
        yield draw(n, 12, f, cells=(2,))
        if spoilt and n > 1:
            case = draw(n, 12, f)
            updates = case.updates.clone()
            updates[n // 2, 3] = float("nan")
            yield case.but(f"client {n // 2} sent a NaN", updates)


def _tensors(case: Case) -> dict[str, Tensor]:
    c = case.cohort
    return {
        "the updates": case.updates,
        "cohort.weights": c.weights,
        "cohort.clients": c.clients,
        "cohort.previous": c.previous,
        "cohort.model": c.model,
        "cohort.seeds": c.seeds,
        "what cohort.trusted() gives": c.trusted(),
    }
