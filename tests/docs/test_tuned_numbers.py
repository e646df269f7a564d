"""The numbers of docs/tuning.md and the README's sentence on learning rates, computed from the committed tables."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.docs.committed_tables import agree, cells, interval
from tests.helpers.paths import ROOT

TUNING = " ".join((ROOT / "docs" / "tuning.md").read_text("utf-8").split())
README = " ".join((ROOT / "README.md").read_text("utf-8").split())
NUMBER = r"(\d+(?:\.\d+)?)"
PAIR = f"{NUMBER} ± {NUMBER} %"
NNM = "nnm | trimmed_mean"


def shown(text: str, pattern: str) -> list[float]:
    found = re.search(pattern, text)
    assert found, pattern
    return [float(number) for number in found.groups()]


@pytest.fixture(scope="module")
def tuned() -> pd.DataFrame:
    return cells("tuned")


def of_form(frame: pd.DataFrame, form: str) -> pd.DataFrame:
    own = frame[frame["form"].isin([form, "both"])]
    return own.assign(aggregator=own["compared_as"])


def under(frame: pd.DataFrame, form: str, attack: str) -> pd.DataFrame:
    """Accuracy by seed (down) and rule (across)."""
    own = of_form(frame, form)
    found = own[own["attack"] == attack].pivot_table(index="seed", columns="aggregator", values="accuracy")
    assert found.shape == (16, 5)
    return found


def test_the_printed_accuracies_are_those_of_the_tables(tuned: pd.DataFrame) -> None:
    fixed, chosen = under(tuned, "fixed", "mirrored"), under(tuned, "tuned", "mirrored")
    rules = ("fedavg", NNM, "trimmed_mean", "median", "krum")
    agree(
        shown(
            TUNING,
            f"{PAIR} against {PAIR} for nearest-neighbour mixing with the trimmed mean, {PAIR} for the trimmed mean, "
            f"{PAIR} for the median and {PAIR} for Krum",
        ),
        *(interval(fixed[rule]) for rule in rules),
    )
    agree(
        shown(
            TUNING,
            f"is reversed: {PAIR} for nearest-neighbour mixing, {PAIR} for the trimmed mean, {PAIR} for the median, "
            f"and FedAvg is fourth of five with {PAIR}",
        ),
        *(interval(chosen[rule]) for rule in (NNM, "trimmed_mean", "median", "fedavg")),
    )
    agree(
        shown(
            README,
            rf"mirrored labels \({PAIR}, the median {PAIR}\).*?FedAvg is fourth \({PAIR}, nearest-neighbour mixing "
            rf"with the trimmed mean {PAIR}\)",
        ),
        *(interval(fixed["fedavg"]), interval(fixed["median"]), interval(chosen["fedavg"]), interval(chosen[NNM])),
    )


def test_the_order_is_reversed_and_both_sides_are_significant(tuned: pd.DataFrame) -> None:
    fixed, chosen = under(tuned, "fixed", "mirrored"), under(tuned, "tuned", "mirrored")
    assert fixed.mean().idxmax() == "fedavg"
    assert chosen.mean().idxmax() == NNM
    assert chosen.mean().rank(ascending=False)["fedavg"] == 4
    assert "Holm-corrected over the 50 comparisons of each form, p < 0.05" in TUNING
    told = {form: told_apart(tuned, form) for form in ("fixed", "tuned")}
    assert {("fedavg", rule) for rule in ("trimmed_mean", "median", "krum")} <= told["fixed"]
    assert ("fedavg", NNM) not in told["fixed"]
    assert {(NNM, rule) for rule in ("fedavg", "trimmed_mean", "median", "krum")} <= told["tuned"]


def told_apart(frame: pd.DataFrame, form: str) -> set[tuple[str, str]]:
    """Pairs of rules under mirrored labels, the better one first, that differ after Holm's correction over the form."""
    attacks = ("none", "mirrored", "all_to_one(target=0)", "sign_flip", "alie")
    p = {}
    for attack in attacks:
        by_seed = under(frame, form, attack)
        for first, second in combinations(by_seed, 2):
            better = (first, second) if by_seed[first].mean() > by_seed[second].mean() else (second, first)
            p[attack, better] = stats.ttest_rel(by_seed[first], by_seed[second]).pvalue
    assert len(p) == 50
    ordered = sorted(p, key=lambda name: p[name])
    corrected = np.maximum.accumulate([(50 - rank) * p[name] for rank, name in enumerate(ordered)])
    below = [name for name, value in zip(ordered, corrected, strict=True) if value < 0.05]
    return {pair for attack, pair in below if attack == "mirrored"}


def test_the_chosen_rates_are_the_best_of_the_committed_candidates(tuned: pd.DataFrame) -> None:
    candidates = pd.read_csv(ROOT / "results/reference/tuned/tuning/tables/candidates.csv")
    trials = pd.read_csv(ROOT / "results/reference/tuned/tuning/tables/trials.csv")
    mean = trials.groupby(["aggregator", "learning_rate", "attack"])["accuracy"].mean()
    least = mean.groupby(["aggregator", "learning_rate"]).min()
    assert set(trials["seed"]).isdisjoint(tuned["seed"])
    for rule, own in candidates.groupby("aggregator"):
        best = least[rule].idxmax()
        assert own.loc[own["chosen"], "learning_rate"].tolist() == [best]
        reported = tuned[(tuned["compared_as"] == rule) & tuned["form"].isin(["tuned", "both"])]
        assert set(reported["learning_rate"]) == {best}
