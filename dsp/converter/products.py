"""A product of a matrix of 16-bit integers and a vector of float32, in vector registers.

Weights of a network are read once for every frame, so what counts is how many bytes they take. As integers with one scale for
each row, 16 bits keep 1 part in 65,000 of the row's largest weight, ten times more than float16 keeps of most, and become
float32 in two instructions on any processor with vectors (`docs/decisions/0032-inference.md`). The order of the sums is written
in vectors, each step a fused multiply-add: the same bits on every machine. Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

from autovoice.dsp.vector import LANES, TILE
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_I16, _I32, _I64, _F32 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
_VECTOR, _HALVES, _WHOLES = (ir.VectorType(kind, LANES) for kind in (_F32, _I16, _I32))
_SUMS = TILE // LANES


def _row(builder, pointer, index, kind, size):
    """Load a vector, `index` values from an address on."""
    at = builder.bitcast(builder.gep(pointer, [index]), kind.as_pointer())
    return builder.load(at, align=size)


@intrinsic
def add_product(typing, weights, scales, inputs, outputs, count):
    """Add scales[j] * sum of weights[k, j] * inputs[k] over k in 0..count - 1 to TILE outputs[j].

    All are addresses: weights int16 (count, TILE), the rest float32.
    """

    def code(context, builder, signature, args):
        matrix = builder.inttoptr(args[0], _I16.as_pointer())
        scale, x, y = (builder.inttoptr(address, _F32.as_pointer()) for address in args[1:4])
        name = f"llvm.fma.v{LANES}f32"
        fma = builder.module.globals.get(name) or ir.Function(builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), name)
        sums = [cgutils.alloca_once(builder, _VECTOR) for _ in range(_SUMS)]
        for slot in sums:
            builder.store(ir.Constant(_VECTOR, [0.0] * LANES), slot)
        undefined, lanes = ir.Constant(_VECTOR, ir.Undefined), ir.Constant(_WHOLES, [0] * LANES)
        with cgutils.for_range(builder, args[4]) as loop:
            value = builder.load(builder.gep(x, [loop.index]))
            spread = builder.shuffle_vector(builder.insert_element(undefined, value, ir.Constant(_I32, 0)), undefined, lanes)
            row = builder.mul(loop.index, ir.Constant(_I64, TILE))
            for k, slot in enumerate(sums):
                halves = _row(builder, matrix, builder.add(row, ir.Constant(_I64, k * LANES)), _HALVES, 2)
                weight = builder.sitofp(builder.sext(halves, _WHOLES), _VECTOR)
                builder.store(builder.call(fma, [weight, spread, builder.load(slot)]), slot)
        for k, slot in enumerate(sums):
            index = ir.Constant(_I64, k * LANES)
            total = builder.call(
                fma, [_row(builder, scale, index, _VECTOR, 4), builder.load(slot), _row(builder, y, index, _VECTOR, 4)]
            )
            builder.store(total, builder.bitcast(builder.gep(y, [index]), _VECTOR.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.uintp, types.uintp, types.int64), code
