"""Which claims hold in every setting, against plain loops over the cells; what grids without settings say."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import flipbench as fb
from flipbench.analysis.pivot import pivots
from flipbench.analysis.settings import choice, sensitivity
from flipbench.analysis.settings.sensitivity import Claim

GRID: dict[str, Any] = {
    "name": "varied",
    "base": {
        "dataset": "digits(train=200, test=100)",
        "model": "softmax",
        "rounds": 2,
        "clients": 5,
        "malicious_count": 2,
        "evaluate_last": 3,
    },
    "axes": {
        "aggregator": ["fedavg", "median", "trimmed_mean"],
        "attack": ["mirrored", "sign_flip"],
        "learning_rate": [0.01, 0.1, 1.0],
        "seed": [0, 1, 2, 3, 4, 5],
    },
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> fb.Results:
    return fb.run(GRID, workers=1, results=tmp_path_factory.mktemp("varied"), progress=False)


def claims_of(results: fb.Results) -> list[Claim]:
    return sensitivity.of_pages(pivots(results.raw, results._tidy))


def means(cells: pd.DataFrame, attack: str) -> dict[tuple[str, float], float]:
    """Mean accuracy of each rule and learning rate under an attack."""
    found: dict[tuple[str, float], list[float]] = {}
    for cell in cells.to_dict("records"):
        if cell["attack"] == attack:
            found.setdefault((cell["aggregator"], cell["learning_rate"]), []).append(cell["accuracy"])
    return {place: sum(values) / len(values) for place, values in found.items()}


def test_claims_are_those_of_plain_loops_over_the_cells(results: fb.Results) -> None:
    claims = {(c.attack, frozenset((c.better, c.worse))): c for c in claims_of(results)}
    rules, rates = GRID["axes"]["aggregator"], GRID["axes"]["learning_rate"]
    assert len(claims) == 3 * 4  # pairs; clean, two attacks and the worst case
    for attack in ("none", "mirrored", "sign_flip"):
        mean = means(results.cells, attack)
        for pair in combinations(rules, 2):
            claim = claims[attack, frozenset(pair)]
            better = [r for r in rates if mean[claim.better, r] > mean[claim.worse, r]]
            worse = [r for r in rates if mean[claim.better, r] < mean[claim.worse, r]]
            assert len(better) >= len(worse)
            assert (claim.settings, claim.holds) == (len(rates), len(better))
            assert [dict(r.setting)["learning_rate"] for r in claim.reversals] == worse
            gaps = [mean[claim.worse, r] - mean[claim.better, r] for r in worse]
            assert [r.difference for r in claim.reversals] == pytest.approx(gaps)


def test_the_worst_case_compares_each_rule_under_its_own_worst_attack(results: fb.Results) -> None:
    both = [means(results.cells, attack) for attack in ("mirrored", "sign_flip")]
    worst = {place: min(mean[place] for mean in both) for place in both[0]}
    for claim in claims_of(results):
        if claim.attack == "worst_over_attacks":
            rates = GRID["axes"]["learning_rate"]
            ahead = sum(worst[claim.better, r] > worst[claim.worse, r] for r in rates)
            assert (claim.holds, claim.claimed) == (ahead, 0)


def test_what_is_significant_is_what_the_tables_tell_apart(results: fb.Results) -> None:
    results.report(formats=["png"])
    rows = pd.read_csv(results.folder / "tables" / "comparisons.csv")
    own = rows[(rows["metric"] == "accuracy") & (rows["attack"] == "mirrored")]
    apart = own[own["p_t_holm"] < 0.05]
    for claim in claims_of(results):
        if claim.attack == "mirrored":
            pairs = [{a, b} for a, b in zip(apart["first"], apart["second"], strict=True)]
            assert claim.claimed + sum(r.claimed for r in claim.reversals) == pairs.count({claim.better, claim.worse})
    lines = pd.read_csv(results.folder / "tables" / "sensitivity.csv")
    assert len(lines) == len(claims_of(results))
    assert ((lines["holds"] / lines["settings"]) - lines["share"]).abs().max() < 1e-12
    summary = (results.folder / "tables" / "summary.md").read_text()
    assert "## Which comparisons hold in every setting" in summary
    reversed_ = sum(bool(c.reversals) for c in claims_of(results))
    assert f"of 12 comparisons of two rules hold in every setting, {reversed_} are reversed in some" in summary
    page = (results.folder / "report.html").read_text()
    assert f"of 12 comparisons of two rules hold in every setting, {reversed_} are reversed in some" in page


def test_a_grid_with_one_setting_says_nothing(tmp_path: Path) -> None:
    axes = {**GRID["axes"], "learning_rate": [0.1], "seed": [0, 1]}
    one = fb.run({**GRID, "axes": axes}, workers=1, results=tmp_path, progress=False)
    assert claims_of(one) == []
    one.report(formats=["png"])
    assert not (one.folder / "tables" / "sensitivity.csv").exists()
    assert "Which comparisons" not in (one.folder / "tables" / "summary.md").read_text()


def test_trials_are_compared_with_the_candidates_that_both_rules_share(tmp_path: Path) -> None:
    base = {**GRID["base"], "validation_share": 0.3}
    axes = {"aggregator": ["fedavg", "median"], "attack": ["mirrored", "sign_flip"], "seed": [0]}
    tune = {"fields": {"learning_rate": [0.01, 1.0]}, "seeds": [7, 8]}
    results = fb.run({**GRID, "base": base, "axes": axes, "tune": tune}, workers=1, results=tmp_path, progress=False)
    trials = fb.load(results.folder / "tuning").cells
    found = {c.attack: c for c in sensitivity.of_trials(choice.read(results.folder), "accuracy")}
    assert set(found) == {"mirrored", "sign_flip", "worst_over_attacks"}
    for attack in ("mirrored", "sign_flip"):
        mean, claim = means(trials, attack), found[attack]
        assert claim.holds == sum(mean[claim.better, r] > mean[claim.worse, r] for r in (0.01, 1.0))
        assert [dict(r.setting)["learning_rate"] for r in claim.reversals] == [
            r for r in (0.01, 1.0) if mean[claim.better, r] < mean[claim.worse, r]
        ]
    of_forms = claims_of(results)  # fixed against tuned
    assert {dict(r.setting)["form"] for c in of_forms for r in c.reversals} <= {"fixed settings", "tuned settings"}
    assert all(c.settings == 2 for c in of_forms)


def test_strongest_reversals_come_first() -> None:
    def claim(difference: float, claimed: bool) -> Claim:
        reversal = sensitivity.Reversal((("learning_rate", 1.0),), difference, claimed)
        return Claim("reported", {}, "mirrored", (), "krum", "median", 3, 2, 1, (reversal,))

    small, large, sure = claim(0.01, False), claim(0.3, False), claim(0.02, True)
    assert sensitivity.strongest([small, large, sure]) == [sure, large, small]
    assert sure.contradicted
    assert not large.contradicted
