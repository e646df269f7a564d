"""What a network of a plug-in may be made of, and what its forward pass may do: checked before it is trained.

All clients share one module, which is called with the weights of each (`layers.stacked_model`). Whatever a module keeps
outside of its parameters would be shared or lost, so that it is refused here, with what to write in its place. The last
check is the surest: on a small batch the stacked form must give the logits and gradients of the module itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from flipbench.data.input_shape import InputShape
from flipbench.training.flat_parameters import layout_of
from flipbench.training.layers import stacked_model
from flipbench.training.layers.dropout import KEYS
from flipbench.training.models import Shape, build

_NEAR = {"rtol": 1e-3, "atol": 1e-4}  # float32, the order of sums apart
_BATCH = 3


class UnfitModelError(ValueError):
    """A network that cannot be trained as it is written; the message says what to change, its cause what was raised."""


def check_parts(model: nn.Module) -> None:
    """What can be seen without running it.

    Raises:
        UnfitModelError: it has a part that would be ignored or that all clients would share.
    """
    named = [*model.named_parameters(), *model.named_buffers()]
    for name, tensor in named:
        if is_lazy(tensor):
            raise UnfitModelError(f"{name} has no shape yet: give its lazy layer the sizes, like nn.Linear(784, 10)")
        if tensor.is_complex() or (tensor.is_floating_point() and tensor.dtype != torch.float32):
            raise UnfitModelError(f"{name} is {tensor.dtype}: models are trained in torch.float32; make it so")
    if not any(p.requires_grad for p in model.parameters()):
        raise UnfitModelError("it has no parameter that requires a gradient, so that nothing can be trained")
    for name, module in model.named_modules():
        where = f"layer {name} ({type(module).__name__})" if name else "it"
        if not module.training:
            raise UnfitModelError(
                f"{where} is in evaluation mode, and training would leave that: return it without .eval(); to keep "
                "parameters as they are, use requires_grad_(False)"
            )
        if module._backward_hooks or module._backward_pre_hooks:
            raise UnfitModelError(f"{where} has a backward hook, which is never called: change gradients in forward")
    for name, parameter in model.named_parameters():
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            raise UnfitModelError(f"{name} has a gradient hook, which is never called: change gradients in forward")
    _check_attributes(model)
    try:
        stacked_model.stack(model)
    except ValueError as error:
        raise UnfitModelError(str(error)) from None


def _check_attributes(model: nn.Module) -> None:
    """No layer or parameter is hidden where PyTorch does not look for what is to be trained."""
    known = {id(p) for p in model.parameters()}
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            where = ".".join(filter(None, [name, attribute]))
            if attribute in _OURS:
                continue
            for inner in _tensors(value):
                if inner.requires_grad and id(inner) not in known:
                    raise UnfitModelError(
                        f"{where} holds a tensor to train that is no parameter of the model: keep layers in "
                        "nn.ModuleList or nn.ModuleDict, and tensors as nn.Parameter or in nn.ParameterList"
                    )


def _tensors(value: Any) -> Iterator[Tensor]:
    """Tensors in an attribute, also within lists, tuples and mappings, and the parameters of layers in them."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, nn.Module):
        yield from value.parameters()
    elif isinstance(value, list | tuple):
        yield from (t for v in value for t in _tensors(v))
    elif isinstance(value, Mapping):
        yield from (t for v in value.values() for t in _tensors(v))


def check_behaviour(make: Callable[..., nn.Module], shape: Shape, classes: int) -> None:
    """What shows on a small batch of made-up images.

    Args:
        make: ``(shape, classes) -> model``; its parts are checked.
        shape: (channels, height, width).
        classes: L.

    Raises:
        UnfitModelError: its forward pass keeps, draws or mixes what it must not, or gives something else than logits.
    """
    model, again, third = (build(make, shape, classes, 1) for _ in range(3))
    _check_alike(model, again)
    draws = torch.Generator().manual_seed(0)
    x, other = (InputShape.of(shape).made_up(_BATCH, draws) for _ in range(2))
    net = stacked_model.stack(model)
    whole = isinstance(net, stacked_model.Whole)
    with torch.random.fork_rng(devices=[]):
        for training in (True, False):
            again.train(training)
            logits = _logits(again, x, classes, training)
            if whole:
                _check_pure(again, x, other, logits, training)
        _check_stacked(net, model, third, x)


def _check_alike(model: nn.Module, again: nn.Module) -> None:
    """Two models of one seed, of finite numbers."""
    for (name, one), two in zip(_numbers(model), dict(_numbers(again)).values(), strict=True):
        if not bool(torch.isfinite(one).all()):
            raise UnfitModelError(f"{name} is not finite when the model is made: give it initial values")
        if not torch.equal(one, two):
            raise UnfitModelError(
                f"{name} differs between two models of one seed: draw its initial values with torch's own generator "
                "(torch.rand, torch.nn.init, ...), which is seeded before the model is made"
            )


def _numbers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _logits(model: nn.Module, x: Tensor, classes: int, training: bool) -> Tensor:
    """What the module itself answers, checked."""
    given = x.clone()
    try:
        logits: Any = model(given)
    except Exception as error:
        raise UnfitModelError(f"its forward pass fails for a batch of shape {tuple(x.shape)}") from error
    if not isinstance(logits, Tensor) or logits.shape != (len(x), classes) or logits.dtype != torch.float32:
        what = f"{logits.dtype} of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        when = "training" if training else "evaluation"
        raise UnfitModelError(
            f"forward must answer a batch of {len(x)} images with float32 logits of shape ({len(x)}, {classes}) in "
            f"{when} mode, got {what}"
        )
    return logits.detach()


def _check_pure(model: nn.Module, x: Tensor, other: Tensor, logits: Tensor, training: bool) -> None:
    """The forward pass depends on each image and the parameters alone, and changes nothing."""
    when = "training" if training else "evaluation"
    before = _state(model)
    given = x.clone()
    with torch.no_grad():
        second = model(given)
        mixed = model(torch.cat([x[:1], other[1:]]))
    if not torch.equal(given, x):
        raise UnfitModelError("forward changes its input in place, which other rounds need: work on a copy (x.clone())")
    after = _state(model)
    for name in after:
        if name not in before or not _same(before[name], after[name]):
            raise UnfitModelError(
                f"forward changes {name} in {when} mode; all clients and rounds share one module, so that it must not "
                "keep anything: compute it anew in forward"
            )
    if not torch.allclose(second, logits, equal_nan=True, **_NEAR):
        raise UnfitModelError(
            f"forward draws random numbers in {when} mode, which would not be the client's own: use nn.Dropout in one "
            "flat nn.Sequential of Linear, Conv2d, BatchNorm2d, ReLU, MaxPool2d and Flatten layers"
        )
    if not torch.allclose(mixed[0], logits[0], equal_nan=True, **_NEAR):
        raise UnfitModelError(
            f"the logits of an image depend on the other images of its batch in {when} mode: batches are filled up and "
            "cut as is fastest, so that only nn.BatchNorm2d in a flat nn.Sequential may do so; use nn.GroupNorm or "
            "nn.LayerNorm"
        )


_OURS = frozenset(vars(nn.Module()))  # what every module has: parameters, buffers, hooks, its mode


def _state(model: nn.Module) -> dict[str, Any]:
    """Everything a module keeps: buffers, and attributes of its author."""
    found: dict[str, Any] = {f"buffer {name}": tensor.clone() for name, tensor in model.named_buffers()}
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            if attribute not in _OURS:
                found[f"attribute {'.'.join(filter(None, [name, attribute]))}"] = _copied(value)
    return found


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, list | tuple):
        return [_copied(v) for v in value]
    if isinstance(value, Mapping):
        return {k: _copied(v) for k, v in value.items()}
    return value


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, Tensor) or isinstance(two, Tensor):
        both = isinstance(one, Tensor) and isinstance(two, Tensor) and one.shape == two.shape
        return both and torch.allclose(one.double(), two.double(), equal_nan=True)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(_same, one, two))
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(_same(one[k], two[k]) for k in one)
    if one is two:
        return True
    try:
        return bool(one == two)
    except Exception:  # an author's own type may not compare
        return False


class _Kept:
    """A sink that keeps the gradients."""

    def __init__(self) -> None:
        self.gradients: dict[str, Tensor] = {}

    def outer(self, name: str, dy: Tensor, x: Tensor) -> None:
        """As `layers.protocol.Sink`."""
        self.plain(name, dy.transpose(1, 2) @ x)

    def plain(self, name: str, gradient: Tensor) -> None:
        """As `layers.protocol.Sink`."""
        self.gradients[name] = self.gradients.get(name, 0.0) + gradient

    def statistic(self, name: str, value: Tensor, momentum: float) -> None:
        """As `layers.protocol.Sink`."""


def _check_stacked(net: stacked_model.Stacked, model: nn.Module, again: nn.Module, x: Tensor) -> None:
    """Two clients at once give the logits and gradients that the module itself gives."""
    sent = layout_of(model)
    rows = {name: t.detach().expand(2, *t.shape).clone() for name, t in _numbers(model) if name in sent}
    images = x.expand(2, *x.shape)
    for training in (False, True):
        if training and net.random:
            return  # dropout draws from the keys of its rows
        again.train(training)
        named = rows | ({KEYS: torch.zeros(2, dtype=torch.int64)} if net.random else {})
        try:
            logits, back = net(images, named, training, None)
        except Exception as error:
            raise UnfitModelError(
                "its forward pass cannot be run for several clients at once: it may not branch on values of tensors, "
                "call .item() or .numpy(), nor write into tensors that it made without the input"
            ) from error
        want = again(x)
        _compare(logits[1], want, "logits", _largest(want))
        if training:
            slope = torch.rand(want.shape, generator=torch.Generator().manual_seed(2))
            learned = {n: p for n, p in again.named_parameters() if p.requires_grad}
            given: Sequence[Tensor | None] = ()
            if want.requires_grad:
                given = torch.autograd.grad(want, list(learned.values()), slope, allow_unused=True)
            if all(g is None for g in given):
                raise UnfitModelError("no parameter has an effect on the logits that a gradient shows: it cannot learn")
            sink = _Kept()
            back(slope.expand(2, *slope.shape).contiguous(), sink, False)
            known = {n: g for n, g in zip(learned, given, strict=True) if g is not None}
            scale = max(map(_largest, known.values()))  # of all: a bias before batch norm has a gradient of rounding
            for name, gradient in known.items():
                got = sink.gradients.get(name)
                own = torch.zeros_like(gradient) if got is None else got[1]
                _compare(own, gradient, f"gradient of {name}", scale)


def _largest(tensor: Tensor) -> float:
    return float(tensor.detach().abs().nan_to_num(0.0, 0.0, 0.0).max()) if tensor.numel() else 0.0


def _compare(got: Tensor, want: Tensor, what: str, scale: float) -> None:
    near = {"rtol": 1e-3, "atol": max(1e-6, 1e-4 * scale)}
    if not torch.allclose(got.detach(), want.detach(), equal_nan=True, **near):
        raise UnfitModelError(
            f"trained for several clients at once its {what} would not be what the module itself gives: write it of "
            "layers of torch.nn and functions of torch.nn.functional alone"
        )
