"""The real WebRTC voice activity detector (Google, BSD-3-Clause), called from compiled code without the interpreter.

The package `webrtcvad-wheels` is a Python extension whose shared library exports the detector's own C functions. Their
addresses and the detector's instance lie in our state: the instance holds filter memories and two Gaussian mixtures for six
bands, no pointer, so it may be copied. Frames of 10, 20 or 30 ms at 16 kHz go in as int16, 1 (voice) or 0 comes out.
"""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from typing import Any

import numpy as np
from autovoice.dsp.native import call_five, helper
from autovoice.dsp.stage import StageError

RATE = 16_000  # Hz
LONGEST_FRAME = 480  # samples, 30 ms
INSTANCE_BYTES = 1024  # room for an instance; the known ones have 736
FULL_SCALE = np.float32(32768)
LOWEST, HIGHEST = np.float32(-32768), np.float32(32767)

STATE = [
    ("function", "i8"),  # address of `int WebRtcVad_Process(instance, rate, samples, count)`
    ("length", "i8"),  # samples of a frame
    ("frames", "i8"),  # judged so far, counted from absolute sample 0
    ("voice", "f4"),  # 0 or 1, of the last of them
    ("instance", "i8", (INSTANCE_BYTES // 8,)),
    ("samples", "i2", (LONGEST_FRAME,)),
]


@cache
def _library() -> ctypes.CDLL:
    """Return the package's shared library; raises StageError with the way out where it is missing."""
    found = importlib.util.find_spec("_webrtcvad")
    if found is None or found.origin is None:
        raise StageError("vad: model 'webrtc' needs the package webrtcvad-wheels; pip install it, or take model 'silero'")
    library = ctypes.CDLL(found.origin)
    library.WebRtcVad_Create.restype = ctypes.c_void_p
    library.WebRtcVad_Create.argtypes = [ctypes.POINTER(ctypes.c_void_p)]
    library.WebRtcVad_Free.argtypes = [ctypes.c_void_p]
    library.WebRtcVad_Init.argtypes = [ctypes.c_void_p]
    library.WebRtcVad_set_mode.argtypes = [ctypes.c_void_p, ctypes.c_int]
    return library


def _new_instance(mode: int) -> np.ndarray[Any, Any]:
    """Return an instance set to a mode, as the library makes it, copied out of the memory that the library took for it."""
    library, handle = _library(), ctypes.c_void_p()
    returned = library.WebRtcVad_Create(ctypes.byref(handle))  # through its argument; newer sources have none and return it
    pointer = handle.value or returned
    try:
        usable = ctypes.CDLL(None).malloc_usable_size
        usable.restype, usable.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
        size = usable(pointer)  # at least what the library asked for
        if size > INSTANCE_BYTES:
            raise StageError(f"vad: webrtcvad needs {size} bytes, and there are {INSTANCE_BYTES}; take model 'silero'")
        if library.WebRtcVad_Init(pointer) or library.WebRtcVad_set_mode(pointer, mode):
            raise StageError(f"vad: webrtcvad refuses mode {mode}; take model 'silero'")
        made = np.zeros(INSTANCE_BYTES, np.uint8)
        made[:size] = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(pointer))
        return made.view(np.int64)
    finally:
        library.WebRtcVad_Free(pointer)


def plan(state: Any, mode: int, frame_ms: int) -> None:
    """Fill zeroed `state` of any shape for a mode in 0..3 and frames of 10, 20 or 30 ms. Control thread only."""
    state["instance"] = _new_instance(mode)
    state["function"] = ctypes.cast(_library().WebRtcVad_Process, ctypes.c_void_p).value
    state["length"] = frame_ms * RATE // 1000


@helper
def push(s: Any, first: Any, source: Any, count: Any) -> None:
    """Take the samples at 16 kHz of absolute numbers `first` ... from source[0] ..., and judge each frame that they fill."""
    at = first % s.length
    for i in range(count):
        s.samples[at] = np.int16(np.rint(min(max(source[i] * FULL_SCALE, LOWEST), HIGHEST)))
        at += 1
        if at == s.length:
            at = 0
            voice = call_five(s.function, s.instance.ctypes.data, RATE, s.samples.ctypes.data, s.length, 0)
            s.voice = np.float32(voice > 0)
            s.frames = (first + i + 1) // s.length
