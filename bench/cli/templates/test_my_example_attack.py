"""What my_example_attack promises; run it with: pytest test_my_example_attack.py"""

from pathlib import Path
from runpy import run_path

import pytest
import torch

from flipbench.attacks import ExampleContext

my_example_attack = run_path(str(Path(__file__).with_name("my_example_attack.py")))["my_example_attack"]

CONTEXT = ExampleContext(classes=10, low=0.0, high=1.0)


def images(count: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return 0.9 * torch.rand(count, 1, 8, 8, generator=g), torch.arange(count) % 10


def test_the_lowest_row_is_bright_and_the_rest_as_before() -> None:
    x, y = images()
    stamped = my_example_attack(x, y, CONTEXT).examples
    assert (stamped[..., -1, :] == 1.0).all()
    assert torch.equal(stamped[..., :-1, :], x[..., :-1, :])


def test_all_but_the_target_class_are_eligible_and_become_it() -> None:
    x, y = images()
    answer = my_example_attack(x, y, CONTEXT, target=3)
    assert torch.equal(answer.eligible, y != 3)
    assert (answer.labels == 3).all()


def test_an_image_is_stamped_alone_as_among_others() -> None:
    x, y = images()
    alone, among = my_example_attack(x[:1], y[:1], CONTEXT), my_example_attack(x, y, CONTEXT)
    assert torch.equal(alone.examples[0], among.examples[0])


def test_the_images_are_left_alone() -> None:
    x, y = images()
    before = x.clone()
    my_example_attack(x, y, CONTEXT)
    assert torch.equal(x, before)


def test_a_class_that_there_is_not_is_refused() -> None:
    x, y = images()
    with pytest.raises(ValueError, match="from 0 to 9, got 10"):
        my_example_attack(x, y, CONTEXT, target=10)
