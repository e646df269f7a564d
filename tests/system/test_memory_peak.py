"""The memory that a call holds at its peak, against calls whose memory is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flipbench.system import memory_peak

CPU = torch.device("cpu")
MILLION = 1_000_000


@pytest.mark.parametrize("megabytes", [4, 12])
def test_tensors_are_counted_while_they_are_held(megabytes: int) -> None:
    def call() -> float:
        first = torch.ones(megabytes * MILLION // 4)
        total = float((first + 1).sum())  # a second one beside it
        del first
        return total + float(torch.ones(MILLION // 4).sum())

    answer, peak = memory_peak.measured(call, CPU)
    assert answer == megabytes * MILLION / 2 + MILLION / 4
    assert peak == pytest.approx(2 * megabytes * MILLION, rel=0.02)


def test_arrays_of_numpy_are_counted() -> None:
    _, peak = memory_peak.measured(lambda: float(np.ones(MILLION).sum()), CPU)
    assert peak == pytest.approx(8 * MILLION, rel=0.02)


def test_what_was_there_before_is_not_counted_and_errors_pass() -> None:
    given = torch.ones(3 * MILLION)
    _, peak = memory_peak.measured(lambda: given.view(3, -1)[0], CPU)
    assert peak is not None
    assert peak < 100_000

    def wrong() -> None:
        raise ValueError("of the call")

    with pytest.raises(ValueError, match="of the call"):
        memory_peak.measured(wrong, CPU)
    assert memory_peak.measured(lambda: 1, CPU)[1] is not None  # the profiler was stopped


def test_a_number_is_measured_once_for_a_name() -> None:
    asked: list[int] = []

    def measure() -> int:
        asked.append(1)
        return len(asked)

    assert [memory_peak.once(("a test", measure), measure) for _ in range(3)] == [1, 1, 1]
