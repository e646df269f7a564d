"""Grids: cells, clean twins, overrides, hashes of contents."""

import json
import re
import time
from dataclasses import fields, replace

import pytest

from flipbench import data
from flipbench.grid import reader
from flipbench.grid.fields import checked
from flipbench.grid.reader import GridError
from flipbench.spec.cell import Cell
from flipbench.spec.twins import clean_twin, normal
from tests.grid.grid_cases import GOOD
from tests.helpers.paths import ROOT


def test_cells_are_the_product_in_order_with_twins_before_first_use(write):
    cells = reader.read(write(GOOD)).cells
    attacked = [c for c in cells if c.attacked]
    assert len(attacked) == 16
    expected = [
        (rule, count, attack, seed)
        for rule in ("fedavg", "krum")
        for count in (1, 2)
        for attack in ("mirrored", "targeted(source=6, target=4)")
        for seed in (0, 1)
    ]
    assert [(c.aggregator, c.malicious_count, c.attack, c.seed) for c in attacked] == expected
    assert len(cells) == 16 + 8  # one twin a rule, declared f and seed
    seen = set()
    for cell in cells:
        assert cell == normal(cell)
        assert cell == clean_twin(cell) or clean_twin(cell) in seen
        seen.add(cell)
    assert len(seen) == len(cells)


def test_unattacked_cells_are_their_own_twins_and_stand_once(write):
    text = "axes: {malicious_fraction: [0.0], flip_rate: [0.5, 1.0], attack: [mirrored, all_to_one(target=0)]}\n"
    (cell,) = reader.read(write(text)).cells
    assert not cell.attacked


def test_cases_lie_over_the_base(write):
    text = "base: {rounds: 3}\naxes: {seed: [0, 1]}\ncases:\n- {dataset: mnist, rounds: 5}\n- {model: softmax}\n"
    found = [(c.dataset, c.rounds, c.model, c.seed) for c in reader.read(write(text)).cells]
    assert found == [
        ("mnist", 5, "mlp(widths=[100])", 0),
        ("mnist", 5, "mlp(widths=[100])", 1),
        ("mnist5k", 3, "softmax", 0),
        ("mnist5k", 3, "softmax", 1),
    ]


def test_every_pair_is_each_ordered_pair_of_the_data_sets_classes(write):
    text = "base: {attack: every_pair, malicious_count: 2}\ncases: [{dataset: mnist}, {dataset: ham10000}]\n"
    cells = reader.read(write(text)).cells
    for name in ("mnist", "ham10000"):
        classes = len(data.class_names(name) or ())
        attacks = {c.attack for c in cells if c.attacked and c.dataset == name}
        assert len(attacks) == classes * (classes - 1)
        assert f"targeted(source={classes - 1}, target=0)" in attacks
        assert "targeted(source=0, target=0)" not in attacks


def test_mappings_and_texts_name_the_same(write):
    text = "base: {malicious_count: 1}\n"
    text += "axes: {attack: [{name: targeted, target: 4, source: 6}, 'targeted( source=6,target=4 )']}"
    assert [c.attack for c in reader.read(write(text)).cells if c.attacked] == ["targeted(source=6, target=4)"]


def test_the_name_comes_from_the_file_where_none_is_given(write):
    assert reader.read(write("base: {rounds: 1}", "some-name.yaml")).name == "some-name"
    with pytest.raises(GridError, match=r"add a line like name: my_grid"):
        reader.read(write("base: {rounds: 1}", "Some Name.yaml"))


def test_the_shipped_grids_are_sound():
    assert set(reader.shipped()) >= {"label_flip", "smoke", "ham10000", "fashion_mnist", "pairs"}
    for name in reader.shipped():
        one = reader.read(name)
        assert one.name == name
        assert one.cells
        assert one.figures
        assert one.source.splitlines()[0] == "# yaml-language-server: $schema=grid.schema.json"


def test_overrides_replace_base_axes_and_cases(write):
    text = GOOD + "cases: [{rounds: 5}, {rounds: 6}]\n"
    cells = reader.read(write(text), ["rounds=2", "seed=[7]", "attack=mirrored", "malicious_fraction=0.3"]).cells
    assert {(c.rounds, c.seed, c.attack) for c in cells if c.attacked} == {(2, 7, "mirrored")}
    assert {c.malicious_count for c in cells if c.attacked} == {3}


def test_an_option_override_reaches_every_reference_of_the_field(write):
    text = "axes: {aggregator: [trimmed_mean, trimmed_mean(trim=1)]}\n"
    cells = reader.read(write(text), ["aggregator.trim=2", "dataset=digits", "dataset.train=600"]).cells
    assert {c.aggregator for c in cells} == {"trimmed_mean(trim=2)"}
    assert {c.dataset for c in cells} == {"digits(train=600)"}


def test_an_aggregator_is_added_to_the_axis_or_beside_the_base(write):
    rules = [c.aggregator for c in reader.read(write(GOOD), [], ["median"]).cells]
    assert list(dict.fromkeys(rules)) == ["fedavg", "krum", "median"]
    rules = [c.aggregator for c in reader.read(write("base: {aggregator: krum}"), [], ["median", "krum"]).cells]
    assert rules == ["krum", "median"]
    with pytest.raises(GridError, match=r"--aggregator krumm: unknown aggregator"):
        reader.read(write(GOOD), [], ["krumm"])
    with pytest.raises(GridError, match="--aggregator median: this grid's cases"):
        reader.read(write("cases: [{aggregator: krum, rounds: 3}]"), [], ["median"])


@pytest.mark.parametrize("field", fields(Cell), ids=lambda f: f.name)
def test_every_default_is_a_value_that_a_grid_takes(field):
    assert checked(field.name, field.default) == field.default


def test_contents_hash_data_and_plug_ins(tmp_path):
    rule = tmp_path / "rule.py"
    rule.write_text("def first(updates, cohort, /):\n    return updates[..., 0, :]\n")
    cell = Cell(dataset="digits", aggregator=f"{rule}:first")
    reader.forget()
    one = reader.contents(cell)
    assert set(one) == {"dataset", "aggregator"}
    assert all(re.fullmatch("[0-9a-f]{64}", h) for h in one.values())
    assert reader.contents(replace(cell, aggregator="krum")) == {"dataset": one["dataset"]}
    rule.write_text("def first(updates, cohort, /):\n    return updates[..., 1, :]\n")
    reader.forget()
    assert reader.contents(cell)["aggregator"] != one["aggregator"]


def test_the_page_on_grids_tells_every_field_with_its_default_and_its_example_is_sound(write):
    page = (ROOT / "docs" / "grids.md").read_text(encoding="utf-8")
    for field in fields(Cell):
        default = json.dumps(field.default).strip('"')
        assert f"| `{field.name}` | `{default}` | " in page
    example = page.partition("```yaml\n")[2].partition("```")[0]
    attacked = [c for c in reader.read(write(example)).cells if c.attacked]
    assert len([c for c in attacked if c.intent == "malicious"]) == 2 * 3 * 2 * 3 * 3
    assert len([c for c in attacked if c.intent == "honest"]) == 2 * 3 * 2 * 3  # of `honest_noise`, whatever the attack


def test_a_grid_of_many_cells_is_read_within_seconds(write):
    rates = ", ".join(str(i / 100) for i in range(1, 101))
    text = (
        f"base: {{malicious_count: 1, attack: mirrored}}\naxes:\n  flip_rate: [{rates}]\n  seed: {list(range(200))}\n"
    )
    path = write(text)
    began = time.process_time()
    assert len(reader.read(path).cells) == 100 * 200 + 200
    assert time.process_time() - began < 4


def test_cases_that_are_rules_take_another_rule(write):
    """Each case one rule, one of them with a field of its own: another rule is another case, without that field."""
    path = write("cases: [{aggregator: krum}, {aggregator: centered_clipping(radius=2), client_momentum: 0.9}]")

    def pairs(grid):
        return [(c.aggregator, c.client_momentum) for c in grid.cells]

    given = [("krum", 0.0), ("centered_clipping(radius=2)", 0.9)]
    assert pairs(reader.read(path)) == given
    assert pairs(reader.read(path, [], ["median"])) == [*given, ("median", 0.0)]
    assert pairs(reader.read(path, ["aggregator=[median, mean]"])) == [("median", 0.0), ("mean", 0.0)]
