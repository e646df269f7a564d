"""A registered rule or pre-aggregation stands in every place that a shipped one needs: four files, and no more.

The module of the rule, its line in ``aggregators/__init__.py``, its oracle with ``@definition``, and its line in
``docs/aggregators.md``. All else (the names of a grid, the kit, the tests of every rule, the speed table) is derived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flipbench import aggregators
from flipbench.conformance.aggregators import checks
from flipbench.conformance.oracles import DEFINITIONS, MIXES
from flipbench.plugins import registry
from tests.helpers import rule_subjects
from tests.helpers.paths import ROOT
from tests.speed.rule_subjects import subjects as in_speed_table

TABLES = (ROOT / "docs/aggregators.md").read_text("utf-8").splitlines()
DRAWN = {"bucketing"}  # has no oracle, for its answer depends on a draw


def missing(kind: str, name: str, rule: Callable[..., Any]) -> Iterator[str]:
    """The places that do not know a registered rule."""
    if getattr(aggregators, name, None) is not rule or name not in aggregators.__all__:
        yield "aggregators.__all__"
    if name not in {entry.name for entry in registry.catalogue(kind)}:
        yield "names of a grid"
    if name not in (MIXES if kind == "preaggregation" else DEFINITIONS) and name not in DRAWN:
        yield "oracle"
    if not any(line.startswith((f"| `{name}`", f"| `{name}(")) for line in TABLES):
        yield "docs/aggregators.md"
    if not any(name in ours.split(" | ") for ours in in_speed_table()):
        yield "speed table"
    if kind == "aggregator" and name not in {subject.name for subject in rule_subjects.SUBJECTS}:
        yield "tests of every rule"
    if kind == "aggregator" and name in DEFINITIONS:
        options = ", ".join(f"{k}={v}" for k, v in DEFINITIONS[name].options.items())
        if "definition" not in {check.name for check in checks(f"{name}({options})" if options else name)}:
            yield "definition in flipbench check"


@pytest.mark.parametrize(("kind", "listed"), [("aggregator", "RULES"), ("preaggregation", "PREAGGREGATIONS")])
def test_every_registered_name_stands_everywhere(kind: str, listed: str) -> None:
    registered: dict[str, Callable[..., Any]] = getattr(aggregators, listed)
    assert {name: list(missing(kind, name, rule)) for name, rule in registered.items()} == {n: [] for n in registered}
    assert all(rule.__name__ == name for name, rule in registered.items())


def test_no_definition_and_no_line_of_the_documentation_is_left_of_a_rule_that_is_gone() -> None:
    assert set(DEFINITIONS) == set(aggregators.RULES)
    assert set(MIXES) == set(aggregators.PREAGGREGATIONS) - DRAWN
    named = {line.split("`")[1].partition("(")[0] for line in TABLES if line.startswith("| `")}
    assert named == set(aggregators.RULES) | set(aggregators.PREAGGREGATIONS)


def test_a_new_rule_is_asked_for_in_three_files_beside_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def halved(updates: Any, cohort: Any, /) -> Any:
        return updates.mean(-2) / 2

    monkeypatch.setattr(aggregators, "RULES", {**aggregators.RULES, "halved": halved})
    monkeypatch.setattr(rule_subjects, "SUBJECTS", tuple(rule_subjects.Subject(n) for n in aggregators.RULES))
    assert list(missing("aggregator", "halved", halved)) == ["aggregators.__all__", "oracle", "docs/aggregators.md"]
    assert "bounds" in {check.name for check in checks("halved")}
