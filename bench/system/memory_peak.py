"""How much memory one call of a rule takes at its peak, beside the updates that it is given.

On CUDA it is the peak of PyTorch's allocator during the call. The CPU has no such counter, so there it is the sum of
two peaks: of PyTorch's tensors, from the events of its profiler, and of NumPy's arrays and Python's objects, from
`tracemalloc`. The two need not come at the same moment, so the sum is an upper bound. Not counted are what compiled
kernels hold on their stack (tiles of some kilobytes) and what a rule allocates in threads of its own.

The caller asks before once more without measuring: a first call loads modules and compiled kernels.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Hashable
from typing import Any

import torch

_KNOWN: dict[Hashable, int | None] = {}
_MOST = 4096  # numbers that are kept


def once(name: Hashable, measure: Callable[[], int | None]) -> int | None:
    """What ``measure`` gives, or gave before in this process under the same name."""
    if name not in _KNOWN:
        if len(_KNOWN) >= _MOST:
            _KNOWN.clear()
        _KNOWN[name] = measure()
    return _KNOWN[name]


def measured(call: Callable[[], Any], device: torch.device) -> tuple[Any, int | None]:
    """What a call answers, and the bytes that it holds at its peak; None where this PyTorch cannot say.

    Args:
        call: whose memory is measured; what it raises is passed on.
        device: where the call's tensors are.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        answer = call()
        torch.cuda.synchronize(device)
        return answer, torch.cuda.max_memory_allocated(device) - before
    traced = tracemalloc.is_tracing()  # by the user: left on
    if not traced:
        tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    try:
        answer, of_torch = _of_torch(call)
        of_python = tracemalloc.get_traced_memory()[1] - before
    finally:
        if not traced:
            tracemalloc.stop()
    return answer, None if of_torch is None else of_torch + max(0, of_python)


def _of_torch(call: Callable[[], Any]) -> tuple[Any, int | None]:
    """A call's answer, and the peak of PyTorch's tensors on the CPU.

    By the profiler that PyTorch had before Kineto, which starts within a millisecond: Kineto and a dispatch mode load
    800 modules first, and Kineto writes to the terminal.
    """
    try:
        kinds: Any = torch._C._profiler
        profiler: Any = torch.autograd
        config = kinds.ProfilerConfig(
            kinds.ProfilerState.CPU, False, True, False, False, False, kinds._ExperimentalConfig()
        )
        start, stop = profiler._enable_profiler_legacy, profiler._disable_profiler_legacy
        start(config)
    except (AttributeError, TypeError, RuntimeError):  # another PyTorch, or a user's profiler is running
        return call(), None
    try:
        answer = call()
    finally:
        threads = stop()
    held = most = 0
    for events in threads:
        for event in events:
            if event.kind() == "memory_alloc":
                held += event.cpu_memory_usage()
                most = max(most, held)
    return answer, int(most)
