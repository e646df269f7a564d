"""The numbers of "Tables and texts" in results/README.md, computed anew from the committed tables."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from scipy import stats

from tests.docs.committed_tables import agree, cells, interval
from tests.helpers.paths import ROOT

SECTION = (ROOT / "results/README.md").read_text("utf-8").partition("## Tables and texts")[2]
TEXT = " ".join(SECTION.partition("\n## ")[0].split())
PAIR, POINTS = r"(\d+\.\d) ± (\d+\.\d) %", r"(\d+\.\d) ± (\d+\.\d)"
ROBUST = ("median", "trimmed_mean", "multi_krum")


def of(grid: str, seeds: int, rule: str, malicious: int, column: str = "accuracy") -> pd.Series:
    """A column of one square, by seed; of a clean square the mean over its twins."""
    table = cells(grid)
    here = table[table["aggregator"] == rule]
    here = here[~here["clean"] & (here["malicious_count"] == malicious)] if malicious else here[here["clean"]]
    by_seed = here.groupby("seed")[column].mean()
    assert len(by_seed) == seeds
    return by_seed


def said(pattern: str) -> list[float]:
    found = re.search(pattern, TEXT)
    assert found, f"results/README.md no longer says {pattern!r}"
    return [float(number) for number in found.groups()]


@pytest.fixture
def accidents() -> dict[str, pd.Series]:
    return {rule: of("tabular_clients", 11, rule, 20) for rule in ("fedavg", *ROBUST)}


def test_accidents(accidents: dict[str, pd.Series]) -> None:
    clean = {rule: of("tabular_clients", 11, rule, 0) for rule in accidents}
    agree(said(f"FedAvg falls from {PAIR} to {PAIR}"), interval(clean["fedavg"]), interval(accidents["fedavg"]))
    agree(
        said(f"The median has {PAIR}, the trimmed mean {PAIR} and Multi-Krum {PAIR}; each"),
        *(interval(accidents[rule]) for rule in ROBUST),
    )
    assert all(stats.ttest_rel(accidents[rule], accidents["fedavg"]).pvalue < 0.001 for rule in ROBUST)
    cost = [interval(clean["fedavg"] - clean[rule]) for rule in ROBUST]
    agree(said(f"they cost {POINTS}, {POINTS} and {POINTS} points"), *cost)


def test_fatal_injuries() -> None:
    recall = {rule: of("tabular_clients", 11, rule, 20, "source_recall") for rule in ("fedavg", *ROBUST)}
    agree(said(f"finds {POINTS} of 100 fatal injuries"), interval(recall["fedavg"]))
    assert said(r"each finds at least (\d+\.\d) of 100") == [99.6]
    assert min(interval(recall[rule])[0] for rule in ROBUST) >= 99.6


def test_junctions() -> None:
    accuracy = {rule: of("text", 6, rule, 3) for rule in ("fedavg", "median", "multi_krum")}
    recall = {rule: of("text", 6, rule, 3, "source_recall") for rule in ("fedavg", "multi_krum")}
    agree(said(f"clients FedAvg has {PAIR} and finds"), interval(accuracy["fedavg"]))
    agree(said(f"and finds {POINTS} of 100 such"), interval(recall["fedavg"]))
    agree(said(f"Multi-Krum {PAIR} and {POINTS} "), interval(accuracy["multi_krum"]), interval(recall["multi_krum"]))
    agree(said(rf"be claimed \({PAIR}\)"), interval(accuracy["median"]))
    for numbers in (accuracy, recall):
        assert stats.ttest_rel(numbers["multi_krum"], numbers["fedavg"]).pvalue < 0.001
    assert stats.ttest_rel(accuracy["median"], accuracy["fedavg"]).pvalue > 0.05
