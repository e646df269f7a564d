"""The block ``tune:``: what it refuses, with place; the candidates of each choice; the cells of the trials."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from flipbench.grid import reader
from flipbench.grid.reader import Grid, GridError
from flipbench.grid.trials import Tuning
from flipbench.papers import reader as papers
from flipbench.spec.twins import normal

BASE = "base: {dataset: digits, model: softmax, rounds: 3, clients: 5, validation_share: 0.2}\n"
AXES = (
    "axes: {aggregator: [fedavg, centered_clipping, nnm | trimmed_mean], attack: [mirrored, uniform], seed: [0, 1]}\n"
)
TUNE = "tune: {fields: {learning_rate: [0.1, 1]}, seeds: [7, 8]}\n"


def read(*parts: str, sets: tuple[str, ...] = ()) -> Grid:
    return reader.read_text("".join(parts) + "\n", "g", "g.yaml", sets)


def wrong(*parts: str, sets: tuple[str, ...] = ()) -> tuple[str, ...]:
    with pytest.raises(GridError) as caught:
        read(*parts, sets=sets)
    return caught.value.errors


MALICIOUS = BASE.replace("0.2}", "0.2, malicious_fraction: 0.4}")


def tuned(fields: str, more: str = "") -> Grid:
    return read(MALICIOUS, AXES, f"tune: {{fields: {{{fields}}}, seeds: [7, 8]{more}}}")


def trials(fields: str, more: str = "") -> Tuning:
    found = tuned(fields, more).tuning
    assert found is not None
    return found


def test_each_aggregator_has_the_same_number_of_candidates() -> None:
    grid = tuned("learning_rate: [0.1, 1], momentum: [0, 0.5, 0.9], aggregator.radius: [1, 10, 100]")
    assert grid.tuning is not None
    assert [len(c.candidates) for c in grid.tuning.choices] == [6, 6, 6]
    assert [c.possible for c in grid.tuning.choices] == [6, 18, 6]
    every = [
        dict(zip(("learning_rate", "momentum"), pair, strict=True))
        for pair in itertools.product((0.1, 1.0), (0, 0.5, 0.9))
    ]
    assert [dict(c) for c in grid.tuning.choices[0].candidates] == every  # the last field runs fastest
    drawn = [tuple(c.items()) for c in grid.tuning.choices[1].candidates]
    assert len(set(drawn)) == 6
    assert all(set(c) == {"learning_rate", "momentum", "aggregator.radius"} for c in grid.tuning.choices[1].candidates)


def test_a_draw_is_seeded_and_equal_products_are_drawn_from_alike() -> None:
    fields = "learning_rate: [0.01, 0.03, 0.1, 0.3, 1], momentum: [0, 0.5, 0.9]"
    first, again = trials(fields, ", budget: 4"), trials(fields, ", budget: 4")
    other = trials(fields, ", budget: 4, draw: 1")
    assert first.choices == again.choices != other.choices
    assert len({tuple(map(str, c.candidates)) for c in first.choices}) == 1
    assert [len(c.candidates) for c in first.choices] == [4, 4, 4]


def test_where_there_are_fewer_combinations_than_the_budget_none_is_repeated() -> None:
    grid = tuned("learning_rate: [0.1, 1], aggregator.radius: [1, 10]", ", budget: 4")
    assert grid.tuning is not None
    assert [(len(c.candidates), c.possible) for c in grid.tuning.choices] == [(2, 2), (4, 4), (2, 2)]


def test_trials_are_cells_of_validation_examples_on_seeds_of_their_own() -> None:
    grid = tuned("learning_rate: [0.1, 1]")
    assert grid.tuning is not None
    tried = grid.tuning.trials
    assert len(tried) == 3 * 2 * 2 * 2  # aggregators, attacks, candidates, seeds; no clean twins
    assert {(t.evaluate_on, t.seed) for t in tried} == {("validation", 7), ("validation", 8)}
    assert {(c.evaluate_on, c.seed) for c in grid.cells} == {("test", 0), ("test", 1)}
    assert all(t == normal(t) for t in tried)
    assert {t.learning_rate for t in tried} == {0.1, 1.0}


def test_a_choice_is_made_for_what_a_defender_knows() -> None:
    partitions = ("iid", "dirichlet(alpha=0.5)")
    axes = f"axes: {{aggregator: [fedavg, krum], attack: [mirrored], partition: [{', '.join(partitions)}], "
    axes += "malicious_count: [1, 2]}\n"
    grid = read(BASE, axes, TUNE)
    assert grid.tuning is not None
    settings = [(c.aggregator, dict(c.setting)) for c in grid.tuning.choices]
    assert settings == [(a, {"partition": p}) for a in ("fedavg", "krum") for p in partitions]


def test_tuned_cells_take_what_was_chosen_under_the_name_that_the_grid_gives() -> None:
    grid = tuned("learning_rate: [0.1, 1], aggregator.radius: [1, 10]", ", budget: 4")
    assert grid.tuning is not None
    cells = grid.tuning.tuned([1, 2, None])
    of = {name: {c.learning_rate for c in cells if cells[c] == name} for name in set(cells.values())}
    assert of == {"fedavg": {1.0}, "centered_clipping": {1.0}, "nnm | trimmed_mean": {0.1}}
    assert {c.aggregator for c in cells if cells[c] == "centered_clipping"} == {"centered_clipping(radius=1)"}
    assert len(cells) == 3 * 2 * 3  # aggregators, seeds, two attacks and the clean twin
    assert {c.evaluate_on for c in cells} == {"test"}


@pytest.mark.parametrize(
    ("tune", "text"),
    [
        ("tune: 3", "g.yaml:3:7: tune: needs a mapping"),
        ("tune: {seeds: [7]}", "g.yaml:3:7: tune: fields: needs fields with candidates"),
        ("tune: {fields: {learning_rate: [0.1, 1]}}", "g.yaml:3:7: tune: seeds: needs a list of seeds that are not"),
        ("tune: {fields: {learning_rate: [0.1, 1]}, seeds: []}", "got an empty list"),
        ("tune: {fields: {learning_rate: [0.1, 1]}, seeds: [1]}", "3:51: tune: seeds: 1 is a seed of the reported"),
        ("tune: {fields: {learning_rate: [0.1, 1]}, seeds: [7, 7]}", "3:54: tune: seeds: 7 is given twice"),
        ("tune: {fields: {learning_rate: [0.1, 1]}, seeds: [-1]}", "greater than or equal to 0"),
        ("tune: {fields: {learning_rate: [0.1]}, seeds: [7]}", "at least two candidates, got 1"),
        ("tune: {fields: {learning_rate: 1}, seeds: [7]}", "a list of at least two candidates"),
        ("tune: {fields: {learning_rate: [0.1, 0.1]}, seeds: [7]}", "3:38: tune: learning_rate: 0.1 is given twice"),
        ("tune: {fields: {learning_rate: [0.1, big]}, seeds: [7]}", "3:38: tune: learning_rate: should be a valid"),
        ("tune: {fields: {lerning_rate: [1, 2]}, seeds: [7]}", "unknown field - did you mean 'learning_rate'?"),
        ("tune: {fields: {clients: [4, 5]}, seeds: [7]}", "part of the experiment and cannot be tuned; there are"),
        ("tune: {fields: {aggregator: [krum, median]}, seeds: [7]}", "tune an option, like aggregator.radius"),
        ("tune: {fields: {aggregator.foo: [1, 2]}, seeds: [7]}", "no aggregator of this grid has an option foo"),
        ("tune: {fields: {aggregator.radius: [1, x]}, seeds: [7]}", "3:40: tune: aggregator.radius: centered"),
        ("tune: {fields: {dataset.train: [1, 2]}, seeds: [7]}", "no option of dataset can be tuned"),
        ("tune: {fields: {optimiser: [sgd, adam], optimiser.beta1: [0.5, 0.9]}, seeds: [7]}", "optimiser is tuned too"),
        ("tune: {fields: {rounds: [1, 2]}, seeds: [7], budget: 1}", "a whole number from 2 to 10,000, got 1"),
        ("tune: {fields: {rounds: [1, 2]}, seeds: [7], criterion: max}", "one of maximin, mean, got 'max'"),
        ("tune: {fields: {rounds: [1, 2]}, seeds: [7], metric: accurracy}", "did you mean 'accuracy'?"),
        ("tune: {fields: {rounds: [1, 2]}, seeds: [7], seed: 3}", "unknown key"),
        ("tune: {rounds: [1, 2], seeds: [7]}", "unknown key - put it under fields:"),
    ],
)  # fmt: skip
def test_mistakes_of_the_block_have_a_place(tune: str, text: str) -> None:
    assert any(text in error for error in wrong(BASE, AXES, tune)), wrong(BASE, AXES, tune)


def test_mistakes_of_the_block_come_with_those_of_the_grid() -> None:
    errors = wrong(BASE.replace("rounds: 3", "rounds: 0"), AXES, "tune: {fields: {momentum: [0, 2]}, seeds: [0]}")
    assert [e.partition(" ")[0] for e in errors] == ["g.yaml:1:49:", "g.yaml:3:31:", "g.yaml:3:44:"]


def test_what_is_tuned_is_no_axis_and_needs_validation_examples() -> None:
    assert "an axis too, at --set learning_rate[0]" in wrong(BASE, AXES, TUNE, sets=("learning_rate=[0.1, 1]",))[0]
    assert "2 is a seed" in wrong(BASE, AXES, TUNE.replace("7", "2"), sets=("seed=[2, 3]",))[0]
    text = wrong(BASE.replace(", validation_share: 0.2", ""), AXES, TUNE)[0]
    assert text == (
        "g.yaml:3:7: tune: trials are evaluated on examples that clients hold out, and none are: add "
        "validation_share: 0.2 under base:"
    )
    assert "leave evaluate_on out" in wrong(BASE, AXES, TUNE, sets=("evaluate_on=validation",))[0]


def test_aggregators_that_differ_only_in_what_is_tuned_are_refused() -> None:
    axes = 'axes: {aggregator: ["centered_clipping(radius=1)", "centered_clipping(radius=2)"], attack: [mirrored]}\n'
    tune = "tune: {fields: {aggregator.radius: [1, 2]}, seeds: [7]}"
    assert "differs from centered_clipping(radius=1) only in what is tuned: keep one" in wrong(MALICIOUS, axes, tune)[0]


def test_fields_that_do_not_go_together_are_found_in_trials_too() -> None:
    tune = "tune: {fields: {local_epochs: [1, 2]}, seeds: [7]}"
    errors = wrong(BASE.replace("rounds: 3", "rounds: 3, local_steps: 2"), AXES, tune)
    assert any("local_epochs and local_steps are both set" in e for e in errors)
    tune = "tune: {fields: {model: [softmax, 'cnn(channels=[2, 2, 2, 2, 2, 2])']}, seeds: [7]}"
    assert any(e.startswith("g.yaml:3:34: model:") for e in wrong(BASE, AXES, tune))


def test_a_paper_is_not_tuned(tmp_path: Path) -> None:
    text = (papers.SHIPPED / "foolsgold.yaml").read_text().replace("name: foolsgold", "name: mine")
    (tmp_path / "mine.yaml").write_text(text + "\n" + TUNE)
    with pytest.raises(GridError, match="tune: belongs into a grid"):
        papers.read(tmp_path / "mine.yaml")
