"""The compiled step of softmax regression against loops in float64, of sizes that fit no vector and no chunk."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from flipbench.data.pixel_scaling import FEATURES, SCALES
from flipbench.training import flat_parameters as vectors
from flipbench.training import softmax_regression
from flipbench.training.batches import Batches
from flipbench.training.inputs import Inputs, Pixels
from flipbench.training.local_sgd import LocalRound, train
from flipbench.training.optimizer import Recipe
from tests.helpers.lockstep_cases import stacked


def naive(
    x: NDArray[np.float64], labels: list[int], heavy: list[float], w: NDArray[np.float64], b: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums over the examples of the gradients of weight x cross-entropy."""
    of_w, of_b = np.zeros_like(w), np.zeros_like(b)
    for row, label, weight in zip(x, labels, heavy, strict=True):
        logits = [float(np.dot(row, line)) + bias for line, bias in zip(w, b, strict=True)]
        shares = [exp(v - max(logits)) for v in logits]
        for c in range(len(w)):
            slope = weight * (shares[c] / sum(shares) - (c == label))
            of_w[c] += slope * row
            of_b[c] += slope
    return of_w, of_b


def case(seed: int, classes: int, features: int, batch: int, bias: bool) -> tuple[nn.Module, Tensor, Batches]:
    g = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(features, classes, bias=bias))
    dim = vectors.dimension(vectors.layout_of(model))
    start = torch.randn(2, dim, generator=g) / features**0.5
    index = torch.randint(50, (2, 3, 1, batch), generator=g)
    return model, start, Batches(index, torch.randint(classes, index.shape, generator=g), None)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("classes", "features", "batch"),
    [
        *((c, 33, 5) for c in range(1, 13)),
        *((7, f, 6) for f in (1, 15, 16, 17, 63, 64, 65, 784, 2352)),
        *((10, 48, n) for n in (1, 2, 3, 4, 63, 64, 65, 127, 128, 130)),
    ],
)
def test_a_step_is_that_of_loops(classes: int, features: int, batch: int, bias: bool) -> None:
    seed = 1000 * classes + features + batch
    model, start, batches = case(seed, classes, features, batch, bias)
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(50, features, generator=g)
    batches.index[0, 0, 0, :] = batches.index[0, 0, 0, :1]  # one example only
    counts = torch.randint(batch + 1, (2, 3, 1), generator=g)
    counts[0, 0] = batch
    heavy = torch.rand(batches.index.shape, generator=g)
    where, net = vectors.layout_of(model), stacked(model)
    for some, emphasis, summed, keep in (
        (None, None, False, 0.0),
        (counts, heavy, True, 0.5),
        (counts, None, False, 0.9),
    ):
        given = Batches(batches.index, batches.labels, some, emphasis)
        recipe = Recipe(0.3, 0.0, 0.05, summed)
        before = torch.randn(2, 3, start.shape[1], generator=g) if keep else None
        got = train(
            LocalRound(net, where, start, Inputs(x), given, recipe, None if before is None else before.clone(), keep)
        )
        for cell in range(2):
            for client in range(3):
                n = batch if some is None else int(some[cell, client, 0])
                rows = batches.index[cell, client, 0, :n]
                weights = [1.0] * n if emphasis is None else heavy[cell, client, 0, :n].double().tolist()
                own = start[cell].double().numpy()
                w, b = own[: classes * features].reshape(classes, features), own[classes * features :]
                found = naive(
                    x[rows].double().numpy(),
                    batches.labels[cell, client, 0, :n].tolist(),
                    weights,
                    w,
                    b if bias else np.zeros(classes),
                )
                gradient = np.concatenate([found[0].ravel(), found[1]] if bias else [found[0].ravel()])
                update = -0.3 * (gradient / (1 if summed else max(n, 1)) + (0.05 * own if n else 0))
                kept = 0 if before is None else keep * before[cell, client].double().numpy()
                want = torch.from_numpy(kept + (1 - keep) * update)
                torch.testing.assert_close(got[cell, client].double(), want, rtol=2e-5, atol=2e-6)


def test_it_is_the_kernel_that_is_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    model, start, batches = case(1, 7, 20, 4, True)
    calls = []
    real = softmax_regression.step
    monkeypatch.setattr(softmax_regression, "step", lambda *given: calls.append(1) or real(*given))
    for recipe, given in ((Recipe(0.1, 0.0, 0.0), batches), (Recipe(0.1, 0.9, 0.0), batches)):
        train(LocalRound(stacked(model), vectors.layout_of(model), start, Inputs(torch.rand(50, 20)), given, recipe))
    assert len(calls) == 2


@pytest.mark.parametrize("name", ["unit", "standard", "scaled"])
def test_bytes_and_their_floats_give_the_same_bits(name: str) -> None:
    model, start, batches = case(5, 7, 60, 9, True)
    pixels = torch.randint(256, (50, 60), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    options = {"divisor": 100} if name == "scaled" else {}
    data, _ = FEATURES[name](pixels, pixels, 255, **options)
    scale = SCALES[name](pixels, 255, **options)
    net, where = stacked(model), vectors.layout_of(model)
    plain, made = (
        train(LocalRound(net, where, start, one, batches, Recipe(0.1, 0.0, 0.0)))
        for one in (Inputs(data), Inputs(data, Pixels(pixels, scale)))
    )
    assert torch.equal(plain, made)


@pytest.mark.parametrize("steps", [1, 3])
def test_who_else_is_worked_on_changes_no_bit(steps: int) -> None:
    model, start, _ = case(9, 10, 100, 70, True)
    g = torch.Generator().manual_seed(4)
    index = torch.randint(50, (2, 5, steps, 70), generator=g)
    batches = Batches(index, torch.randint(10, index.shape, generator=g), None)
    x, recipe = torch.rand(50, 100, generator=g), Recipe(0.1, 0.0, 0.01)
    net, where = stacked(model), vectors.layout_of(model)
    whole = train(LocalRound(net, where, start, Inputs(x), batches, recipe))
    for cell in range(2):
        for client in range(5):
            one = batches.map(lambda t, cell=cell, client=client: t[cell : cell + 1, client : client + 1])
            alone = train(LocalRound(net, where, start[cell : cell + 1], Inputs(x), one, recipe))
            assert torch.equal(alone[0, 0], whole[cell, client])


def test_what_is_not_finite_stays_so() -> None:
    model, start, batches = case(3, 4, 20, 6, True)
    start[1, 7] = float("nan")
    start[0, 5] = float("inf")
    got = train(
        LocalRound(
            stacked(model),
            vectors.layout_of(model),
            start,
            Inputs(torch.rand(50, 20) + 0.1),
            batches,
            Recipe(0.1, 0.0, 0.0),
        )
    )
    assert not torch.isfinite(got).all(-1).any()


def test_a_probability_that_is_next_to_nothing_is_none() -> None:
    model, start, batches = case(3, 4, 20, 6, False)
    start[:] = 0
    start[:, :20] = 100.0  # class 0 wins by far
    batches.labels[:] = 0
    got = train(
        LocalRound(
            stacked(model),
            vectors.layout_of(model),
            start,
            Inputs(torch.ones(50, 20)),
            batches,
            Recipe(0.1, 0.0, 0.0),
        )
    )
    assert not got.any()


@pytest.mark.parametrize(("which", "wrong"), [("index", -1), ("index", 50), ("labels", -1), ("labels", 4)])
def test_a_row_or_class_that_is_not_there_is_refused(which: str, wrong: int) -> None:
    model, start, batches = case(3, 4, 20, 6, True)
    getattr(batches, which)[1, 2, 0, 3] = wrong
    with pytest.raises(IndexError):
        train(
            LocalRound(
                stacked(model),
                vectors.layout_of(model),
                start,
                Inputs(torch.rand(50, 20)),
                batches,
                Recipe(0.1, 0.0, 0.0),
            )
        )


def test_a_client_without_examples_does_not_move_beside_weights_that_are_not_finite() -> None:
    model, start, batches = case(3, 4, 20, 6, True)
    start[:] = float("nan")
    counts = torch.full((2, 3, 1), 6)
    counts[1, 1] = 0
    given = Batches(batches.index, batches.labels, counts)
    net, where = stacked(model), vectors.layout_of(model)
    got = train(LocalRound(net, where, start, Inputs(torch.rand(50, 20)), given, Recipe(0.1, 0.0, 0.1)))
    assert not got[1, 1].any()
    assert not torch.isfinite(got[0]).any()


@pytest.mark.parametrize("layers", [(nn.Flatten(), nn.Linear(19, 4)), (nn.Flatten(), nn.Linear(21, 4))])
def test_a_model_that_does_not_fit_the_inputs_is_refused(layers: tuple[nn.Module, ...]) -> None:
    model = nn.Sequential(*layers)
    _, _, batches = case(3, 4, 20, 6, True)
    start = vectors.flatten(model).repeat(2, 1)
    net, where = stacked(model), vectors.layout_of(model)
    for index in (
        batches,
        Batches(batches.index.repeat(1, 1, 2, 1), batches.labels.repeat(1, 1, 2, 1), None),
    ):
        with pytest.raises((RuntimeError, ValueError)):
            train(LocalRound(net, where, start, Inputs(torch.rand(50, 4, 5)), index, Recipe(0.1, 0.0, 0.1)))
