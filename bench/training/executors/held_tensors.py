"""What a module holds, as an executor sees it: tensors of each row, and tensors that are the same for all rows.

Of each row are the parameters that are trained and the float buffers, which travel in the vector. Frozen parameters
are the module's own. Counters, which are integer buffers, do not travel: each call sees them as the module was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor, nn

from flipbench.training.layers.protocol import Sink


@dataclass(frozen=True)
class Held:
    """The tensors of a module, by the names of its vector.

    Attributes:
        module: whose.
    """

    module: nn.Module

    @cached_property
    def learned(self) -> tuple[str, ...]:
        """Parameters that are trained."""
        return tuple(name for name, p in self.module.named_parameters() if p.requires_grad)

    @cached_property
    def statistics(self) -> tuple[str, ...]:
        """Float buffers: running statistics, which travel like weights."""
        return tuple(name for name, b in self.module.named_buffers() if b.is_floating_point())

    @cached_property
    def counters(self) -> dict[str, Tensor]:
        """All other buffers, as they were when the module was made."""
        return {name: b.clone() for name, b in self.module.named_buffers() if not b.is_floating_point()}

    @cached_property
    def tied(self) -> dict[str, str]:
        """Other names of tensors that several layers share -> the first one, by which they are known."""
        first: dict[int, str] = {}
        found = {}
        for prefix, module in self.module.named_modules():
            for name, tensor in chain(module._parameters.items(), module._buffers.items()):
                if tensor is not None:
                    own = f"{prefix}.{name}" if prefix else name
                    if (known := first.setdefault(id(tensor), own)) != own:
                        found[own] = known
        return found

    def leaf(self, name: str, value: Tensor) -> Tensor:
        """A parameter's value as the end of a graph, with the gradient hooks of the module's own parameter.

        Args:
            name: of the parameter.
            value: a tensor of its own.
        """
        leaf = value.requires_grad_()
        for hook in (self.module.get_parameter(name)._backward_hooks or {}).values():
            leaf.register_hook(hook)
        return leaf

    def call(self, tensors: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What the module answers with these tensors in the place of its own, which it may write into.

        Args:
            tensors: parameters that are trained and float buffers, of one row; buffers are changed in place.
            x: ``(batch, *shape)``, which may be changed too.

        Returns:
            The logits, and the float buffers afterwards.
        """
        given = {**tensors, **{name: c.clone() for name, c in self.counters.items()}}
        given |= {name: given[first] for name, first in self.tied.items() if first in given}
        # Not its own tying, which leaves one of our tensors in a module that stands in the model twice.
        y: Tensor = torch.func.functional_call(self.module, given, (x,), tie_weights=False)
        return y, {name: given[name] for name in self.statistics}


def send_statistics(before: Mapping[str, Tensor], after: Mapping[str, Tensor], sink: Sink) -> None:
    """The float buffers that a forward pass moved, to where it moved them; ``(rows, *shape)`` each."""
    for name, value in after.items():
        if not torch.equal(value, before[name]):
            sink.statistic(name, value, 1.0)
