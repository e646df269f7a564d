"""Every mistake of a grid or an override is named at its place."""

import re

import pytest

from flipbench import data
from flipbench.analysis.metric_columns import metric_column
from flipbench.errors import UserError
from flipbench.grid import reader
from flipbench.grid.reader import GridError
from tests.grid.grid_cases import GOOD


def test_an_unknown_grid_says_what_there_is(tmp_path):
    with pytest.raises(UserError, match="did you mean 'label_flip'"):
        reader.read("label_flipp")
    with pytest.raises(UserError, match="looked at"):
        reader.read(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="is a folder"):
        reader.read(tmp_path)


# Each bad grid with what must be said, as line:column: text, in order and nothing else.
BAD = [
    ("nam: x", ["1:1: nam: unknown key - did you mean 'name'?"]),
    ("clients: 3", ["1:1: clients: unknown key - clients is a field: put it under base: or axes:"]),
    ("- a", ["1:1: a grid is a mapping"]),
    ("name: Big Name", ["1:7: name: names the results folder"]),
    ("name: 3", ["1:7: name: "]),
    ('name: "abc\\n"', ["1:7: name: "]),
    ("name: ../x", ["1:7: name: "]),
    ("title: [a]", ["1:8: title: needs text, got a list"]),
    ("base: [1]", ["1:7: base: needs a mapping of fields to values, got a list"]),
    ("base: {client: 3}", ["1:8: client: unknown field - did you mean 'clients'?"]),
    ("base: {clients: twenty}", ['1:17: clients: should be a valid integer, got "twenty"']),
    ("base: {clients: 0}", ["1:17: clients: should be greater than or equal to 1, got 0"]),
    ("base: {clients: true}", ["1:17: clients: should be a valid integer, got true"]),
    ("base: {clients: 2.0}", ["1:17: clients: should be a valid integer, got 2.0"]),
    ("base: {clients: [1, 2]}", ["1:17: clients: needs one value, got a list; to vary it, write it under axes"]),
    ("base: {clients: 010}", ["1:17: 010 is read differently"]),
    ("base: {clients: 3, rounds: 1, clients: 4}", ["1:31: the key 'clients' is given twice; the first is at 1:8"]),
    ("base: {learning_rate: .nan}", ["1:23: learning_rate: "]),
    ("base: {learning_rate: .inf}", ["1:23: learning_rate: "]),
    ("base: {learning_rate: 0}", ["1:23: learning_rate: should be greater than 0, got 0"]),
    ("base: {momentum: 1}", ["1:18: momentum: should be less than 1, got 1"]),
    ("base: {batch_size: half}", ["1:20: batch_size: "]),
    ("base: {device: gpu}", ["1:16: device: should be 'cpu' or 'cuda', got \"gpu\""]),
    ("base: {seed: no}", ['1:14: seed: should be a valid integer, got "no"']),
    ("base: {rounds: null}", ["1:16: rounds: should be a valid integer, got null"]),
    ("base: {dataset: mnst}", ["1:17: dataset: unknown data set 'mnst' - did you mean 'mnist'?"]),
    ("base: {aggregator: krumm}", ["1:20: aggregator: unknown aggregator 'krumm' - did you mean 'krum'?"]),
    ("base: {aggregator: 'krum('}", ["1:20: aggregator: 'krum(' lacks its closing bracket"]),
    ("base: {aggregator: trimmed_mean(trm=1)}", ["1:20: aggregator: trimmed_mean: unknown option 'trm'"]),
    (
        "base: {aggregator: trimmed_mean(trim=a)}",
        ["1:20: aggregator: trimmed_mean: option trim: needs a whole number or null, got 'a'"],
    ),
    ("base: {attack: krum}", ["1:16: attack: unknown attack 'krum'"]),
    ("base: {attack: targeted(source=1)}", ["1:16: attack: targeted: needs the option target"]),
    ("base: {attack: every_pair(x=1)}", ["1:16: attack: unknown attack 'every_pair'"]),
    (
        "base: {attack: mirrored | uniform}",
        ["1:16: attack: mirrored | uniform: a chain of attacks needs links that act in diff"],
    ),
    ("base: {attack: {nam: mirrored}}", ["1:16: attack: a reference written as a mapping needs a 'name'"]),
    ("base: {attack: __import__('os')}", ["1:16: attack: "]),
    ("base: {partition: dirichlet}", ["1:19: partition: dirichlet: needs the option alpha"]),
    ("base: {model: mlp}", ["1:15: model: mlp: needs the option widths"]),
    ("base: {model: 'mlp(widths=[])'}", ["1:15: model: mlp needs at least one width"]),
    ("base: {schedule: step(every=0)}", ["1:18: schedule: step needs every >= 1, got 0"]),
    ("base: {features: scaled(divisor=0)}", ["1:18: features: scaled needs a positive divisor"]),
    ("axes: {seed: 3}", ["1:14: seed: an axis needs a list; write seed: [3], or move it under base:"]),
    ("axes: {seed: []}", ["1:14: seed: the axis is empty"]),
    ("axes:\n  attack:\n  seed: [1]", ["2:10: attack: the axis is empty; give at least one value in brackets"]),
    ("axes: {sed: [1]}", ["1:8: sed: unknown field - did you mean 'seed'?"]),
    ("axes: {seed: [1, x, 2, -1]}", ['1:18: seed: should be a valid integer, got "x"', "1:24: seed: "]),
    ("base: {seed: 1}\naxes: {seed: [1]}", ["1:8: seed: given under base and as an axis at 2:8; keep one"]),
    ("axes: {seed: [1]}\ncases: [{rounds: 2}, {seed: 2}]", ["2:23: seed: given under cases and as an axis at 1:8"]),
    ("cases: {seed: 1}", ["1:8: cases: needs a list of mappings"]),
    ("cases: [3]", ["1:9: cases: needs a mapping of fields to values, got 3"]),
    ("cases: [{seeds: 3}]", ["1:10: seeds: unknown field - did you mean 'seed'?"]),
    ("figures: 3", ["1:10: figures: needs a list"]),
    ("figures: {kind: heatmap}", ["1:11: figures: a figure stands in a list"]),
    ("figures: {widht: 3}", ["1:11: figures: unknown key 'widht' - did you mean 'width'?"]),
    ("figures: {width: 0.1}", ["1:18: figures: width: width is a number of inches from 1.5 to 40"]),
    ("figures: {title: 1}", ["1:18: figures: title: title is true or false"]),
    ("figures: {font: Nofont}", ["1:17: figures: font: the font 'Nofont' is not installed here"]),
    ("figures: {draw: [{kind: heatmp}]}", ["1:25: figures: kind: 'heatmp' is none of heatmap, pairs, rounds"]),
    ("figures: [{kind: heatmp}]", ["1:18: figures: kind: 'heatmp' is none of heatmap, pairs, rounds"]),
    ("figures: [{metric: accuracy}]", ["1:11: figures: a figure needs a kind"]),
    (
        "base:\n  local_epochs: 1\n  local_steps: 1\n  malicious_fraction: 0.2\n  malicious_count: 30\n"
        "  clients_per_round: 21\n  attack_start: 3\n  attack_stop: 2\n  attack: all_to_one(target=10)",
        [
            "2:17: local_epochs: local_epochs and local_steps are both set",
            "4:23: malicious_fraction: malicious_fraction and malicious_count are both set",
            "5:20: malicious_count: malicious_count is 30, more than the 20 clients",
            "6:22: clients_per_round: clients_per_round is 21, more than the 20 clients",
            "8:16: attack_stop: attack_stop is 2, before attack_start 3",
            "9:11: attack: all_to_one names class 10",
        ],
    ),
    ("base: {local_epochs: 1, local_steps: 1}", ["1:22: local_epochs: local_epochs and local_steps are both set"]),
    (
        "base: {clients: 3, malicious_count: 4}",
        ["1:37: malicious_count: malicious_count is 4, more than the 3 clients"],
    ),
    (
        "base: {clients: 9}\naxes: {clients_per_round: [3, 10, 12]}",
        ["2:31: clients_per_round: clients_per_round is 10", "2:35: clients_per_round: clients_per_round is 12"],
    ),
    ("base: {attack_start: 5, attack_stop: 2}", ["1:38: attack_stop: attack_stop is 2, before attack_start 5"]),
    (
        "axes:\n  malicious_fraction: [0.1]\nbase: {malicious_count: 1}",
        ["2:24: malicious_fraction: malicious_fraction and malicious_count are both set"],
    ),
    ("base: {attack: all_to_one(target=10), malicious_count: 1}", ["1:16: attack: all_to_one names class 10"]),
    (
        "base: {malicious_count: 1}\naxes:\n  dataset: [mnist, ham10000]\n  attack: [all_to_one(target=8)]",
        ["4:12: attack: all_to_one names class 8; this data has classes 0 to 6"],
    ),
    ("base: {partition: dirichlet(alpha=-1)}", ["1:19: partition: dirichlet needs a finite alpha above 0"]),
    (
        "base: {partition: label_bias(q=0.5)}\naxes: {clients: [5, 20]}",
        ["1:19: partition: label_bias needs at least one client a class: 10 classes, got 5 clients"],
    ),
    ("axes: {seed: [1, 2]", ["1:20: "]),
    ("base: {seed: !!int '3'}", ["1:14: the tag"]),
    (
        "base: {clients: x, rounds: 0}\naxes: {seed: 3, aggregator: [krumm]}\nclient: 1",
        ["1:17: clients", "1:28: rounds", "2:14: seed", "2:30: aggregator", "3:1: client: unknown key"],
    ),
]


@pytest.mark.parametrize(("text", "expected"), BAD, ids=[b[0][:40] for b in BAD])
def test_a_bad_grid_tells_all_its_mistakes_with_their_places(write, text, expected):
    path = write(text)
    with pytest.raises(GridError) as caught:
        reader.read(path)
    errors = caught.value.errors
    assert len(errors) == len(expected), errors
    for error, start in zip(errors, expected, strict=True):
        assert error.startswith(f"{path}:{start}"), error
    assert str(caught.value).endswith("nothing was run")


def test_names_and_classes_that_there_are_are_told_once(write):
    text = "base: {malicious_count: 1}\naxes:\n  dataset: [mnist, ham10000]\n"
    text += (
        '  attack: [all_to_one(target=10), "all_to_one(target=11)", mirored, unifrm]\n  aggregator: [krumm, mediann]'
    )
    with pytest.raises(GridError) as caught:
        reader.read(write(text))
    errors = caught.value.errors
    said = str(caught.value)
    assert len(errors) == 8
    assert said.count("; there are fedavg") == said.count("; there are mirrored") == 1
    for name in data.class_names("ham10000"):
        assert said.count(f" {name}") == 1
    assert sum("(mnist)" in e for e in errors) == 2  # its classes are their numbers
    assert "there are mirrored" in next(e for e in errors if "'mirored'" in e)
    assert "did you mean 'median'" in next(e for e in errors if "'mediann'" in e)


def test_the_product_is_bounded_before_it_is_made(write):
    seeds = ", ".join(map(str, range(1001)))
    text = f"axes:\n  seed: [{seeds}]\n  rounds: [{seeds.replace('0, ', '', 1)}]\n  clients: [1, 2]"
    with pytest.raises(GridError, match=r":2:3: axes: the axes make 2,002,000 cells; at most 1,000,000"):
        reader.read(write(text))


SETS = [
    ("round=3", "unknown field 'round' - did you mean 'rounds'?"),
    ("rounds", "needs the form field=value"),
    ("rounds=", "needs a value behind '='"),
    ("rounds=x", "should be a valid integer"),
    ("rounds=[]", "needs at least one value"),
    ("rounds=010", "read differently"),
    ("clients.x=3", "clients has no options"),
    ("aggregator.trim=3", "fedavg: unknown option 'trim'"),
    ("malicious_count=11", "both set"),
    ("dataset=mnst", "did you mean 'mnist'"),
    ("attack=all_to_one(target=77)", "all_to_one names class 77"),
    ("dataset.path=&nope", "YAML reads a value that starts with & as an anchor: put it between quotes"),
    ("dataset.path=*nope", "as an alias"),
    ("dataset.path=!nope", "as a tag"),
    ("dataset.path=#nope", "as a comment"),
    ("dataset.path=/data/a #b", "YAML reads what stands behind ' #' as a comment"),
]


@pytest.mark.parametrize(("text", "said"), SETS, ids=[s[0] for s in SETS])
def test_a_bad_override_is_told_without_a_line(write, text, said):
    with pytest.raises(GridError) as caught:
        reader.read(write(GOOD), [text])
    matching = [e for e in caught.value.errors if e.startswith(f"--set {text}: ")]
    if text == "malicious_count=11":  # at odds with the file, so either may be blamed
        matching = list(caught.value.errors)
    assert matching
    assert said in matching[0]


def test_what_only_a_trial_finds_is_told_with_its_place_beside_other_mistakes(write):
    path = write(
        """\
name: trial
base: {dataset: mnist5k}
axes:
  aggregator: ["trimmed_mean(trim=-1)", "nnm | median", "multi_krum(keep=0)"]
  attack:
    - "targeted(source=four, target=4)"
    - "targeted(source=3, target=10)"
figures: [{kind: heatmap, metric: acuracy}]
"""
    )
    with pytest.raises(GridError) as caught:
        reader.read(path)
    told = {re.sub(r"^.*?yaml:", "", str(e)) for e in caught.value.errors}
    assert len(told) == 5
    for start, part in [
        ("4:16", "trim must be at least 0, got -1"),
        ("4:57", "keep must be at least 1, got 0"),
        ("6:7", "source"),
        ("7:7", "class 10"),
        ("8:35", "did you mean 'accuracy'"),
    ]:
        assert any(t.startswith(start) and part in t for t in told), (start, told)


# What no run could do with the data and clients of the grid, and the numbers that are the real ones.
IMPOSSIBLE = [
    ("attack=scaled(factor=0)", "scaled needs factor"),
    ("attack=gaussian(deviation=-1)", "gaussian needs deviation"),
    ("attack=sign_flip(scale=-1)", "sign_flip needs scale"),
    ("attack=mimic(client=99)", "needs more than 99 honest clients in a round"),
    ("attack=targeted(source=5, target=0) | scaled(factor=-2)", "scaled needs factor"),
    ("attack=backdoor(size=9, target=0)", "backdoor"),
    ("clients=5000", "there are 1437 examples"),
    ("root_examples=1437", "digits has 1,437 training examples"),
    ("partition=shards(per_client=900)", "there are 1437 examples"),
    ("dataset=mnist5k(train=70000)", "give a number from 1 to 4000"),
]


@pytest.mark.parametrize(("text", "said"), IMPOSSIBLE, ids=[i[0] for i in IMPOSSIBLE])
def test_what_the_data_or_the_clients_cannot_give_is_refused_with_their_numbers(write, text, said):
    path = write("base: {dataset: digits, clients: 10, malicious_count: 2, attack: mirrored}")
    reader.read(path)
    with pytest.raises(GridError) as caught:
        reader.read(path, [text])
    assert any(said in e and f"--set {text}" in e for e in caught.value.errors), caught.value.errors
    assert "60000" not in str(caught.value)


@pytest.mark.parametrize(
    "ref",
    [
        "csv(path='no.csv', label=a)",
        "csv(path='my_grid.yaml', label=a, test_path='no.csv')",
        *(f"{name}(path='no.csv')" for name in ("npz", "images", "hf", "cifar10", "mnist", "svhn", "ham10000")),
        "ham10000_images(metadata='no.csv')",
    ],
)
def test_files_that_are_not_there_are_told_with_the_place_in_the_grid(write, monkeypatch, tmp_path, ref):
    monkeypatch.chdir(tmp_path)
    path = write(f'base:\n  dataset: "{ref}"\n  rounds: x\n')
    with pytest.raises(reader.GridError) as caught:
        reader.read(path)
    assert len(caught.value.errors) == 2
    name = ref.partition("(")[0]
    assert caught.value.errors[0].startswith(f"{path}:2:12: dataset: {name}: ")
    assert caught.value.errors[0].endswith(f"='no.csv': there is no file or folder {tmp_path / 'no.csv'}")


def test_a_folder_that_a_download_fills_need_not_be_there(write):
    cells = reader.read(write("base: {dataset: \"torchvision:STL10(path='not/yet')\"}")).cells
    assert "not/yet" in cells[0].dataset


def test_epsilon_is_no_metric_and_the_message_says_where_it_stands(write):
    with pytest.raises(reader.GridError, match=r"'epsilon' is none of .*; ε and δ are of the settings"):
        reader.read(write("base: {dataset: digits}\nfigures: [{kind: heatmap, metric: epsilon}]\n"))
    with pytest.raises(UserError, match=r"there is no metric 'epsilon'; .* draw accuracy over noise_multiplier"):
        metric_column("epsilon")
