"""What a plug-in of local training may answer: every wrong answer is one sentence with its name."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flipbench.errors import UserError
from flipbench.training import models, plugin_answers
from flipbench.training.initialisation import initialise

G = torch.Generator()


@pytest.mark.parametrize(
    ("value", "works"),
    [
        (0.5, True),
        (1, True),
        (0.0, True),
        (torch.tensor(0.25), True),
        (-0.1, False),
        (float("nan"), False),
        (float("inf"), False),
        (None, False),
        ("0.5", False),
        (True, False),
        (torch.ones(2), False),
    ],
)
def test_schedule(value: Any, works: bool) -> None:
    factor = plugin_answers.schedule(lambda t, rounds: value, "mine")
    if works:
        assert factor(1, 3) == float(value)
        return
    with pytest.raises(UserError, match=r"^schedule mine gives .* at t=1 of 3 rounds: it must return the factor"):
        factor(1, 3)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda own: None, None),
        (lambda own: torch.ones(3, dtype=torch.float64), None),
        (lambda own: own.add_(1), None),
        (lambda own: torch.tensor(1.0), "got shape"),
        (lambda own: torch.ones(4), "got shape"),
        (lambda own: 2.0, "got float"),
        (lambda own: torch.tensor([1.0, float("nan"), 1.0]), "finite and 0 or more"),
        (lambda own: torch.tensor([1.0, -1.0, 1.0]), "finite and 0 or more"),
    ],
)
def test_loss(answer: Callable[[Tensor], Any], text: str | None) -> None:
    class Loss:
        def weights(self, own: Tensor, together: Tensor) -> Any:
            return answer(own)

    own = torch.tensor([1, 2, 3])
    loss = plugin_answers.CheckedLoss(Loss(), "mine")
    if text is None:
        given = loss.weights(own, own)
        assert given is None or given.dtype == torch.float32
        assert own.tolist() == [1, 2, 3]  # it was given a copy
        return
    with pytest.raises(UserError, match=f"^loss mine: .*{text}"):
        loss.weights(own, own)


def shifted(images: Tensor, drawn: Tensor) -> Tensor:
    return images + drawn.view(-1, 1, 1, 1)


def whole(number: int, generator: torch.Generator) -> Tensor:
    return torch.randint(5, (number,), generator=generator)


@pytest.mark.parametrize(
    ("draw", "apply", "text"),
    [
        (whole, shifted, None),
        (whole, lambda images, drawn: images.add_(drawn.view(-1, 1, 1, 1)), None),
        (lambda n, g: torch.rand(n, generator=g), shifted, "one whole number for each image"),
        (lambda n, g: whole(n + 1, g), shifted, "one whole number for each image"),
        (lambda n, g: torch.randint(5, (n,)), shifted, "from the generator that it is given"),
        (whole, lambda images, drawn: None, "got NoneType"),
        (whole, lambda images, drawn: images[:, :, 1:], "apply must return images like those"),
        (whole, lambda images, drawn: images.double(), "apply must return images like those"),
        (whole, lambda images, drawn: images + torch.rand_like(images), "by its own draw alone"),
        (whole, lambda images, drawn: images - images.mean(0), "by its own draw alone"),
    ],
)
def test_augmentation(draw: Callable[..., Any], apply: Callable[..., Any], text: str | None) -> None:
    @dataclass(frozen=True)
    class Mine:
        frozen: bool = False

        def draw(self, number: int, generator: torch.Generator) -> Any:
            return draw(number, generator)

        def apply(self, x: Tensor, d: Tensor, b: Tensor) -> Any:  # names of parameters are the author's
            return apply(x, d)

    mine, images = plugin_answers.augmentation(Mine(), "mine"), torch.rand(8, 1, 3, 3)

    def use() -> Tensor:
        drawn = mine.draw(8, torch.Generator().manual_seed(1))
        assert drawn.dtype == torch.int64
        changed: Tensor = mine.apply(images.clone(), drawn, black=torch.zeros(1, 3, 3))
        return changed

    if text is None:
        want = shifted(images, whole(8, torch.Generator().manual_seed(1)))
        assert torch.equal(use(), want)  # it is called, and its answer is used
        assert torch.equal(use(), want)
        return
    with pytest.raises(UserError, match=f"^augmentation mine: .*{text}"):
        use()


def in_place(weight: Tensor) -> None:
    weight.normal_(0, 0.1)


@pytest.mark.parametrize(
    ("draw", "text"),
    [
        (in_place, None),
        (nn.init.kaiming_uniform_, None),
        (lambda w: torch.randn_like(w), "returns a Tensor, which is not used"),
        (lambda w: w.fill_(float("nan")), "not finite"),
        (lambda w: w.fill_(random.random()), "torch's own generator"),
        (lambda w: None, "left every weight as it was"),
    ],
)
def test_initialisation(draw: Callable[[Tensor], Any], text: str | None) -> None:
    mine = plugin_answers.initialisation(draw, "mine")
    if text is None:
        a, b = (models.build(models.softmax, (1, 3, 3), 3, 5, mine)[1].weight for _ in range(2))
        assert torch.equal(a, b)
        return
    with pytest.raises((UserError, ValueError), match=text):
        models.build(models.softmax, (1, 3, 3), 3, 5, mine)


def test_initialisation_leaves_norms_and_slopes_alone() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.GroupNorm(2, 4), nn.PReLU(), nn.Linear(4, 2))
    initialise(model, in_place)
    assert model[1].weight.tolist() == model[2].weight.tolist() == [1.0] * 4
    assert model[3].weight.item() == 0.25
    assert model[0].bias.abs().max() == 0


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([torch.tensor([0, 1]), torch.tensor([4])], None),
        ([[0, 1], []], None),
        ((torch.tensor([0]), torch.zeros(0)), None),
        ([[], torch.zeros(0)], "deals no example to any client"),
        ([torch.tensor([0, 1])], "a list of 2 tensors, rows of each client, got 1 parts"),
        (torch.zeros(2, 2), "got Tensor"),
        ([torch.tensor([0, 1]), torch.tensor([1])], "deals row 1 2 times"),
        ([torch.tensor([0, 1]), torch.tensor([5])], "there are rows 0 to 4"),
        ([torch.tensor([0, -1]), torch.tensor([2])], "there are rows 0 to 4"),
        ([torch.tensor([True, False]), torch.tensor([2])], "1-d tensor of whole numbers"),
        ([torch.tensor([0.5]), torch.tensor([2])], "1-d tensor of whole numbers"),
        ([torch.tensor([[0]]), torch.tensor([2])], "1-d tensor of whole numbers"),
        (["ab", torch.tensor([2])], "1-d tensor of whole numbers"),
    ],
)
def test_partition(given: Any, text: str | None) -> None:
    if text is None:
        assert all(part.dtype == torch.int64 for part in plugin_answers.parts(given, 5, 2, "mine"))
        return
    with pytest.raises(UserError, match=text):
        plugin_answers.parts(given, 5, 2, "mine")


@pytest.mark.parametrize(
    ("labels", "eligible", "text"),
    [
        (torch.tensor([0, 2]), torch.tensor([True, False]), None),
        (torch.tensor([0, 3]), torch.tensor([True, False]), "labels must be from 0 to 2, got 0 to 3"),
        (torch.tensor([-1, 1]), torch.tensor([True, False]), "labels must be from 0 to 2"),
        (torch.tensor([0.0, 1.0]), torch.tensor([True, False]), "labels must be torch.int64"),
        (torch.tensor([0]), torch.tensor([True, False]), "labels must be"),
        (torch.tensor([0, 1]), torch.tensor([1, 0]), "eligible must be torch.bool"),
        (torch.tensor([0, 1]), None, "got NoneType"),
    ],
)
def test_labels(labels: Any, eligible: Any, text: str | None) -> None:
    if text is None:
        plugin_answers.labels(labels, eligible, 2, 3, "attack mine")
        return
    with pytest.raises(UserError, match=text):
        plugin_answers.labels(labels, eligible, 2, 3, "attack mine")
