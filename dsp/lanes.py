"""Eight numbers side by side in the processor's vector registers, for recursions that no loop vectoriser can see into.

A cascade of filters and a feedback delay network wait for themselves in every frame, so they cannot be vectorised along time;
but their sections and lines can stand in lanes. `load`, `store` and `splat` make and keep vectors, `+`, `-`, `*` and `fma`
work lane by lane, and the rest moves numbers between lanes. LLVM maps a vector onto whatever registers there are (one
AVX-512, two AVX, four SSE2 or NEON for float64), and every lane gets the bits that scalar code would give it.
Compiled code only.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

import operator
from typing import Any

from autovoice.dsp.toolchain import HELPER_OPTIONS
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

LANES = 8
_I32 = ir.IntType(32)
_SCALARS = {types.float64: ir.DoubleType(), types.float32: ir.FloatType()}


class Vector(types.Type):
    """The Numba type of LANES numbers of one kind."""

    def __init__(self, scalar: Any) -> None:
        """Name the type after the number it holds."""
        self.scalar = scalar
        super().__init__(name=f"{scalar} x {LANES}")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, ir.VectorType(_SCALARS[kind.scalar], LANES))


_VECTORS = {scalar: Vector(scalar) for scalar in _SCALARS}


def _pointer(context, builder, kind, array, index):
    """Return a pointer to a vector of the numbers of an array from an index on."""
    data = context.make_array(kind)(context, builder, array).data
    vector = ir.VectorType(_SCALARS[kind.dtype], LANES)
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


@intrinsic
def load(typing, array, index):
    """Return the LANES numbers of a contiguous array (float32 or float64) from an index on."""

    def code(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], *args)
        return builder.load(pointer, align=signature.args[0].dtype.bitwidth // 8)

    return _VECTORS[array.dtype](array, types.intp), code


@intrinsic
def store(typing, array, index, vector):
    """Write a vector into a contiguous array of the same kind, from an index on."""

    def code(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], *args[:2])
        builder.store(args[2], pointer, align=signature.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), code


def _splat(builder, value):
    vector = ir.VectorType(value.type, LANES)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(
        first, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES)
    )


@intrinsic
def splat(typing, value):
    """Return a vector that holds a float32 or float64 in every lane."""

    def code(context, builder, signature, args):
        return _splat(builder, args[0])

    return _VECTORS[value](value), code


@intrinsic
def shift_in(typing, vector, value):
    """Return the vector moved up by one lane, with a number in lane 0; what was in the last lane is lost."""

    def code(context, builder, signature, args):
        order = ir.Constant(ir.VectorType(_I32, LANES), [LANES, *range(LANES - 1)])
        fresh = builder.insert_element(ir.Constant(args[0].type, ir.Undefined), args[1], ir.Constant(_I32, 0))
        return builder.shuffle_vector(args[0], fresh, order)

    return vector(vector, vector.scalar), code


@intrinsic
def lane(typing, vector, index):
    """Return the number in one lane."""

    def code(context, builder, signature, args):
        return builder.extract_element(args[0], builder.trunc(args[1], _I32))

    return vector.scalar(vector, types.intp), code


@intrinsic
def within(typing, first, last, inside, outside):
    """Return `inside` in the lanes first..last, `outside` in the others."""

    def code(context, builder, signature, args):
        number = ir.VectorType(ir.IntType(64), LANES)
        index = ir.Constant(number, list(range(LANES)))
        above = builder.icmp_signed(">=", index, _splat(builder, args[0]))
        below = builder.icmp_signed("<=", index, _splat(builder, args[1]))
        return builder.select(builder.and_(above, below), args[2], args[3])

    return inside(types.int64, types.int64, inside, outside), code


def _swap(distance):
    @intrinsic
    def swap(typing, vector):
        def code(context, builder, signature, args):
            order = ir.Constant(ir.VectorType(_I32, LANES), [k ^ distance for k in range(LANES)])
            return builder.shuffle_vector(args[0], ir.Constant(args[0].type, ir.Undefined), order)

        return vector(vector), code

    return swap


swap_1, swap_2, swap_4 = _swap(1), _swap(2), _swap(4)
"""Return a vector whose lanes have changed places with those 1, 2 or 4 away."""


@intrinsic
def transpose(typing, source, start, stride, target, to, step):
    """Copy a square of LANES rows by LANES columns between flat arrays, `stride` and `step` long rows, turned over."""

    def code(context, builder, signature, args):
        read, begin, read_stride, written, end, write_stride = args
        intp, width = ir.IntType(64), signature.args[0].dtype.bitwidth // 8
        rows = []
        for k in range(LANES):
            at = builder.add(begin, builder.mul(read_stride, ir.Constant(intp, k)))
            rows.append(builder.load(_pointer(context, builder, signature.args[0], read, at), align=width))
        for distance in (4, 2, 1):
            low = [k + LANES * bool(k & distance) - distance * bool(k & distance) for k in range(LANES)]
            high = [k + distance + (LANES - distance) * bool(k & distance) for k in range(LANES)]
            orders = [ir.Constant(ir.VectorType(_I32, LANES), order) for order in (low, high)]
            pairs = [(k & ~distance, k | distance, orders[bool(k & distance)]) for k in range(LANES)]
            rows = [builder.shuffle_vector(rows[a], rows[b], order) for a, b, order in pairs]
        for k in range(LANES):
            at = builder.add(end, builder.mul(write_stride, ir.Constant(intp, k)))
            builder.store(rows[k], _pointer(context, builder, signature.args[3], written, at), align=width)
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, target, types.intp, types.intp), code


@intrinsic
def fma(typing, a, b, c):
    """Return `a * b + c` in every lane, rounded once."""

    def code(context, builder, signature, args):
        kind = args[0].type
        name = f"llvm.fma.v{LANES}f{signature.args[0].scalar.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
        return builder.call(function, args)

    return a(a, a, a), code


def _arithmetic(instruction):
    @intrinsic
    def work(typing, a, b):
        def code(context, builder, signature, args):
            return getattr(builder, instruction)(*args)

        return a(a, b), code

    return work


_add, _subtract, _multiply = _arithmetic("fadd"), _arithmetic("fsub"), _arithmetic("fmul")


@overload(operator.add, jit_options=HELPER_OPTIONS)
def _plus(a, b):
    if isinstance(a, Vector) and a == b:
        return lambda a, b: _add(a, b)
    return None


@overload(operator.sub, jit_options=HELPER_OPTIONS)
def _minus(a, b):
    if isinstance(a, Vector) and a == b:
        return lambda a, b: _subtract(a, b)
    return None


@overload(operator.mul, jit_options=HELPER_OPTIONS)
def _times(a, b):
    if isinstance(a, Vector) and a == b:
        return lambda a, b: _multiply(a, b)
    return None
