"""Detection scores against plain loops over hand-made selections and random ones."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flipbench.analysis import frame as frames
from flipbench.analysis.cell_scores import detection
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.metrics import evaluate
from flipbench.store.store import Store
from tests.helpers import records

N = 20
ATTACKED = {"attack": "mirrored", "malicious_count": 3, "declared_byzantine": 3}


def told(*dropped: int) -> list[int]:
    return [0 if c in dropped else 1 for c in range(N)]


def tidy_of(folder: Path, **result: Any) -> dict[str, Any]:
    """The row of a cell with clients 0, 1, 2 malicious, and of its clean twin with the same selections."""
    store = Store(folder)
    cells = [records.record(**ATTACKED, result=result), records.record(declared_byzantine=3, result=result)]
    for cell in cells:
        store.publish(cell)
    store.write_plan({"grid": "g", "keys": [cell["key"] for cell in cells]})
    rows = evaluate(frames.load(folder)).set_index("clean")
    return {"attacked": rows.loc[False], "clean": rows.loc[True]}


def test_hand_made_selections_give_the_scores_that_one_counts(tmp_path: Path) -> None:
    # Three rounds: nobody, one of three malicious and one of seventeen honest, two and none.
    rows = tidy_of(tmp_path, kept=[told(), told(1, 5), told(1, 2)])
    row = rows["attacked"]
    assert row["detection_by"] == "selection"
    assert row["detection_precision"] == pytest.approx(3 / 4)
    assert row["detection_recall"] == pytest.approx(3 / 9)
    assert row["detection_f1"] == pytest.approx(2 * 3 / (2 * 3 + 1 + 6))
    assert row["detection_fpr"] == pytest.approx(1 / 51)
    assert row["honest_dropped"] == pytest.approx(1 / 3)
    assert row["rounds_until_caught"] == 2
    assert row["never_caught"] == pytest.approx(1 / 3)
    # Of two values, chance of less plus half of the ties: 1/2; 1/3 · 16/17 + (1/3 · 1/17 + 2/3 · 16/17) / 2; 2/3 + 1/6.
    assert row["detection_auc"] == pytest.approx((1 / 2 + (16 + (1 + 32) / 2) / 51 + 5 / 6) / 3)
    clean = rows["clean"]
    assert clean["detection_fpr"] == pytest.approx(4 / 60)
    assert clean["honest_dropped"] == pytest.approx(4 / 3)
    assert clean[["detection_precision", "detection_recall", "detection_f1", "detection_auc"]].isna().all()
    assert clean[["never_caught", "rounds_until_caught"]].isna().all()


def test_a_rule_that_drops_all_malicious_and_no_honest_clients_is_perfect(tmp_path: Path) -> None:
    row = tidy_of(tmp_path, kept=[told(0, 1, 2)] * 3)["attacked"]
    names = ["detection_precision", "detection_recall", "detection_f1", "detection_auc", "rounds_until_caught"]
    assert row[names].tolist() == [1.0] * 5
    assert row[["detection_fpr", "never_caught", "honest_dropped"]].tolist() == [0.0] * 3


def test_a_plain_mean_drops_nobody_and_says_that_precision_is_undefined(tmp_path: Path) -> None:
    row = tidy_of(tmp_path)["attacked"]
    assert row["detection_by"] == "influence"
    assert row[["detection_recall", "detection_f1", "detection_fpr"]].tolist() == [0.0] * 3
    assert row["detection_auc"] == 0.5
    assert row["never_caught"] == 1.0
    assert math.isnan(row["detection_precision"])
    assert math.isnan(row["rounds_until_caught"])
    assert math.isnan(row["selection_agreement"])


def test_only_rounds_under_attack_count(tmp_path: Path) -> None:
    kept = [told(7, 8, 9), told(0), told(0, 1, 2)]
    row = tidy_of(tmp_path, kept=kept, attacked_rounds=[2, 3])["attacked"]
    assert row["detection_recall"] == pytest.approx(4 / 6)
    assert row["detection_fpr"] == 0.0
    assert row["rounds_until_caught"] == 1


def test_rounds_that_are_not_known_are_left_out(tmp_path: Path) -> None:
    nothing, even = [None] * N, [1.0 / N] * N
    row = tidy_of(tmp_path, kept=[None, told(0), None], influence=[nothing, nothing, even])["attacked"]
    assert row["detection_recall"] == pytest.approx(1 / 6)
    assert row["rounds_until_caught"] == 1  # the first round is not known
    nowhere = tidy_of(tmp_path / "other", influence=[nothing] * 3)["attacked"]
    assert nowhere[[*detection.COLUMNS]].isna().all()


def test_word_and_weights_agree_up_to_clients_of_equal_weight(tmp_path: Path) -> None:
    mean_of = lambda *who: [1 / len(who) if c in who else 0.0 for c in range(N)]  # noqa: E731
    others = [c for c in range(N) if c not in (0, 1)]
    kept = [told(*others, 1), told(*others), told(*others, 1)]
    influence = [mean_of(0), mean_of(0, 2), mean_of(0, 1)]  # equal; another one is in it; 0 and 1 sent the same
    assert tidy_of(tmp_path, kept=kept, influence=influence)["attacked"]["selection_agreement"] == pytest.approx(2 / 3)


def oracle(weights: Any, kept: Any, clients: Any, malicious: set[int], numbers: Any) -> dict[str, float]:
    """Every score by counting, one client and one pair at a time."""
    tp = fp = fn = tn = rounds = 0
    areas, caught, present, first, start = [], set(), set(), None, None
    for r, ids in enumerate(clients):
        spoken = all(k >= 0 for k in kept[r])
        if not spoken and any(math.isnan(w) for w in weights[r]):
            continue
        if malicious and not any(c in malicious for c in ids):
            continue
        rounds += 1
        start = numbers[r] if start is None else start
        value = [float(k) for k in kept[r]] if spoken else [w * len(ids) for w in weights[r]]
        out = [v < 0.5 for v in value]
        for c, gone in zip(ids, out, strict=True):
            if c in malicious:
                present.add(c)
                tp, fn = tp + gone, fn + (not gone)
                if gone:
                    caught.add(c)
                    first = numbers[r] if first is None else first
            else:
                fp, tn = fp + gone, tn + (not gone)
        of = dict(zip(ids, value, strict=True))
        pairs = [(of[c], of[d]) for c in ids if c in malicious for d in ids if d not in malicious]
        if pairs:
            areas.append(sum(0.5 if abs(a - b) <= 0.01 else float(a < b) for a, b in pairs) / len(pairs))
    nan = float("nan")
    return {
        "detection_precision": tp / (tp + fp) if malicious and tp + fp else nan,
        "detection_recall": tp / (tp + fn) if tp + fn else nan,
        "detection_f1": 2 * tp / (2 * tp + fp + fn) if malicious and tp + fp + fn else nan,
        "detection_fpr": fp / (fp + tn) if fp + tn else nan,
        "detection_auc": sum(areas) / len(areas) if areas else nan,
        "never_caught": len(present - caught) / len(present) if present else nan,
        "honest_dropped": fp / rounds if rounds else nan,
        "rounds_until_caught": first - start + 1 if first is not None else nan,
    }


@pytest.mark.parametrize("seed", range(12))
def test_random_rounds_give_what_counting_gives(seed: int) -> None:
    g = np.random.default_rng(seed)
    cells, rounds, n, members, bad = 3, 4, 7, 10, seed % 4
    weights = g.choice([0.0, 0.05, 0.1, 1 / 7, 0.3], (cells, rounds, n))
    weights[g.random((cells, rounds)) < 0.2, 2] = np.nan
    kept = g.integers(0, 2, (cells, rounds, n)).astype(np.int8)
    kept[g.random((cells, rounds)) < 0.5] = -1
    clients = np.array([[g.permutation(members)[:n] for _ in range(rounds)] for _ in range(cells)])
    numbers = np.array([1, 3, 4, 9])
    malicious = set(range(bad))
    theirs = np.isin(clients, list(malicious))
    every = np.ones((cells, rounds), dtype=bool)
    got = detection.scores(detection.Rounds(weights, kept, theirs, every, numbers, clients))
    for c in range(cells):
        wanted = oracle(weights[c].tolist(), kept[c].tolist(), clients[c].tolist(), malicious, numbers.tolist())
        for name, value in wanted.items():
            assert got[name][c] == pytest.approx(value, nan_ok=True), (name, c)


def test_scores_can_be_shown_as_metrics() -> None:
    recall, rate = metric_column("detection_recall"), metric_column("detection_fpr")
    assert (recall.heading, recall.clean, recall.higher_is_better) == ("Detection recall (%)", None, True)
    assert (rate.clean, rate.higher_is_better) == ("detection_fpr", False)
