"""Whom `flame` admits: the committed page and what docs/aggregators.md says, computed anew from the committed file."""

from __future__ import annotations

import math
import re

import pandas as pd
import pytest
from scipy import stats

from tests.helpers.paths import ROOT
from tests.numerics import flame_admission

FILE = ROOT / "results/reference/numerics/flame_admission.csv"
DOCS = " ".join((ROOT / "docs/aggregators.md").read_text("utf-8").split())


@pytest.fixture(scope="module")
def found() -> pd.DataFrame:
    return pd.read_csv(FILE)


def test_the_page_is_that_of_the_file(found: pd.DataFrame) -> None:
    assert FILE.with_suffix(".md").read_text("utf-8") == flame_admission.page(found)


def test_every_case_has_all_seeds(found: pd.DataFrame) -> None:
    counts = found.groupby(flame_admission.CASE)["seed"].nunique()
    cases = flame_admission.RULES, flame_admission.PARTITIONS, flame_admission.ATTACKS
    assert len(counts) == math.prod(map(len, cases))
    assert set(counts) == {10}


@pytest.mark.parametrize("partition", flame_admission.PARTITIONS)
def test_the_numbers_of_the_page_on_aggregators(found: pd.DataFrame, partition: str) -> None:
    text = re.search(rf"(\S+) ± (\S+) % and (\S+) ± (\S+) % with `{re.escape(partition)}`", DOCS)
    assert text
    case = {"rule": "flame", "partition": partition, "attack": "all_to_one(target=0)"}
    seeds = found[(found[list(case)] == pd.Series(case)).all(axis=1)]
    computed = []
    for way in flame_admission.COMPARED:
        values = 100 * seeds[way]
        computed += [values.mean(), stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)]
    assert [float(number) for number in text.groups()] == [round(number, 1) for number in computed]


def test_a_small_federation_is_measured() -> None:
    small = {"dataset": "digits", "clients": 5, "rounds": 1, "evaluate_every": 1, "partition": "iid", "seed": 0}
    shares = flame_admission.shares("flame", flame_admission.CELL | small | {"attack": "mirrored"})
    assert set(shares) == set(flame_admission.COMPARED)
    assert all(share in (0.0, 1 / 3, 1 / 4, 1 / 5) for share in shares.values())  # 3 to 5 of 5 admitted, 1 malicious
