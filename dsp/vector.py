"""Inner products in vector registers, which Numba's loops cannot hold: rows of taps and columns of weights at addresses.

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


def _add_product(builder, slot, a, b):
    """Add a * b to the sums of a slot, rounded once."""
    name = f"llvm.fma.v{LANES}f32"
    fma = builder.module.globals.get(name) or ir.Function(builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), name)
    builder.store(builder.call(fma, [a, b, builder.load(slot)]), slot)


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
