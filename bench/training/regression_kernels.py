"""Compiled work on batches: gathering the rows that a round trains on, and the step of softmax regression on them.

A batch's rows lie anywhere in a training set that no cache holds, so a plain copy waits for the memory at the
beginning of each: they are asked for ahead.

A step of softmax regression is two products with a matrix of few rows, which a general product of matrices does at a
fifth of the processor's speed, and between them the inputs of all clients go to memory and back. Here one client's
examples are made inputs in a room that stays in the second-level cache, `CHUNK` at a time, and used for both products:
`EXAMPLES` by up to `CLASSES` inner products, and the sums over the examples for up to `CLASSES` classes by
`VECTORS * LANES` features, are as many sums as fit the vector registers. The order of every sum is fixed by the sizes
of the batch and the model alone: which clients and cells are worked on together changes no bit.

Imported on first use only; all that its kernels are made of stands in this file, as in
`aggregators.numerics.sorting_network`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from flipbench.aggregators.numerics.sorting_network import compiled

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
    """Gather numbers, each as ``(number / divisor - mean) / std`` in float32 (`data.pixel_scaling.Scale.numbers`).

    Divisions take longer than the memory, so there are none where products in float64 are known to give the same bits.
    """
    examples, numbers = data.shape
    divisor, mean, std, by_divisor, by_std, exact = scale
    source, plain = data.reshape(-1), mean == 0 and std == 1
    for i in range(len(index)):
        if not 0 <= index[i] < examples:
            raise IndexError("a batch asks for a row that the training set does not have")
    for i in range(-AHEAD, len(index)):
        if i + AHEAD < len(index):
            begin = index[i + AHEAD] * numbers
            for c in range(0, numbers, _LINE // data.itemsize):
                _ask(source, begin + c)
        if i < 0:
            continue
        row, to = source[index[i] * numbers : (index[i] + 1) * numbers], out[i]
        if exact and plain:
            for c in range(numbers):
                to[c] = np.float32(np.float64(row[c]) * by_divisor)
        elif exact:
            for c in range(numbers):
                to[c] = np.float32(np.float64(np.float32(np.float64(row[c]) * by_divisor) - mean) * by_std)
        elif plain:
            for c in range(numbers):
                to[c] = np.float32(row[c]) / divisor
        else:
            for c in range(numbers):
                to[c] = (np.float32(row[c]) / divisor - mean) / std


gather_scaled = compiled(_gather_scaled)

LANES = 16  # float32 in a vector
EXAMPLES, CLASSES, VECTORS = 4, 5, 4
CHUNK = 64  # examples


class _Vectors:
    """An array of float32 inside the code being generated, read a vector or a number at a time."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        self.builder, self.data = builder, context.make_array(kind)(context, builder, value).data

    def _place(self, index: Any, kind: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(self.data, [index]), kind.as_pointer())

    def read(self, index: Any) -> Any:
        return self.builder.load(self._place(index, _VECTOR), align=4)

    def write(self, value: Any, index: Any) -> None:
        self.builder.store(value, self._place(index, value.type), align=4)

    def spread(self, index: Any) -> Any:
        """A number in every lane."""
        one = self.builder.load(self._place(index, ir.FloatType()), align=4)
        nothing = ir.Constant(_VECTOR, ir.Undefined)
        first = self.builder.insert_element(nothing, one, ir.Constant(ir.IntType(32), 0))
        return self.builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), LANES), None))


_VECTOR = ir.VectorType(ir.FloatType(), LANES)


def _plus_product(builder: Any, total: Any, x: Any, y: Any) -> None:
    """total += x y, by one rounding where the processor can."""
    product = builder.fmul(x, y, flags=("contract",))
    builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)


def _across(builder: Any, value: Any) -> Any:
    """The sum of a vector's lanes, halves added until one is left."""
    count = LANES
    while count > 1:
        count //= 2
        kind = ir.VectorType(ir.IntType(32), count)
        low, high = (
            builder.shuffle_vector(value, value, ir.Constant(kind, list(half)))
            for half in (range(count), range(count, 2 * count))
        )
        value = builder.fadd(low, high)
    return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))


def _products_of(classes: int) -> Any:
    def declare(typing: Any, x: Any, at: Any, w: Any, begin: Any, features: Any, out: Any, to: Any, step: Any) -> Any:
        """Inner products of `EXAMPLES` examples with so many classes, rows of ``features``, `LANES` at a time."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            inputs, weights, logits = (_Vectors(context, builder, signature.args[k], args[k]) for k in (0, 2, 5))
            whole: Any = args[1].type
            keep: Any = cgutils.alloca_once_value
            cells = [(e, c) for e in range(EXAMPLES) for c in range(classes)]
            running: Any = {ec: keep(builder, ir.Constant(_VECTOR, None)) for ec in cells}

            def row(start: Any, which: int) -> Any:
                return builder.add(start, builder.mul(args[4], ir.Constant(whole, which)))

            zero, lanes = ir.Constant(whole, 0), ir.Constant(whole, LANES)
            with cgutils.for_range_slice(builder, zero, args[4], lanes, whole) as (feature, _):
                left = [inputs.read(builder.add(row(args[1], e), feature)) for e in range(EXAMPLES)]
                for c in range(classes):
                    right = weights.read(builder.add(row(args[3], c), feature))
                    for e in range(EXAMPLES):
                        _plus_product(builder, running[e, c], left[e], right)
            for e, c in cells:
                place = builder.add(args[6], builder.mul(args[7], ir.Constant(whole, e)))
                place = builder.add(place, ir.Constant(whole, c))
                logits.write(_across(builder, builder.load(running[e, c])), place)
            return context.get_dummy_value()

        whole = types.intp
        return types.void(x, whole, w, whole, whole, out, whole, whole), generate

    return intrinsic(declare)


def _sums_of(classes: int, vectors: int) -> Any:
    def declare(typing: Any, dy: Any, at: Any, step: Any, x: Any, f: Any, row: Any, count: Any, out: Any) -> Any:
        """The sums over ``count`` examples of dy x, for so many classes and vectors of features from the feature f."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            slopes, inputs, sums = (_Vectors(context, builder, signature.args[k], args[k]) for k in (0, 3, 7))
            whole: Any = args[1].type
            keep: Any = cgutils.alloca_once_value
            cells = [(c, v) for c in range(classes) for v in range(vectors)]
            running: Any = {cv: keep(builder, ir.Constant(_VECTOR, None)) for cv in cells}
            with cgutils.for_range(builder, args[6]) as loop:
                slope = builder.add(args[1], builder.mul(loop.index, args[2]))
                start = builder.add(args[4], builder.mul(loop.index, args[5]))
                right = [inputs.read(builder.add(start, ir.Constant(whole, v * LANES))) for v in range(vectors)]
                for c in range(classes):
                    left = slopes.spread(builder.add(slope, ir.Constant(whole, c)))
                    for v in range(vectors):
                        _plus_product(builder, running[c, v], left, right[v])
            for c, v in cells:
                place = builder.add(args[4], builder.mul(args[5], ir.Constant(whole, c)))
                sums.write(builder.load(running[c, v]), builder.add(place, ir.Constant(whole, v * LANES)))
            return context.get_dummy_value()

        whole = types.intp
        return types.void(dy, whole, whole, x, whole, whole, whole, out), generate

    return intrinsic(declare)


_products1, _products2, _products3, _products4, _products5 = (_products_of(c) for c in range(1, CLASSES + 1))
_sums1, _sums2, _sums3, _sums4, _sums5 = (_sums_of(c, VECTORS) for c in range(1, CLASSES + 1))
_last1, _last2, _last3, _last4, _last5 = (_sums_of(c, 1) for c in range(1, CLASSES + 1))


def _logits(x: Any, w: Any, examples: int, classes: int, features: int, out: Any) -> None:
    """out ``(examples, classes)`` = x w^T, of rows of ``features`` (a multiple of LANES); all flat."""
    for e in range(0, examples, EXAMPLES):
        at = e * features
        for c in range(0, classes, CLASSES):
            begin, to, some = c * features, e * classes + c, min(CLASSES, classes - c)
            if some == 5:
                _products5(x, at, w, begin, features, out, to, classes)
            elif some == 4:
                _products4(x, at, w, begin, features, out, to, classes)
            elif some == 3:
                _products3(x, at, w, begin, features, out, to, classes)
            elif some == 2:
                _products2(x, at, w, begin, features, out, to, classes)
            else:
                _products1(x, at, w, begin, features, out, to, classes)


def _sums(dy: Any, c: int, some: int, classes: int, x: Any, features: int, examples: int, out: Any) -> None:
    """out ``(some, features)`` = the sums over the examples of dy x, for some classes from c; all flat."""
    wide = features // (VECTORS * LANES) * VECTORS * LANES
    for f in range(0, wide, VECTORS * LANES):
        if some == 5:
            _sums5(dy, c, classes, x, f, features, examples, out)
        elif some == 4:
            _sums4(dy, c, classes, x, f, features, examples, out)
        elif some == 3:
            _sums3(dy, c, classes, x, f, features, examples, out)
        elif some == 2:
            _sums2(dy, c, classes, x, f, features, examples, out)
        else:
            _sums1(dy, c, classes, x, f, features, examples, out)
    for f in range(wide, features, LANES):
        if some == 5:
            _last5(dy, c, classes, x, f, features, examples, out)
        elif some == 4:
            _last4(dy, c, classes, x, f, features, examples, out)
        elif some == 3:
            _last3(dy, c, classes, x, f, features, examples, out)
        elif some == 2:
            _last2(dy, c, classes, x, f, features, examples, out)
        else:
            _last1(dy, c, classes, x, f, features, examples, out)


def _slopes(logits: Any, labels: Any, weights: Any, share: Any, tiny: Any, n: int, classes: int) -> None:
    """Logits ``(n, classes)`` become (softmax - one-hot) weight share; probabilities of at most ``tiny`` are none."""
    for e in range(n):
        row = logits[e * classes : (e + 1) * classes]
        most = row[0]
        for c in range(1, classes):
            most = max(most, row[c])
        total = np.float32(0)
        for c in range(classes):
            row[c] = np.exp(row[c] - most)
            total += row[c]
        for c in range(classes):
            row[c] = row[c] / total
            if row[c] <= tiny:
                row[c] = 0
        row[labels[e]] -= np.float32(1)
        factor = share * weights[e] if len(weights) else share
        for c in range(classes):
            row[c] *= factor


logits_of, sums_of, slopes_of = (compiled(f) for f in (_logits, _sums, _slopes))


def _regress(examples: Any, model: Any, target: Any, rule: Any) -> None:
    """A step of softmax regression of all clients: ``out = keep out + rate gradient + decay weight``.

    A row without examples is multiplied by keep and that is all. Arguments are the records of `softmax_regression`.

    Raises:
        IndexError: an index or a label is out of range.
    """
    source, scale, index, labels, counts, emphasis = examples
    weights, own_weight, own_bias, shared, classes = model
    out, out_weight, out_bias = target
    keep, rates, decays, summed, tiny = rule
    rows, batch = index.shape
    features = source.shape[1]
    padded = (features + LANES - 1) // LANES * LANES
    x, w = np.zeros((CHUNK, padded), np.float32), np.zeros((classes, padded), np.float32)
    dy, room = np.empty(CHUNK * classes, np.float32), np.empty((CLASSES, padded), np.float32)
    sums, b = np.empty(classes, np.float32), np.empty(classes, np.float32)
    flat_x, flat_w, flat_room = x.reshape(-1), w.reshape(-1), room.reshape(-1)
    known = -1
    for row in range(rows):
        for label in labels[row]:
            if not 0 <= label < classes:
                raise IndexError("a label of a batch is not one of the model's classes")
        n = counts[row] if len(counts) else batch
        if n == 0:
            keep_share(out[row, out_weight : out_weight + classes * features], keep)
            if out_bias >= 0:
                keep_share(out[row, out_bias : out_bias + classes], keep)
            continue
        owner = row // shared
        if owner != known:
            known = owner
            for c in range(classes):
                begin = own_weight + c * features
                own, to = weights[owner, begin : begin + features], w[c]
                for f in range(features):
                    to[f] = own[f]
                b[c] = weights[owner, own_bias + c] if own_bias >= 0 else np.float32(0)
        share = np.float32(1) if summed else np.float32(1) / np.float32(n)
        sums[:] = 0
        kept, decay = keep, decays[row]
        for low in range(0, n, CHUNK):
            some = min(CHUNK, n - low)
            gather_scaled(source, scale, index[row, low : low + some], x)
            logits_of(flat_x, flat_w, some, classes, padded, dy)
            if own_bias >= 0:
                for e in range(some):
                    for c in range(classes):
                        dy[e * classes + c] += b[c]
            heavy = emphasis[row, low : low + some] if len(emphasis) else emphasis[:0].reshape(-1)
            slopes_of(dy, labels[row, low : low + some], heavy, share, tiny, some, classes)
            for e in range(some):
                for c in range(classes):
                    sums[c] += dy[e * classes + c]
            for c in range(0, classes, CLASSES):
                several = min(CLASSES, classes - c)
                sums_of(dy, c, several, classes, flat_x, padded, some, flat_room)
                for k in range(several):
                    begin = out_weight + (c + k) * features
                    blend(out[row, begin : begin + features], kept, room[k], rates[row], w[c + k], decay)
            kept, decay = np.float32(1), np.float32(0)
        if out_bias >= 0:
            blend(out[row, out_bias : out_bias + classes], keep, sums, rates[row], b, decays[row])


def _blend(out: Any, keep: Any, found: Any, rate: Any, own: Any, decay: Any) -> None:
    """``out = keep out + rate found + decay own``, of what has the length of out; nothing kept is not even read."""
    if keep == 0:
        for f in range(len(out)):
            out[f] = rate * found[f] + decay * own[f]
    else:
        for f in range(len(out)):
            out[f] = keep * out[f] + rate * found[f] + decay * own[f]


def _keep_share(out: Any, keep: Any) -> None:
    """``out = keep out``, which is not read where nothing of it is kept."""
    for f in range(len(out)):
        out[f] = keep * out[f] if keep != 0 else np.float32(0)


blend, keep_share = compiled(_blend), compiled(_keep_share)
regress = compiled(_regress)
