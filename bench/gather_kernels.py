"""Compiled gathering of batches: the rows that a round trains on, asked for ahead of their copies.

A batch's rows lie anywhere in a training set that no cache holds, so a plain copy waits for the memory at the
beginning of each. Imported on first use only; all that its kernel is made of stands in this file, as in
`aggregators.tiles`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from aggregators.tiles import compiled

AHEAD = 2  # rows: 750 rows of MNIST in 123 us, 150 one by one, 165 by PyTorch
_LINE = 64  # bytes of a cache line


def _declare_ask(typing: Any, source: Any, start: Any) -> Any:
    """Ask for the cache line with a number of the source, into the nearest cache."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        declared: Any = cgutils.get_or_insert_function
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = declared(builder.module, kind, "llvm.prefetch.p0i8")
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        place = builder.bitcast(builder.gep(data, [args[1]]), byte)
        read, nearest, of_data = (ir.Constant(word, i) for i in (0, 3, 1))
        builder.call(function, [place, read, nearest, of_data])
        return context.get_dummy_value()

    return types.void(source, types.intp), generate


_ask: Any = intrinsic(_declare_ask)


def _gather(data: Any, index: Any, out: Any) -> None:
    """``out[i] = data[index[i]]``, of ``(examples, numbers)`` and ``(rows,)`` int64 to ``(rows, numbers)``.

    Raises:
        IndexError: an index is negative or beyond the last example.
    """
    examples, numbers = data.shape
    source, step = data.reshape(-1), _LINE // data.itemsize
    for i in range(len(index)):
        if not 0 <= index[i] < examples:
            raise IndexError("a batch asks for a row that the training set does not have")
    for i in range(-AHEAD, len(index)):
        if i + AHEAD < len(index):
            begin = index[i + AHEAD] * numbers
            for c in range(0, numbers, step):
                _ask(source, begin + c)
        if i >= 0:
            row = index[i]
            for c in range(numbers):
                out[i, c] = data[row, c]


gather = compiled(_gather)


def _gather_scaled(data: Any, scale: Any, index: Any, out: Any) -> None:
    """`_gather` of bytes, each as ``(byte / divisor - mean) / std``: ``scale`` is these three, float32.

    Two divisions take longer than the memory, so there is one where one is enough.
    """
    examples, numbers = data.shape
    divisor, mean, std = scale
    source, plain = data.reshape(-1), mean == 0 and std == 1
    for i in range(len(index)):
        if not 0 <= index[i] < examples:
            raise IndexError("a batch asks for a row that the training set does not have")
    for i in range(-AHEAD, len(index)):
        if i + AHEAD < len(index):
            begin = index[i + AHEAD] * numbers
            for c in range(0, numbers, _LINE):
                _ask(source, begin + c)
        if i >= 0:
            row = index[i]
            if plain:
                for c in range(numbers):
                    out[i, c] = np.float32(data[row, c]) / divisor
            else:
                for c in range(numbers):
                    out[i, c] = (np.float32(data[row, c]) / divisor - mean) / std


gather_scaled = compiled(_gather_scaled)
