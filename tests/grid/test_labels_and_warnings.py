"""Labels that a grid gives, and attacks that cannot act: said with their place before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flipbench.analysis import frame as frames
from flipbench.cli.commands.report import relabel
from flipbench.cli.options import read_grid
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
        "base: {attack: sign_flip, malicious_count: 2}",
        "base: {attack: none}",
    ],
)
def test_an_attack_that_acts_somewhere_is_none(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).warnings == ()


USUAL = "dataset: digits, model: softmax, clients: 8, rounds: 3, local_steps: 2"
ATTACKED = f"{USUAL}, malicious_count: 2, attack: mirrored"


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("augmentation: 'crop(padding=0)'", "moves no image: all that is left is mirroring"),
        ("augmentation: 'crop(padding=0, flip=0)'", "no image changes"),
        ("schedule: step(every=100)", "leaves the learning rate as it is in all 3 rounds"),
        ("schedule: 'step(every=1, factor=1)'", "leaves the learning rate"),
        ("schedule: decay(rate=0)", "leaves the learning rate"),
        ("schedule: cosine(floor=1)", "leaves the learning rate"),
        ("schedule: step(every=9), schedule_clock: client_step", "in all 6 steps"),
        ("schedule_clock: local_step", "a constant schedule counts nothing"),
        ("schedule_start: 4", "a constant schedule counts nothing"),
        ("optimiser_state: kept", "without momentum"),
        ("algorithm: fedprox(mu=0)", "no proximal term"),
        ("noise_at: client", "without a noise_multiplier there is no noise"),
        ("loss: class_balanced(power=0)", "weighs all classes alike"),
        ("reduction: sum, batch_size: 1", "of one example"),
        ("validation_share: 0.001", "of the 180 examples of a client is no example"),
        ("validation_share: 0.999", "of the 180 examples of a client is all of them"),
        ("attack_stop: 9", "after the last of 3 rounds"),
        ("attack_availability: 0.9", "is each of them"),
        ("aggregator: trimmed_mean(trim=0)", "is the mean"),
        ("aggregator: trimmed_mean(beta=0.0)", "is the mean"),
        ("aggregator: norm_clipping(radius=1e200)", "is the mean"),
        ("aggregator: bucketing(s=1) | krum", "bucketing(s=1) leaves the updates as they are"),
        ("aggregator: nnm | clipping(radius=1e30) | krum", "leaves the updates as they are"),
        ("aggregator: median, declared_byzantine: 1", "median takes no f"),
    ],
)
def test_an_option_that_changes_nothing_is_a_warning_with_its_place(tmp_path: Path, field: str, said: str) -> None:
    text = f"base: {{{ATTACKED}, {field}}}"
    (warning,) = read(tmp_path, text).warnings
    assert said in warning
    names = [name.partition(":")[0] for name in field.split(", ")]
    assert any(f"g.yaml:1:{text.index(f' {name}: ') + len(name) + 4}: {name}: " in warning for name in names)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (f"{USUAL}, flip_rate: 0.5", "there is no attack"),
        (f"{USUAL}, malicious_count: 2, attack_start: 2", "there is no attack"),
        (f"{USUAL}, malicious_count: 2, attack: sign_flip, flip_rate: 0.5", "changes updates alone"),
        (f"{USUAL}, malicious_count: 2, attack: sign_flip, flips_trained: false", "changes updates alone"),
        (f"{USUAL}, malicious_count: 2, attack: mirrored | scaled(factor=1)", "scaled(factor=1) sends the updates as"),
        ("dataset: digits, clients: 4, rounds: 1, server_momentum: 0.5", "no step before it"),
        ("dataset: digits, clients: 4, rounds: 1, algorithm: scaffold", "control variates are 0"),
        ("dataset: digits, clients: 4, rounds: 3, local_steps: 2, algorithm: fednova", "fednova is fedavg"),
        ("dataset: digits, clients: 4, rounds: 1, momentum: 0.5, optimiser_state: kept", "with one round"),
        ("dataset: digits, clients: 4, rounds: 1, schedule: cosine", "in the only round"),
    ],
)
def test_fields_that_change_nothing_without_another_are_warnings(tmp_path: Path, fields: str, said: str) -> None:
    (warning,) = read(tmp_path, f"base: {{{fields}}}").warnings
    assert said in warning


@pytest.mark.parametrize(
    "fields",
    [
        "schedule: step(every=2)",
        "schedule: step(every=3), schedule_clock: client_step",
        "schedule: step(every=100), schedule_start: 98",
        "schedule: cosine",
        "momentum: 0.5, optimiser_state: kept",
        "optimiser: adam, optimiser_state: kept",
        "algorithm: fedprox(mu=0.1)",
        "loss: class_balanced",
        "augmentation: crop(flip=0)",
        "validation_share: 0.01",
        "attack_stop: 3",
        "attack_availability: 0.5",
        "aggregator: trimmed_mean(trim=1)",
        "aggregator: norm_clipping(radius=100)",
        "aggregator: bucketing | krum",
        "aggregator: clipping(radius=1000) | median",
        *(f"declared_byzantine: 1, aggregator: {rule}" for rule in ("krum", "nnm | median", "trimmed_mean", "bulyan")),
    ],
)
def test_an_option_that_matters_is_none(tmp_path: Path, fields: str) -> None:
    assert read(tmp_path, f"base: {{{ATTACKED}, {fields}}}").warnings == ()


def test_a_value_that_matters_in_one_cell_is_no_warning(tmp_path: Path) -> None:
    axes = """axes:
  attack: [none, mirrored, sign_flip]
  attack_stop: [2, 3]
  schedule: [constant, step(every=2)]
  schedule_clock: [round, local_step]
  aggregator: [median, krum]
  declared_byzantine: [1, 2]
"""
    assert read(tmp_path, f"base: {{{USUAL}, malicious_count: 2, flip_rate: 0.5}}\n{axes}").warnings == ()


def test_commands_print_what_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "g.yaml").write_text(f"base: {{{USUAL}, schedule: step(every=100)}}")
    read_grid(str(tmp_path / "g.yaml"), None, None, None)  # as plan and run do
    assert "g.yaml:1:90: schedule: step(every=100) leaves the learning rate as it is" in capsys.readouterr().err


def test_shipped_grids_have_no_idle_values() -> None:
    assert {name: reader.read(reader.locate(name)).warnings for name in ("smoke", "label_flip", "ham10000_choice")} == {
        "smoke": (),
        "label_flip": (),
        "ham10000_choice": (),
    }


def test_a_name_that_would_publish_a_folder_is_pointed_out(tmp_path: Path) -> None:
    """Names of plug-ins and their options stand in results; where a data set's files lie does not."""
    rule = tmp_path / "rule.py"
    rule.write_text("def mine(updates, cohort, /, *, table: str = 'x'):\n    'Mine.'\n    return updates.mean(-2)\n")
    text = (
        "name: g\nbase: {dataset: digits, clients: 5, rounds: 1}\n"
        f'axes:\n  aggregator: [fedavg, "{rule}:mine", "{rule}:mine(table=\'/scratch/bob/t\')"]\n'
    )
    found = [w for w in read(tmp_path, text).warnings if "stands in all results" in w]
    assert len(found) == 1
    assert "'/scratch/bob/t'" in found[0]
    assert "'.../t'" in found[0]
    assert "g.yaml:4:" in found[0]
