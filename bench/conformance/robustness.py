"""Checks of the form of a rule's answer and of what it withstands: rows that are not finite, malicious clients, any f.

Each check takes a `Subject` and raises `Broken` at the first, smallest case that fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import torch
from torch import Tensor

from flipbench.aggregators.contract import Infeasible
from flipbench.conformance.cases import Broken, Case, Subject, apart, as_text, draw
from flipbench.conformance.invariances import NEAR
from flipbench.conformance.oracles import DEFINITIONS

_BOUND = 10.0
_NOT_FINITE = ("nan", "inf", "-inf")


def form(subject: Subject) -> None:
    """A tensor of shape (*cells, dim) of the updates' type, for float32 and float64."""
    if all(subject.most(n) is None for n in (1, 2, 3, 5, 11, 26, 64)):
        raise Broken("f = 0, n up to 64", "the rule is infeasible for every number of clients that was tried")
    for n, f in subject.sizes(1, 3, 5, 11):
        for d in (1, 4):
            for dtype in (torch.float32, torch.float64):
                case = draw(n, d, f).mapped(partial(torch.Tensor.to, dtype=dtype), f"as {dtype}")
                with suppress(Infeasible):
                    got = subject.ask(case)
                    if got.dtype != dtype or got.device != case.updates.device:
                        raise Broken(case, f"the answer is {got.dtype} on {got.device}")
                    if not bool(torch.isfinite(got).all()):
                        raise Broken(case, f"the answer to finite updates is {as_text(got)}")


def non_finite(subject: Subject) -> None:
    """Rows that are not finite, anywhere: the answer is that of the others, or a typed error."""
    for n in (1, 2, 3, 5, 11):
        for f in subject.bounds(n) if n < 11 else subject.bounds(n)[-1:]:
            for bad in _places(n, f):
                for value in _NOT_FINITE if n < 5 else ("nan", ("inf", "-inf")[bad[0] % 2]):
                    _without(subject, n, f, bad, float(value))


def _places(n: int, f: int) -> Iterator[list[int]]:
    """Every single position, then f rows at the start, at the end, and all rows."""
    yield from ([i] for i in range(n))
    if f > 1:
        yield from (list(range(f)), list(range(n - f, n)))
    if n > 1:
        yield list(range(n))


def _without(subject: Subject, n: int, f: int, bad: list[int], value: float) -> None:
    """One case: the rows ``bad`` hold a value that is not finite."""
    for d in (1, 5) if n < 11 else (5,):
        case = draw(n, d, f)
        spoilt = case.updates.clone()
        for k, i in enumerate(bad):
            spoilt[i, (2 * k) % d] = value
        note = f"client{'s' * (len(bad) > 1)} {', '.join(map(str, bad))} of {n} sent{' a' * (d > 1)} {value}"
        one = case.but(note, spoilt)
        try:
            got = subject.call(one, None)[0]
        except (ValueError, TypeError, ArithmeticError):
            continue  # a typed error; Infeasible is one
        except Exception as error:  # another author's code: whatever it raises is a finding, and not ours
            raise Broken(one, f"raised {type(error).__name__}: {error}") from error
        if not isinstance(got, Tensor) or not bool(torch.isfinite(got).all()):
            raise Broken(one, f"answered {as_text(got) if isinstance(got, Tensor) else type(got).__name__}")
        rest = torch.tensor([i for i in range(n) if i not in bad], dtype=torch.int64)
        if not len(rest):
            raise Broken(one, f"answered {as_text(got)}, though no client sent a finite update")
        answers = list(_answers_without(subject, case, rest, f, len(bad)))
        if answers and all(apart(got, wanted) > NEAR * 10 for wanted in answers):
            raise Broken(one, f"answered {as_text(got)}, and {as_text(answers[0])} without those clients")


def _answers_without(subject: Subject, case: Case, rest: Tensor, f: int, left_out: int) -> Iterator[Tensor]:
    """The answers to the other rows: f shrinks with them, or stays where the rule does not use it so."""
    for bound in dict.fromkeys((max(0, f - left_out), f)):
        with suppress(Infeasible):
            yield subject.ask(case.rows(rest, "without the clients that are not finite", bound))


def malicious(subject: Subject) -> None:
    """Up to f clients send huge numbers: the answer stays within reach of the honest clients' updates."""
    for n, f in subject.sizes(3, 4, 5, 7, 11, 20):
        if f == 0:
            continue
        for d in (1, 50) if n < 20 else (50,):
            for k, size in enumerate((1e6, 1e12, 1e30)):
                for case, honest in _attacked(n, d, f, size, k):
                    with suppress(Infeasible):
                        _within_reach(subject, case, honest)


def _attacked(n: int, d: int, f: int, size: float, turn: int) -> Iterator[tuple[Case, Tensor]]:
    """Malicious clients in three positions that agree, differ, or oppose each other; and which clients are honest.

    Every ``turn`` pairs positions and directions otherwise.
    """
    plain = draw(n, d, f, equal=True)
    g = torch.Generator().manual_seed(n + d)
    sent = {"the same": torch.ones(f, d), "each its own": torch.randn(f, d, generator=g)}
    sent["opposite numbers"] = torch.ones(f, d) * torch.tensor([1.0, -1.0]).repeat(f)[:f, None]
    for k, rows in enumerate((list(range(f)), list(range(n - f, n)), list(range(1, 2 * f, 2)))):
        honest = torch.tensor([i not in rows for i in range(n)])
        what, values = list(sent.items())[(k + turn) % 3]
        updates = plain.updates.clone()
        updates[rows] = size * values
        clients = f"client{'s' * (f > 1)} {', '.join(map(str, rows))}" if f < 4 else f"{f} clients"
        yield plain.but(f"{clients} of {n} sent {what} of size {size:g}", updates), honest


def _within_reach(subject: Subject, case: Case, honest: Tensor) -> None:
    got, own = subject.ask(case).double(), case.updates[honest].double()
    known = [own.norm(dim=1).max(), case.cohort.trusted().norm(), case.cohort.previous.norm()]
    reach = _BOUND * max(float(v) for v in known)
    gone = float((got - own.mean(0)).norm())
    if not gone <= reach:
        size = f"{gone:.3g} away from" if gone == gone else "no number beside"
        raise Broken(case, f"the answer is {size} the honest mean; honest updates reach {reach / _BOUND:.3g}")


def bounds(subject: Subject) -> None:
    """An f beyond the rule's bound is `Infeasible`, with the numbers; f = 0 works; an f that is no count is refused."""
    _none_declared(subject)
    claimed = DEFINITIONS.get(subject.definition or "")
    if claimed is not None and not claimed.exact:
        claimed = None
    if claimed is not None:
        for f in (0, 1, 2, 3, 5):
            need = claimed.clients(f)
            for n in range(1, need):
                _refused(subject, draw(n, 3, f, note=f"{subject.definition} needs n >= {need}"))
            _taken(subject, draw(need, 3, f), need)
    elif _uses_f(subject):
        for n in (1, 2, 3, 5, 8, 11):
            for f in dict.fromkeys(((n + 1) // 2, n - 1, n, n + 3)):
                if 2 * f >= n:
                    _refused(subject, draw(n, 3, f, note="at least half of the clients are malicious"))
    if (claimed is not None and claimed.clients(1) > 1) or _uses_f(subject):
        for wrong in (0.5, 1.5, "1"):
            _no_count(subject, draw(11, 3, 1).but("f is no whole number", byzantine=wrong))


def _none_declared(subject: Subject) -> None:
    for n in (1, 2, 3, 5, 11):
        case = draw(n, 3, 0)
        with suppress(Infeasible):
            got, rows = subject.ask(case), case.updates
            if not bool(torch.isfinite(got).all()):
                raise Broken(case, f"f = 0 gives {as_text(got)}", "the rule has no answer where no client is malicious")
            if float(got.norm()) > 2 * float(torch.cat([rows, case.cohort.trusted()[None]]).norm(dim=1).max()):
                raise Broken(case, f"f = 0 gives {as_text(got)}, farther out than any client")


def _uses_f(subject: Subject) -> bool:
    """Whether the answer depends on f."""
    for n in (7, 11, 20):
        most = subject.most(n)
        if most is None:
            continue
        if most < (n - 1) // 2:
            return True
        answers = [subject.ask(draw(n, 7, f)) for f in (0, most)]
        if apart(*answers) > 1e-4:
            return True
    return False


def _refused(subject: Subject, case: Case) -> None:
    """The rule must say Infeasible, and name the number of clients."""
    try:
        got = subject.call(case, None)[0]
    except Infeasible as error:
        # A chain counts what its first step leaves, so any number will do there.
        named = any(c.isdigit() for c in str(error)) if hasattr(subject.rule, "first") else False
        if not named and str(case.updates.shape[-2]) not in str(error):
            raise Broken(
                case,
                f'the message "{error}" does not name the number of clients',
                "the table does not show why the rule has no answer",
                "write it like: my_rule needs at least 2f + 1 = 7 clients for f = 3, got 6",
            ) from error
    except Exception as error:  # another author's code: whatever it raises is a finding, and not ours
        raise Broken(case, f"raised {type(error).__name__} where Infeasible was needed: {error}") from error
    else:
        raise Broken(case, f"answered {as_text(got) if isinstance(got, Tensor) else type(got).__name__}")


def _taken(subject: Subject, case: Case, need: int) -> None:
    try:
        subject.ask(case)
    except Infeasible as error:
        raise Broken(case, f"is Infeasible ({error}), and {subject.definition} asks only for n >= {need}") from error


def _no_count(subject: Subject, case: Case) -> None:
    """An f that is no whole number must be refused."""
    try:
        subject.call(case, None)
    except Exception:  # another author's code: any refusal will do
        return
    raise Broken(
        case,
        "was accepted",
        "a fraction given for a number of clients is cut down in silence",
        "refuse it: if not isinstance(cohort.byzantine, int): raise TypeError(...); @guarded does",
    )
