"""The numbers of the README, computed anew from the committed tables with pandas and scipy alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from flipbench.grid import reader
from tests.docs.committed_tables import agree, cells, interval, share_interval
from tests.helpers.paths import ROOT

README = " ".join((ROOT / "README.md").read_text("utf-8").split())


def where(frame: pd.DataFrame, wanted: Mapping[str, Any]) -> pd.DataFrame:
    for name, value in wanted.items():
        frame = frame[frame[name] == value]
    return frame


def shown(pattern: str) -> list[float]:
    """The numbers of one sentence of the README."""
    found = re.search(pattern, README)
    assert found, f"README.md no longer says {pattern!r}"
    return [float(number) for number in found.groups()]


@pytest.fixture(scope="module")
def label_flip() -> pd.DataFrame:
    return cells("label_flip")


def test_label_flip(label_flip: pd.DataFrame) -> None:
    attacked = {"attack": "all_to_one(target=0)", "flip_rate": 1.0, "malicious_count": 8, "clean": False}
    clean = label_flip[label_flip["clean"]].groupby(["aggregator", "seed"])["accuracy"].mean()

    def at_40(aggregator: str) -> tuple[float, float]:
        rows = where(label_flip, attacked | {"aggregator": aggregator})
        assert len(rows) == 10
        return share_interval(rows["accuracy"])

    number = r"(\d+(?:\.\d+)?)"
    pair = f"{number} ± {number} %"
    agree(
        shown(
            f"FedAvg falls from {pair} to {pair}, the trimmed mean to {pair} and the median to {pair}. "
            f"Krum keeps {pair}"
        ),
        share_interval(clean["fedavg"]),
        at_40("fedavg"),
        at_40("trimmed_mean"),
        at_40("median"),
        at_40("krum"),
    )
    assert "without an attack it is five points below FedAvg" in README
    assert round(interval(clean["fedavg"])[0] - interval(clean["krum"])[0]) == 5
    swings = where(label_flip, attacked | {"aggregator": "fedavg"})
    assert set(swings["accuracy_stability"]) == {"oscillates"}
    least, most = shown(
        f"in every seed that number swings from round to round, in all between {number} and {number} % in"
    )
    agree([least, most], (100 * swings["accuracy_late_least"].min(), 100 * swings["accuracy_late_most"].max()))


def test_what_is_significant_in_label_flip(label_flip: pd.DataFrame) -> None:
    sentence = "Holm-corrected over all 150 comparisons of the grid, p < 0.002). How they differ from each other is not"
    assert sentence in README
    for first, second, p, difference in here_corrected(label_flip, 150):
        if first == "fedavg":
            assert p < 0.002, second
            assert difference < 0, "FedAvg is the worse one"
        else:
            assert p > 0.05, (first, second)


def test_what_make_bench_claims(label_flip: pd.DataFrame) -> None:
    """The default grid's own cells are among the committed ones: its seeds, its fractions, its claim."""
    grid = reader.read("label_flip")
    assert f"{len(grid.cells)} cells, about 3 minutes on two cores" in README
    assert (
        "takes eight of the seeds and two of the fractions, and its tables claim the same: with 40 % malicious clients "
        "who flip every label to 0, each of the three is better than FedAvg (p < 0.01, Holm-corrected over all 78 "
        "comparisons of that grid)"
    ) in README
    seeds, counts = {c.seed for c in grid.cells}, {c.byzantine for c in grid.cells}
    assert len(seeds) == 8
    assert len(counts) == 2
    own = label_flip[label_flip["seed"].isin(seeds) & label_flip["declared_byzantine"].isin(counts)]
    assert len(own) == len(grid.cells)
    of_fedavg = [line for line in here_corrected(own, 78) if line[0] == "fedavg"]
    assert len(of_fedavg) == 3
    for _, second, p, difference in of_fedavg:
        assert p < 0.01, second
        assert difference < 0, "FedAvg is the worse one"


def here_corrected(frame: pd.DataFrame, comparisons: int) -> list[tuple[str, str, float, float]]:
    """Two rules, the p of their paired t test after Holm's correction over the whole table, and their difference; at
    40 % malicious clients that flip every label to 0."""
    attacked = frame[~frame["clean"]]
    columns = [clean_by_seed(frame)]
    columns += [one for _, one in attacked.groupby(["attack", "malicious_count", "flip_rate"])]
    found = {}
    for place, rows in enumerate(columns):
        by_rule = rows.pivot_table(index="seed", columns="aggregator", values="accuracy")
        for first, second in combinations(sorted(by_rule), 2):
            test = stats.ttest_rel(by_rule[first], by_rule[second])
            found[place, first, second] = test.pvalue, by_rule[first].mean() - by_rule[second].mean()
    assert len(found) == comparisons
    ordered = sorted(found, key=lambda name: found[name][0])
    holm = np.maximum.accumulate([(comparisons - rank) * found[name][0] for rank, name in enumerate(ordered)])
    corrected = dict(zip(ordered, holm, strict=True))
    (here,) = [
        place
        for place, rows in enumerate(columns[1:], 1)
        if set(rows["attack"]) == {"all_to_one(target=0)"}
        and set(rows["malicious_count"]) == {8}
        and set(rows["flip_rate"]) == {1.0}
    ]
    return [(a, b, p, found[place, a, b][1]) for (place, a, b), p in corrected.items() if place == here]


def clean_by_seed(frame: pd.DataFrame) -> pd.DataFrame:
    """The clean column: the mean over the declared f of the clean twins."""
    return frame[frame["clean"]].groupby(["aggregator", "seed"], as_index=False)["accuracy"].mean()


def test_the_worst_of_all_attacks() -> None:
    frame = cells("attacks")
    attacked = frame[~frame["clean"] & (frame["malicious_fraction"] == 0.4)]
    assert attacked["attack"].nunique() == 26

    def worst(aggregator: str) -> tuple[float, float]:
        rows = where(attacked, {"aggregator": aggregator})
        means = rows.groupby("attack")["accuracy"].mean()
        return interval(where(rows, {"attack": means.idxmin()})["accuracy"])

    number = r"(\d+(?:\.\d+)?)"
    pair = f"{number} ± {number} %"
    printed = shown(
        f"worst of 26 attacks, FedAvg keeps {number} % and Krum {pair}, the median {pair}, and nearest-neighbour "
        f"mixing with the trimmed mean {pair}"
    )
    fedavg = worst("fedavg")
    assert fedavg[1] < 0.05  # every seed ends with one class: no interval is printed
    agree([printed[0], 0.0, *printed[1:]], fedavg, worst("krum"), worst("median"), worst("nnm | trimmed_mean"))


def test_ham10000_study() -> None:
    frame = cells("ham10000_study")
    number = r"(\d+(?:\.\d+)?)"
    printed = shown(
        f"FedAvg misses {number} ± {number} of 100 melanomas instead of {number} ± {number} .*?"
        f"Krum misses {number} ± {number}, and the median {number} ± {number}"
    )
    to_naevi = frame[~frame["clean"] & (frame["malicious_fraction"] == 0.3) & (frame["flip_rate"] == 1.0)]
    to_naevi = to_naevi[to_naevi["attack"] == "targeted(source=6, target=4)"]

    def missed(aggregator: str, partition: str, column: str = "source_recall") -> tuple[float, float]:
        rows = where(to_naevi, {"aggregator": aggregator, "partition": partition})
        assert len(rows) == rows["seed"].nunique() == 6, aggregator
        return interval(1 - rows[column])

    agree(
        printed,
        missed("fedavg", "iid"),
        missed("fedavg", "iid", "source_recall_clean"),
        missed("krum", "iid"),
        missed("median", "iid"),
    )
    unlike = to_naevi[to_naevi["partition"] == "dirichlet(alpha=0.5)"]
    least = min(missed(a, "dirichlet(alpha=0.5)")[0] for a in unlike["aggregator"].unique())
    assert f"every rule misses {np.floor(10 * least) / 10} or more" in README


def test_the_memory_of_workers() -> None:
    lines = (ROOT / "results/reference/speed/worker_memory.md").read_text("utf-8").splitlines()[2:]
    squares = [[square.strip() for square in line.strip("|").split("|")] for line in lines]
    estimated, measured = (np.array([float(s[i].removesuffix(" MiB")) for s in squares]) for i in (2, 3))
    assert len({s[0] for s in squares}) == 8
    assert "For eight cells with one and two workers it was 1.0 to 1.7 times" in " ".join(
        (ROOT / "docs/grids.md").read_text("utf-8").split()
    )
    assert round((estimated / measured).min(), 1) == 1.0
    assert round((estimated / measured).max(), 1) == 1.7
