"""Noise twins: honest clients with label noise in place of attackers, and what tables say of rules that drop them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flipbench.analysis import frame as frames
from flipbench.analysis.metrics import evaluate
from flipbench.analysis.pivot import pivots
from flipbench.analysis.warnings import guards
from flipbench.grid import reader
from flipbench.report.tables.detection import detection_blocks
from flipbench.spec.cell import Cell
from flipbench.spec.twins import clean_twin, noise_twin
from flipbench.store.store import Store
from tests.helpers import records

GRID = """
base: {dataset: digits, clients: 10, rounds: 2, model: softmax}
honest_noise: 0.3
axes:
  attack: [mirrored, sign_flip]
  malicious_fraction: [0.2, 0.3]
  seed: [0, 1]
"""
ATTACKED = Cell(attack="sign_flip", malicious_count=3, attack_start=2, aggregator="krum")


def grid_of(folder: Path, text: str) -> reader.Grid:
    path = folder / "noisy.yaml"
    path.write_text(text)
    return reader.read(path)


def test_the_noise_twin_has_as_many_honest_clients_with_wrong_labels_and_the_same_clean_twin() -> None:
    noisy = noise_twin(ATTACKED, 0.3)
    assert noisy is not None
    assert (noisy.intent, noisy.attack, noisy.flip_rate) == ("honest", "uniform", 0.3)
    assert (noisy.malicious_count, noisy.attack_start, noisy.aggregator) == (3, 1, "krum")
    assert clean_twin(noisy) == clean_twin(ATTACKED)
    assert noise_twin(clean_twin(ATTACKED), 0.3) is None
    assert noise_twin(Cell(attack="mirrored", malicious_count=2, malicious_data="fresh"), 0.3) is None


def test_a_grid_has_one_noise_twin_for_all_attacks_of_a_place(tmp_path: Path) -> None:
    cells = grid_of(tmp_path, GRID).cells
    noisy = [cell for cell in cells if cell.intent == "honest"]
    assert sorted((c.malicious_count, c.seed) for c in noisy) == [(2, 0), (2, 1), (3, 0), (3, 1)]
    plain = grid_of(tmp_path, GRID.replace("honest_noise: 0.3\n", "")).cells
    assert [c for c in cells if c not in noisy] == list(plain)


@pytest.mark.parametrize("value", ["0", "1.5", "true", "many", "[0.3]"])
def test_a_share_that_is_none_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(reader.GridError, match=r"noisy.yaml:3:15: honest_noise: needs the share of wrong labels"):
        grid_of(tmp_path, GRID.replace("0.3\n", f"{value}\n", 1))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"attack": "sign_flip"}, "uniform or confusable"),
        ({"attack": "uniform", "malicious_data": "fresh"}, "attackers"),
    ],
)
def test_an_intent_that_makes_no_sense_is_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Cell(intent="honest", malicious_count=2, **fields)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Krum drops noisy client 0 in two rounds of three, noisy client 1 in all; the median drops nobody."""
    store, keys = Store(tmp_path / "g"), []
    everybody = [1] * 20
    without = lambda *who: [0 if c in who else 1 for c in range(20)]  # noqa: E731
    for rule, told in (("krum", [without(0, 1, 9), without(1), without(0, 1)]), ("median", [everybody] * 3)):
        cell = Cell(aggregator=rule, attack="mirrored", malicious_count=2, declared_byzantine=2)
        noisy = noise_twin(cell, 0.5)
        assert noisy is not None
        for one, kept in ((clean_twin(cell), None), (cell, [without(0)] * 3), (noisy, told)):
            made = records.record(one, result={"kept": kept})
            store.publish(made)
            keys.append(made["key"])
    store.write_plan({"grid": "g", "keys": keys})
    return store.folder


def test_a_rule_that_drops_noisy_honest_clients_is_called_intolerant(folder: Path) -> None:
    tidy = evaluate(frames.load(folder))
    attacked = tidy[~tidy["clean"] & (tidy["intent"] == "malicious")].set_index("aggregator")
    assert attacked.loc["krum", "noisy_dropped"] == pytest.approx(5 / 6)
    assert attacked.loc["krum", "noisy_others_dropped"] == pytest.approx(1 / 54)
    assert attacked.loc["krum", "detection_recall"] == pytest.approx(1 / 2)  # under the attack, not in the noise twin
    assert attacked.loc["median", "noisy_dropped"] == 0.0
    assert attacked["intolerant"].tolist() == [True, False]
    noisy = tidy[tidy["intent"] == "honest"]
    assert noisy[["detection_recall", "detection_fpr"]].isna().all(axis=None)  # nobody is malicious
    assert noisy["noisy_dropped"].tolist() == pytest.approx([5 / 6, 0.0])
    assert tidy.loc[tidy["clean"], "intolerant"].isna().all()


def test_noise_twins_are_in_no_table_of_attacks_and_the_block_says_what_they_show(folder: Path) -> None:
    frame = frames.load(folder)
    tidy = evaluate(frame)
    (pivot,) = pivots(frame, tidy)
    assert pivot.page.attacks == ("mirrored",)
    assert "intent" not in (*pivot.page.levels, *pivot.page.settings)
    (block,) = detection_blocks(pivot)
    assert block.header[0][-3:] == ("noisy honest dropped", "others then dropped", "label noise")
    said = {rule: [entry.text for entry in entries[-3:]] for rule, entries in block.rows}
    assert said == {"krum": ["83.3", "1.9", "intolerant"], "median": ["0.0", "0.0", "tolerant"]}
    assert all("honest" not in guard.text for guard in guards(frame, tidy))
