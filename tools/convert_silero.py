"""Take the weights of Silero VAD out of its own package and write them to the file that AutoVoice ships.

    pip install --no-deps silero-vad==6.2.3 && pip install onnx
    python -m autovoice.tools.convert_silero [OUT.safetensors]

The package (MIT, Silero Team) holds the same network in several forms; its `silero_vad_16k.safetensors` is an older one, so the
weights are read from `silero_vad_16k_op15.onnx`, whose output equals `silero_vad.onnx`'s at 16 kHz. The spectrum in front is a
DFT under a periodic Hann window; that is checked here and not shipped. Everything else is copied bit for bit.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
from autovoice.dsp import silero
from safetensors.numpy import save_file

VERSION = "6.2.3"
ONNX_FILE = "silero_vad_16k_op15.onnx"
BASIS = "model.stft.forward_basis_buffer"
NAMES = {
    **{f"model.encoder.{k}.reparam_conv.{part}": f"conv{k + 1}.{part}" for k in range(4) for part in ("weight", "bias")},
    **{f"model.decoder.rnn.{part}": f"lstm.{part}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")},
    "model.decoder.decoder.2.weight": "final.weight",
    "model.decoder.decoder.2.bias": "final.bias",
}
"""Tensor names of the ONNX file and of ours."""
METADATA = {
    "source": f"silero-vad {VERSION} (PyPI), {ONNX_FILE}",
    "license": "MIT, Copyright (c) 2020-present Silero Team",
}


def package_folder() -> Path:
    """Return the folder of the installed package's models; exits with the way out where it is not installed."""
    found = importlib.util.find_spec("silero_vad")
    if found is None or found.origin is None:
        sys.exit(f"silero-vad is not installed; pip install --no-deps silero-vad=={VERSION}")
    return Path(found.origin).parent / "data"


def read_onnx(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return the weights under our names; exits where the spectrum is not the one that `dsp.silero` computes."""
    import onnx
    from onnx import numpy_helper

    found = {i.name: numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}
    basis = found[BASIS][:, 0]  # (258, 256): 129 cosines, then 129 negative sines
    angle = 2 * np.pi * np.arange(129)[:, None] * np.arange(256) / 256
    expected = silero.WINDOW * np.concatenate([np.cos(angle), -np.sin(angle)])
    if np.abs(basis - expected).max() > 1e-6:
        sys.exit(f"{path.name}: the spectrum is not a DFT of 256 samples under a Hann window; is this silero-vad {VERSION}?")
    return {ours: found[theirs] for theirs, ours in NAMES.items()}


def main() -> None:
    """Write the file."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else silero.WEIGHTS_FILE
    target.parent.mkdir(exist_ok=True)
    tensors = {name: np.ascontiguousarray(values) for name, values in read_onnx(package_folder() / ONNX_FILE).items()}
    partial = target.with_name(target.name + ".part")
    save_file(tensors, partial, metadata=METADATA)
    partial.replace(target)
    print(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
