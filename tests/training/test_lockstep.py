"""Lockstep training against one client at a time with torch.optim.SGD and autograd, in float64."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbench.data.pixel_scaling import FEATURES, SCALES
from flipbench.training import flat_parameters as vectors
from flipbench.training import local_sgd, models
from flipbench.training.batches import Batches
from flipbench.training.evaluation import confusion
from flipbench.training.inputs import Inputs, Pixels
from flipbench.training.layers import stacked_model
from flipbench.training.local_sgd import LocalRound, train
from flipbench.training.optimizer import Recipe
from tests.helpers.lockstep_cases import CLASSES, MODELS, SHAPE, case, stacked


@pytest.fixture(autouse=True)
def new_memory_is_not_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nothing writes is seen: new memory holds NaN where it usually happens to hold zeros."""
    monkeypatch.setattr(Tensor, "new_empty", lambda self, *size, **how: self.new_zeros(*size, **how).fill_(_odd(self)))


def _odd(like: Tensor) -> float:
    return float("nan") if like.is_floating_point() else 77.0


def naive(
    model: nn.Module,
    start: Tensor,
    x: Tensor,
    batches: Batches,
    cell: int,
    client: int,
    recipe: Recipe,
) -> Tensor:
    """One client's update in float64: PyTorch's own model, loss and optimiser."""
    model = copy.deepcopy(model).double().train()
    names = vectors.layout_of(model)
    with torch.no_grad():
        state = dict(model.named_parameters()) | dict(model.named_buffers())
        for name, (place, shape) in names.items():
            state[name].copy_(start[cell, place].view(shape))
    sgd = torch.optim.SGD(model.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    for step in range(batches.index.shape[2]):
        count = batches.index.shape[3] if batches.counts is None else int(batches.counts[cell, client, step])
        if count == 0:
            continue
        rows = batches.index[cell, client, step, :count]
        sgd.zero_grad()
        F.cross_entropy(model(x[rows].double()), batches.labels[cell, client, step, :count]).backward()
        sgd.step()
    return vectors_of(model) - start[cell].double()


def vectors_of(model: nn.Module) -> Tensor:
    parts = list(model.parameters()) + [b for b in model.buffers() if b.is_floating_point()]
    return torch.cat([p.detach().reshape(-1) for p in parts])


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize(
    ("steps", "momentum", "decay"), [(1, 0.0, 0.0), (1, 0.9, 0.01), (3, 0.0, 0.02), (3, 0.9, 0.01)]
)
@pytest.mark.parametrize("name", MODELS)
def test_updates_equal_those_of_one_client_at_a_time(
    name: str, steps: int, momentum: float, decay: float, uneven: bool
) -> None:
    model, start, x, batches = case(name, steps, uneven)
    recipe = Recipe(0.2, momentum, decay)
    got = train(LocalRound(stacked(model), vectors.layout_of(model), start, Inputs(x), batches, recipe))
    assert got.shape == (2, 4, start.shape[1])
    for cell in range(2):
        for client in range(4):
            want = naive(model, start, x, batches, cell, client, recipe)
            torch.testing.assert_close(got[cell, client].double(), want, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_a_stack_equals_its_cells_bit_for_bit(name: str, steps: int, uneven: bool) -> None:
    model, start, x, batches = case(name, steps, uneven)
    net, where, recipe = stacked(model), vectors.layout_of(model), Recipe(0.2, 0.9, 0.01)
    together = train(LocalRound(net, where, start, Inputs(x), batches, recipe))
    for s in range(2):
        counts = None if batches.counts is None else batches.counts[s : s + 1]
        one = Batches(batches.index[s : s + 1], batches.labels[s : s + 1], counts)
        assert torch.equal(train(LocalRound(net, where, start[s : s + 1], Inputs(x), one, recipe))[0], together[s])


@pytest.mark.parametrize("name", ["softmax", "softmax without bias", "mlp", "cnn"])
def test_tall_batches_take_a_way_of_their_own_to_the_same_updates(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, start, x, batches = case(name, 1, True)
    net, where, recipe = stacked(model), vectors.layout_of(model), Recipe(0.2, 0.0, 0.01)
    want = train(LocalRound(net, where, start, Inputs(x), batches, recipe))
    monkeypatch.setattr(stacked_model, "_TALL", 6)
    torch.testing.assert_close(
        train(LocalRound(net, where, start, Inputs(x), batches, recipe)), want, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("summed", [False, True])
def test_a_sure_model_sends_no_number_that_slows_products_down(dtype: torch.dtype, summed: bool) -> None:
    """exp(-95) and exp(-730) are subnormal; exp(-60) is not, and stays."""
    logits = torch.tensor([[[0.0, -60.0, -95.0, -730.0]] * 40], dtype=dtype)
    now = Batches(torch.zeros(1, 40, dtype=torch.int64), torch.zeros(1, 40, dtype=torch.int64), None)
    gradient = local_sgd._loss_gradient(logits, now, summed)
    assert not ((gradient != 0) & (gradient.abs() < torch.finfo(dtype).tiny)).any()
    want = (logits.double().softmax(-1) - torch.tensor([1.0, 0, 0, 0])) * (1.0 if summed else 1 / 40)
    torch.testing.assert_close(gradient.double(), want, rtol=1e-5, atol=1e-30)
    assert (gradient[..., 1] > 0).all()


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_kept_inputs_change_no_bit_and_are_not_written_to(name: str, steps: int, uneven: bool) -> None:
    model, start, x, batches = case(name, steps, uneven)
    first = batches.index[:, :, :1].expand_as(batches.index).contiguous()  # every step asks for the same rows
    net, where, recipe = stacked(model), vectors.layout_of(model), Recipe(0.2, 0.9, 0.01)
    for index in (first, batches.index, first):
        one = Batches(index, batches.labels, batches.counts)
        plain, kept = train(LocalRound(net, where, start, Inputs(x), one, recipe)), Inputs(x, kept=True)
        for _ in range(2):  # rounds
            got = train(LocalRound(net, where, start, kept, one, recipe))
            assert torch.equal(got, plain)
    rows = kept.rows(index[0, :, 0].reshape(-1))
    assert kept.rows(index[0, :, 0].reshape(-1)) is rows
    assert torch.equal(rows, x[index[0, :, 0].reshape(-1)])


@pytest.mark.parametrize("name", MODELS)
def test_confusion_counts_what_the_model_predicts(name: str) -> None:
    model, start, x, _ = case(name, 1, False)
    y = torch.arange(40) % CLASSES
    got = confusion(stacked(model), vectors.layout_of(model), start, x, y, CLASSES)
    for cell in range(2):
        twin = copy.deepcopy(model).eval()
        state = dict(twin.named_parameters()) | dict(twin.named_buffers())
        with torch.no_grad():
            for n, (place, shape) in vectors.layout_of(twin).items():
                state[n].copy_(start[cell, place].view(shape))
            guess = twin(x).argmax(1)
        want = torch.zeros(CLASSES, CLASSES + 1, dtype=torch.int64)
        for true, predicted in zip(y.tolist(), guess.tolist(), strict=True):
            want[true, predicted] += 1
        assert torch.equal(got[cell], want)


def test_batch_norm_statistics_travel_and_counters_do_not() -> None:
    model = models.cnn(SHAPE, CLASSES, channels=[3], kernel=3, hidden=[4], norm="batch")
    names = set(vectors.layout_of(model))
    assert {"1.running_mean", "1.running_var"} <= names
    assert not any("num_batches" in n for n in names)


def test_initial_weights_depend_on_the_seed_alone() -> None:
    before = torch.get_rng_state()
    a, b, c = (vectors.flatten(models.build(MODELS["mlp"], SHAPE, CLASSES, s)) for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_which_rows_train_together_changes_no_bit(
    name: str, steps: int, uneven: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, start, x, batches = case(name, steps, uneven)
    net, where, recipe = stacked(model), vectors.layout_of(model), Recipe(0.2, 0.9, 0.01)
    whole = train(LocalRound(net, where, start, Inputs(x), batches, recipe))
    for rows in (1, 3, 4, 5, 8):
        of_a_row = 8 * start.shape[1] if steps > 1 else 6 * x[0].nbytes  # weights and velocity, or a batch
        monkeypatch.setattr(local_sgd, "_CACHE", rows * of_a_row)
        assert torch.equal(train(LocalRound(net, where, start, Inputs(x), batches, recipe)), whole)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 5), (7,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_of_the_training_set_are_those_asked_for(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    data = torch.rand(30, *shape, dtype=dtype)
    for rows in (0, 1, 2, 3, 50):
        index = torch.randint(30, (rows,))
        assert torch.equal(Inputs(data).rows(index), data[index])
        assert torch.equal(Inputs(data[::2]).rows(index // 2), data[::2][index // 2])
    for wrong in (-1, 30):
        with pytest.raises(IndexError):
            Inputs(data).rows(torch.tensor([0, wrong]))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 5), (7,)])
@pytest.mark.parametrize("levels", [16, 255])
@pytest.mark.parametrize(
    "features",
    [("unit", {}), ("standard", {}), ("standard", {"mean": 0.1307, "std": 0.3081}), ("scaled", {"divisor": 100})],
)
def test_inputs_made_of_bytes_are_those_made_of_floats_to_the_bit(
    features: tuple[str, dict[str, float]], levels: int, shape: tuple[int, ...]
) -> None:
    name, options = features
    g = torch.Generator().manual_seed(levels)
    pixels = torch.randint(levels + 1, (60, *shape), generator=g, dtype=torch.uint8)
    pixels.view(-1)[: levels + 1] = torch.arange(levels + 1, dtype=torch.uint8)  # every level is there
    data, _ = FEATURES[name](pixels, pixels, levels, **options)
    scaled = Inputs(data, Pixels(pixels, SCALES[name](pixels, levels, **options)))
    for rows in (0, 1, 2, 60, 500):
        index = torch.randint(60, (rows,), generator=g)
        assert torch.equal(scaled.rows(index), data[index])
    assert torch.equal(scaled.rows(torch.arange(60)), data)
    for wrong in (-1, 60):
        with pytest.raises(IndexError):
            scaled.rows(torch.tensor([0, wrong]))


def test_every_shipped_scale_is_known_by_its_numbers() -> None:
    assert set(SCALES) == set(FEATURES)
