"""Images without a prediction: wrong in every share, never taken for a class, and marked wherever a number stands."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flipbench.analysis import caveats, metrics
from flipbench.analysis import frame as frames
from flipbench.analysis.caveats import MARK
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pivot import pivots
from flipbench.analysis.warnings import guards
from flipbench.report import write
from flipbench.report.figures import catalogue
from flipbench.report.figures.layout import Sheet
from flipbench.spec.twins import clean_twin, normal
from flipbench.store.store import Store
from tests.helpers.records import BASE, QUICK, confusion, record

MIRRORED = tuple((c, 9 - c) for c in range(10))
COUNTS = np.array([[4, 1, 0, 5], [0, 2, 2, 6], [3, 0, 7, 0]])  # three classes, the last column without a prediction
MAP = ((0, 1), (1, 2))
BY_HAND = {
    "accuracy": 13 / 30,
    "balanced_accuracy": (0.4 + 0.2 + 0.7) / 3,
    "worst_recall": 0.2,
    "source_recall": 0.3,
    "attack_success_rate": (0.1 + 0.2) / 2,
    "target_precision": (2 / 3 + 7 / 9) / 2,
    "collateral": 0.7,
    "macro_f1": (8 / 17 + 4 / 13 + 14 / 19) / 3,
}


@pytest.mark.parametrize("name", metrics.METRICS)
def test_metrics_count_them_as_wrong_and_for_no_class(name: str) -> None:
    got = metrics.METRICS[name].function(COUNTS, MAP)
    assert got == pytest.approx(BY_HAND[name])
    nothing = np.zeros((3, 4), dtype=int)
    nothing[:, 3] = 10  # NaN for every image: class 0 is no winner
    low = metrics.METRICS[name].function(nothing, ((1, 0),))
    assert np.isnan(low) if name == "target_precision" else low == 0.0


def test_rounds_in_words() -> None:
    assert caveats.rounds_text([3]) == "round 3"
    assert caveats.rounds_text([1, 2, 3, 7]) == "rounds 1–3, 7"
    assert caveats.rounds_text(list(range(1, 40, 2))) == "20 rounds from 1 to 39"


ROUNDS = (1, 2, 100)


def write_grid(folder: Path, no_prediction: bool) -> Path:
    """Two rules, two attacks, two seeds; the median's mirrored cell of seed 1 loses predictions in its last two
    rounds, and its clean twin had a running variance set to zero in round 7."""
    store, keys = Store(folder), {}
    for rule, attack, seed in product(("fedavg", "median"), ("mirrored", "targeted(source=5, target=0)"), (0, 1)):
        mapping = MIRRORED if attack == "mirrored" else ((5, 0),)
        cell = replace(BASE, aggregator=rule, attack=attack, malicious_fraction=0.2, seed=seed)
        hit = no_prediction and rule == "median" and seed == 1
        for own in (cell, clean_twin(cell)):
            counts = np.stack([confusion(normal(own), mapping if own is cell else None)] * 3)
            more: dict[str, Any] = {}
            if hit and own is cell and attack == "mirrored":
                none = np.zeros((3, 10), dtype=int)
                none[1:, 3] = counts[1:, 3].sum(-1)
                counts[1:, 3] = 0
                more = {"no_prediction": none.tolist()}
            if hit and own is not cell:
                more = {"clamped": {"7": 2}}
            made = record(own, confusion=counts, rounds=list(ROUNDS), mapping=mapping, result=more)
            if store.read(made["key"]) is None:
                store.publish(made)
            keys[made["key"]] = None
    store.write_plan({"grid": folder.name, "title": "made up", "keys": list(keys), "figure_options": QUICK})
    return folder


def test_a_model_without_predictions_is_never_the_best(tmp_path: Path) -> None:
    """An attack has no success where nothing is predicted, and that is no merit of the rule."""
    store, keys = Store(tmp_path / "g"), []
    for rule, seed in product(("fedavg", "median", "krum"), range(4)):
        cell = replace(BASE, aggregator=rule, attack="targeted(source=5, target=0)", malicious_fraction=0.2, seed=seed)
        for own in (cell, clean_twin(cell)):
            counts = confusion(normal(own), ((5, 0),) if own is cell else None)[None]
            more: dict[str, Any] = {}
            if rule == "median":
                more = {"no_prediction": counts.sum(-1).tolist()}
                counts = np.zeros_like(counts)
            made = record(own, confusion=counts, rounds=[1], mapping=((5, 0),), result=more)
            if store.publish(made):
                keys.append(made["key"])
    store.write_plan({"grid": "g", "title": "made up", "keys": keys, "figure_options": QUICK})
    frame = frames.load(tmp_path / "g")
    (pivot,) = pivots(frame, metrics.evaluate(frame))
    shown = metric_column("attack_success_rate")
    table = pivot.squares(shown, pivot.page.attacks)
    attacked = table[~table["column"].map(lambda column: column.clean)].set_index("aggregator")
    assert attacked.loc["median", "mean"] == 0.0 < attacked.loc[["fedavg", "krum"], "mean"].min()
    assert attacked.loc["median", "mark"] is None
    assert not attacked.loc["median", "tied"]
    assert "best" in attacked["mark"].tolist()
    whole = pivot.whole(shown)
    assert whole.marks[:, pivot.page.rows.index("median")].tolist() == [None] * len(whole.marks)
    text = write.chosen(tmp_path / "g", metric="attack_success_rate", form="md")
    assert "**" not in next(line for line in text.splitlines() if line.startswith("| median"))


LOST = "no prediction for some test images in rounds 2, 100 (logits not finite)"
CLAMPED = "running variances set to 0 in round 7"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = write_grid(tmp_path_factory.mktemp("grids") / "grid", no_prediction=True)
    write.write(made)
    return made


def test_the_frame_says_in_which_rounds(folder: Path) -> None:
    frame = frames.load(folder)
    tidy = metrics.evaluate(frame)
    hit = frame[frame["no_prediction"].map(bool)]
    assert hit["no_prediction"].tolist() == [(2, 100)]
    assert [c.shape for c in hit["confusion"]] == [(3, 10, 11)]
    assert hit["confusion"].iloc[0][:, 3, 10].tolist() == [0, 100, 100]
    own = tidy[tidy["no_prediction"] > 0]
    assert own[["no_prediction", "no_prediction_rounds", "clamped_rounds"]].values.tolist() == [[100, (2, 100), ()]]
    assert tidy.loc[tidy["clean"], "clamped_rounds"].tolist().count((7,)) == 1
    assert {g.kind for g in guards(frame, tidy)} >= {"no_prediction", "clamped"}
    assert "rounds 2, 100 of 1 of 12 cells" in next(g.text for g in guards(frame, tidy) if g.kind == "no_prediction")


@pytest.mark.parametrize(
    ("file", "lost", "clamped"),
    [
        ("tables/summary.md", f"{LOST}; 1 of 2 cells", f"{CLAMPED}; 1 of 2 cells"),
        ("tables/summary.tex", "no prediction for some test images in rounds 2, 100", CLAMPED),
        ("tables/summary.csv", LOST, CLAMPED),
        ("tables/worst_over_attacks.csv", LOST, LOST),
        ("tables/comparisons.csv", LOST, CLAMPED),
        ("tables/statistics.csv", LOST, CLAMPED),
        ("tables/decomposition.csv", LOST, CLAMPED),
        ("tables/cells.csv", ",100,2 100,,", ",0,,7,"),
        ("report.html", LOST, CLAMPED),
    ],
)
def test_every_table_and_the_page_mark_it(folder: Path, file: str, lost: str, clamped: str) -> None:
    text = (folder / file).read_text()
    assert lost in text
    assert clamped in text


def test_the_terminal_and_a_table_of_ones_own_mark_it(folder: Path) -> None:
    assert LOST in write.summary_text(folder, 100)
    for form in ("md", "csv", "html"):
        assert LOST in write.chosen(folder, form=form)
    # Damage is as doubtful as the worse of the two cells that it compares.
    both = write.chosen(folder, metric="accuracy_damage", form="csv", where=["aggregator=median", "attack=mirrored"])
    assert LOST in both
    assert CLAMPED in both


def test_every_figure_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captions_of: dict[str, str] = {}
    monkeypatch.setattr(Sheet, "finish", lambda self, title="", subtitle="", caption="", *_, **__: caption)
    frame = frames.load(folder)
    for planned in catalogue.figures(pivots(frame, metrics.evaluate(frame)), {}):
        captions_of[planned.name] = str(planned.draw())
    assert len(captions_of) > 5
    about_all = {name: text for name, text in captions_of.items() if "targeted" not in name}
    assert [name for name, text in about_all.items() if MARK not in text or "no prediction" not in text] == []


@pytest.mark.slow
def test_old_records_read_as_before(tmp_path: Path) -> None:
    frame = frames.load(write_grid(tmp_path / "grid", no_prediction=False))
    assert set(frame["no_prediction"]) == set(frame["clamped"]) == {()}
    assert {c.shape for c in frame["confusion"]} == {(3, 10, 10)}
    write.write(tmp_path / "grid")
    assert MARK not in (tmp_path / "grid" / "tables" / "summary.md").read_text()
