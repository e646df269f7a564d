"""Random draws of a rule: one generator a cell, from the cell's seed, the round and the purpose; never a global one.

A cell draws the same numbers alone and within a stack, on the CPU and on CUDA (draws are made on the CPU and moved).
"""

from __future__ import annotations

import hashlib

import torch

from flipbench.aggregators.contract import Cohort


def generators(cohort: Cohort, cells: tuple[int, ...], purpose: str) -> list[torch.Generator]:
    """A generator for each cell of a stack, the leading dimensions ``cells`` flattened.

    Args:
        cohort: gives seeds and round.
        cells: the leading dimensions of the updates.
        purpose: what is drawn, so that two rules (or two draws of one) do not see the same numbers.
    """
    seeds = cohort.seeds.expand(cells).reshape(-1).tolist()
    return [_generator(f"{purpose} {int(seed)} {cohort.round}") for seed in seeds]


def _generator(text: str) -> torch.Generator:
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
