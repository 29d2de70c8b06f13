"""What a lane runs, as text: the part of its stage's name behind `lane:`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from autovoice.dsp.stage import StageError

PREFIX = "lane:"
MODELS = {".onnx": "onnx", ".pt": "torchscript", ".ts": "torchscript"}
"""What hosts a model, by the extension of its file."""
_CLASS = re.compile(r"(?P<module>[^:]+):(?P<name>[A-Za-z_]\w*)")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def kind_of(text: str) -> str:
    """Say what hosts a text: chain, onnx, torchscript or python; raises StageError for a file that is not there."""
    if text.startswith("["):
        return "chain"
    if kind := MODELS.get(Path(text).suffix.lower()):
        if not Path(text).expanduser().is_file():
            raise StageError(f"lane: no model file at {text}")
        return kind
    found = _CLASS.fullmatch(text)
    if found is None:
        return "chain"
    module = found["module"]
    if module.endswith(".py"):
        if not Path(module).expanduser().is_file():
            raise StageError(f"lane: no Python file at {module}")
    elif not _MODULE.fullmatch(module):
        raise StageError(f"lane: {text!r} names no class; write package.module:Class or file.py:Class")
    return "python"


def stages_of(text: str) -> list[Any]:
    """Return the stages that a text of kind `chain` names, as Chain takes them; raises StageError."""
    if not text.startswith("["):
        return [name.strip() for name in text.split("+") if name.strip()]
    try:
        specs = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StageError(f"lane: the stages are not a JSON list: {error}") from None
    if not isinstance(specs, list):
        raise StageError(f"lane: the stages are not a JSON list: {text[:80]}")
    return specs


def absolute(text: str) -> str:
    """Return a model's text with its file's path as it is found from anywhere."""
    found = _CLASS.fullmatch(text)
    if found is not None:
        module = found["module"]
        return f"{Path(module).expanduser().resolve()}:{found['name']}" if module.endswith(".py") else text
    return str(Path(text).expanduser().resolve())


def foreign(name: str) -> list[str]:
    """Return what a lane's stage of this name would run that does not come with AutoVoice: files, modules. Loads nothing."""
    text = name.removeprefix(PREFIX)
    if not text.startswith("[") and (MODELS.get(Path(text).suffix.lower()) or _CLASS.fullmatch(text)):
        found = _CLASS.fullmatch(text)
        return [found["module"] if found is not None else text]
    names = [one.get("stage") if isinstance(one, dict) else one for one in stages_of(text)]
    return [str(one) for one in names if not isinstance(one, str) or one.endswith(".py") or ":" in one]
