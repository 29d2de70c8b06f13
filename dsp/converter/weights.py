"""The converter's weights: read from the file that ships, laid out as tiles of 16-bit integers with a scale for each row."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

Array = np.ndarray[Any, np.dtype[Any]]

WEIGHTS_FILE = Path(__file__).parents[1] / "weights" / "convert.safetensors"
LATER = ("bands.", "tract.")  # tensors that older files lack: they know no singer
WHOLE = 32767  # the largest integer of a weight


_chosen = [WEIGHTS_FILE]


def use(path: Path) -> None:
    """Have another file stand for the one that ships, in this process. Control thread, before the first converter is laid out.

    Raises ValueError where there is one already, or the file has other tensors than the one that ships.
    """
    if tensors.cache_info().currsize:
        raise ValueError(f"{path} comes too late: a converter with {_chosen[0]} is laid out already; name it first")
    try:
        shipped, given = ({name: values.shape for name, values in load_file(file).items()} for file in (WEIGHTS_FILE, path))
    except SafetensorError as error:
        raise ValueError(f"{path} is no file of weights: {error}") from error
    older = {name: shape for name, shape in shipped.items() if not name.startswith(LATER)}
    if given not in (shipped, older):
        raise ValueError(f"{path} holds no weights of this converter: export them with python -m autovoice.models.export")
    _chosen[0] = path


@cache
def tensors() -> dict[str, Array]:
    """Return what the file holds, as float32."""
    return {name: np.asarray(values, np.float32) for name, values in load_file(_chosen[0]).items()}


def integers(matrix: Array) -> tuple[Array, Array]:
    """Return a matrix (rows, columns) as int16 and the float32 scales of its rows, whose product it is but for rounding."""
    largest = np.maximum(np.abs(matrix).max(1), 1e-12)
    scales = (largest / WHOLE).astype(np.float32)
    return np.rint(matrix / scales[:, None]).astype(np.int16), scales


def rounded(matrix: Array) -> Array:
    """Return a matrix as the converter computes with it, float32."""
    whole, scales = integers(matrix)
    return np.asarray(whole * scales[:, None], np.float32)
