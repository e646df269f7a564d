"""What a network of a plug-in may be made of, and what its forward pass may do: checked before it is trained.

All clients share one module, which is called with the weights of each (`training.executors`). What travels are its
parameters and float buffers; whatever else a module keeps from one call to the next would be shared or lost, so that it
is refused here, with what to write in its place. The last check is the surest: on a small batch the loop over clients
must give the logits, gradients and running statistics of the module itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from flipbench.training.executors.held_tensors import Held
from flipbench.training.executors.loop import Loop
from flipbench.training.executors.stand_ins import StandIns
from flipbench.training.executors.trial import Answers, Trial
from flipbench.training.models import Shape, build

_NEAR = {"rtol": 1e-3, "atol": 1e-4}  # float32, the order of sums apart


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
        if (
            isinstance(module, nn.modules.batchnorm._NormBase)
            and module.track_running_stats
            and module.momentum is None
        ):
            raise UnfitModelError(
                f"{where} has momentum=None, an average over all batches by a counter, and counters do not travel: "
                "give it a momentum, like momentum=0.1"
            )
    for name, parameter in model.named_parameters():
        if getattr(parameter, "_post_accumulate_grad_hooks", None):
            raise UnfitModelError(
                f"{name} has a hook after its gradient is accumulated, which is never called: use register_hook"
            )
    _check_attributes(model)


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
    """What shows on a small batch of made-up examples.

    Args:
        make: ``(shape, classes) -> model``; its parts are checked.
        shape: of one example.
        classes: L.

    Raises:
        UnfitModelError: its forward pass keeps, draws or mixes what it must not, or gives something else than logits.
    """
    model, again = (build(make, shape, classes, 1) for _ in range(2))
    _check_alike(model, again)
    trial = Trial.of(model, shape, classes)
    with torch.random.fork_rng(devices=[]):
        for training in (True, False):
            again.train(training)
            _check_logits(again, trial, training)
        _check_memory(again, build(make, shape, classes, 1), trial)
        _check_evaluation(again, trial.x)
    _check_loop(model, (build(make, shape, classes, 1) for _ in range(2)), trial)


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


def _check_logits(model: nn.Module, trial: Trial, training: bool) -> None:
    """The module itself answers a batch with logits."""
    x = trial.x[0]
    try:
        logits: Any = model(x.clone())
    except Exception as error:
        raise UnfitModelError(f"its forward pass fails for a batch of shape {tuple(x.shape)}") from error
    wanted = (len(x), trial.classes)
    if not isinstance(logits, Tensor) or logits.shape != wanted or logits.dtype != torch.float32:
        what = f"{logits.dtype} of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        when = "training" if training else "evaluation"
        raise UnfitModelError(
            f"forward must answer a batch of {len(x)} examples with float32 logits of shape {wanted} in {when} mode, "
            f"got {what}"
        )


def _check_memory(used: nn.Module, fresh: nn.Module, trial: Trial) -> None:
    """Nothing but float buffers goes from one call to the next, and those move in training alone.

    An attribute that is written anew in each call, from that call's input, is no memory.

    Args:
        used: a model that was called before.
        fresh: one of the same seed that was not.
        trial: gives the examples.
    """
    for training in (True, False):
        when, statistics = "training" if training else "evaluation", Held(fresh).statistics
        start = {name: b.clone() for name, b in fresh.named_buffers()}
        before = _state(fresh)
        logits = []
        for model in (used, fresh):
            with torch.no_grad():
                for name in statistics:
                    model.get_buffer(name).copy_(start[name])
            logits.append(_called(model.train(training), trial.x[1], trial.keys[1]))
        after, others = _state(fresh), _state(used)
        for name, value in after.items():
            if name in before and _same(before[name], value):
                continue
            if name.removeprefix("buffer ") in statistics and training:
                continue
            if name.endswith("num_batches_tracked") or (
                name.startswith("attribute") and name in others and _same(others[name], value)
            ):
                continue
            raise UnfitModelError(
                f"forward changes {name} in {when} mode; all clients and rounds share one module, so that it must keep "
                "nothing but float buffers (register_buffer), which travel with the weights and move in training alone"
            )
        if not torch.allclose(logits[0], logits[1], equal_nan=True, **_NEAR):
            raise UnfitModelError(
                f"forward gives other logits in {when} mode when it was called before: it must keep nothing but float "
                "buffers (register_buffer), and draw random numbers from torch's own generator alone"
            )


def _called(model: nn.Module, x: Tensor, key: Tensor) -> Tensor:
    """Logits of a module, its random numbers those of a key."""
    torch.manual_seed(int(key))
    with torch.no_grad(), StandIns.of(model).standing(key if model.training else None):
        logits: Tensor = model(x.clone())
    return logits


def _check_evaluation(model: nn.Module, x: Tensor) -> None:
    """In evaluation the logits of an example depend on nothing else."""
    model.eval()
    with torch.no_grad():
        first, second = model(x[0].clone()), model(x[0].clone())
        mixed = model(torch.cat([x[0, :1], x[1, 1:]]))
    if not torch.allclose(first, second, equal_nan=True, **_NEAR):
        raise UnfitModelError(
            "forward draws random numbers in evaluation mode, so that no prediction could be repeated: draw only if "
            "self.training"
        )
    if not torch.allclose(mixed[0], first[0], equal_nan=True, **_NEAR):
        raise UnfitModelError(
            "the logits of an example depend on the other examples of its batch in evaluation mode, and batches of "
            "evaluation are cut as is fastest: let it do so only if self.training, as batch norm with running "
            "statistics does"
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


def _check_loop(model: nn.Module, others: Iterable[nn.Module], trial: Trial) -> None:
    """The loop over clients gives what the module itself gives with the weights of each."""
    got = trial.run(Loop(model), None)
    for row, other in enumerate(others):
        with torch.no_grad():
            for name, tensor in _numbers(other):
                if name in trial.tensors:
                    tensor.copy_(trial.tensors[name][row])
        if (what := got.row(row).differs(_own_answers(other, trial, row))) is not None:
            raise UnfitModelError(
                f"called with the weights of a client its {what} would not be what the module itself gives: let "
                "forward use its parameters as attributes of the module (self.weight), and keep no reference to them "
                "elsewhere"
            )
    if not got.gradients:
        raise UnfitModelError("no parameter has an effect on the logits that a gradient shows: it cannot learn")


def _own_answers(model: nn.Module, trial: Trial, row: int) -> Answers:
    """What the module itself gives, by its own parameters and buffers."""
    x, before = trial.x[row], {name: b.clone() for name, b in model.named_buffers()}
    with torch.random.fork_rng(devices=[]):
        evaluated = _called(model.eval(), x, trial.keys[row])
        torch.manual_seed(int(trial.keys[row]))
        with StandIns.of(model.train()).standing(trial.keys[row]):
            logits = model(x.clone())
    learned = {n: p for n, p in model.named_parameters() if p.requires_grad}
    given: Sequence[Tensor | None] = [None] * len(learned)
    if logits.requires_grad:
        given = torch.autograd.grad(logits, list(learned.values()), trial.slope(row, logits), allow_unused=True)
    now = dict(model.named_buffers())
    return Answers(
        evaluated,
        logits.detach(),
        {n: g for n, g in zip(learned, given, strict=True) if g is not None},
        {n: now[n].clone() for n in Held(model).statistics if not torch.equal(now[n], before[n])},
    )
