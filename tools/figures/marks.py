"""The figure of `marks`: a voice's waveform with the marks on its pulses, and when each was known."""

from __future__ import annotations

import numpy as np
from autovoice.dsp.stage import MAX_CHANNELS
from autovoice.rt import Chain
from autovoice.rt.callback import RUN_FILE
from autovoice.rt.memory import address_of
from autovoice.rt.processor import Processor
from autovoice.tools import speech
from matplotlib.figure import Figure

RATE = 48_000  # Hz
END_S, SHOWN_S = 4.66, 0.06


def draw(figure: Figure) -> None:
    """Draw the last periods before END_S, each mark, and how long after it the mark was known."""
    voice = np.ascontiguousarray(speech.load(speech.default_paths(), RATE, END_S))
    chain = Chain(["marks"])
    processor = Processor(chain, sample_rate=RATE, in_channels=1, out_channels=1, block=64)
    heard = np.zeros_like(voice)
    pointers = np.zeros(2 * MAX_CHANNELS, np.int64)
    pointers[0], pointers[MAX_CHANNELS] = address_of(voice), address_of(heard)
    RUN_FILE.ctypes(processor.run, processor.address, address_of(pointers), len(voice), 64)
    record = processor.image.states[-1][0]["record"]
    first = len(voice) - SHOWN_S * RATE
    shown = (record["position"] > first) & (record["due"] > first)
    axes = figure.subplots()
    at = np.arange(int(first), len(voice))
    axes.plot((at - first) / RATE * 1e3, voice[at], linewidth=0.9, color="tab:blue", label="voice")
    low = 1.25 * voice[at].min()
    for k, (position, due) in enumerate(zip(record["position"][shown], record["due"][shown], strict=True)):
        x, known = (position - first) / RATE * 1e3, (due - first) / RATE * 1e3
        axes.axvline(x, color="tab:red", linewidth=1, label="mark" if k == 0 else None)
        axes.plot([x, known], [low, low], color="grey", linewidth=1)
        axes.plot(known, low, "k|", markersize=8, label="known at" if k == 0 else None)
    processor.close()
    axes.set(xlabel="time (ms)", ylabel="amplitude", title="marks: one on each glottal pulse, known about half a period later")
    axes.legend(loc="upper right")
