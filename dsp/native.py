"""What Numba lacks for the audio thread: pointers, atomics, calls through a table, the clock, FTZ/DAZ.

Every name here is for compiled code; none allocates, locks, raises or enters the kernel (the clock is read through the
vDSO).
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"
# An intrinsic is a pair of a type rule and a code generator, called by Numba with objects it does not type.

from __future__ import annotations

import platform

from autovoice.dsp.toolchain import HELPER_OPTIONS, numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

helper = numba.njit(**HELPER_OPTIONS)
"""Decorate a function that stages call from `process`: inlined into it, no bounds check, no exception path."""

_I8P = ir.IntType(8).as_pointer()
_I32, _I64, _F32, _F64 = ir.IntType(32), ir.IntType(64), ir.FloatType(), ir.DoubleType()
_FLUSH = 0x8040  # of the SSE control word: FTZ is bit 15, DAZ bit 6
_X86 = platform.machine().lower() in ("x86_64", "amd64")


@intrinsic
def as_pointer(typing, address):
    """View an integer address as `void*`."""

    def code(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.uintp), code


@intrinsic
def record_at(typing, address, dtype):
    """View the memory at an address as one NumPy record of `dtype`; fields are read and written in place."""
    record = dtype.dtype

    def code(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(record))

    return record(types.uintp, dtype), code


@intrinsic
def address_of_record(typing, record):
    """Return the address of a record that lies in memory, such as a stage's state or a field of it."""

    def code(context, builder, signature, args):
        return builder.ptrtoint(args[0], _I64)

    return types.uintp(record), code


@intrinsic
def load_i64(typing, address):
    """Read the 64-bit integer at an address, plainly."""

    def code(context, builder, signature, args):
        return builder.load(builder.inttoptr(args[0], _I64.as_pointer()))

    return types.int64(types.uintp), code


@intrinsic
def load_acquire(typing, address):
    """Read a shared 64-bit index; what its writer wrote before its release store is visible after this.

    A plain load in a spin loop would be hoisted out of it by the optimiser.
    """

    def code(context, builder, signature, args):
        return builder.load_atomic(builder.inttoptr(args[0], _I64.as_pointer()), "acquire", 8)

    return types.int64(types.uintp), code


@intrinsic
def store_release(typing, address, value):
    """Write a shared 64-bit index; all writes before it are visible to whoever acquires it."""

    def code(context, builder, signature, args):
        builder.store_atomic(args[1], builder.inttoptr(args[0], _I64.as_pointer()), "release", 8)
        return context.get_dummy_value()

    return types.void(types.uintp, types.int64), code


@intrinsic
def exchange(typing, address, value):
    """Put a 64-bit value at an address and return what was there, in one indivisible step."""

    def code(context, builder, signature, args):
        return builder.atomic_rmw("xchg", builder.inttoptr(args[0], _I64.as_pointer()), args[1], "acq_rel")

    return types.int64(types.uintp, types.int64), code


@intrinsic
def add_relaxed(typing, address, value):
    """Add to a shared 64-bit counter that more than one thread counts on."""

    def code(context, builder, signature, args):
        builder.atomic_rmw("add", builder.inttoptr(args[0], _I64.as_pointer()), args[1], "monotonic")
        return context.get_dummy_value()

    return types.void(types.uintp, types.int64), code


@intrinsic
def call_stage(typing, function, state, params, audio, block):
    """Call a stage's entry `void f(state*, params*, audio*, block*)` by its address."""

    def code(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [_I64] * 4)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), list(args[1:]))
        return context.get_dummy_value()

    return types.void(*[types.uintp] * 5), code


@intrinsic
def call_engine(typing, function, engine, inputs, outputs, frames, late_ns):
    """Call the engine's entry `void f(engine*, float** in, float** out, int64 frames, int64 late_ns)` by its address."""

    def code(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [_I64] * 5)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), list(args[1:]))
        return context.get_dummy_value()

    return types.void(*[types.uintp] * 4, types.int64, types.int64), code


@intrinsic
def call_hook(typing, function):
    """Call `void f(void)` by its address."""

    def code(context, builder, signature, args):
        builder.call(builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), []).as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.uintp), code


@intrinsic
def copy_bytes(typing, target, source, size):
    """Copy `size` bytes between two addresses that do not overlap."""

    def code(context, builder, signature, args):
        memcpy = builder.module.declare_intrinsic("llvm.memcpy", [_I8P, _I8P, _I64])
        to, start = (builder.inttoptr(a, _I8P) for a in args[:2])
        builder.call(memcpy, [to, start, args[2], ir.Constant(ir.IntType(1), 0)])
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.int64), code


@intrinsic
def clock_ns(typing):
    """Read CLOCK_MONOTONIC in nanoseconds through the vDSO.

    Its stack slot lies in the entry block, or loops would grow the stack.
    """

    def code(context, builder, signature, args):
        kind = ir.LiteralStructType([_I64, _I64])
        spec = cgutils.alloca_once(builder, kind)
        function = builder.module.globals.get("clock_gettime") or ir.Function(
            builder.module, ir.FunctionType(_I32, [_I32, kind.as_pointer()]), "clock_gettime"
        )
        builder.call(function, [ir.Constant(_I32, 1), spec])
        seconds = builder.load(builder.gep(spec, [ir.Constant(_I32, 0), ir.Constant(_I32, 0)]))
        nanos = builder.load(builder.gep(spec, [ir.Constant(_I32, 0), ir.Constant(_I32, 1)]))
        return builder.add(builder.mul(seconds, ir.Constant(_I64, 1_000_000_000)), nanos)

    return types.int64(), code


@intrinsic
def thread_handle(typing):
    """Return this thread's pthread handle: a read of the thread's own register, no system call."""

    def code(context, builder, signature, args):
        function = builder.module.globals.get("pthread_self") or ir.Function(
            builder.module, ir.FunctionType(_I64, []), "pthread_self"
        )
        return builder.call(function, [])

    return types.int64(), code


@intrinsic
def flush_denormals(typing):
    """Set flush-to-zero and denormals-are-zero for this thread and return the former control word for `restore_denormals`.

    Both leave a thread alone in which they are set already: loading the control word takes 3 ns.
    """

    def code(context, builder, signature, args):
        if _X86:
            slot = cgutils.alloca_once(builder, _I32)
            _mxcsr(builder, slot, "st")
            old = builder.load(slot)
            new = builder.or_(old, ir.Constant(_I32, _FLUSH))
            with builder.if_then(builder.icmp_unsigned("!=", old, new), likely=False):
                builder.store(new, slot)
                _mxcsr(builder, slot, "ld")
            return builder.zext(old, _I64)
        old = builder.asm(ir.FunctionType(_I64, []), "mrs $0, fpcr", "=r", [], True)
        new = builder.or_(old, ir.Constant(_I64, 1 << 24))  # FZ flushes inputs and results on AArch64
        builder.asm(ir.FunctionType(ir.VoidType(), [_I64]), "msr fpcr, $0", "r", [new], True)
        return old

    return types.int64(), code


@intrinsic
def restore_denormals(typing, word):
    """Give the thread the control word back that `flush_denormals` returned."""

    def code(context, builder, signature, args):
        if _X86:
            word = builder.trunc(args[0], _I32)
            flushed = builder.and_(word, ir.Constant(_I32, _FLUSH))
            with builder.if_then(builder.icmp_unsigned("!=", flushed, ir.Constant(_I32, _FLUSH))):
                slot = cgutils.alloca_once(builder, _I32)
                builder.store(word, slot)
                _mxcsr(builder, slot, "ld")
        else:
            builder.asm(ir.FunctionType(ir.VoidType(), [_I64]), "msr fpcr, $0", "r", [args[0]], True)
        return context.get_dummy_value()

    return types.void(types.int64), code


def _mxcsr(builder, slot, way):
    """Load (`ld`) or store (`st`) the SSE control word from or to a stack slot, by LLVM's own intrinsic."""
    name = f"llvm.x86.sse.{way}mxcsr"
    kind = ir.FunctionType(ir.VoidType(), [_I8P])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    builder.call(function, [builder.bitcast(slot, _I8P)])


@intrinsic
def fma(typing, a, b, c):
    """Return `a * b + c` rounded once: one instruction, and half the latency of two in a recursion."""

    def code(context, builder, signature, args):
        return builder.fma(*args)

    return a(a, a, a), code


def _reinterpret(source, target, source_ir, target_ir):
    @intrinsic
    def reinterpret(typing, value):
        def code(context, builder, signature, args):
            return builder.bitcast(args[0], target_ir)

        return target(source), code

    return reinterpret


bits_of_f32 = _reinterpret(types.float32, types.int32, _F32, _I32)
"""The 32 bits of a float32 as an int32."""
f32_of_bits = _reinterpret(types.int32, types.float32, _I32, _F32)
"""The float32 that has these 32 bits."""


@intrinsic
def octave(typing, value):
    """Return floor(log2(value)) of an int64 >= 1, in one instruction."""

    def code(context, builder, signature, args):
        leading = builder.ctlz(args[0], ir.Constant(ir.IntType(1), 1))
        return builder.sub(ir.Constant(_I64, 63), leading)

    return types.int64(types.int64), code


@intrinsic
def call_with_handle(typing, function, handle, number):
    """Call `int64 f(void*, uint32)` by its address, such as a library's buffer getter."""

    def code(context, builder, signature, args):
        kind = ir.FunctionType(_I64, [_I64, _I32])
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1], builder.trunc(args[2], _I32)])

    return types.int64(types.uintp, types.uintp, types.int64), code


@intrinsic
def call_five(typing, function, a, b, c, d, e):
    """Call `int32 f(a, b, c, d, e)` by its address; in the C ABI, arguments beyond the callee's own do no harm."""

    def code(context, builder, signature, args):
        kind = ir.FunctionType(_I32, [_I64] * 5)
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), list(args[1:]))

    return types.int32(*[types.uintp] * 6), code


@intrinsic
def touch_stack(typing):
    """Write to the next 128 KiB of this thread's stack, so that no page of it faults later."""

    def code(context, builder, signature, args):
        size = 128 << 10
        memory = builder.alloca(ir.ArrayType(ir.IntType(8), size))
        memset = builder.module.declare_intrinsic("llvm.memset", [_I8P, _I64])
        start = builder.bitcast(memory, _I8P)
        builder.call(memset, [start, ir.Constant(ir.IntType(8), 0), ir.Constant(_I64, size), ir.Constant(ir.IntType(1), 1)])
        return context.get_dummy_value()

    return types.void(), code


@intrinsic
def sleep_until(typing, deadline_ns):
    """Sleep until an instant of CLOCK_MONOTONIC; for a driver's own loop, between callbacks, never within one."""

    def code(context, builder, signature, args):
        kind = ir.LiteralStructType([_I64, _I64])
        spec = cgutils.alloca_once(builder, kind)
        billion = ir.Constant(_I64, 1_000_000_000)
        zero, one = ir.Constant(_I32, 0), ir.Constant(_I32, 1)
        builder.store(builder.sdiv(args[0], billion), builder.gep(spec, [zero, zero]))
        builder.store(builder.srem(args[0], billion), builder.gep(spec, [zero, one]))
        function = builder.module.globals.get("clock_nanosleep") or ir.Function(
            builder.module, ir.FunctionType(_I32, [_I32, _I32, kind.as_pointer(), _I64]), "clock_nanosleep"
        )
        builder.call(function, [one, one, spec, ir.Constant(_I64, 0)])  # CLOCK_MONOTONIC, TIMER_ABSTIME
        return context.get_dummy_value()

    return types.void(types.int64), code
