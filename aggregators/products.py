"""The compiled half of `distances`: inner products of all pairs of clients around one of them.

A tile is `WIDTH` columns of all clients, centred as it is copied. Its inner products are taken for three rows by four
at a time, which is as many sums as fit the vector registers, and only on and above the diagonal: half of what a
general matrix product computes. A sum runs over few columns in the updates' own precision and is then added up in
float64. Imported on first use only; all that its kernel is made of stands in this file, as in `tiles`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from aggregators.tiles import compiled

WIDTH = 256  # columns in a tile
ROWS, COLUMNS = 3, 4  # clients in a block of sums
PARTS = 4  # partial sums of one inner product


def _declare_block(typing: Any, tile: Any, first: Any, second: Any, total: Any, at: Any, stride: Any) -> Any:
    """Add the inner products of `ROWS` rows of a tile with `COLUMNS` others to ``total``."""
    lanes = 256 // tile.dtype.bitwidth

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        size = signature.args[0].dtype.bitwidth // 8
        vector = ir.VectorType(context.get_data_type(signature.args[0].dtype), lanes)
        double = ir.VectorType(ir.DoubleType(), PARTS)
        data, sums = (context.make_array(signature.args[k])(context, builder, args[k]).data for k in (0, 3))
        whole = args[1].type

        def number(value: int) -> Any:
            return ir.Constant(whole, value)

        def place(array: Any, index: Any, kind: Any) -> Any:
            return builder.bitcast(builder.gep(array, [index]), kind.as_pointer())

        def row(start: Any, which: int, column: Any) -> Any:
            index = builder.add(builder.add(start, number(which * WIDTH)), column)
            return builder.load(place(data, index, vector), align=size)

        cells = [(r, c) for r in range(ROWS) for c in range(COLUMNS)]
        keep: Any = cgutils.alloca_once_value
        running = {rc: keep(builder, ir.Constant(vector, None)) for rc in cells}
        with cgutils.for_range_slice(builder, number(0), number(WIDTH), number(lanes), whole) as (column, _):
            left = [row(args[1], r, column) for r in range(ROWS)]
            for c in range(COLUMNS):
                right = row(args[2], c, column)
                for r in range(ROWS):
                    product = builder.fmul(left[r], right, flags=("contract",))
                    added = builder.fadd(builder.load(running[r, c]), product, flags=("contract",))
                    builder.store(added, running[r, c])
        for r, c in cells:
            parts = builder.load(running[r, c])
            if lanes > PARTS:
                halves = [
                    builder.shuffle_vector(parts, parts, ir.Constant(ir.VectorType(ir.IntType(32), PARTS), list(half)))
                    for half in (range(PARTS), range(PARTS, lanes))
                ]
                parts = builder.fadd(*(builder.fpext(half, double) for half in halves))
            index = builder.add(builder.add(args[4], builder.mul(args[5], number(r))), number(c * PARTS))
            target = place(sums, index, double)
            builder.store(builder.fadd(builder.load(target, align=8), parts), target, align=8)
        return context.get_dummy_value()

    return types.void(tile, types.intp, types.intp, total, types.intp, types.intp), generate


_add_block: Any = intrinsic(_declare_block)


def _add_products(updates: Any, centre: int, total: Any, first: int, last: int) -> None:
    """Add the inner products of a cell's clients around one of them, over the tiles first..last-1.

    ``updates`` is ``(clients, dim)``; ``total`` is ``(clients up to a multiple of ROWS, the same of COLUMNS, PARTS)``,
    whose parts sum to the products on and above the diagonal.
    """
    clients, dim = updates.shape
    rows, columns = total.shape[0], total.shape[1]
    tile = np.zeros(max(rows, columns) * WIDTH, updates.dtype)
    sums = total.reshape(-1)
    for t in range(first, last):
        start = t * WIDTH
        width = min(WIDTH, dim - start)
        middle = updates[centre, start : start + width]
        for i in range(clients):
            source, to = updates[i, start : start + width], tile[i * WIDTH : (i + 1) * WIDTH]
            for c in range(width):
                to[c] = source[c] - middle[c]
            for c in range(width, WIDTH):
                to[c] = 0.0
        for j in range(0, columns, COLUMNS):
            for i in range(0, min(rows, j + COLUMNS), ROWS):
                _add_block(tile, i * WIDTH, j * WIDTH, sums, (i * columns + j) * PARTS, columns * PARTS)


def padded(clients: int) -> tuple[int, int, int]:
    """The shape of ``total`` for so many clients."""
    return -(-clients // ROWS) * ROWS, -(-clients // COLUMNS) * COLUMNS, PARTS


add_products = compiled(_add_products)
