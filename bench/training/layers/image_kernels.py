"""Compiled loops over images: what no product and no copy of PyTorch does well. Imported on first use only.

Indices are unsigned, so that the compiler need not look for negative ones and uses vector instructions (ten times
faster).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flipbench.aggregators.numerics.sorting_network import compiled

_U = np.uintp


def _add_back(
    patches: Any,
    out: Any,
    height: int,
    width: int,
    rows: int,
    runs: int,
    length: int,
    depth: int,
    stride_y: int,
    stride_x: int,
    dilation_y: int,
    dilation_x: int,
) -> None:
    """Add every tap of every patch to the pixel that it came from.

    ``patches`` is ``(batch x height x width, at least rows x runs x length)``, ``out`` is
    ``(batch, image height, image width x depth)``; a patch has ``rows`` rows of ``runs`` runs of ``length`` values
    that lie side by side in the image.
    """
    n = _U(length)
    for b in range(out.shape[0]):
        for y in range(height):
            for x in range(width):
                r = _U((b * height + y) * width + x)
                for k in range(rows):
                    line = _U(y * stride_y + k * dilation_y)
                    for l in range(runs):
                        start = _U((x * stride_x + l * dilation_x) * depth)
                        tap = _U(k * runs + l) * n
                        for j in range(n):
                            out[_U(b), line, start + _U(j)] += patches[r, tap + _U(j)]


def _larger(u: Any, v: Any) -> Any:
    """Whether u is taken before an earlier v. A number, not a branch: which one wins is a coin toss."""
    return np.int32((u > v) | (u != u))


def _pool_last(x: Any, out: Any, which: Any) -> None:
    """2x2 maxima of ``(images, 2h, 2w, channels)`` into ``(images, h, w, channels)``.

    Of equal values the first is taken, as in PyTorch, and NaN before all others. ``which`` (int32, like out) says
    where each came from: 2 row + column.
    """
    for b in range(out.shape[0]):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                for c in range(out.shape[3]):
                    p, q = x[b, 2 * i, 2 * j, c], x[b, 2 * i, 2 * j + 1, c]
                    r, s = x[b, 2 * i + 1, 2 * j, c], x[b, 2 * i + 1, 2 * j + 1, c]
                    upper, lower = larger(q, p), larger(s, r)
                    top, bottom = q if upper else p, s if lower else r
                    row = larger(bottom, top)
                    out[b, i, j, c] = bottom if row else top
                    which[b, i, j, c] = 2 * row + (lower if row else upper)


def _unpool_last(dy: Any, which: Any, dx: Any) -> None:
    """``dy`` where each maximum came from, zero elsewhere: the gradient of `_pool_last`."""
    dx[:] = 0
    for b in range(dy.shape[0]):
        for i in range(dy.shape[1]):
            for j in range(dy.shape[2]):
                for c in range(dy.shape[3]):
                    w = which[b, i, j, c]
                    dx[b, 2 * i + (w >> 1), 2 * j + (w & 1), c] = dy[b, i, j, c]


def _pool_first(x: Any, out: Any, which: Any) -> None:
    """As `_pool_last`, of ``(rows, channels, images, 2h, 2w)`` into ``(rows, images, h, w, channels)``."""
    for r in range(out.shape[0]):
        for b in range(out.shape[1]):
            for c in range(out.shape[4]):
                for i in range(out.shape[2]):
                    for j in range(out.shape[3]):
                        upper = larger(x[r, c, b, 2 * i, 2 * j + 1], x[r, c, b, 2 * i, 2 * j])
                        lower = larger(x[r, c, b, 2 * i + 1, 2 * j + 1], x[r, c, b, 2 * i + 1, 2 * j])
                        # Read again where the index says: a choice of values would be compiled to a branch.
                        row = larger(x[r, c, b, 2 * i + 1, 2 * j + lower], x[r, c, b, 2 * i, 2 * j + upper])
                        column = row * lower + (1 - row) * upper
                        out[r, b, i, j, c] = x[r, c, b, 2 * i + row, 2 * j + column]
                        which[r, b, i, j, c] = 2 * row + column


def _unpool_first(dy: Any, which: Any, dx: Any) -> None:
    """The gradient of `_pool_first`."""
    dx[:] = 0
    for r in range(dy.shape[0]):
        for b in range(dy.shape[1]):
            for c in range(dy.shape[4]):
                for i in range(dy.shape[2]):
                    for j in range(dy.shape[3]):
                        w = which[r, b, i, j, c]
                        dx[r, c, b, 2 * i + (w >> 1), 2 * j + (w & 1)] = dy[r, b, i, j, c]


add_back = compiled(_add_back)
larger = compiled(_larger)
pool_last, unpool_last = compiled(_pool_last), compiled(_unpool_last)
pool_first, unpool_first = compiled(_pool_first), compiled(_unpool_first)
