"""Chains: pre-aggregations and the rule behind them, composed into one rule (``nnm | trimmed_mean`` in a grid)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from flipbench.aggregators.contract import Cohort, Mixed, Update, Updates, unheard
from flipbench.aggregators.validation import guarded

PreAggregation = Callable[[Updates, Cohort], Mixed]


@dataclass(frozen=True)
class Chain:
    """Pre-aggregations and the rule behind them, as one rule."""

    first: tuple[PreAggregation, ...]
    rule: Callable[..., Any]

    def __call__(self, updates: Updates, cohort: Cohort, /) -> Update:
        """The rule's answer to the mixed updates."""
        return _run(updates, cohort, self.first, self.rule)


@dataclass(frozen=True)
class ChainWithMemory:
    """Pre-aggregations and a rule with memory behind them, as one rule with memory."""

    first: tuple[PreAggregation, ...]
    rule: Any

    def init(self, updates: Updates, cohort: Cohort, /) -> Any:
        """The rule's memory before the first round."""
        return self.rule.init(*_mixed(updates, cohort, self.first))

    def __call__(self, updates: Updates, cohort: Cohort, state: Any, /) -> tuple[Update, Any]:
        """The rule's answer to the mixed updates, and its memory."""
        answer: tuple[Update, Any] = self.rule(*_mixed(updates, cohort, self.first), state)
        return answer


def compose(*steps: Callable[..., Any]) -> Chain | ChainWithMemory:
    """One rule out of pre-aggregations and, as the last step, a rule; applied from left to right.

    Args:
        *steps: ``compose(nnm, trimmed_mean)``; options are bound with `functools.partial`.

    Raises:
        ValueError: no step.
    """
    if not steps:
        raise ValueError("compose needs at least a rule, like compose(nnm, trimmed_mean); got nothing")
    *first, rule = steps
    return ChainWithMemory(tuple(first), rule) if hasattr(rule, "init") else Chain(tuple(first), rule)


def _mixed(updates: Updates, cohort: Cohort, first: tuple[PreAggregation, ...]) -> Mixed:
    if first and cohort.tell_kept is not unheard:  # what the rule keeps of are rows that pre-aggregations made
        cohort = replace(cohort, tell_kept=unheard)
    for step in first:
        updates, cohort = step(updates, cohort)
    return updates, cohort


@guarded
def _run(updates: Updates, cohort: Cohort, first: tuple[PreAggregation, ...], rule: Callable[..., Update]) -> Update:
    return rule(*_mixed(updates, cohort, first))
