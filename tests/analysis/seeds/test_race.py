"""Which rules need another seed: hand-made tables whose answer is plain."""

from __future__ import annotations

import numpy as np

from flipbench.analysis.seeds import race
from flipbench.spec.seed_plan import SeedPlan

PLAN = SeedPlan(4, 12)


def table(*means: float, spread: float = 0.01) -> race.Values:
    """One column with rules of these means, and their seeds."""
    noise = np.random.default_rng(0).standard_normal((1, len(means), PLAN.most)) * spread
    return np.array(means)[None, :, None] + noise - noise.mean(-1, keepdims=True)


def test_nothing_is_decided_before_six_seeds_and_then_the_column_ends() -> None:
    values = table(0.9, 0.5)
    assert race.after_looks(values, PLAN, 5).running.all()
    found = race.after_looks(values, PLAN, 6)
    assert found.over
    assert found.decided.tolist() == [[True]]
    assert found.compared == 1


def test_a_rule_that_is_worse_leaves_while_the_others_go_on() -> None:
    values = table(0.9, 0.891, 0.5)
    found = race.after_looks(values, PLAN, 6)
    assert found.running.tolist() == [[True, True, False]]
    assert found.decided.tolist() == [[False, True, True]]


def test_equal_rules_end_their_column_as_futile() -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal((40, 2, PLAN.most))
    found = race.after_looks(values, PLAN, 8)
    assert not found.decided.any()
    assert found.running.any(1).mean() < 0.2


def test_a_look_sees_the_seeds_before_it_alone() -> None:
    values = np.random.default_rng(2).standard_normal((6, 3, PLAN.most)) + np.array([0.0, 1.0, 2.5])[None, :, None]
    later = values.copy()
    later[..., 8:] = np.nan
    for seeds in (5, 8):
        one, other = (race.after_looks(v, PLAN, seeds) for v in (values, later))
        assert (one.running == other.running).all()
        assert (one.decided == other.decided).all()


def test_the_last_look_ends_all_and_rules_without_numbers_never_run() -> None:
    values = table(0.9, 0.8, 0.7, spread=1.0)
    values[:, 2] = np.nan
    assert not race.after_looks(values, PLAN, 4).running[0, 2]
    assert race.after_looks(values, PLAN, 12).over


def test_all_false_claims_of_a_table_together_stay_at_five_per_cent() -> None:
    """`make coverage` has 10,000 grids; here few, with the bound widened accordingly."""
    rng, wrong, grids = np.random.default_rng(4), 0, 120
    for _ in range(grids):
        wrong += bool(race.after_looks(rng.standard_normal((3, 3, PLAN.most)), PLAN, PLAN.most).decided.any())
    assert wrong / grids <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / grids)
