"""The empirical robustness coefficient: against theory on both sides, and the same whoever asks."""

from __future__ import annotations

import csv
import io
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from flipbench.cli import kappa as cli_kappa
from flipbench.cli.app import app
from flipbench.conformance import kappa
from flipbench.conformance.kappa import battery, estimate, published
from flipbench.errors import UserError

BOUNDED = ["krum", "median", "trimmed_mean", "nnm | trimmed_mean", "nnm | median", "nnm | krum"]
SIZES = [(5, 1), (10, 1), (10, 3), (11, 4), (20, 6)]


@pytest.mark.parametrize("rule", ["fedavg", "mean"])
def test_a_rule_without_defence_has_no_bound(rule):
    """The negative control: f outliers at distance D move the mean by D f / n."""
    for n, f in SIZES:
        found = estimate(rule, n, f, steps=0)
        assert found.kappa >= 0.99 * (kappa.FAR * f / n) ** 2
        assert found.bound is None
        assert "spreads away" in found.attack


@pytest.mark.parametrize("rule", BOUNDED)
@pytest.mark.parametrize(("n", "f"), SIZES)
def test_shipped_rules_stay_within_their_published_bounds(rule, n, f):
    found = estimate(rule, n, f, steps=12, seed=n)
    if found.infeasible:
        assert "krum" in rule
        assert n < 2 * f + 3
        return
    assert found.bound is not None
    assert 0 < found.battery <= found.kappa <= found.bound


def test_the_geometric_median_stays_within_its_published_bound():
    found = estimate("geometric_median", 10, 3, steps=1)
    assert found.bound is not None
    assert 0 < found.battery <= found.kappa <= found.bound


@pytest.mark.parametrize("rule", ["median", "trimmed_mean", "krum", "fedavg", "nnm | trimmed_mean"])
def test_no_rule_is_below_what_no_rule_can_be(rule):
    """The battery holds the case of the lower bound, so an estimate below it would be a mistake of ours."""
    for n, f in [(9, 2), (10, 3), (20, 6)]:
        found = estimate(rule, n, f, steps=0)
        assert found.kappa >= (1 - 1e-3) * f / (n - 2 * f)


def test_the_battery_reaches_the_trimmed_means_true_value_where_it_is_the_least_possible():
    found = estimate("trimmed_mean", 10, 2, steps=0)
    assert found.kappa == pytest.approx(2 / 6, rel=1e-2)
    assert "a few clients apart" in found.attack


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(["median", "trimmed_mean", "krum", "fedavg"]), st.integers(0, 50), st.integers(0, 6))
def test_the_search_never_lowers_the_batterys_value(rule, seed, steps):
    alone = estimate(rule, 9, 2, seed=seed, steps=0)
    searched = estimate(rule, 9, 2, seed=seed, steps=steps)
    assert searched.battery == alone.kappa == alone.battery
    assert searched.kappa >= alone.kappa


def test_the_search_finds_worse_than_the_battery():
    assert estimate("krum", 10, 2, steps=20).kappa > 1.05 * estimate("krum", 10, 2, steps=0).kappa


def test_the_same_question_has_the_same_answer_and_the_global_generator_rests():
    before = torch.get_rng_state()
    one = estimate("median", 10, 3, seed=4, steps=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert estimate("median", 10, 3, seed=4, steps=5) == one
    assert estimate("median", 10, 3, seed=5, steps=5) != one


def test_every_rule_meets_the_same_battery():
    seen = []

    def spy(updates, cohort, /):
        seen.append(updates.clone())
        return updates.median(-2).values

    names, cases = battery(10, 3, 7)
    kappa._quotients(spy, cases, 3)
    assert torch.equal(seen[0], battery(10, 3, 7)[1])
    assert len(names) == len(cases) == len(set(names))
    assert cases.shape == (len(names), 10, kappa.DIM)
    assert bool(torch.isfinite(cases).all())


def test_the_honest_are_no_different_for_another_attack():
    names, cases = battery(10, 3)
    by_population = {}
    for name, case in zip(names, cases, strict=True):
        by_population.setdefault(name.split(" on ")[1], []).append(case[3:])
    assert len(by_population) == 5
    for honest in by_population.values():
        assert all(torch.equal(h, honest[0]) for h in honest)


def test_the_quotient_is_that_of_the_definition():
    """By hand: malicious at 9, honest 0, 2, 4: mean 2, variance 8/3; the mean of all is 15/4."""
    cases = torch.tensor([[[9.0], [0.0], [2.0], [4.0]]], dtype=torch.float64)
    quotient = kappa._quotients(lambda updates, cohort, /: updates.mean(-2), cases, 1)
    assert quotient.item() == pytest.approx((15 / 4 - 2) ** 2 / (8 / 3))
    broken = kappa._quotients(lambda updates, cohort, /: updates.mean(-2) * math.nan, cases, 1)
    assert broken.item() == math.inf


def test_a_rule_that_answers_nan_is_infinitely_bad(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("def bad(updates, cohort, /):\n    return updates.mean(-2) * float('nan')\n")
    assert estimate(f"{path}:bad", 5, 1).kappa == math.inf
    path.write_text("def bad(updates, cohort, /):\n    return updates\n")
    with pytest.raises(UserError, match=r"must return a tensor of shape \(\*cells, dim\)"):
        estimate(f"{path}:bad", 5, 1)


def test_rules_with_memory_and_rules_that_cannot_are_told_apart():
    assert estimate("foolsgold", 8, 2, steps=0).kappa > 0
    found = estimate("fltrust", 8, 2, steps=0)
    assert math.isnan(found.kappa)
    assert "root data" in found.infeasible
    assert "at least 2f + 3" in estimate("krum", 8, 3).infeasible


@pytest.mark.parametrize(
    ("rule", "n", "f", "value"),
    [
        ("krum", 10, 2, 8.0),
        ("median", 10, 2, 4 * (4 / 3) ** 2),
        ("geometric_median", 10, 2, 4 * (4 / 3) ** 2),
        ("trimmed_mean", 10, 2, 6 / 3 * 4 / 3),
        ("trimmed_mean", 10, 0, 0.0),
        ("nnm | trimmed_mean", 10, 2, 8 * 2 / 8 * (6 / 3 * 4 / 3 + 1)),
        ("trimmed_mean(trim=1)", 10, 2, None),
        ("fedavg", 10, 2, None),
        ("bucketing(size=2) | krum", 10, 2, None),
    ],
)
def test_the_published_bounds(rule, n, f, value):
    assert published(rule, n, f) == (None if value is None else pytest.approx(value))


def test_the_range_of_f():
    assert kappa.settings([10]) == [(10, 1), (10, 2), (10, 3), (10, 4)]
    assert kappa.settings([3]) == [(3, 1)]
    for n in range(3, 60):
        fs = [f for _, f in kappa.settings([n])]
        assert fs[0] == 1
        assert fs[-1] == (n - 1) // 2
        assert fs == sorted(set(fs))
    with pytest.raises(UserError, match="at least 3 clients"):
        kappa.settings([2])
    with pytest.raises(UserError, match="honest majority"):
        estimate("median", 4, 2)


@pytest.fixture(scope="module")
def found():
    return cli_kappa.findings(["fedavg", "krum", "trimmed_mean"], [5, 7], 0, 0)


def test_the_table_shows_value_and_bound(found):
    text = cli_kappa.text(found)
    assert "n = 5" in text
    assert "n = 7" in text
    assert "–" in text  # Krum with 5 clients, 2 of them malicious
    square = next(x for x in found if (x.rule, x.clients, x.byzantine) == ("trimmed_mean", 5, 1))
    assert f"{square.kappa:.3g} ({square.bound:.3g})" in text
    assert "above its published bound" not in text
    wrong = [kappa.Finding("krum", 5, 1, 99.0, 9.0, "x", 8.0, 0.3)]
    assert "! krum, n = 5, f = 1: above its published bound" in cli_kappa.text(wrong)


def test_the_csv_holds_every_number(found):
    rows = list(csv.DictReader(io.StringIO(cli_kappa.csv_text(found))))
    assert [(r["rule"], int(r["clients"]), int(r["byzantine"])) for r in rows] == [
        (x.rule, x.clients, x.byzantine) for x in found
    ]
    for row, one in zip(rows, found, strict=True):
        assert (float(row["kappa"]) == one.kappa) if row["kappa"] else math.isnan(one.kappa)
        assert (row["bound"] == "") == (one.bound is None)
    evil = kappa.Finding("=cmd.py:rule", 5, 1, 1.0, 1.0, "", None, 0.3)
    assert "\n'=cmd.py:rule," in cli_kappa.csv_text([evil])


def test_the_figure_is_the_same_twice_and_copes_with_what_is_not_finite(found, tmp_path):
    odd = [*found, kappa.Finding("bad", 5, 1, math.inf, math.inf, "x", None, 1 / 3)]
    first, again = (cli_kappa.write(odd, tmp_path / d) for d in "ab")
    assert {p.name for p in first} == {"kappa.csv", "kappa.pdf", "kappa.svg", "kappa.png"}
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, again, strict=True))
    assert all(p.stat().st_size > 5_000 for p in first if p.suffix == ".png")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="name another folder with --out"):
        cli_kappa.write(found, tmp_path / "file")


def test_the_command_writes_table_and_figure(tmp_path):
    words = ["kappa", "median", "--clients", "5", "--steps", "1", "--out", str(tmp_path / "k")]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output
    assert "no rule below" in ran.output
    assert sorted(p.name for p in (tmp_path / "k").iterdir()) == ["kappa.csv", "kappa.pdf", "kappa.png", "kappa.svg"]
    wrong = CliRunner().invoke(app, ["kappa", "median", "medain", "--out", str(tmp_path / "k")])
    assert wrong.exit_code == 2
    assert "did you mean 'median'" in wrong.output
