"""Checksums of arrays, which tell whether data that cells share are still what they were."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

from flipbench.data.dataset import SIDES, Dataset


def of_arrays(named: Mapping[str, Tensor]) -> dict[str, int]:
    """A CRC-32 of each array: at 3 GB/s, and different wherever a few bytes are."""
    return {name: zlib.crc32(_bytes(tensor).numpy().data) for name, tensor in named.items()}


def of_dataset(dataset: Dataset) -> dict[str, int]:
    """`of_arrays` of the examples and labels of both sides, and of the natural clients."""
    clients = {} if dataset.clients is None else {"clients": dataset.clients}
    return of_arrays({side: getattr(dataset, side) for side in SIDES} | clients)


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
