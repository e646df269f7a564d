"""The backdoor: where the mark lies, what it changes and what it leaves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flipbench.attacks.contract import ExampleContext, Stamped, place
from flipbench.attacks.examples.backdoor import backdoor

CONTEXT = ExampleContext(classes=10, low=-0.4, high=2.8)


def images(count: int = 12, channels: int = 1, height: int = 28, width: int = 28) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.rand(count, channels, height, width, generator=g), torch.arange(count) % 10


def stamp(examples: Tensor, labels: Tensor, **options: Any) -> Stamped:
    return backdoor(examples, labels, CONTEXT, **({"target": 0} | options))


@pytest.mark.parametrize(
    ("corner", "rows", "columns"),
    [
        ("bottom_right", (24, 27), (24, 27)),
        ("bottom_left", (24, 27), (1, 4)),
        ("top_right", (1, 4), (24, 27)),
        ("top_left", (1, 4), (1, 4)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_white_square_near_the_corner_and_nothing_else(
    corner: str, rows: tuple[int, int], columns: tuple[int, int], channels: int
) -> None:
    examples, labels = images(channels=channels)
    stamped = stamp(examples, labels, corner=corner).examples
    mark = torch.zeros(28, 28, dtype=torch.bool)
    mark[slice(*rows), slice(*columns)] = True
    assert (stamped[..., mark] == torch.tensor(2.8)).all()
    assert torch.equal(stamped[..., ~mark], examples[..., ~mark])
    assert mark.sum() == 9


@pytest.mark.parametrize("target", [0, 4, 9])
def test_labels_become_the_target_and_its_own_pictures_are_not_eligible(target: int) -> None:
    examples, labels = images()
    out = stamp(examples, labels, target=target)
    assert (out.labels == target).all()
    assert out.labels.dtype == torch.int64
    assert torch.equal(out.eligible, labels != target)
    assert out.eligible.sum() == len(labels) - (labels == target).sum()


def test_inputs_and_the_global_generator_are_left_alone() -> None:
    examples, labels = images()
    kept, before = (examples.clone(), labels.clone()), torch.random.get_rng_state()
    out = stamp(examples, labels)
    out.examples.zero_()
    assert torch.equal(examples, kept[0])
    assert torch.equal(labels, kept[1])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("pattern", ["square", "cross", "checkerboard"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_picture_is_stamped_alike_whatever_its_neighbours(pattern: str, dtype: torch.dtype) -> None:
    examples, labels = images()
    together = stamp(examples.to(dtype), labels, pattern=pattern).examples
    alone = [stamp(examples[i : i + 1].to(dtype), labels[i : i + 1], pattern=pattern).examples for i in range(12)]
    assert torch.equal(together, torch.cat(alone))
    assert together.dtype == dtype
    again = stamp(together, labels, pattern=pattern).examples
    assert torch.equal(again, together)  # a stamp on a stamp changes nothing
    assert stamp(examples[:0], labels[:0], pattern=pattern).examples.shape == (0, 1, 28, 28)


def test_patterns() -> None:
    examples, labels = torch.full((1, 1, 5, 6), 0.5), torch.tensor([3])
    drawn = {
        p: stamp(examples, labels, pattern=p, size=3, margin=0).examples[0, 0, 2:, 3:].tolist()
        for p in ("square", "cross", "checkerboard")
    }
    o, i, x = pytest.approx(-0.4), pytest.approx(0.5), pytest.approx(2.8)
    assert drawn["square"] == [[x, x, x]] * 3
    assert drawn["cross"] == [[x, i, x], [i, x, i], [x, i, x]]
    assert drawn["checkerboard"] == [[x, o, x], [o, x, o], [x, o, x]]


def test_a_mark_may_cover_the_whole_picture() -> None:
    examples, labels = images(height=4, width=4)
    assert (stamp(examples, labels, size=4, margin=0).examples == torch.tensor(2.8)).all()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"target": 10}, "class 10; this data has classes 0 to 9"),
        ({"target": -1}, "class -1"),
        ({"target": True}, "class True"),
        ({"target": 1.0}, "class 1.0"),
        ({"size": 28}, "28 x 28 pixels, 1 from the edge, does not fit 28 x 28"),
        ({"size": 29, "margin": 0}, "does not fit"),
        ({"size": 0}, "size >= 1"),
        ({"margin": -1}, "margin >= 0"),
        ({"corner": "middle"}, "'middle'"),
        ({"pattern": "star"}, "'star'"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        stamp(*images(), **options)


def test_only_pictures_can_be_stamped() -> None:
    with pytest.raises(ValueError, match=r"got shape \(12, 784\)"):
        stamp(torch.rand(12, 784), torch.zeros(12, dtype=torch.int64))


def test_it_acts_on_examples() -> None:
    assert place(backdoor) == "examples"
