"""Compiled loops of batch normalisation over ``(places, channels)``, channels innermost. Imported on first use only.

Of 16 channels of 32 images of 32x32, PyTorch's own kernels for this order in memory take three times as long. Sums are
of float32 over short runs, and of float64 over these.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flipbench.aggregators.numerics.sorting_network import compiled

_RUN = 128


def _moments(x: Any, mean: Any, var: Any) -> None:
    """Mean and variance of each channel, ``(channels,)`` float64, of ``(places, channels)``."""
    n, c = x.shape
    run = np.zeros(c, np.float32)
    for low in range(0, n, _RUN):
        run[:] = 0
        for i in range(low, min(low + _RUN, n)):
            for j in range(c):
                run[j] += x[i, j]
        for j in range(c):
            mean[j] += run[j]
    centre = np.empty(c, np.float32)
    for j in range(c):
        mean[j] /= n
        centre[j] = mean[j]
    for low in range(0, n, _RUN):
        run[:] = 0
        for i in range(low, min(low + _RUN, n)):
            for j in range(c):
                d = x[i, j] - centre[j]
                run[j] += d * d
        for j in range(c):
            var[j] += run[j]
    for j in range(c):
        var[j] /= n


def _scaled(x: Any, scale: Any, shift: Any, out: Any) -> None:
    """``x scale + shift``, of each channel its own."""
    n, c = x.shape
    for i in range(n):
        for j in range(c):
            out[i, j] = x[i, j] * scale[j] + shift[j]


def _slopes(x: Any, dy: Any, mean: Any, inverse: Any, of_weight: Any, of_bias: Any) -> None:
    """Gradients of weight and bias, ``(channels,)`` float64: sums of dy times the normalised x, and of dy."""
    n, c = x.shape
    first, second = np.zeros(c, np.float32), np.zeros(c, np.float32)
    for low in range(0, n, _RUN):
        first[:] = 0
        second[:] = 0
        for i in range(low, min(low + _RUN, n)):
            for j in range(c):
                d = dy[i, j]
                first[j] += d * ((x[i, j] - mean[j]) * inverse[j])
                second[j] += d
        for j in range(c):
            of_weight[j] += first[j]
            of_bias[j] += second[j]


def _combined(x: Any, dy: Any, of_x: Any, of_dy: Any, shift: Any, out: Any) -> None:
    """``dy of_dy + x of_x + shift``, of each channel its own: the gradient of the input."""
    n, c = x.shape
    for i in range(n):
        for j in range(c):
            out[i, j] = dy[i, j] * of_dy[j] + x[i, j] * of_x[j] + shift[j]


moments, scaled, slopes, combined = compiled(_moments), compiled(_scaled), compiled(_slopes), compiled(_combined)
