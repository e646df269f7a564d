"""The compiled half of `distances`: inner products of all pairs of clients around one of them, and what follows.

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

from flipbench.aggregators.numerics.sorting_network import compiled

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


def _add_products(updates: Any, members: Any, centre: int, total: Any, first: int, last: int) -> None:
    """Add the inner products of some of a cell's clients around one of them, over the tiles first..last-1.

    ``updates`` is ``(clients, dim)``; ``members`` says which rows, ``centre`` which of the members; ``total`` is
    ``(members up to a multiple of ROWS, the same of COLUMNS, PARTS)``, whose parts sum to the products on and above the
    diagonal.
    """
    clients, dim = len(members), updates.shape[1]
    rows, columns = total.shape[0], total.shape[1]
    tile = np.zeros(max(rows, columns) * WIDTH, updates.dtype)
    sums = total.reshape(-1)
    for t in range(first, last):
        start = t * WIDTH
        width = min(WIDTH, dim - start)
        middle = updates[members[centre], start : start + width]
        for i in range(clients):
            source, to = updates[members[i], start : start + width], tile[i * WIDTH : (i + 1) * WIDTH]
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


def _gram(totals: Any, gram: Any) -> None:
    """Both halves of ``(clients, clients)`` from the sums of several ranges of tiles ``(ranges, *padded, PARTS)``."""
    for i in range(len(gram)):
        for j in range(i, len(gram)):
            whole = 0.0
            for k in range(len(totals)):
                of_range = 0.0
                for p in range(totals.shape[3]):
                    of_range += totals[k, i, j, p]
                whole += of_range
            gram[i, j] = gram[j, i] = whole


def _squares(gram: Any, members: Any, centre: int, cancels: float, squares: Any, lost: Any) -> bool:
    """Squared distances of the members, and the pairs whose distance is no more than rounding; whether there are any.

    ``gram`` is ``(members, members)``; ``squares`` and ``lost`` are ``(clients, clients)``, filled for the members.
    """
    any_lost = False
    for i in range(len(members)):
        for j in range(len(members)):
            value = gram[j, j] + gram[i, i]
            if i != centre and j != centre:  # to the centre nothing cancels, and 0 times an overflow is NaN
                value -= 2 * gram[i, j]
            gone = i != j and not value >= cancels * max(gram[i, i], gram[j, j])  # NaN, from an overflow, is lost too
            squares[members[i], members[j]] = 0.0 if i == j or value < 0 else value
            lost[members[i], members[j]] = gone
            any_lost |= gone
    return any_lost


def _groups(squares: Any, lost: Any, members: Any, ends: Any, centres: Any) -> int:
    """The connected groups of two or more clients that lost pairs form; how many there are.

    ``members`` ``(clients,)`` gets them one after the other, each in order; group g ends before ``ends[g]``, and
    ``centres[g]`` is the place within it of the client that has half of it nearest.
    """
    clients = len(lost)
    group = np.full(clients, -1)
    edge = np.empty(clients, np.int64)
    count, filled = 0, 0
    for first in range(clients):
        if group[first] >= 0 or not lost[first].any():
            continue
        group[first], edge[0], waiting = count, first, 1
        while waiting:
            waiting -= 1
            here = edge[waiting]
            for other in range(clients):
                if lost[here, other] and group[other] < 0:
                    group[other], edge[waiting] = count, other
                    waiting += 1
        begin = filled
        for i in range(clients):
            if group[i] == count:
                members[filled] = i
                filled += 1
        size = filled - begin
        row, least = np.empty(size), np.inf
        centres[count] = 0
        for i in range(size):
            for j in range(size):
                value = squares[members[begin + i], members[begin + j]]
                row[j] = np.inf if np.isnan(value) else value
            row.sort()
            if row[size // 2] < least:
                centres[count], least = i, row[size // 2]
        ends[count] = filled
        count += 1
    return count


add_products, gram, squares, groups = (compiled(f) for f in (_add_products, _gram, _squares, _groups))


def _measure(updates: Any, members: Any, centre: int, parts: int, cancels: float, apart: Any, lost: Any) -> Any:
    """`squares` of some of a cell's clients around one of them, their products added up in so many ranges of tiles."""
    clients, tiles = len(members), (updates.shape[1] + WIDTH - 1) // WIDTH
    rows, columns = (clients + ROWS - 1) // ROWS * ROWS, (clients + COLUMNS - 1) // COLUMNS * COLUMNS
    totals, inner = np.zeros((parts, rows, columns, PARTS)), np.empty((clients, clients))
    for k in range(parts):
        add_products(updates, members, centre, totals[k], tiles * k // parts, tiles * (k + 1) // parts)
    gram(totals, inner)
    return squares(inner, members, centre, cancels, apart, lost)


measure = compiled(_measure)
