"""Labels that a grid gives, and attacks that cannot act: said with their place before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flipbench.analysis import frame as frames
from flipbench.cli.commands.report import relabel
from flipbench.grid import reader
from flipbench.grid.reader import GridError
from flipbench.report import write
from flipbench.spec.key import key_of_normal
from tests.helpers import records

AXES = """name: g
base: {dataset: digits, clients: 10, rounds: 4, malicious_fraction: 0.2}
axes:
  aggregator: [fedavg, krum, nnm | krum, krum(power=1)]
  attack: [mirrored, "targeted(source=4, target=6)"]
"""


def read(tmp_path: Path, text: str) -> reader.Grid:
    path = tmp_path / "g.yaml"
    path.write_text(text, encoding="utf-8")
    return reader.read(path)


def test_labels_are_read_and_change_no_key(tmp_path: Path) -> None:
    given = (
        "labels: {krum: 'Krum [3]', krum(power=1): Krum one, attack: {mirrored: Flip}, malicious_fraction: {0.2: few}}"
    )
    plain, labelled = read(tmp_path, AXES), read(tmp_path, AXES + given)
    expected = [("", "krum", "Krum [3]"), ("", "krum(power=1)", "Krum one"), ("attack", "mirrored", "Flip")]
    assert list(labelled.labels) == [*expected, ("malicious_fraction", 0.2, "few")]
    assert [key_of_normal(c, {}) for c in plain.cells] == [key_of_normal(c, {}) for c in labelled.cells]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("labels: {krumm: x}", ":6:10: labels: 'krumm' is neither"),
        ("labels: {krumm: x}", "did you mean 'krum'"),
        ("labels: {krum: Ours, fedavg: Ours}", "'Ours' would stand for"),
        ("labels: {krum: fedavg}", "'fedavg' would stand for fedavg and krum"),
        ("labels: {attack: {miror: x}}", ":6:19: labels: attack: the grid has no attack 'miror' - did you mean"),
        ("labels: {malicious_fraction: {0.3: x}}", "the grid has no malicious_fraction 0.3"),
        ("labels: {rounds: x}", "needs a mapping of values of rounds"),
        ("labels: {krum: 3}", "a label is a text"),
        ("labels: [krum]", "labels: needs a mapping"),
    ],
)
def test_mistakes_in_labels_are_named(tmp_path: Path, given: str, message: str) -> None:
    with pytest.raises(GridError) as caught:
        read(tmp_path, AXES + given)
    assert message in str(caught.value)


def test_new_labels_are_drawn_without_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "g"
    store = records.write_grid(
        folder, aggregators=("fedavg", "krum"), attacks={"mirrored": records.LABEL_FLIPS["mirrored"]}, seeds=(0,)
    )
    read(tmp_path, AXES + "labels: {krum: 'Krum [3]', attack: {mirrored: Flip}}")
    relabel(folder, str(tmp_path / "g.yaml"))
    assert json.loads((folder / "plan.json").read_text())["labels"][0] == ["", "krum", "Krum [3]"]
    text = write.summary_text(folder)
    assert "Krum [3]" in text
    assert "Accuracy (%), Flip" in text
    with frames.labels_of(frames.load(folder)):
        assert "Krum [3]" in write.chosen(folder, form="tex")
    assert store.read_plan()["keys"]


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("base: {attack: mirrored, malicious_count: 2, rounds: 3, attack_start: 100}", "1:71", "begins in round 100"),
        ("base: {attack: mirrored, malicious_count: 2, rounds: 3, attack_availability: 0.1}", "1:78", "is no round"),
        ("base: {attack: mirrored, malicious_count: 2, flip_rate: 0.0}", "1:57", "selects no label"),
        ("base: {attack: backdoor(target=0), malicious_count: 2, flip_rate: 0.0}", "1:67", "selects no label"),
        ("base: {attack: mirrored, clients: 10, malicious_fraction: 0.01}", "1:59", "no malicious client"),
        ("base: {attack: mirrored}", "1:16", "no client is malicious"),
        ("base: {attack: mirrored, malicious_count: 0}", "1:16", "no client is malicious"),
    ],
)
def test_an_attack_that_cannot_act_is_a_warning(tmp_path: Path, text: str, place: str, said: str) -> None:
    (warning,) = read(tmp_path, text).warnings
    assert f"g.yaml:{place}: " in warning
    assert said in warning


@pytest.mark.parametrize(
    "text",
    [
        "base: {attack: mirrored, malicious_count: 2}",
        "base: {attack: mirrored}\naxes: {malicious_fraction: [0.0, 0.2]}",
        "base: {attack: sign_flip, malicious_count: 2, flip_rate: 0.0}",
        "base: {attack: none}",
    ],
)
def test_an_attack_that_acts_somewhere_is_none(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).warnings == ()
