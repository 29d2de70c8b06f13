"""What is compared: converters, as functions of a source, its rate and the name of a target.

A converter returns the sound at the source's rate with its delay still in it, that delay in seconds (None where it is not
known) and the seconds of computing it took (None where nobody measured). A converter of one's own is named `module:function` or
`file.py:function`; a folder of WAV files SOURCE__TARGET.wav is one too.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

import soundfile
from autovoice.tools.quality.clips import QualityError
from autovoice.tools.quality.material import Source
from autovoice.tools.quality.signal import Array, resample

Converted = tuple[Array, float | None, float | None]  # sound, delay in s, computing in s
Converter = Callable[[Array, int, str], Converted]
Of = Callable[[Source, str], Converted]  # the same, but it may look at all that is known of the source


def plain(convert: Converter) -> Of:
    """Return a converter in the form the bench calls."""
    return lambda source, target: convert(source.sound, source.rate, target)


def named(name: str) -> Of:
    """Return the converter `module:function` or `file.py:function`; raises QualityError where there is none."""
    place, _, attribute = name.rpartition(":")
    if not place:
        raise QualityError(f"a converter is module:function or file.py:function, got {name!r}")
    try:
        if place.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(place).stem, place)
            if spec is None or spec.loader is None:
                raise ImportError(f"{place} is no Python file")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
        return plain(getattr(module, attribute))
    except (ImportError, AttributeError, OSError) as error:
        raise QualityError(f"no converter {name!r}: {error}") from error


def folder(place: Path) -> Of:
    """Return a converter that reads SOURCE__TARGET.wav from a folder; delay and cost are not known then."""
    if not place.is_dir():
        raise QualityError(f"{place} is no folder")

    def convert(source: Source, target: str) -> Converted:
        path = place / f"{source.name}__{target}.wav"
        if not path.exists():
            raise QualityError(f"{path} is missing: the folder must hold SOURCE__TARGET.wav for every pair")
        sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
        return resample(sound.mean(1), rate, source.rate), None, None

    return convert


def unconverted(source: Source, target: str) -> Converted:
    """Return the source itself."""
    return source.sound, 0.0, 0.0


def teacher(source: Source, target: str) -> Converted:
    """Return the teacher's own rendering, which is the ceiling; raises QualityError where the source has none."""
    if target not in source.aligned:
        raise QualityError(f"{source.name}: the teacher never said this as {target}")
    return source.aligned[target], 0.0, None
