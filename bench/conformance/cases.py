"""Small cases for the checks of rules, the rule that is asked about them, and the defect that it may show.

Cases are drawn from seeds of their own, smallest first, so that the first one that fails is small and comes again.
Every field of a cohort differs from its default: unequal weights, client numbers that are no row numbers, a last
update, a server's own update, a layout with an output layer, one seed a cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from flipbench.aggregators.contract import Always, Cohort, Infeasible, Layout, Update, cohort_of_cell

_SHOWN = 12  # numbers of a matrix that are printed in full
_CLASSES = 3
_REDUCE = "reduce over dim=-2, or write the rule for one matrix and put @flipbench.aggregators.per_cell above it"
_TENSOR = "answer a tensor: torch.as_tensor(answer, dtype=updates.dtype, device=updates.device)"


class Defect(AssertionError):
    """A property that does not hold.

    Attributes:
        property: its name, like ``translation``.
        case: the smallest failing case found, as text.
        impact: what that means for an experiment.
        fix: what to do about it.
        unusable: there was no answer, or one of the wrong form, so that nothing else can be said about it.
    """

    def __init__(self, property: str, case: str, impact: str, fix: str, unusable: bool = False) -> None:
        super().__init__(property, case, impact, fix)
        self.property, self.case, self.impact, self.fix, self.unusable = property, case, impact, fix, unusable

    def __str__(self) -> str:
        return f"{self.property}: {self.case}\n  impact: {self.impact}\n  fix:    {self.fix}"


class Broken(Exception):
    """Within a check: this case fails, and how. The caller adds impact and fix and makes a `Defect` of it."""

    def __init__(self, case: Case | str, what: str, impact: str = "", fix: str = "") -> None:
        super().__init__(f"{case}: {what}")
        self.impact, self.fix = impact, fix

    def defect(self, property: str, impact: str, fix: str) -> Defect:
        """The defect of a property; with the property's impact and fix where the check gave none of its own."""
        unusable = isinstance(self, Unusable)
        return Defect(property, str(self), self.impact or impact, self.fix or fix, unusable)


class Unusable(Broken):
    """Within a check: the author's code raised an error, or its answer has the wrong type or shape."""


@dataclass(frozen=True)
class Case:
    """Updates and a cohort, and what is special about them.

    Attributes:
        updates: ``(*cells, clients, dim)``.
        cohort: what the server knows beside them.
        note: what was done to the updates.
    """

    updates: Tensor
    cohort: Cohort
    note: str = ""

    def __str__(self) -> str:
        n, d = self.updates.shape[-2:]
        cells = "" if self.updates.ndim == 2 else f"{tuple(self.updates.shape[:-2])} cells, "
        text = f"{cells}n = {n}, d = {d}, f = {self.cohort.byzantine!r}"
        text += f", {self.note}" if self.note else ""
        return f"{text}, updates {as_text(self.updates)}" if 0 < self.updates.numel() <= _SHOWN else text

    def but(self, note: str = "", updates: Tensor | None = None, **fields: Any) -> Case:
        """The same case with other updates or other fields of the cohort."""
        other = self.updates if updates is None else updates
        return Case(other, replace(self.cohort, **fields), note or self.note)

    def rows(self, order: Tensor, note: str, byzantine: int | None = None) -> Case:
        """One cell with some of its clients, in some order; their weights sum to 1 again."""
        weights = self.cohort.weights[order]
        f = self.cohort.byzantine if byzantine is None else byzantine
        fields = {"weights": weights / weights.sum(), "clients": self.cohort.clients[order], "byzantine": f}
        return self.but(note, self.updates[order], **fields)

    def cell(self, index: int) -> Case:
        """One cell of a stack; ``index`` counts the flattened stack."""
        cells = tuple(self.updates.shape[:-2])
        one = self.updates.reshape(-1, *self.updates.shape[-2:])[index].clone()
        return Case(one, cohort_of_cell(self.cohort, cells, index), f"cell {index} alone")

    def mapped(self, change: Callable[[Tensor], Tensor], note: str) -> Case:
        """The same change for all vectors: updates, last update, the server's own; weights take the updates' type."""
        other, c = change(self.updates), self.cohort
        fields = {
            "previous": change(c.previous),
            "model": change(c.model),
            "trusted": Always(change(c.trusted())),
            "weights": c.weights.to(other),
            "clients": c.clients.to(other.device),
        }
        return self.but(note, other, **fields)


def draw(
    n: int,
    d: int,
    f: int,
    *,
    cells: tuple[int, ...] = (),
    ties: bool = False,
    equal: bool = False,
    seed: int = 0,
    note: str = "",
) -> Case:
    """A case of standard normal updates, float32.

    Args:
        n: clients.
        d: dimension.
        f: the declared bound on malicious clients.
        cells: leading dimensions.
        ties: whole numbers from -2 to 2, so that distances and values coincide.
        equal: equal weights.
        seed: another draw.
        note: what is special about it.
    """
    g = torch.Generator().manual_seed(1_000_003 * seed + 1009 * n + 31 * d + 7)
    whole = torch.randint(-2, 3, (*cells, n, d), generator=g).float()
    updates = whole if ties else torch.randn(*cells, n, d, generator=g)
    weights = torch.ones(*cells, n) if equal else 1 + 0.2 * torch.rand(*cells, n, generator=g)
    order = torch.rand(*cells, n, generator=g).argsort(-1)
    cohort = Cohort(
        byzantine=f,
        weights=weights / weights.sum(-1, keepdim=True),
        clients=(3 * order + 11).sort(-1).values,  # ascending: where clients tie, that of the lower number counts
        previous=0.1 * torch.randn(*cells, d, generator=g),
        layout=layout(d),
        trusted=Always(torch.randn(*cells, d, generator=g)),
        round=3,
        seeds=torch.randint(1 << 30, cells, generator=g),
        model=torch.randn(*cells, d, generator=g),
    )
    return Case(updates, cohort, note)


def layout(d: int) -> Layout:
    """A rest, an output layer of three classes and its biases; small models are all output layer."""
    features = max(1, d // 4)
    end = _CLASSES * features
    if d < end + _CLASSES:
        return {"output.weight": (slice(0, d), (1, d))}
    rest = d - end - _CLASSES
    return {
        "rest": (slice(0, rest), (rest,)),
        "output.weight": (slice(rest, rest + end), (_CLASSES, features)),
        "output.bias": (slice(rest + end, d), (_CLASSES,)),
    }


class Subject:
    """A rule under check.

    Attributes:
        rule: what is called; a class is built without options.
        name: as messages say it.
        definition: which published rule it claims to be; None: none.
        declared: property -> why it is excused from it.
    """

    def __init__(
        self, rule: Callable[..., Any], name: str, definition: str | None = None, declared: Mapping[str, str] = {}
    ) -> None:
        self.rule: Any = rule() if isinstance(rule, type) else rule
        self.name, self.definition, self.declared = name, definition, dict(declared)
        self._most: dict[int, int | None] = {}

    @property
    def remembers(self) -> bool:
        """Whether it is a rule with memory."""
        return hasattr(self.rule, "init")

    def ask(self, case: Case) -> Update:
        """The rule's answer to one case; a rule with memory starts afresh.

        Raises:
            Infeasible: as the rule says.
            Broken: it raised anything else, or its answer is no tensor of shape ``(*cells, dim)``.
        """
        return self.turn(case, None)[0]

    def turn(self, case: Case, state: Any) -> tuple[Update, Any]:
        """One round: the answer and the memory after it (None for a rule without)."""
        try:
            answer, after = self.call(case, state)
        except (Infeasible, Broken):
            raise
        except Exception as error:  # another author's code: whatever it raises is a finding, and not ours
            text = raised(error)
            raise Unusable(
                case,
                text,
                "the rule stops the experiment with an error of its own",
                "make it answer, or raise Infeasible with the numbers where its needs are not met",
            ) from error
        wanted = (*case.updates.shape[:-2], case.updates.shape[-1])
        if not isinstance(answer, Tensor) or tuple(answer.shape) != wanted:
            came = f"shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
            raise Unusable(
                case,
                f"answered {came} where (*cells, dim) = {wanted} was needed",
                "the answer is no update that a server could apply",
                _REDUCE if isinstance(answer, Tensor) else _TENSOR,
            )
        return answer.detach(), after

    def call(self, case: Case, state: Any) -> tuple[Any, Any]:
        """The bare call, with nothing caught."""
        if not self.remembers:
            return self.rule(case.updates, case.cohort), None
        before = self.rule.init(case.updates, case.cohort) if state is None else state
        answer, after = self.rule(case.updates, case.cohort, before)
        return answer, after

    def most(self, n: int) -> int | None:
        """The largest f below n / 2 that the rule takes with n clients; None where even 0 is too many."""
        if n not in self._most:
            fits = (f for f in range((n - 1) // 2, -1, -1) if self._takes(n, f))
            self._most[n] = next(fits, None)
        return self._most[n]

    def bounds(self, n: int) -> list[int]:
        """Some f for n clients, ascending: 0, 1, the most."""
        most = self.most(n)
        return [] if most is None else sorted({0, min(1, most), most})

    def sizes(self, *candidates: int) -> Iterator[tuple[int, int]]:
        """Pairs (n, f) to try, smallest n first."""
        for n in candidates:
            for f in self.bounds(n):
                yield n, f

    def _takes(self, n: int, f: int) -> bool:
        try:
            self.ask(draw(n, 3, f))
        except Infeasible:
            return False
        except Broken:  # a finding of the checks, not of this question
            return True
        return True


def raised(error: Exception) -> str:
    """An exception of another author's code, in one line."""
    return f"raised {type(error).__name__}: {error}".partition("\n")[0]


def apart(a: Tensor, b: Tensor) -> float:
    """The largest difference of two answers; infinite where one of them is not finite."""
    difference = (a.double() - b.double()).abs()
    return float(difference.max()) if bool(torch.isfinite(difference).all()) else float("inf")


def as_text(values: Tensor) -> str:
    """A tensor as text, short."""
    flat = values.detach().double().reshape(-1).tolist()
    if len(flat) > _SHOWN:
        return "[" + ", ".join(f"{v:.4g}" for v in flat[:3]) + f", ...: {len(flat)} numbers]"
    if values.ndim <= 1:
        return "[" + ", ".join(f"{v:.4g}" for v in flat) + "]"
    return "[" + ", ".join(as_text(row) for row in values) + "]"


def same(case: Case, got: Tensor, wanted: Tensor, what: str, within: float) -> None:
    """Raise `Broken` unless the answers agree to ``within``."""
    gap = apart(got, wanted)
    if gap > within:
        size = "is not finite" if gap == float("inf") else f"is off by {gap:.3g}"
        raise Broken(case, f"{what} {size}: got {as_text(got)}, wanted {as_text(wanted)}")
