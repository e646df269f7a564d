"""The numbers of "What privacy costs robustness" in results/README.md, computed anew from the committed table."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from tests.docs.committed_tables import agree, cells, interval
from tests.helpers.paths import ROOT

SECTION = (ROOT / "results/README.md").read_text("utf-8").partition("## What privacy costs robustness")[2]
TEXT = " ".join(SECTION.partition("\n## ")[0].split())
EPSILON = {0: None, 0.307: 299, 1.36: 29.9, 8.8: 3}  # noise multiplier -> as printed
PAIR, POINTS = r"(\d+\.\d) ± (\d+\.\d) %", r"(\d+\.\d) ± (\d+\.\d)"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return cells("privacy")


def of(table: pd.DataFrame, rule: str, z: float, malicious: int, column: str = "accuracy") -> pd.Series:
    """A column of one square, by seed; of a clean square the mean over its twins."""
    here = table[(table["aggregator"] == rule) & (table["noise_multiplier"] == z)]
    here = here[~here["clean"] & (here["malicious_count"] == malicious)] if malicious else here[here["clean"]]
    by_seed = here.groupby("seed")[column].mean()
    assert len(by_seed) == 8
    return by_seed


def said(pattern: str) -> list[float]:
    found = re.search(pattern, TEXT)
    assert found, f"results/README.md no longer says {pattern!r}"
    return [float(number) for number in found.groups()]


def test_the_epsilons_are_those_of_the_table(table: pd.DataFrame) -> None:
    noisy = table[table["noise_multiplier"] > 0]
    found = noisy.groupby("noise_multiplier")["epsilon"].agg(["min", "max"])
    assert (found["max"] - found["min"] < 1e-9).all()
    assert {z: float(f"{e:.3g}") for z, e in found["max"].items()} == {z: e for z, e in EPSILON.items() if z}
    assert noisy["delta"].unique().tolist() == [1e-5]
    assert set(map(float, re.findall(r"ε = ([\d.]*\d)", TEXT))) == {299, 29.9, 3}


def test_multi_krum(table: pd.DataFrame) -> None:
    krum, fedavg = ({z: of(table, rule, z, 40) for z in EPSILON} for rule in ("multi_krum", "fedavg"))
    agree(said(f"no noise, Multi-Krum has {PAIR} and FedAvg {PAIR}"), interval(krum[0]), interval(fedavg[0]))
    agree(said(f"privacy, Multi-Krum has {PAIR} and FedAvg {PAIR}"), interval(krum[0.307]), interval(fedavg[0.307]))
    lead, deficit = interval(krum[0] - fedavg[0]), interval(fedavg[0.307] - krum[0.307])
    assert said(r"message is about (\d\.\d) long") == [round(0.307 * 650**0.5, 1)]  # 64 pixels and a bias, 10 classes
    agree(said(rf"lead of {POINTS} points becomes a deficit of {POINTS}\."), lead, deficit)


def test_damage(table: pd.DataFrame) -> None:
    damage = [interval(of(table, "fedavg", z, 40, "accuracy_damage")) for z in (0, 0.307, 1.36)]
    agree(said(f"cost FedAvg {POINTS} points without noise, {POINTS} at ε = 299 and {POINTS} at ε = 29.9"), *damage)
    local = [r for r in table["aggregator"].unique() if r != "mean"]
    means = [interval(of(table, rule, 8.8, 0))[0] for rule in local]
    agree(said(r"means lie between (\d+\.\d) % and (\d+\.\d) %"), (min(means), max(means)))


def test_krum_and_the_trusted_server(table: pd.DataFrame) -> None:
    krum = [interval(of(table, "krum", z, 0)) for z in (0, 0.307)]
    agree(said(f"Krum falls from {PAIR} to {PAIR} at ε = 299"), *krum)
    both = [interval(of(table, rule, 1.36, 0)) for rule in ("mean", "fedavg")]
    agree(said(f"At ε = 29.9 the mean with the server's noise has {PAIR}, FedAvg with local noise {PAIR}"), *both)
    attacked = [interval(of(table, "mean", 1.36, 40, column)) for column in ("accuracy", "accuracy_damage")]
    agree(said(f"malicious clients it is {PAIR}, and the flips cost {POINTS} points"), *attacked)
    three = [interval(of(table, "mean", 8.8, malicious)) for malicious in (0, 40)]
    agree(said(f"At ε = 3 it has {PAIR} without an attack, {PAIR} with 40 %"), *three)
