"""Held-out splits and subsets, the same in every run: they depend on labels and a fixed name, on no cell's seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def fixed_generator(purpose: str) -> torch.Generator:
    """The generator of a split; its seed is the hash of the purpose."""
    seed = int.from_bytes(hashlib.sha256(f"flipbench data: {purpose}".encode()).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(seed)


def subset(labels: Tensor, size: int, purpose: str) -> Tensor:
    """Rows of a random subset with the classes in their shares (largest remainders; ties to the lower class).

    Args:
        labels: ``(n,)`` int64.
        size: rows wanted, 0 to n.
        purpose: names the draw.

    Returns:
        ``(size,)`` int64, ascending.
    """
    wanted = apportion(torch.bincount(labels), size)
    draws = fixed_generator(purpose)
    rows = []
    for c, count in enumerate(wanted):
        of_class = (labels == c).nonzero().squeeze(1)
        rows.append(of_class[torch.randperm(len(of_class), generator=draws)[:count]])
    return torch.cat(rows).sort().values


def apportion(counts: Tensor, size: int) -> list[int]:
    """``size`` shared out in proportion to the counts, by largest remainder, in whole numbers only."""
    total = int(counts.sum())
    shares = [int(c) * size for c in counts]
    given = [s // total for s in shares]
    by_remainder = sorted(range(len(shares)), key=lambda c: (-(shares[c] % total), c))
    for c in by_remainder[: size - sum(given)]:
        given[c] += 1
    return given


def held_out(labels: Tensor, size: int, purpose: str) -> tuple[Tensor, Tensor]:
    """Rows for training and ``size`` rows for testing, by class."""
    test = subset(labels, size, purpose)
    return _rest(len(labels), test), test


def held_out_groups(labels: Tensor, groups: Sequence[str], share: float, purpose: str) -> tuple[Tensor, Tensor]:
    """Rows for training and about a ``share`` of each class for testing, no group on both sides.

    Within each class its groups are shuffled and taken while they fit into the class's share of the test side. A
    group counts for the class of its first row.

    Args:
        labels: ``(n,)`` int64.
        groups: the name of each row's group.
        share: of each class's rows, for testing; missed by less than one group.
        purpose: names the draw.
    """
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    by_class: dict[int, list[list[int]]] = {}
    for rows in members.values():
        by_class.setdefault(int(labels[rows[0]]), []).append(rows)
    draws = fixed_generator(purpose)
    test: list[int] = []
    for c in sorted(by_class):
        class_groups = by_class[c]
        room = round(share * sum(map(len, class_groups)))
        for i in torch.randperm(len(class_groups), generator=draws).tolist():
            if len(class_groups[i]) <= room:
                test += class_groups[i]
                room -= len(class_groups[i])
    chosen = torch.tensor(sorted(test), dtype=torch.int64)
    return _rest(len(labels), chosen), chosen


def held_out_of_each(owners: Tensor, share: float, purpose: str) -> tuple[Tensor, Tensor]:
    """Rows for training and a ``share`` of each natural client's rows for testing; one of a single row trains on it.

    Args:
        owners: ``(n,)`` int64, the client of each row.
        share: of each client's rows, rounded, and at most all but one.
        purpose: names the draw.
    """
    draws = fixed_generator(purpose)
    order = torch.randperm(len(owners), generator=draws)
    by_client = order[owners[order].argsort(stable=True)]
    test = []
    for rows in by_client.split(torch.bincount(owners).tolist()):
        test.append(rows[: max(0, min(len(rows) - 1, round(share * len(rows))))])
    chosen = torch.cat(test).sort().values
    return _rest(len(owners), chosen), chosen


def divided(labels: Tensor, owners: Tensor | None, share: float, purpose: str) -> tuple[Tensor, Tensor]:
    """Rows to train and to test on: a share of each class, or of each natural client where there are any."""
    if owners is None:
        return held_out(labels, max(1, round(share * len(labels))), purpose)
    return held_out_of_each(owners, share, purpose)


def _rest(n: int, rows: Tensor) -> Tensor:
    mask = torch.ones(n, dtype=torch.bool)
    mask[rows] = False
    return mask.nonzero().squeeze(1)
