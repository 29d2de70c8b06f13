"""A semaphore for compiled code: a post for the audio thread, a wait for workers and renderers."""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_I32, _I64 = ir.IntType(32), ir.IntType(64)
BILLION = 1_000_000_000


@intrinsic
def semaphore_post(typing, address):
    """Count a semaphore up: an atomic addition, and one system call where somebody waits; never blocks (POSIX: sem_post)."""

    def code(context, builder, signature, args):
        function = builder.module.globals.get("sem_post") or ir.Function(
            builder.module, ir.FunctionType(_I32, [_I64]), "sem_post"
        )
        builder.call(function, [args[0]])
        return context.get_dummy_value()

    return types.void(types.uintp), code


@intrinsic
def semaphore_wait(typing, address, deadline_ns):
    """Wait for a semaphore until an instant of CLOCK_MONOTONIC, never on the audio thread; 0 = taken."""

    def code(context, builder, signature, args):
        kind = ir.LiteralStructType([_I64, _I64])
        spec = cgutils.alloca_once(builder, kind)
        billion = ir.Constant(_I64, BILLION)
        zero, one = ir.Constant(_I32, 0), ir.Constant(_I32, 1)
        builder.store(builder.sdiv(args[1], billion), builder.gep(spec, [zero, zero]))
        builder.store(builder.srem(args[1], billion), builder.gep(spec, [zero, one]))
        function = builder.module.globals.get("sem_clockwait") or ir.Function(
            builder.module, ir.FunctionType(_I32, [_I64, _I32, kind.as_pointer()]), "sem_clockwait"
        )
        return builder.call(function, [args[0], one, spec])  # CLOCK_MONOTONIC

    return types.int32(types.uintp, types.int64), code


@intrinsic
def call_wait(typing, function, lane, frames):
    """Call `void f(lane*, int64 frames)` by its address."""

    def code(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [_I64, _I64])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), list(args[1:]))
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.int64), code
