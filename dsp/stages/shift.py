"""Change the pitch of a voice and keep its formants, or move the formants and keep the pitch.

Time-domain pitch-synchronous overlap-add: grains of up to two periods are cut out around pitch marks of the input and laid
down again at a new distance, so the spectral envelope inside a grain stays while the pitch follows the distance (E. Moulines
and F. Charpentier, "Pitch-synchronous waveform processing techniques for text-to-speech synthesis using diphones", Speech
Communication 9, 1990; K. Lent, "An efficient method for pitch shifting digitally sampled sounds", Computer Music Journal
13(4), 1989). Reading a grain faster or slower moves its formants. To be early, marks are predicted; a grain that already
sounds is corrected as soon as its own mark is measured (see `dsp.pitch_comb`, `dsp.psola` and `dsp.shifter`).

What has no pitch passes untouched, bit for bit, and so does everything when both parameters rest at 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autovoice.dsp import shifter
from autovoice.dsp.stage import Param

REQUIRES = ("marks",)

PARAMETERS = (
    Param("semitones", "st", -24.0, 24.0, 0.0, help="pitch shift; formants stay"),
    Param("formant", "st", -12.0, 12.0, 0.0, help="shift of the formants; pitch stays"),
)
OPTIONS = shifter.OPTIONS
STATE = shifter.STATE
memory, latency, settle, prepare = shifter.memory, shifter.latency, shifter.settle, shifter.prepare
ZERO = np.float32(0)


def process(s: Any, p: Any, x: Any, block: Any) -> None:
    """Hand the parameters to the shifter."""
    for i in range(block.frames):
        s[0].semitones[i] = p.semitones[i]
        s[0].formant[i] = p.formant[i]
        s[0].target_hz[i] = ZERO
    shifter.run(s, x, block)
