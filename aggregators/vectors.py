"""Vector instructions for `tiles`: what is done to `WIDTH` neighbouring columns at once.

Written out by hand, because the vectoriser turns a comparator into masked stores (5x slower) and leaves a copy scalar
(3x slower). An array is one flat row of elements; a row of a tile is named by the index of its first element.
Values are finite, so the minimum and maximum need no care for NaN.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

WIDTH = 64  # columns in a tile
BOTH, LOW, HIGH = 0, 1, 2  # a comparator: which of its two results anybody asks for

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


both, low, high = _comparator(BOTH), _comparator(LOW), _comparator(HIGH)
load_one, load_four = _loader(1), _loader(4)
add_one, add_four = _adder(1), _adder(4)
