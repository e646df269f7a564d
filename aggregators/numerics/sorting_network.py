"""The compiled half of `order_statistics`: a sorting network run over tiles of columns.

A tile is `WIDTH` neighbouring columns of all clients, small enough for the nearest cache. A network is a list of
comparators between rows of the tile; each is a minimum and a maximum of two rows, `WIDTH` columns at once. Nothing
branches on the data, one compiled kernel serves every number of clients and every network, and no column's answer
depends on its neighbours, on the number of threads or on the other cells of a stack.

What is done to the columns of a row at once is written out as vector instructions: the vectoriser turns a comparator
into masked stores (5x slower) and leaves a copy scalar (3x slower). Values are finite, so the minimum and maximum
need no care for NaN.

Every kernel works on the tiles first..last-1, counted through all cells of ``updates`` ``(cells, clients, dim)``, and
writes ``out`` ``(cells, dim)``. Imported on first use only: loading the compiler costs more than all the rest.
Compiled on first use and kept on disk, where a kernel is known by the file it stands in; so all of them and all they
are made of stand in this one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

WIDTH = 64  # columns in a tile
WIDE = 512  # columns of a plain sum
BOTH, LOW, HIGH = 0, 1, 2  # a comparator: which of its two results is wanted

_SORTS_FOUR = ((0, 1), (2, 3), (0, 2), (1, 3), (1, 2))


class _Array:
    """One array inside the code being generated, read and written a vector at a time."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any, lanes: int) -> None:
        self.builder = builder
        self.data = context.make_array(kind)(context, builder, value).data
        self.bits = kind.dtype.bitwidth
        self.vector = ir.VectorType(context.get_data_type(kind.dtype), lanes)

    def _place(self, row: Any, column: int) -> Any:
        index = self.builder.add(row, ir.Constant(row.type, column))
        return self.builder.bitcast(self.builder.gep(self.data, [index]), self.vector.as_pointer())

    def read(self, row: Any, column: int) -> Any:
        return self.builder.load(self._place(row, column), align=self.bits // 8)

    def write(self, value: Any, row: Any, column: int) -> None:
        self.builder.store(value, self._place(row, column), align=self.bits // 8)

    def read_double(self, row: Any, column: int) -> Any:
        value = self.read(row, column)
        return value if self.bits == 64 else self.builder.fpext(value, ir.VectorType(ir.DoubleType(), value.type.count))

    def ask(self, row: Any, column: int) -> None:
        """To be read soon, into the second-level cache."""
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        declared: Any = cgutils.get_or_insert_function
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = declared(self.builder.module, kind, "llvm.prefetch.p0i8")
        place = self.builder.bitcast(self._place(row, column), byte)
        read, second_level, data = (ir.Constant(word, i) for i in (0, 2, 1))
        self.builder.call(function, [place, read, second_level, data])

    def in_order(self, x: Any, y: Any) -> list[Any]:
        """The lower and the higher of two vectors, lane by lane."""
        of_two = ir.FunctionType(self.vector, [self.vector, self.vector])
        declared: Any = cgutils.get_or_insert_function
        names = [f"llvm.{which}num.v{self.vector.count}f{self.bits}" for which in ("min", "max")]
        functions = [declared(self.builder.module, of_two, name) for name in names]
        return [self.builder.call(f, [x, y], fastmath=("nnan", "nsz")) for f in functions]


def _columns(lanes: int) -> range:
    return range(0, WIDTH, lanes)


def _comparator(which: int) -> Any:
    def declare(typing: Any, tile: Any, a: Any, b: Any) -> Any:
        """The rows a and b of a tile, in order."""
        lanes = 256 // tile.dtype.bitwidth

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            rows = _Array(context, builder, signature.args[0], args[0], lanes)
            for c in _columns(lanes):
                low, high = rows.in_order(rows.read(args[1], c), rows.read(args[2], c))
                if which != HIGH:
                    rows.write(low, args[1], c)
                if which != LOW:
                    rows.write(high, args[2], c)
            return context.get_dummy_value()

        return types.void(tile, types.intp, types.intp), generate

    return intrinsic(declare)


def _loader(count: int) -> Any:
    def declare(typing: Any, tile: Any, at: Any, source: Any, start: Any, stride: Any) -> Any:
        """Copy rows of a source into neighbouring rows of a tile, in order from the lowest to the highest."""
        lanes = 256 // tile.dtype.bitwidth

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            to = _Array(context, builder, signature.args[0], args[0], lanes)
            of = _Array(context, builder, signature.args[2], args[2], lanes)
            starts = [args[3]]
            for _ in range(1, count):
                starts.append(builder.add(starts[-1], args[4]))
            for c in _columns(lanes):
                values = [of.read(s, c) for s in starts]
                for a, b in _SORTS_FOUR if count == 4 else ():
                    values[a], values[b] = to.in_order(values[a], values[b])
                for row, value in enumerate(values):
                    to.write(value, args[1], row * WIDTH + c)
            return context.get_dummy_value()

        return types.void(tile, types.intp, source, types.intp, types.intp), generate

    return intrinsic(declare)


def _adder(count: int) -> Any:
    def declare(typing: Any, total: Any, tile: Any, at: Any) -> Any:
        """Add neighbouring rows of a tile to a row of float64."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            to = _Array(context, builder, signature.args[0], args[0], 4)
            of = _Array(context, builder, signature.args[1], args[1], 4)
            zero = ir.Constant(args[2].type, 0)
            for c in _columns(4):
                terms = [of.read_double(args[2], row * WIDTH + c) for row in range(count)]
                while len(terms) > 1:
                    terms = [builder.fadd(*pair) for pair in zip(terms[::2], terms[1::2], strict=True)]
                to.write(builder.fadd(to.read(zero, c), terms[0]), zero, c)
            return context.get_dummy_value()

        return types.void(total, tile, types.intp), generate

    return intrinsic(declare)


def _prefetcher() -> Any:
    def declare(typing: Any, source: Any, start: Any) -> Any:
        """Ask for columns of a source ahead of their load, while there is something else to compute."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            of = _Array(context, builder, signature.args[0], args[0], 1)
            for c in _columns(512 // of.bits):  # one a cache line
                of.ask(args[1], c)
            return context.get_dummy_value()

        return types.void(source, types.intp), generate

    return intrinsic(declare)


prefetch = _prefetcher()
both, low, high = _comparator(BOTH), _comparator(LOW), _comparator(HIGH)
load_one, load_four = _loader(1), _loader(4)
add_one, add_four = _adder(1), _adder(4)


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """Compile on first call, without the interpreter lock; kept on disk where there is a place to write."""
    try:
        return njit(nogil=True, cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's can be written
        return njit(nogil=True, **options)(function)


def _load(updates: Any, cell: int, start: int, tile: Any) -> None:
    """Copy the columns from ``start`` into the tile, the rows 4i..4i+3 in order; zeros past the last column."""
    clients, dim = updates.shape[1], updates.shape[2]
    if start + WIDTH <= dim:
        source, origin, stride = updates.reshape(-1), cell * clients * dim + start, dim
    else:
        source, origin, stride = np.zeros(clients * WIDTH, updates.dtype), 0, WIDTH
        for i in range(clients):
            for c in range(dim - start):
                source[i * WIDTH + c] = updates[cell, i, start + c]
    fours = clients // 4 * 4
    for i in range(0, fours, 4):
        load_four(tile, i * WIDTH, source, origin + i * stride, stride)
    for i in range(fours, clients):
        load_one(tile, i * WIDTH, source, origin + i * stride, stride)


def _sort(tile: Any, network: Any, updates: Any, cell: int, start: int) -> None:
    """Run the network; meanwhile the next tile's columns are asked for, a row every few comparators."""
    clients, dim = updates.shape[1], updates.shape[2]
    source, ahead = updates.reshape(-1), cell * clients * dim + start + WIDTH
    rows = clients if start + 2 * WIDTH <= dim else 0
    step = max(1, network.shape[0] // clients)
    for o in range(network.shape[0]):
        if o % step == 0 and o // step < rows:
            prefetch(source, ahead + (o // step) * dim)
        a, b, which = network[o, 0] * WIDTH, network[o, 1] * WIDTH, network[o, 2]
        if which == BOTH:
            both(tile, a, b)
        elif which == LOW:
            low(tile, a, b)
        else:
            high(tile, a, b)


def _add_rows(tile: Any, first: int, last: int, total: Any) -> None:
    """total = the sum of the rows first..last-1."""
    total[:] = 0.0
    fours = first + (last - first) // 4 * 4
    for i in range(first, fours, 4):
        add_four(total, tile, i * WIDTH)
    for i in range(fours, last):
        add_one(total, tile, i * WIDTH)


load, sort, add_rows = (compiled(f) for f in (_load, _sort, _add_rows))


def _weighted_sum(updates: Any, weights: Any, out: Any, first: int, last: int) -> None:
    """out[cell] = sum_i weights[cell, i] updates[cell, i]; here a tile is `WIDE` columns."""
    clients, dim = updates.shape[1], updates.shape[2]
    tiles = (dim + WIDE - 1) // WIDE
    total, used = np.empty(WIDE, np.float64), np.empty(clients + 3, np.int64)
    for t in range(first, last):
        cell, start = t // tiles, (t % tiles) * WIDE
        width = min(WIDE, dim - start)
        count = 0
        for i in range(clients):
            if weights[cell, i] != 0.0:
                used[count] = i
                count += 1
        total[:] = 0.0
        for k in range(0, count // 4 * 4, 4):  # four rows a step, so that the sum is read and written less often
            i, j, p, q = used[k], used[k + 1], used[k + 2], used[k + 3]
            v, w, x, y = weights[cell, i], weights[cell, j], weights[cell, p], weights[cell, q]
            a, b = updates[cell, i, start : start + width], updates[cell, j, start : start + width]
            c, d = updates[cell, p, start : start + width], updates[cell, q, start : start + width]
            for e in range(width):
                total[e] += (v * a[e] + w * b[e]) + (x * c[e] + y * d[e])
        for k in range(count // 4 * 4, count):
            row, w = updates[cell, used[k], start : start + width], weights[cell, used[k]]
            for e in range(width):
                total[e] += w * row[e]
        for e in range(width):
            out[cell, start + e] = total[e]


def _band_mean(updates: Any, network: Any, low_rank: int, high_rank: int, out: Any, first: int, last: int) -> None:
    """out = the mean of the ranks low_rank..high_rank-1."""
    clients, dim = updates.shape[1], updates.shape[2]
    tiles = (dim + WIDTH - 1) // WIDTH
    tile, total = np.empty(clients * WIDTH, updates.dtype), np.empty(WIDTH, np.float64)
    for t in range(first, last):
        cell, start = t // tiles, (t % tiles) * WIDTH
        load(updates, cell, start, tile)
        sort(tile, network, updates, cell, start)
        add_rows(tile, low_rank, high_rank, total)
        for c in range(min(WIDTH, dim - start)):
            out[cell, start + c] = total[c] / (high_rank - low_rank)


def _add_near(tile: Any, clients: int, keep: int, twice: Any, total: Any) -> None:
    """total = the sum of the ``keep`` values nearest to the centre, given twice; the tile is sorted.

    In sorted order these are neighbours, so rank s is out exactly when it lies farther from the centre than the rank
    ``keep`` places above, x[s] + x[s + keep] < 2 centre, and that one is then in.
    """
    spare = clients - keep
    total[:] = 0.0
    for i in range(clients):
        row = tile[i * WIDTH : (i + 1) * WIDTH]
        above = tile[(i + keep) * WIDTH : (i + keep + 1) * WIDTH] if i < spare else row
        below = tile[(i - keep) * WIDTH : (i - keep + 1) * WIDTH] if i >= keep else row
        for c in range(WIDTH):
            x = np.float64(row[c])
            out = (i < spare) & (x + np.float64(above[c]) < twice[c])
            short = (i >= keep) & (x + np.float64(below[c]) >= twice[c])
            total[c] += 0.0 if out | short else x


add_near = compiled(_add_near)


def _nearest_mean(
    updates: Any, network: Any, low_rank: int, high_rank: int, keep: int, out: Any, first: int, last: int
) -> None:
    """out = the mean of the ``keep`` values nearest to the mean of the ranks low_rank..high_rank-1."""
    clients, dim = updates.shape[1], updates.shape[2]
    tiles = (dim + WIDTH - 1) // WIDTH
    tile = np.empty(clients * WIDTH, updates.dtype)
    twice, total = np.empty(WIDTH, np.float64), np.empty(WIDTH, np.float64)
    for t in range(first, last):
        cell, start = t // tiles, (t % tiles) * WIDTH
        load(updates, cell, start, tile)
        sort(tile, network, updates, cell, start)
        add_rows(tile, low_rank, high_rank, twice)
        for c in range(WIDTH):
            twice[c] = 2.0 * twice[c] / (high_rank - low_rank)
        add_near(tile, clients, keep, twice, total)
        for c in range(min(WIDTH, dim - start)):
            out[cell, start + c] = total[c] / keep


weighted_sum = compiled(_weighted_sum)
band_mean = compiled(_band_mean)
nearest_mean = compiled(_nearest_mean)
