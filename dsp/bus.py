"""What the stages of a block share: the bus, and what `process` is told. Nothing is compiled here: any process may read it."""

from __future__ import annotations

import numpy as np

SEGMENT = 64  # frames: the longest run `process` sees, and the grid on which the bus moves
MAX_CHANNELS = 8

BUS = np.dtype(
    [
        ("f0_frame", "i8"),  # absolute input frame that f0_hz and voicing speak of
        ("vad_frame", "i8"),  # absolute input frame in the middle of what vad_probability speaks of
        ("marks", "i8"),  # address of the pitch marks of the sound at this point of the chain, 0 = none; see pitch_marks
        ("f0_hz", "f4"),  # 0 = unvoiced
        ("voicing", "f4"),  # probability, 0..1
        ("vad", "f4"),  # voice activity, 0 or 1
        ("vad_probability", "f4"),  # 0..1
        ("level_dbfs", "f4"),  # RMS of the chain's input over the last segment
        ("noise_dbfs", "f4"),  # noise floor that a gate measures, RMS
        ("gating_ratio", "f4"),  # share of the time a gate was closed, 0..1
        ("vibrato_hz", "f4"),  # rate, 0 = none
        ("vibrato_cents", "f4"),  # extent: from the middle to the peak
        ("vibrato_regularity", "f4"),  # 0..1
        ("tilt_db", "f4"),  # spectral tilt, dB per octave
        ("dynamics_db", "f4"),  # range of the level over the last seconds
        ("hnr_db", "f4"),  # harmonics to noise
        ("target_hz", "f4"),  # pitch that a tuner aims at, 0 = none
        ("buffered_s", "f4"),  # sound that a time stretcher holds back
        ("gate_db", "f4"),  # gain a gate applies, <= 0
        ("denoise_db", "f4"),  # mean gain a noise suppressor applies, <= 0
        ("deesser_db", "f4"),  # gain a de-esser applies, <= 0
        ("compressor_db", "f4"),  # gain a compressor applies, <= 0
        ("limiter_db", "f4"),  # gain a limiter applies, <= 0
    ],
    align=True,
)
"""Analysis results that the stages of a block share."""

BLOCK = np.dtype(
    [
        ("frames", "i8"),  # 1..SEGMENT
        ("channels", "i8"),  # 1..MAX_CHANNELS
        ("frame", "i8"),  # absolute number of the first frame, counted at the chain's input
        ("upstream", "i8"),  # frames of delay between the chain's input and this stage's
        ("sample_rate", "f8"),  # Hz
        ("bus", BUS),  # read
        ("post", BUS),  # written by analysis stages
    ],
    align=True,
)
"""What `process` is told about the block at hand."""
