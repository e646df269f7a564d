"""Generated updates into every shipped rule: the policy of docs/aggregators.md is kept, or a typed refusal says why.

The policy: a row with a NaN or an infinity is left out and f shrinks with it, each cell of a stack on its own, so the
answer is that to the other rows; to finite updates, however large, the answer is finite; nothing that was handed in is
changed. A shape, type or cohort that no rule can work on is a ValueError or TypeError.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from flipbench.aggregators import RULES, Cohort, Infeasible
from tests.torture.torture_size import size

pytestmark = pytest.mark.torture

Told = Callable[[str, str], None]
CALM: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
CELLS = 25  # a stack
STACKS, FORMS = size(400, 3), size(300, 12)
SPECIAL = (math.nan, math.inf, -math.inf, 1e38, -1e38, 3e38, 1e-42, -1e-45, 0.0, 1.0)
NEAR = 1e-5  # of the largest number that goes in

fault = st.tuples(
    st.integers(0, CELLS - 1),
    st.integers(0, 8),  # row
    st.integers(0, 5),  # column; 5: all of them
    st.one_of(st.sampled_from(SPECIAL), st.integers(0, 8).map(lambda row: ("as row", row))),
)


def stack(n: int, dim: int, seed: int, faults: list[Any], dtype: torch.dtype) -> Tensor:
    """(cells, clients, dim) normal numbers with the faults in them."""
    updates = torch.randn(CELLS, n, dim, generator=torch.Generator().manual_seed(seed)).to(dtype)
    for cell, row, column, value in faults:
        if isinstance(value, tuple):
            updates[cell, row % n] = updates[cell, value[1] % n].clone()  # a duplicate
        elif column == 5:
            updates[cell, row % n] = value
        else:
            updates[cell, row % n, column % dim] = value
    return updates


def cohort_of(updates: Tensor, f: int) -> Cohort:
    dim = updates.shape[-1]
    server = torch.linspace(-1, 1, dim, dtype=updates.dtype).expand(*updates.shape[:-2], dim)
    return Cohort.of(updates, f, layout={"0.weight": (slice(0, dim), (1, dim))}, trusted=lambda: server)


def answer(rule: Any, updates: Tensor, cohort: Cohort) -> Tensor | None:
    """The rule's answer; None where it refuses."""
    try:
        if hasattr(rule, "init"):
            return rule()(updates, cohort, rule().init(updates, cohort))[0]
        return rule(updates, cohort)
    except Infeasible:
        return None


def one_cell(rule: Any, rows: Tensor, f: int) -> Tensor | None:
    """The answer to some rows of one cell; no row, no answer."""
    return answer(rule, rows, cohort_of(rows, f)) if len(rows) else None


def keeps_the_policy(rule: Any, updates: Tensor, f: int) -> int:
    """Check a stack of cells; how many of them the rule refuses."""
    before = updates.clone()
    finite = torch.isfinite(updates).all(-1)  # (cells, clients)
    left_out = (~finite).sum(-1).tolist()
    together = answer(rule, updates, cohort_of(updates, f))
    wanted = [one_cell(rule, u[some], max(0, f - k)) for u, some, k in zip(updates, finite, left_out, strict=True)]
    if together is None:
        assert any(one is None for one in wanted), "refused a stack of which it takes every cell"
        got = [one_cell(rule, cell, f) for cell in updates]
    else:
        assert together.shape == (len(updates), updates.shape[-1])
        got = list(together)
    assert torch.equal(updates.nan_to_num(7.0), before.nan_to_num(7.0)), "changed what it was given"
    for cell, one, other in zip(updates, got, wanted, strict=True):
        assert (one is None) == (other is None), (cell, one, other)
        if one is not None and other is not None:
            assert one.dtype == updates.dtype
            assert torch.isfinite(one).all(), (cell, one)
            largest = max(float(cell[torch.isfinite(cell).all(-1)].abs().max()), 1e-30)
            assert float(((one.double() - other.double()) / largest).abs().max()) <= NEAR, (cell, one, other)
    return sum(one is None for one in wanted)


def fuzz(rule: Any, stacks: int, **more: Any) -> int:
    """So many stacks of cells; how many cells were refused."""
    refused = 0

    @given(
        n=st.sampled_from((9, 7, 12, 8, 5, 6, 3, 10, 4, 2, 1)),  # the first come most often, and are refused least
        dim=st.sampled_from((1, 3, 5)),
        f=st.sampled_from((0, 0, 1, 2)),
        seed=st.integers(0, 2**31),
        faults=st.lists(fault, min_size=5, max_size=60),
        dtype=st.sampled_from((torch.float32, torch.float32, torch.float64)),
    )
    @settings(max_examples=stacks, **CALM, **more)
    def one(n: int, dim: int, f: int, seed: int, faults: list[Any], dtype: torch.dtype) -> None:
        nonlocal refused
        refused += keeps_the_policy(rule, stack(n, dim, seed, faults, dtype), f)

    one()
    return refused


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", RULES)
def test_rules(name: str, told: Told) -> None:
    refused, cells = fuzz(RULES[name], STACKS), STACKS * CELLS
    assert refused < cells, "refused everything: nothing was tested"
    told("cases a rule, policy kept", f"{cells:,}")


def test_a_rule_without_the_policy_is_found() -> None:
    unguarded = RULES["median"].__wrapped__
    with pytest.raises(AssertionError):
        fuzz(unguarded, 20, phases=[Phase.generate], report_multiple_bugs=False)


WRONG: dict[str, Callable[[Tensor], Tensor]] = {
    "one axis": lambda u: u[0],
    "no axis": lambda u: u[0, 0],
    "whole numbers": lambda u: u.long(),
    "bool": lambda u: u > 0,
    "complex": lambda u: u + 1j,
    "no client": lambda u: u[:0],
    "nothing a client": lambda u: u[:, :0],
    "a client more": lambda u: torch.cat([u, u[:1]]),
    "a stack": lambda u: u.expand(2, *u.shape),
}


@pytest.mark.parametrize("name", RULES)
def test_forms(name: str, told: Told) -> None:
    """Updates whose shape or type does not fit, or is not that of the cohort."""

    @given(
        n=st.integers(1, 9),
        dim=st.sampled_from((1, 3)),
        f=st.one_of(st.sampled_from((0, 1)), st.sampled_from((-1, 1.0, True, None, "1"))),
        wrong=st.sampled_from(sorted(WRONG)),
    )
    @settings(max_examples=FORMS, **CALM)
    def one(n: int, dim: int, f: Any, wrong: str) -> None:
        fitting = torch.randn(n, dim, generator=torch.Generator().manual_seed(n))
        cohort = replace(cohort_of(fitting, 0), byzantine=f)
        with suppress(ValueError, TypeError):  # `Infeasible` is a ValueError
            got = answer(RULES[name], WRONG[wrong](fitting), cohort)
            assert got is None, f"{wrong}, f = {f!r}: answered {got}"

    one()
    told("of wrong shape, dtype or f: refused", f"{FORMS:,}")
