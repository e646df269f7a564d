"""Every registered rule as the tests ask it: called like a function, beside the definition with its oracle."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch

from flipbench import aggregators
from flipbench.aggregators import Cohort
from flipbench.conformance.oracles import DEFINITIONS, CohortValues, Definition, Oracle

# Declared for other options or other cohorts than those of the tests, which hold the rule to it all the same.
KEPT = {("flame", "unanimity"), ("dnc", "malicious")}


@dataclass(frozen=True)
class Subject:
    """A registered rule, with the options under which its oracle holds."""

    name: str

    def __str__(self) -> str:
        return self.name

    @property
    def definition(self) -> Definition:
        return DEFINITIONS[self.name]

    @property
    def rule(self) -> Any:
        """The rule with these options; one with memory as an object."""
        registered: Any = aggregators.RULES[self.name]
        options = self.definition.options
        return registered(**options) if isinstance(registered, type) else partial(registered, **options)

    def __call__(self, updates: torch.Tensor, cohort: Cohort) -> torch.Tensor:
        """The rule's answer; of a rule with memory, the first round's."""
        rule = self.rule
        return rule(updates, cohort, rule.init(updates, cohort))[0] if hasattr(rule, "init") else rule(updates, cohort)

    def most_malicious(self, n: int) -> int | None:
        """The largest f that n clients allow; None where even 0 is too many."""
        clients = self.definition.clients
        return max((f for f in range(n + 1) if clients(f) <= n), default=None)

    def skip_if_excused(self, *properties: str) -> None:
        for name in properties:
            if name in self.definition.excused and (self.name, name) not in KEPT:
                pytest.skip(f"declared: {self.definition.excused[name]}")

    def holds(self, name: str) -> bool:
        return name not in self.definition.excused or (self.name, name) in KEPT


def expected(oracle: Oracle, updates: torch.Tensor, cohort: Cohort, **options: Any) -> torch.Tensor:
    """An oracle's answer to one cell, float64."""
    try:
        own = cohort.trusted().double().numpy()
    except aggregators.Infeasible:
        own = cohort.previous.double().numpy()
    weights, previous, model = (t.double().numpy() for t in (cohort.weights, cohort.previous, cohort.model))
    values = CohortValues(cohort.byzantine, weights, previous, own, cohort.layout, model)
    return torch.from_numpy(oracle(updates.double().numpy(), values, **options))


SUBJECTS = tuple(Subject(name) for name in aggregators.RULES)
every = pytest.mark.parametrize("subject", SUBJECTS, ids=str)
