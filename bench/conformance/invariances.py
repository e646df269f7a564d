"""Checks of a rule's answers against its definition and each other: symmetries, stacks, precision, memory.

Each check takes a `Subject` and raises `Broken` at the first, smallest case that fails. A case whose needs the rule
does not find met (`Infeasible`) is no failure.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor

from flipbench.aggregators.contract import Infeasible
from flipbench.conformance.cases import Broken, Case, Subject, apart, as_text, draw, same
from flipbench.conformance.oracles import DEFINITIONS, CohortValues, Oracle
from flipbench.conformance.oracles.definition import ULP

NEAR = 32 * ULP  # of the largest number involved: rounding in another order, and no more
SIZES = (1, 3, 5, 11, 26)  # not 2: any two are equally far from their middle, and ties are not the question
ORACLE_SIZES = (1, 2, 3, *range(5, 13), 17, 20, 25, 26, 27, 32, 40, 53, 60, 64)
_DIMS = (2, 30)  # not 1, where all directions are the same or opposite
_OFFSET_SIZES = (3, 5, 11, 25, 26, 27, 64)


def definition(subject: Subject) -> None:
    """The rule agrees with a float64 oracle of what it claims to be, on ties too."""
    name = subject.definition or ""
    one = DEFINITIONS[name]
    for n, f in subject.sizes(*(n for n in ORACLE_SIZES if n <= one.largest)):
        if one.clients(f) > n:
            continue  # a finding of the property bounds
        for d in one.dims if n < 20 else one.dims[-1:]:
            for ties in (False, True)[: 1 + (one.ties == "published")]:
                case = draw(n, d, f, ties=ties, note="values that coincide" if ties else "")
                wanted = _expected(one.oracle, case)
                with suppress(Infeasible):
                    got = subject.ask(case)
                    if apart(got, wanted) > one.within * _size(case):
                        text = f"answered {as_text(got)}, {name} is {as_text(wanted)}"
                        raise Broken(case, text, _impact(subject, name, ties), _fix(name))


def _expected(oracle: Oracle, case: Case) -> Tensor:
    c = case.cohort
    weights, previous, own, model = (t.double().numpy() for t in (c.weights, c.previous, c.trusted(), c.model))
    values = CohortValues(c.byzantine, weights, previous, own, c.layout, model)
    return torch.from_numpy(oracle(case.updates.double().numpy(), values))


def _impact(subject: Subject, name: str, ties: bool) -> str:
    """Which misreading the rule agrees with on fresh cases, if any."""
    agree = dict(DEFINITIONS[name].misread)
    for n, f in ((6, 1), (9, 2), (12, 2), (13, 3), (17, 3)):
        case = draw(n, 3, f, seed=5)
        if n < DEFINITIONS[name].clients(f):
            continue
        try:
            got = subject.ask(case)
        except (Infeasible, Broken):
            return f"this is not {name} as published, so results under its name cannot be compared"
        agree = {w: o for w, o in agree.items() if apart(got, _expected(o, case)) <= 1e-5}
    if len(agree) == 1:
        return f"the answers are those of {name} with {next(iter(agree))}"
    if ties:
        return (
            "only cases with ties differ: equally good clients must go to the lowest index, equal values to the lower"
        )
    return f"this is not {name} as published, so results under its name cannot be compared"


def _fix(name: str) -> str:
    return f"see docs/aggregators.md for the definition of {name}, or give the rule a name of its own"


def translation(subject: Subject) -> None:
    """Everything moved by a vector of the size of the weights: the answer moves with it, in float32."""
    for n, f in subject.sizes(*_OFFSET_SIZES):
        if f not in {0, min(4, subject.most(n) or 0)} and n > 11:
            continue
        for d in (3, 400) if n <= 11 else (400,):
            plain = draw(n, d, f, equal=True)
            offset = draw(1, d, 0, seed=9).updates[0]
            moved = plain.mapped(partial(_small_around, offset), "updates of 1e-4 around weights of size 1")
            exact = moved.mapped(partial(_less, offset), moved.note)
            with suppress(Infeasible):
                # A tenth of an update, or what summing 64 float32 numbers of size 4 may cost.
                got, wanted = subject.ask(moved).double() - offset.double(), subject.ask(exact)
                same(moved, got, wanted, "the answer less the offset", 1e-5)


def _small_around(offset: Tensor, x: Tensor) -> Tensor:
    return 1e-4 * x + offset


def _less(offset: Tensor, x: Tensor) -> Tensor:
    return x.double() - offset.double()


def order(subject: Subject) -> None:
    """Clients in another order, with their weights and numbers: the same answer.

    From five clients on: among three, with one neighbour each, the two nearest tie in rules that count neighbours.
    """
    for n, f in subject.sizes(5, 7, 11, 26):
        for d in _DIMS:
            case = draw(n, d, f)
            g = torch.Generator().manual_seed(n)
            with suppress(Infeasible):
                answer = subject.ask(case)
                for shuffle in (torch.arange(n).flip(0), torch.randperm(n, generator=g)):
                    note = f"clients in the order {shuffle.tolist()}" if n < 12 else "clients shuffled"
                    other = case.rows(shuffle, note)
                    same(other, subject.ask(other), answer, "the answer", NEAR * _size(case))


def scale(subject: Subject) -> None:
    """Everything times a number: the answer times that number."""
    for n, f in subject.sizes(*SIZES):
        for d in _DIMS:
            case = draw(n, d, f)
            with suppress(Infeasible):
                answer = subject.ask(case)
                for factor in (0.25, 3.0, 1e-6, 1e6):
                    other = case.mapped(partial(torch.mul, torch.tensor(factor)), f"everything times {factor:g}")
                    within = NEAR * factor * _size(case)
                    same(other, subject.ask(other), factor * answer, "the answer", within)


def unanimity(subject: Subject) -> None:
    """All clients send the same: that is the answer."""
    for n, f in subject.sizes(*SIZES):
        for d in (1, 30):
            case = draw(n, d, f)
            alike = case.but("all clients send the same", case.updates[:1].expand(n, d).clone())
            with suppress(Infeasible):
                same(alike, subject.ask(alike), alike.updates[0], "the answer", NEAR * _size(case))


def stack(subject: Subject) -> None:
    """A stack of cells: each cell's answer is what it is alone, whatever its neighbours hold."""
    for n, f in subject.sizes(3, 7, 11, 26):
        for d, cells in ((1, (2,)), (5, (3,)), (12, (2, 3)), (5, (1,))):
            plain = draw(n, d, f, cells=cells)
            sizes = torch.tensor([1.0, 1e3, 1e-3]).repeat(2)[: _count(cells)].reshape(*cells, 1, 1)
            case = plain.but("cells of different size", plain.updates * sizes)
            with suppress(Infeasible):
                _cell_by_cell(subject, case, subject.ask(case))
    _neighbour_not_finite(subject)


def _cell_by_cell(subject: Subject, case: Case, together: Tensor) -> None:
    flat = together.reshape(-1, together.shape[-1])
    for i in range(len(flat)):
        one = case.cell(i)
        within = NEAR * _size(one)
        wanted = subject.ask(one)
        if apart(flat[i], wanted) > within:
            text = f"cell {i} got {as_text(flat[i])} in the stack and {as_text(wanted)} alone"
            raise Broken(case, text)


def _neighbour_not_finite(subject: Subject) -> None:
    """One cell of three with a row that is not finite; the other two must not notice."""
    for n in (5, 11):
        f = min(1, subject.most(n) or 0)
        case = draw(n, 5, f, cells=(3,))
        spoilt = case.updates.clone()
        spoilt[1, 2, 0] = float("nan")
        bad = case.but("a NaN in cell 1", spoilt)
        try:
            before, after = subject.ask(case), subject.ask(bad)
        except (Infeasible, Broken):
            continue  # an error is an answer; whether it is a good one is asked elsewhere
        for i in (0, 2):
            same(bad, after[i], before[i], f"the answer of cell {i}", NEAR * _size(case))


def strides(subject: Subject) -> None:
    """The same numbers laid out otherwise in memory: the same answer."""
    for n, f in subject.sizes(3, 11):
        case = draw(n, 6, f)
        x = case.updates
        others = {
            "transposed in memory": x.mT.contiguous().mT,
            "every second column of a wider matrix": torch.stack([x, x + 1], -1)[..., 0],
            "part of a longer matrix": torch.cat([x, x])[:n],
        }
        with suppress(Infeasible):
            wanted = subject.ask(case)
            for note, other in others.items():
                same(case.but(note), subject.ask(case.but(note, other)), wanted, "the answer", NEAR * _size(case))


def precision(subject: Subject) -> None:
    """The same numbers as float32 and as float64: nearly the same answer."""
    for n, f in subject.sizes(*SIZES):
        for d in (2, 200):
            case = draw(n, d, f)
            exact = case.mapped(Tensor.double, "as float64")
            with suppress(Infeasible):
                got, wanted = subject.ask(case), subject.ask(exact)
                same(case.but("float32 beside float64"), got, wanted, "the answer", 2 * NEAR * _size(case))


def memory(subject: Subject) -> None:
    """A rule with memory: the state is passed, not kept, and clients are known by their number."""
    for n, f in subject.sizes(3, 7, 11):
        first, second = draw(n, 5, f), draw(n, 5, f, seed=1)
        second = second.but("second round", clients=first.cohort.clients)
        with suppress(Infeasible):
            state = _after(subject, first)
            once = subject.turn(second, state)[0]
            again = subject.turn(second, state)[0]
            same(second, again, once, "the answer to the same round from the same state", 0.0)
            shuffle = torch.arange(n).flip(0)
            moved = second.rows(shuffle, "second round, clients in another order")
            within = NEAR * _size(second)
            got = subject.turn(moved, _after(subject, first))[0]
            same(moved, got, once, "the answer when clients are to be known by cohort.clients", within)
            fewer = second.rows(torch.arange(1, n), "second round, one client stays away", min(f, (n - 2) // 2))
            subject.turn(fewer, _after(subject, first))


def cuda(subject: Subject) -> None:
    """On CUDA: the answer stays there and is near that of the CPU."""
    for n, f in subject.sizes(3, 11, 26):
        case = draw(n, 50, f)
        there = case.mapped(Tensor.cuda, "on CUDA")
        with suppress(Infeasible):
            got, wanted = subject.ask(there), subject.ask(case)
            if got.device != there.updates.device:
                raise Broken(there, f"the answer is on {got.device}")
            same(there, got.cpu(), wanted, "the answer", 4 * NEAR * _size(case))


def _after(subject: Subject, case: Case) -> Any:
    """The memory after a first round."""
    return subject.turn(case, None)[1]


def _size(case: Case) -> float:
    """The largest number involved."""
    c = case.cohort
    return max(1e-30, *(float(t.abs().max()) for t in (case.updates, c.previous, c.trusted())))


def _count(cells: tuple[int, ...]) -> int:
    return int(torch.tensor(cells).prod())
