"""Cells that are evaluated on what their clients hold out: which examples these are; the test set is not used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from flipbench.attacks.contract import Stamped
from flipbench.data import in_memory
from flipbench.data.dataset import Dataset
from flipbench.errors import UserError
from flipbench.federation import tasks
from flipbench.federation.attack_search import clean_of
from flipbench.federation.federation import Federation, finish
from flipbench.federation.population import populate
from flipbench.federation.records import Job
from flipbench.spec.cell import Cell
from tests.helpers.small_federation import CLASSES, FACTS, blobs, mirror, uneven

HELD: dict[str, Any] = {"validation_share": 0.25, "evaluate_on": "validation"}
DIGITS = {"dataset": "digits(train=300, test=100)", "model": "softmax", "rounds": 3, "clients": 5, **HELD}


def test_held_out_examples_are_what_no_client_trains_on() -> None:
    _, labels = blobs()
    people = populate(Cell(**FACTS, **HELD), labels, CLASSES, uneven, None)
    trained = torch.cat(people.parts)
    assert sorted([*trained.tolist(), *people.held_out.tolist()]) == list(range(150))
    assert len(people.held_out) == sum(round(0.25 * n) for n in (1, 2, 3, 4, 5, 135))
    attacked = populate(Cell(**FACTS, **HELD, attack="mirrored", malicious_count=3), labels, CLASSES, uneven, mirror)
    assert attacked.held_out.equal(people.held_out)  # whoever is malicious holds out the same
    assert attacked.labels[attacked.held_out].equal(labels[people.held_out])  # with true labels


def test_a_share_of_which_nothing_is_left_is_refused() -> None:
    _, labels = blobs()
    even: Any = lambda labels, clients, draws: list(torch.arange(len(labels)).split(25))  # noqa: E731
    with pytest.raises(UserError, match=r"validation_share 0\.001 of at most 25 examples of a client is none"):
        populate(replace(Cell(**FACTS), **HELD | {"validation_share": 0.001}), labels, CLASSES, even, None)
    with pytest.raises(ValueError, match=r"evaluate_on is validation.*give validation_share"):
        Cell(evaluate_on="validation")


def _results(cell: Cell, poison: bool = False) -> dict[str, Any]:
    """What is stored of a cell; with other images and labels in the place of the test set, where ``poison``."""
    prepared = tasks.prepare([Job(cell, {})], None)
    task = prepared.task
    if poison:
        task = replace(task, test=torch.full_like(task.test, torch.nan), test_labels=(task.test_labels + 1) % 10)
    result, _ = finish(Federation(prepared.cells, prepared.populations, task, prepared.parts))[0]
    return result


@pytest.mark.parametrize(
    "facts",
    [
        {"attack": "mirrored", "malicious_count": 2},
        {"attack": "backdoor(target=3)", "malicious_count": 2, "flip_rate": 0.5},
        {"attack": "confusable", "malicious_count": 2},
    ],
)
def test_the_test_set_does_not_matter(facts: dict[str, Any]) -> None:
    cell = Cell(**DIGITS, **facts)
    held, poisoned = _results(cell), _results(cell, poison=True)
    assert held == poisoned
    assert sum(map(sum, held["confusion"][-1])) == sum(round(0.25 * 60) for _ in range(5))
    assert _results(replace(cell, evaluate_on="test")) != _results(replace(cell, evaluate_on="test"), poison=True)


def test_stamped_validation_images_are_those_of_the_held_out_examples() -> None:
    cell = Cell(**DIGITS, attack="backdoor(target=3)", malicious_count=2, flip_rate=0.5)
    prepared, result = tasks.prepare([Job(cell, {})], None), _results(cell)
    assert prepared.task.stamped_test is None  # no test image was stamped
    people = prepared.populations[0]
    truth = torch.bincount(people.labels[people.held_out], minlength=10)
    truth[3] = 0  # what is of the target's class already shows nothing
    assert torch.tensor(result["stamped"][-1]).sum(1).equal(truth)


def test_an_attack_on_examples_is_not_asked_for_test_images() -> None:
    dataset: Dataset = in_memory.dataset_of(str(DIGITS["dataset"]), "")
    asked: list[int] = []

    def stamp(images: Any, labels: Any, context: Any) -> Stamped:
        asked.append(len(images))
        return Stamped(images.clone(), labels.clone(), torch.ones(len(labels), dtype=torch.bool))

    cell = Cell(**DIGITS, attack="backdoor(target=3)", malicious_count=2)
    job = Job(cell, {})
    tasks._stamped(cell, stamp, dataset.train_y, tasks._task_of(job))
    assert asked == [300]
    tasks._stamped(replace(cell, evaluate_on="test"), stamp, dataset.train_y, tasks._task_of(job))
    assert asked == [300, 300, 100]


def test_adaptive_attacks_learn_what_they_would_of_a_reported_cell() -> None:
    cell = Cell(**DIGITS, attack="confusable", malicious_count=2)
    assert clean_of(cell) == clean_of(replace(cell, evaluate_on="test"))
