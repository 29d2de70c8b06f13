"""The voices that come with AutoVoice, made from the teacher's: `python -m autovoice.models.shipped`.

Writes `dsp/weights/voices.safetensors`: `timbre` float32 (n, 128), `median_hz` float32 (n,), and as metadata their `names`,
separated by commas, and a JSON list `voices` of what else there is to say of each, in the same order.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from autovoice.models import teacher, voices
from safetensors.numpy import save

TOKENS = 80  # of the utterance whose style is taken: one of medium length
NAMES = {
    "Ada": "af_heart",
    "Clara": "af_bella",
    "Nora": "af_sky",
    "Edith": "bf_emma",
    "Mei": "zf_xiaoxiao",
    "Bruno": "am_adam",
    "Marcus": "am_michael",
    "Felix": "am_fenrir",
    "Otto": "am_onyx",
    "Hugo": "bm_george",
}
"""Our names, and the teacher's of the same voices."""
LICENCE = "Apache-2.0"


def build() -> bytes:
    """Return the file."""
    timbres, medians, described = [], [], []
    for name, origin in NAMES.items():
        utterance = teacher.utter(teacher.PROBE, origin)
        voiced = utterance.f0_hz[utterance.f0_hz > 50.0]
        low, median, high = (float(value) for value in np.percentile(voiced, [5, 50, 95]))
        timbres.append(teacher.timbre(origin, TOKENS))
        medians.append(median)
        described.append(_describe(name, origin, low, high))
    tensors = {"timbre": np.stack(timbres).astype(np.float32), "median_hz": np.array(medians, np.float32)}
    metadata = {"names": ",".join(NAMES), "voices": json.dumps(described), "licence": LICENCE}
    return save(tensors, metadata)


def _describe(name: str, origin: str, low_hz: float, high_hz: float) -> dict[str, Any]:
    return {
        "name": name,
        "low_hz": low_hz,
        "high_hz": high_hz,
        "licence": LICENCE,
        "sources": [{"name": f"Kokoro-82M, {origin}", "weight": 1.0}],
        "consent": "synthetic voice of Kokoro-82M (hexgrad), published for any use under Apache-2.0",
    }


if __name__ == "__main__":
    voices.write(voices.SHIPPED_FILE, build())
    voices.SHIPPED_FILE.chmod(0o644)
    print(f"{voices.SHIPPED_FILE}: {', '.join(NAMES)}")
