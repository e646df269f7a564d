"""What sybils hold: ``data(labels, clients, generator, /, *, option) -> rows``, for one of them.

``labels`` are the true ones of all examples that clients may hold, ``clients`` is N, the honest ones. Malicious clients
that have shares of their own like the others (``share``) are no sybils.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from flipbench.errors import UserError

MaliciousData = Callable[..., Tensor]


def share(labels: Tensor, clients: int, generator: torch.Generator, /) -> Tensor:
    """Their own shares of the partition: malicious clients are among the N."""
    raise UserError("malicious_data share holds nothing beside the partition")


def of_class(labels: Tensor, clients: int, generator: torch.Generator, /, *, label: int | list[int]) -> Tensor:
    """Every training example of a class, or of several (Fung et al. 2020, section 6: all images of the digit 1).

    Args:
        labels: ``(examples,)`` int64.
        clients: N; plays no part.
        generator: plays no part.
        label: the class, or several.

    Returns:
        Rows, ascending.

    Raises:
        UserError: there is no example of a class.
    """
    wanted = [label] if isinstance(label, int) else label
    absent = [c for c in wanted if not bool((labels == c).any())]
    if absent or not wanted:
        raise UserError(
            f"of_class(label={label}) needs examples of each class named, and the training examples "
            f"have classes {', '.join(map(str, labels.unique().tolist()))}"
        )
    return torch.isin(labels, torch.tensor(wanted)).nonzero().squeeze(1)


def fresh(labels: Tensor, clients: int, generator: torch.Generator, /, *, examples: int | None = None) -> Tensor:
    """A random sample of all training examples, another one for each (Karimireddy et al. 2022, section 6).

    Args:
        labels: ``(examples,)`` int64.
        clients: N.
        generator: of the draw, on the CPU.
        examples: how many, without replacement; None: an N-th of all, as many as an honest client has on average.

    Returns:
        Rows, ascending.

    Raises:
        UserError: fewer than 1, or more than there are.
    """
    number = max(1, len(labels) // clients) if examples is None else examples
    if not 1 <= number <= len(labels):
        raise UserError(f"fresh needs examples from 1 to {len(labels)}, got {number}")
    return torch.randperm(len(labels), generator=generator)[:number].sort().values


MALICIOUS_DATA: Mapping[str, MaliciousData] = MappingProxyType({f.__name__: f for f in (share, of_class, fresh)})
