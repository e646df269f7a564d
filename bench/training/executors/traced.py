"""All rows at once through the graph of a module, which `torch.fx` traces: residual networks, attention, embeddings.

The graph runs once on the examples of all rows side by side, ``(rows x batch, ...)``. Layers with parameters take each
row's own (`traced_layers`); all else works on each example alone, which `executors.choice` tries. A graph has no branch
on values, so that what was tried is what trains. Evaluation goes one row after the other, as in `loop`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from flipbench.training.executors.all_rows import AllRows
from flipbench.training.executors.held_tensors import Held
from flipbench.training.executors.traced_layers import FORWARDS, Rows, is_plain
from flipbench.training.layers.protocol import Backward, Parameters, Sink


class UntraceableError(ValueError):
    """The module has parameters outside of known layers."""


@dataclass(frozen=True)
class Traced(AllRows):
    """A module whose parameters all lie in known layers.

    Attributes:
        module: as of `OfModule`.
        graph: of its forward pass in training.
        layers: name -> known layers in it.
        singles: name -> parameter that forward uses directly, and that is the same for all examples.
    """

    graph: fx.GraphModule
    layers: dict[str, nn.Module]
    singles: dict[str, _Single]

    name = "stacked"

    @classmethod
    def of(cls, module: nn.Module) -> Traced:
        """Trace a module.

        Raises:
            UntraceableError: it has parameters outside of known layers.
            Exception: torch.fx cannot trace it.
        """
        tracer = _Tracer()
        graph = tracer.trace(module.train())
        owned = {f"{name}.{n}" for name, m in tracer.layers.items() for n, _ in m.named_parameters(recurse=False)}
        owned |= {f"{name}.{n}" for name, m in tracer.layers.items() for n, _ in m.named_buffers(recurse=False)}
        held, singles = Held(module), dict[str, _Single]()
        for node in list(graph.nodes):
            known = str(node.target) if node.op == "get_attr" else ""
            if known in held.learned:
                singles[known] = _Single(known)
                with graph.inserting_before(node):
                    node.replace_all_uses_with(graph.call_module(_place(known)))
                graph.erase_node(node)
        if left := [n for n in (*held.learned, *held.statistics) if n not in owned and n not in singles]:
            raise UntraceableError(f"{left[0]} lies in no layer that is known")
        root = {name: module.get_submodule(name) for name in _modules_of(graph) if not name.startswith(_SINGLE)}
        others = {
            str(node.target): _attribute(module, str(node.target)) for node in graph.nodes if node.op == "get_attr"
        }
        made = fx.GraphModule({**root, **others, **{_place(n): s for n, s in singles.items()}}, graph)
        return cls(module, made, tracer.layers, singles)

    def trained(self, x: Tensor, p: Parameters, counts: Tensor | None) -> tuple[Tensor, Backward]:
        """As `OfModule`."""
        run = Rows.of(self.held, x, p, counts)
        with torch.enable_grad(), self._standing(run):
            logits = self.graph(x.flatten(0, 1).clone()).unflatten(0, x.shape[:2])

        def back(dy: Tensor, sink: Sink, need_dx: bool) -> None:
            assert not need_dx
            run.backward(logits, dy, sink)

        return logits.detach(), back

    @contextmanager
    def _standing(self, run: Rows) -> Iterator[None]:
        """While it lasts, known layers take the parameters of the rows."""
        try:
            for name, layer in self.layers.items():
                vars(layer)["forward"] = FORWARDS[type(layer)](name, layer, run)
            for single in self.singles.values():
                single.run = run
            yield
        finally:
            for layer in self.layers.values():
                vars(layer).pop("forward", None)
            for single in self.singles.values():
                single.run = None


class _Single(nn.Module):
    """A parameter of shape ``(1, ...)`` for each example of its row."""

    def __init__(self, parameter: str) -> None:
        super().__init__()
        self.parameter = parameter
        self.run: Rows | None = None

    def forward(self) -> Tensor:
        assert self.run is not None
        return self.run.for_examples(self.parameter)


class _Tracer(fx.Tracer):
    """Keeps known layers, and those of PyTorch without parameters, whole."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: dict[str, nn.Module] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """As `torch.fx.Tracer`."""
        if type(m) in FORWARDS and is_plain(m):
            self.layers[module_qualified_name] = m
            return True
        empty = not any(True for _ in m.parameters()) and not any(True for _ in m.buffers())
        return empty and super().is_leaf_module(m, module_qualified_name)


_SINGLE = "single_"


def _place(parameter: str) -> str:
    return _SINGLE + parameter.replace(".", "_")


def _modules_of(graph: fx.Graph) -> list[str]:
    return list(dict.fromkeys(str(node.target) for node in graph.nodes if node.op == "call_module"))


def _attribute(module: nn.Module, place: str) -> object:
    """What stands at a dotted place."""
    found: object = module
    for name in place.split("."):
        found = getattr(found, name)
    return found
