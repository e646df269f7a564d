"""Optimisers of local steps against PyTorch's own in float64, one client at a time."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import flipbench as fb
from flipbench.training import flat_parameters as vectors
from flipbench.training import local_sgd
from flipbench.training.batches import Batches
from flipbench.training.inputs import Inputs
from flipbench.training.local_sgd import LocalRound, gradients_at_start, train
from flipbench.training.optimisers.kept_states import KeptStates
from flipbench.training.optimisers.local import Momentum, adam, adamw
from flipbench.training.optimisers.of_torch import OfTorch, pytorch
from flipbench.training.optimizer import Recipe
from tests.helpers.lockstep_cases import case, stacked

Make = Callable[[list[nn.Parameter], float], torch.optim.Optimizer]
LR, DECAY = 0.05, 0.03


def of_torch(kind: Any, **options: Any) -> Make:
    return lambda parameters, decay: kind(parameters, lr=LR, weight_decay=decay, **options)


CASES: dict[str, tuple[Any, Make]] = {
    "nesterov": (Momentum(0.8, True), of_torch(torch.optim.SGD, momentum=0.8, nesterov=True)),
    "sgd": (Momentum(0.0, False), of_torch(torch.optim.SGD)),
    "momentum": (Momentum(0.8, False), of_torch(torch.optim.SGD, momentum=0.8)),
    "adam": (adam(), of_torch(torch.optim.Adam)),
    "adam with options": (adam(0.5, 0.7, 0.01), of_torch(torch.optim.Adam, betas=(0.5, 0.7), eps=0.01)),
    "amsgrad": (adam(beta2=0.6, amsgrad=True), of_torch(torch.optim.Adam, betas=(0.9, 0.6), amsgrad=True)),
    "rmsprop": (pytorch("RMSprop", {"momentum": 0.5}), of_torch(torch.optim.RMSprop, momentum=0.5)),
    "nadam": (pytorch("NAdam"), of_torch(torch.optim.NAdam)),
    "adamw": (adamw(), of_torch(torch.optim.AdamW)),
    # The bias before batch normalisation has a gradient of 0 but for rounding, of which Adam sees the sign.
    "steady adamw": (adamw(epsilon=1e-3), of_torch(torch.optim.AdamW, eps=1e-3)),
}


def work_of(name: str, steps: int, uneven: bool, recipe: Recipe, **more: Any) -> tuple[nn.Module, LocalRound]:
    """In float64, where Adam's steps do not depend on how gradients near 0 are rounded; compiled code is of float32."""
    model, start, x, batches = case(name, steps, uneven)
    net = stacked(model)
    if name != "softmax":
        model, start, x = model.double(), start.double(), x.double()
    where, still = vectors.layout_of(model), vectors.statistics(model)
    work = LocalRound(net, where, start, Inputs(x), batches, recipe, statistics=still, **more)
    return model, work


def recipe_of(optimiser: Any, decay: float = DECAY, clip: float | None = None, mu: float = 0.0) -> Recipe:
    return Recipe(LR, 0.0, decay, optimiser=optimiser, name="it", clip=clip, mu=mu)


class Client:
    """One client as PyTorch trains it, in float64."""

    def __init__(self, model: nn.Module, start: Tensor, make: Make, decay: float) -> None:
        self.model = copy.deepcopy(model).double().train()
        self.put(start)
        self.optimiser = make(list(self.model.parameters()), decay)

    def put(self, start: Tensor) -> None:
        state, place = dict(self.model.named_parameters()) | dict(self.model.named_buffers()), 0
        with torch.no_grad():
            for own in (t for t in state.values() if t.is_floating_point()):
                own.copy_(start[place : place + own.numel()].view(own.shape))
                place += own.numel()

    def vector(self) -> Tensor:
        floats = [*self.model.parameters(), *(b for b in self.model.buffers() if b.is_floating_point())]
        return torch.cat([t.detach().reshape(-1) for t in floats])

    def train(
        self,
        x: Tensor,
        batches: Batches,
        cell: int,
        client: int,
        clip: float | None = None,
        mu: float = 0.0,
        shift: Tensor | None = None,
    ) -> Tensor:
        before = self.vector()
        anchors = [p.detach().clone() for p in self.model.parameters()]
        for step in range(batches.index.shape[2]):
            count = batches.index.shape[3] if batches.counts is None else int(batches.counts[cell, client, step])
            if count == 0:
                continue
            rows = batches.index[cell, client, step, :count]
            self.optimiser.zero_grad()
            loss = F.cross_entropy(self.model(x[rows].double()), batches.labels[cell, client, step, :count])
            if mu:
                loss = loss + mu / 2 * sum(
                    ((p - a) ** 2).sum() for p, a in zip(self.model.parameters(), anchors, strict=True)
                )
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), clip)
            if shift is not None:
                place = 0
                for p in self.model.parameters():
                    assert p.grad is not None
                    p.grad += shift[place : place + p.numel()].view(p.shape)
                    place += p.numel()
            self.optimiser.step()
        return self.vector() - before


def compare(name: str, steps: int, uneven: bool, optimiser: Any, make: Make, **how: Any) -> None:
    shifts, decay = how.pop("shifts", None), how.pop("decay", DECAY)
    model, work = work_of(name, steps, uneven, recipe_of(optimiser, decay, **how), shifts=shifts)
    got, (_, _, x, batches) = train(work), case(name, steps, uneven)
    for cell in range(2):
        for client in range(4):
            one = Client(model, work.start[cell], make, decay)
            shift = None if shifts is None else shifts[cell, client].double()
            want = one.train(x, batches, cell, client, shift=shift, **how)
            exact = {"rtol": 1e-5, "atol": 1e-7} if got.dtype == torch.float64 else {"rtol": 2e-3, "atol": 3e-5}
            torch.testing.assert_close(got[cell, client].double(), want, **exact)


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("name", CASES)
def test_local_steps_are_those_of_pytorch(name: str, steps: int, uneven: bool) -> None:
    compare("mlp", steps, uneven, *CASES[name])


def test_weight_decay_among_the_options_of_a_class_is_its_own() -> None:
    kind = of_torch(torch.optim.AdamW)
    compare("mlp", 3, True, pytorch("AdamW", {"weight_decay": 0.1}), lambda p, _: kind(p, 0.1), decay=0.0)


@dataclass(frozen=True)
class signs(OfTorch):  # noqa: N801 - named in grids like a function
    """A class of one's own: w - rate (sign(g) + t), which keeps a whole number."""

    def make(self, parameters: Any, /) -> torch.optim.Optimizer:
        return Signs(parameters, 1.0)


class Signs(torch.optim.Optimizer):
    def __init__(self, parameters: Any, lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["t"] = self.state[p].get("t", 0) + 1
                assert isinstance(self.state[p]["t"], int)
                p -= group["lr"] * (p.grad.sign() + self.state[p]["t"])


def test_a_class_of_ones_own_that_derives_from_pytorchs() -> None:
    compare("mlp", 4, True, signs(), of_torch(Signs), decay=0.0)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("Adm", {}, "torch.optim has no 'Adm' - did you mean 'Adam'"),
        ("ASGD", {}, "its steps are not proportional to the learning rate"),
        ("LBFGS", {}, "missing 1 required positional argument: 'closure'"),
        ("SparseAdam", {}, "does not support dense gradients"),
        ("RMSprop", {"lr": 0.1}, "takes no option lr: learning_rate is a field of the cell"),
        ("RMSprop", {"alpa": 0.1}, "unexpected keyword argument 'alpa'"),
        ("Adam", {"betas": [0.9, 2.0]}, "Invalid beta parameter at index 1: 2.0"),
    ],
)
def test_a_class_that_does_not_fit_is_refused_in_one_sentence(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        pytorch(name, options)
    assert "\n" not in str(caught.value)


def test_classes_of_torch_optim_stand_where_a_grid_has_names() -> None:
    for field in ("optimiser", "server_optimiser"):
        named = {
            torch.optim.RMSprop: "pytorch(name='RMSprop')",
            partial(torch.optim.Adam, betas=(0.8, 0.9)): "pytorch(name='Adam', options={'betas': [0.8, 0.9]})",
        }
        for given, text in named.items():
            assert getattr(fb.read_grid({"base": {field: given}}).cells[0], field) == text
        with pytest.raises(fb.UserError, match=re.escape("it is a class of PyTorch, write pytorch(name=Adam)")):
            fb.read_grid({"base": {field: "torch.optim:Adam"}})


@pytest.mark.parametrize("name", ["nesterov", "adam", "steady adamw"])
@pytest.mark.parametrize("model", ["softmax", "cnn with batch norm", "unknown module"])
def test_with_every_kind_of_model(model: str, name: str) -> None:
    compare(model, 3, True, *CASES[name])


@pytest.mark.parametrize(
    ("model", "name"), [("cnn with batch norm", "sgd"), ("cnn with batch norm", "momentum"), ("mlp", "adamw")]
)
@pytest.mark.parametrize("how", [{"clip": 0.3}, {"clip": 1e9}, {"mu": 2.0}, {"clip": 0.3, "mu": 2.0}])
def test_clipped_gradients_and_the_proximal_term(how: dict[str, float], model: str, name: str) -> None:
    compare(model, 3, True, *CASES[name], **how)


@pytest.mark.parametrize("model", ["softmax", "mlp"])
def test_control_variates_shift_each_gradient_behind_clipping(model: str) -> None:
    _, work = work_of(model, 3, True, recipe_of(None))
    shifts = torch.randn(2, 4, work.start.shape[1], generator=torch.Generator().manual_seed(1)) * 0.1
    compare(model, 3, True, *CASES["momentum"], shifts=shifts, clip=0.2)


@pytest.mark.parametrize("name", [*CASES, "clip"])
def test_what_stands_beside_it_changes_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    optimiser, _ = CASES.get(name, CASES["sgd"])
    _, work = work_of("cnn with batch norm", 3, True, recipe_of(optimiser, clip=0.2, mu=0.5))
    whole = train(work)
    for s in range(2):
        one = work.batches.map(lambda t, s=s: t[s : s + 1])
        assert torch.equal(train(replace(work, batches=one, start=work.start[s : s + 1]))[0], whole[s])
    for rows in (1, 3, 5):
        monkeypatch.setattr(local_sgd, "_CACHE", rows * 4 * 5 * work.start.shape[1])
        assert torch.equal(train(work), whole)


@pytest.mark.parametrize("name", ["momentum", "nesterov", "adam", "adamw"])
def test_kept_states_go_on_where_the_client_stopped(name: str) -> None:
    """Clients 0 to 3 and then 2, 0, 3, as PyTorch's optimisers that live as long as the client."""
    optimiser, make = CASES[name]
    model, work = work_of("mlp", 3, True, recipe_of(optimiser, clip=1.0))
    (_, _, x, batches), kept = case("mlp", 3, True), KeptStates.none(2, 4, torch.device("cpu"))
    clients = {(s, c): Client(model, work.start[s], make, DECAY) for s in range(2) for c in range(4)}
    for ids in ([0, 1, 2, 3], [2, 0, 3]):
        who = torch.tensor([ids, ids])
        own, some = kept.of(who), batches.map(lambda t, ids=ids: t[:, ids])
        got = train(replace(work, batches=some, kept=own))
        kept.put(who, own)
        for s in range(2):
            for place, c in enumerate(ids):
                clients[s, c].put(work.start[s])
                want = clients[s, c].train(x, batches, s, c, clip=1.0)
                torch.testing.assert_close(got[s, place], want, rtol=1e-5, atol=1e-7)
    assert int(kept.t[1, 1]) == 0  # it has no examples
    assert int(kept.t[0, 3]) == 6


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("model", ["softmax", "cnn"])
def test_gradients_at_the_start_are_over_all_examples(model: str, uneven: bool, summed: bool) -> None:
    net, work = work_of(model, 3, uneven, Recipe(LR, 0.9, DECAY, summed))
    got, (_, _, x, batches) = gradients_at_start(work), case(model, 3, uneven)
    for cell in range(2):
        for client in range(4):
            one = Client(net, work.start[cell], CASES["sgd"][1], DECAY).model
            sizes = [6] * 3 if batches.counts is None else batches.counts[cell, client].tolist()
            if not sum(sizes):
                assert not got[cell, client].any()
                continue
            losses = [
                F.cross_entropy(one(x[i[:n]].double()), y[:n], reduction="sum")
                for i, y, n in zip(batches.index[cell, client], batches.labels[cell, client], sizes, strict=True)
                if n
            ]
            total = sum(losses) / (len(losses) if summed else sum(sizes))
            total = total + DECAY / 2 * sum((p**2).sum() for p in one.parameters())
            want = torch.cat([g.reshape(-1) for g in torch.autograd.grad(total, list(one.parameters()))])
            torch.testing.assert_close(got[cell, client].double(), want, rtol=1e-3, atol=1e-5)


def test_what_has_no_gradient_does_not_move() -> None:
    """As in PyTorch, weight decay leaves a parameter alone that the model does not use."""

    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(144, 5), nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x.flatten(1))

    model, (_, _, x, batches) = Partly(), case("mlp", 2, False)
    where, start = vectors.layout_of(model), vectors.flatten(model).expand(2, -1).contiguous()
    for optimiser in (adam(), adamw(), Momentum(0.9, True)):
        net = stacked(model)
        update = train(LocalRound(net, where, start, Inputs(x), batches, recipe_of(optimiser, decay=0.5)))
        assert not update[..., where["idle"][0]].any()
        assert update[..., where["used.weight"][0]].any()


@pytest.mark.parametrize(
    ("kind", "options"),
    [(adam, {"beta1": 1.0}), (adam, {"beta2": -0.1}), (adamw, {"epsilon": 0.0}), (adam, {"epsilon": float("nan")})],
)
def test_options_out_of_range_are_refused(kind: Any, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"needs (an epsilon|beta)"):
        kind(**options)
