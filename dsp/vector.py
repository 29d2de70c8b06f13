"""Work in vector registers that Numba's loops cannot do: inner products, correlations, maxima, turning points.

LLVM adds up float32 in the order that is written, so a plain loop of multiply-adds runs one at a time. Here the order is
written in vectors of eight, each step a fused multiply-add: the same bits on every machine and for every way of cutting the
input into blocks. Compiled code only; nothing allocates, and addresses need no alignment.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"
# An intrinsic is a pair of a type rule and a code generator, called by Numba with objects it does not type.

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8  # float32 of one vector: AVX2 has such registers, NEON takes two
DOT_STEP = 4 * LANES  # `dot` takes a multiple of this
TILE = 8 * LANES  # outputs of `accumulate`: as many sums as keep two multiply-add units busy for their latency of four

_I32, _I64, _F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
_VECTOR = ir.VectorType(_F32, LANES)


def _load(builder, pointer, index):
    """Load a vector from an address of float32, `index` values on."""
    at = builder.bitcast(builder.gep(pointer, [index]), _VECTOR.as_pointer())
    return builder.load(at, align=4)


def _store(builder, value, pointer, index):
    at = builder.bitcast(builder.gep(pointer, [index]), _VECTOR.as_pointer())
    builder.store(value, at, align=4)


def _splat(builder, value):
    """Spread a scalar over a vector."""
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(
        first, ir.Constant(_VECTOR, ir.Undefined), ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
    )


def _sums(builder, count):
    """Lay out vectors of zeros on the stack, which the optimiser turns into registers."""
    slots = [cgutils.alloca_once(builder, _VECTOR) for _ in range(count)]
    for slot in slots:
        builder.store(ir.Constant(_VECTOR, [0.0] * LANES), slot)
    return slots


def _fma(builder):
    """Return the function a * b + c of vectors, rounded once."""
    name = f"llvm.fma.v{LANES}f32"
    return builder.module.globals.get(name) or ir.Function(builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), name)


def _add_product(builder, slot, a, b):
    """Add a * b to the sums of a slot."""
    builder.store(builder.call(_fma(builder), [a, b, builder.load(slot)]), slot)


def _halves(builder, vector):
    """Add up the lanes of a vector pairwise: 8, 4, 2, 1."""
    lanes = [builder.extract_element(vector, ir.Constant(_I32, k)) for k in range(LANES)]
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [builder.fadd(lanes[k], lanes[k + half]) for k in range(half)]
    return lanes[0]


@intrinsic
def dot(typing, a, b, count):
    """Return the sum of products of two rows of float32 at addresses; `count` is a multiple of DOT_STEP."""

    def code(context, builder, signature, args):
        first, second = (builder.inttoptr(address, _F32.as_pointer()) for address in args[:2])
        sums = _sums(builder, DOT_STEP // LANES)
        with cgutils.for_range_slice(builder, ir.Constant(_I64, 0), args[2], ir.Constant(_I64, DOT_STEP)) as (at, _):
            for k, slot in enumerate(sums):
                index = builder.add(at, ir.Constant(_I64, k * LANES))
                _add_product(builder, slot, _load(builder, first, index), _load(builder, second, index))
        totals = [builder.load(slot) for slot in sums]
        while len(totals) > 1:
            half = len(totals) // 2
            totals = [builder.fadd(totals[k], totals[k + half]) for k in range(half)]
        return _halves(builder, totals[0])

    return types.float32(types.uintp, types.uintp, types.int64), code


@intrinsic
def accumulate(typing, weights, inputs, outputs, count):
    """Add weights[k, :] * inputs[k] for k in 0..count - 1 to TILE outputs; float32 rows at addresses, weights (count, TILE)."""

    def code(context, builder, signature, args):
        matrix, x, y = (builder.inttoptr(address, _F32.as_pointer()) for address in args[:3])
        sums = [cgutils.alloca_once(builder, _VECTOR) for _ in range(TILE // LANES)]
        for k, slot in enumerate(sums):
            builder.store(_load(builder, y, ir.Constant(_I64, k * LANES)), slot)
        with cgutils.for_range(builder, args[3]) as loop:
            row = builder.mul(loop.index, ir.Constant(_I64, TILE))
            value = _splat(builder, builder.load(builder.gep(x, [loop.index])))
            for k, slot in enumerate(sums):
                index = builder.add(row, ir.Constant(_I64, k * LANES))
                _add_product(builder, slot, _load(builder, matrix, index), value)
        for k, slot in enumerate(sums):
            _store(builder, builder.load(slot), y, ir.Constant(_I64, k * LANES))
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.uintp, types.int64), code


@intrinsic
def add_weighted(typing, sums, values, weights, count):
    """Add weights[k] * values[k, :] to sums[k, :] for k in 0..count - 1; rows of 2 * LANES float32 at addresses."""

    def code(context, builder, signature, args):
        total, x, w = (builder.inttoptr(address, _F32.as_pointer()) for address in args[:3])
        with cgutils.for_range(builder, args[3]) as loop:
            weight = _splat(builder, builder.load(builder.gep(w, [loop.index])))
            for part in range(2):
                index = builder.add(builder.mul(loop.index, ir.Constant(_I64, 2 * LANES)), ir.Constant(_I64, part * LANES))
                sum_ = builder.call(_fma(builder), [_load(builder, x, index), weight, _load(builder, total, index)])
                _store(builder, sum_, total, index)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.uintp, types.int64), code


@intrinsic
def lagged_products(typing, values, products, count):
    """Set products[k] to the sum of values[j] * values[j + k] over LANES values, k in 0..count - 1, a multiple of LANES."""

    def code(context, builder, signature, args):
        x, out = (builder.inttoptr(address, _F32.as_pointer()) for address in args[:2])
        factors = [_splat(builder, builder.load(builder.gep(x, [ir.Constant(_I64, j)]))) for j in range(LANES)]
        with cgutils.for_range_slice(builder, ir.Constant(_I64, 0), args[2], ir.Constant(_I64, LANES)) as (at, _):
            total = builder.fmul(factors[0], _load(builder, x, at))
            for j in range(1, LANES):
                past = _load(builder, x, builder.add(at, ir.Constant(_I64, j)))
                total = builder.call(_fma(builder), [factors[j], past, total])
            _store(builder, total, out, at)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.int64), code


@intrinsic
def running_power(typing, values, power):
    """Set power[k] to the sum of the squares of values[k : k + LANES], k in 0..LANES - 1."""

    def code(context, builder, signature, args):
        x, out = (builder.inttoptr(address, _F32.as_pointer()) for address in args)
        first = _load(builder, x, ir.Constant(_I64, 0))
        total = builder.fmul(first, first)
        for j in range(1, LANES):
            value = _load(builder, x, ir.Constant(_I64, j))
            total = builder.call(_fma(builder), [value, value, total])
        _store(builder, total, out, ir.Constant(_I64, 0))
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp), code


@intrinsic
def highest(typing, values, count, least):
    """Return the highest of `count` float32 and `least`. Up to LANES - 1 values behind them are read, but do not count."""

    def code(context, builder, signature, args):
        x = builder.inttoptr(args[0], _F32.as_pointer())
        floor = _splat(builder, args[2])
        slot = cgutils.alloca_once(builder, _VECTOR)
        builder.store(floor, slot)
        lanes = ir.Constant(ir.VectorType(_I64, LANES), list(range(LANES)))
        with cgutils.for_range_slice(builder, ir.Constant(_I64, 0), args[1], ir.Constant(_I64, LANES)) as (at, _):
            left = builder.sub(args[1], at)
            some = builder.insert_element(ir.Constant(lanes.type, ir.Undefined), left, ir.Constant(_I32, 0))
            limit = builder.shuffle_vector(some, some, ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES))
            value = builder.select(builder.icmp_signed("<", lanes, limit), _load(builder, x, at), floor)
            best = builder.load(slot)
            builder.store(builder.select(builder.fcmp_ordered(">", value, best), value, best), slot)
        best, width = builder.load(slot), LANES
        while width > 1:
            width //= 2
            order = ir.Constant(ir.VectorType(_I32, LANES), [(k + width) % LANES for k in range(LANES)])
            other = builder.shuffle_vector(best, best, order)
            best = builder.select(builder.fcmp_ordered(">", other, best), other, best)
        return builder.extract_element(best, ir.Constant(_I32, 0))

    return types.float32(types.uintp, types.int64, types.float32), code


@intrinsic
def turns(typing, values):
    """Find where LANES float32 turn: bit k is set for a peak at values[k], bit LANES + k for a valley.

    A peak is above the value before it and not below the value after it, a valley the other way round; so values[-1] to
    values[LANES] are read.
    """

    def code(context, builder, signature, args):
        x = builder.inttoptr(args[0], _F32.as_pointer())
        before, here, after = (_load(builder, x, ir.Constant(_I64, k)) for k in (-1, 0, 1))
        bits = []
        for strict, weak in ((">", ">="), ("<", "<=")):
            turn = builder.and_(builder.fcmp_ordered(strict, here, before), builder.fcmp_ordered(weak, here, after))
            bits.append(builder.zext(builder.bitcast(turn, ir.IntType(LANES)), _I64))
        return builder.or_(bits[0], builder.shl(bits[1], ir.Constant(_I64, LANES)))

    return types.int64(types.uintp), code


@intrinsic
def lowest_bit(typing, bits):
    """Return the number of the lowest bit that is set; `bits` is not 0."""

    def code(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), code
