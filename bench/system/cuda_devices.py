"""Assigns CUDA devices to worker processes, and shares out their memory."""

from __future__ import annotations

import os

import torch

LEAST = 4 << 30  # bytes of a device that a worker needs: its context takes half a GiB before anything is trained


def devices_of_workers(workers: int) -> list[str | None]:
    """The device of each worker, assigned in turn.

    Small models keep a device waiting for the next launch, so several workers share one, as far as its memory reaches.

    Args:
        workers: as asked for.

    Returns:
        Of each worker a name for ``CUDA_VISIBLE_DEVICES``, at least one and no more than asked for; None: as the
        driver, where no device is seen.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
    most = len(names) * max(1, _free() // LEAST) if names else 1
    return [names[i % len(names)] if names else None for i in range(max(1, min(workers, most)))]


def memory(workers: int) -> int:
    """Bytes of a device that each of so many workers may use."""
    devices = devices_of_workers(workers)
    return _free() // max(1, devices.count(devices[0]))


def _free() -> int:
    """Bytes that are free on the first device; they are taken to be alike."""
    return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else 0
