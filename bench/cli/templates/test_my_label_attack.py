"""What my_label_attack promises; run it with: pytest test_my_label_attack.py"""

from pathlib import Path
from runpy import run_path

import pytest
import torch

from flipbench.attacks import LabelContext

my_label_attack = run_path(str(Path(__file__).with_name("my_label_attack.py")))["my_label_attack"]


def context(labels: torch.Tensor, classes: int = 10) -> LabelContext:
    return LabelContext(classes, labels, torch.Generator().manual_seed(0))


def test_each_label_becomes_the_next() -> None:
    labels = torch.tensor([0, 3, 8])
    assert my_label_attack(labels, context(labels)).labels.tolist() == [1, 4, 9]


def test_the_highest_class_is_left_alone() -> None:
    labels = torch.tensor([9, 0])
    assert my_label_attack(labels, context(labels)).eligible.tolist() == [False, True]


def test_the_labels_are_left_alone() -> None:
    labels = torch.arange(10)
    my_label_attack(labels, context(labels))
    assert torch.equal(labels, torch.arange(10))


def test_a_step_that_flips_nothing_is_refused() -> None:
    labels = torch.arange(10)
    with pytest.raises(ValueError, match="from 1 to 9"):
        my_label_attack(labels, context(labels), by=10)
