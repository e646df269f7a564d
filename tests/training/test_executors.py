"""Networks of every kind by every executor, against the loop and against PyTorch's own training of one client."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbench.training import flat_parameters as vectors
from flipbench.training import models
from flipbench.training.batches import Batches
from flipbench.training.evaluation import confusion
from flipbench.training.executors import choice
from flipbench.training.inputs import Inputs
from flipbench.training.local_sgd import LocalRound, train
from flipbench.training.model_check import check_behaviour, check_parts
from flipbench.training.optimizer import Recipe
from tests.training.module_table import KINDS, Kind, L

CELLS, CLIENTS, BATCH = 2, 3, 4
# Float32, the order of sums apart; batch norm of few values makes more of it.
NEAR = {"rtol": 2e-3, "atol": 1e-4}


def case(kind: Kind, steps: int, uneven: bool) -> tuple[nn.Module, Tensor, Tensor, Batches]:
    g = torch.Generator().manual_seed(3)
    model = models.build(kind.make, kind.shape, L, 7)
    start = vectors.flatten(model) + 0.01 * torch.rand(CELLS, len(vectors.flatten(model)), generator=g)
    x = kind.shape.made_up(20, g)
    index = torch.randint(20, (CELLS, CLIENTS, steps, BATCH), generator=g)
    labels = torch.randint(L, index.shape, generator=g)
    counts = None
    if uneven:
        counts = torch.full((CELLS, CLIENTS, steps), BATCH)
        counts[0, 0, steps - 1] = 2  # a smaller last batch
        counts[0, 2, 1:] = 0  # fewer steps
        counts[1, 1] = 0  # no examples at all
        counts[1, 2, 0] = 1  # a single example, which PyTorch's batch norm refuses
    keys = torch.arange(CELLS * CLIENTS * steps).view(CELLS, CLIENTS, steps)
    return model, start, x, Batches(index, labels, counts, keys=keys)


def updates(kind: Kind, executor: str, steps: int, uneven: bool, cell: int | None = None, keys: int = 0) -> Tensor:
    model, start, x, batches = case(kind, steps, uneven)
    with choice.forced(executor):
        net = choice.stack(model, kind.shape, L)
    batches = Batches(batches.index, batches.labels, batches.counts, keys=batches.keys + keys)
    if cell is not None:
        start, batches = start[cell : cell + 1], batches.map(lambda t: t[cell : cell + 1])
    recipe = Recipe(0.1, 0.9 if steps > 1 else 0.0, 0.01)
    return train(LocalRound(net, vectors.layout_of(model), start, Inputs(x), batches, recipe))


def plain(kind: Kind, cell: int, client: int, steps: int, recipe: Recipe) -> Tensor:
    """PyTorch's own module and optimiser."""
    model, start, x, batches = case(kind, steps, False)
    state = dict(model.named_parameters()) | dict(model.named_buffers())
    with torch.no_grad():
        for name, (place, shape) in vectors.layout_of(model).items():
            state[name].copy_(start[cell, place].view(shape))
    sgd = torch.optim.SGD(model.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    for step in range(steps):
        sgd.zero_grad()
        rows = batches.index[cell, client, step]
        F.cross_entropy(model(x[rows].clone()), batches.labels[cell, client, step]).backward()
        sgd.step()
    return vectors.flatten(model) - start[cell]


@pytest.mark.parametrize("name", KINDS)
def test_it_is_accepted_and_its_executors_are_known(name: str) -> None:
    kind = KINDS[name]
    check_parts(models.build(kind.make, kind.shape, L, 1))
    check_behaviour(kind.make, kind.shape, L)
    able = set()
    for executor in ("stacked", "vmap"):
        try:
            with choice.forced(executor):
                assert choice.stack(models.build(kind.make, kind.shape, L, 1), kind.shape, L).name == executor
            able.add(executor)
        except choice.NoExecutorError:
            pass
    assert able == kind.executors
    chosen = choice.stack(models.build(kind.make, kind.shape, L, 1), kind.shape, L).name
    assert chosen in able | {"loop"}


@pytest.mark.parametrize(("steps", "uneven"), [(1, False), (2, True)])
@pytest.mark.parametrize("name", KINDS)
def test_executors_agree(name: str, steps: int, uneven: bool) -> None:
    kind, state = KINDS[name], torch.get_rng_state()
    want = updates(kind, "loop", steps, uneven)
    assert want.any()
    for executor in kind.executors:
        torch.testing.assert_close(updates(kind, executor, steps, uneven), want, **NEAR)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.random])
def test_updates_and_running_statistics_are_those_of_pytorch_itself(name: str) -> None:
    kind = KINDS[name]
    for steps in (1, 2):
        got = updates(kind, "loop", steps, False)
        for cell, client in ((0, 1), (1, 2)):
            recipe = Recipe(0.1, 0.9 if steps > 1 else 0.0, 0.01)
            torch.testing.assert_close(got[cell, client], plain(kind, cell, client, steps, recipe), **NEAR)


@pytest.mark.parametrize("name", KINDS)
def test_a_stack_equals_its_cells_bit_for_bit(name: str) -> None:
    kind = KINDS[name]
    for executor in {"loop", *kind.executors}:
        together = updates(kind, executor, 2, True)
        for cell in range(CELLS):
            assert torch.equal(updates(kind, executor, 2, True, cell)[0], together[cell]), executor


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.random])
def test_draws_are_those_of_the_key(name: str) -> None:
    kind = KINDS[name]
    for executor in {"loop", *kind.executors}:
        first = updates(kind, executor, 1, False)
        torch.rand(3)  # the state of torch's generator does not matter
        assert torch.equal(updates(kind, executor, 1, False), first)
        assert not torch.equal(updates(kind, executor, 1, False, keys=1000), first)
        same = Kind(kind.make, kind.shape, kind.executors)
        model, start, x, batches = case(same, 1, False)
        with choice.forced(executor):
            net = choice.stack(model, kind.shape, L)
        index = batches.index[:1, :1].expand(1, 2, 1, BATCH)  # two clients with the same examples and other keys
        two = Batches(index, batches.labels[:1, :1].expand_as(index), None, keys=torch.tensor([[[1], [2]]]))
        got = train(LocalRound(net, vectors.layout_of(model), start[:1], Inputs(x), two, Recipe(0.1, 0.0, 0.0)))
        assert not torch.equal(got[0, 0], got[0, 1])


@pytest.mark.parametrize("name", KINDS)
def test_evaluation_is_that_of_the_module(name: str) -> None:
    kind = KINDS[name]
    model, start, x, _ = case(kind, 1, False)
    net = choice.stack(model, kind.shape, L)
    got = confusion(net, vectors.layout_of(model), start, x, torch.zeros(20, dtype=torch.int64), L)
    for cell in range(CELLS):
        twin = models.build(kind.make, kind.shape, L, 7).eval()
        state = dict(twin.named_parameters()) | dict(twin.named_buffers())
        with torch.no_grad():
            for n, (place, shape) in vectors.layout_of(twin).items():
                state[n].copy_(start[cell, place].view(shape))
            assert got[cell, 0, :L].tolist() == torch.bincount(twin(x.clone()).argmax(1), minlength=L).tolist()


def test_an_executor_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="there are stacked, vmap, loop"), choice.forced("fast"):
        pass


def test_convolutions_outside_of_chains_take_the_loop_on_the_cpu() -> None:
    kind: Any = KINDS["resnet with batch norm"]
    assert choice.stack(models.build(kind.make, kind.shape, L, 1), kind.shape, L).name == "loop"
