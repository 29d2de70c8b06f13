"""The delay of a recording against the probe that was sent, to a fraction of a frame, and how far it can be trusted.

Two methods. `by_phase` finds the peak of the cross-correlation (C. H. Knapp and G. C. Carter, IEEE Trans. ASSP 24(4), 1976,
eq. 3) in the probe's band, and its place between the frames from the band-limited function itself: the inverse Fourier sum
is evaluated at real lags, so there is no bias of a parabola through three points. `by_envelope` correlates the slow parts of
the two Hilbert envelopes (D. Gabor, J. IEE 93, 1946), for paths that give back another waveform.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from autovoice.tools.lab.latency.signals import Probe
from autovoice.tools.options import CommandError

Array = np.ndarray[Any, Any]

BAND_EDGE = 0.05  # of the band's width: raised-cosine slopes, or the correlation would ring
ENVELOPE_HZ = 60.0  # how fast an envelope may move: faster movements are the pitch's own
DETECTION = 8.0  # peak over the rest of the correlation, RMS: noise alone reaches 4.5 in 100 000 lags
LEAST_SNR_DB = 0.0  # of the probe over the noise in its band; +-0.03 frame with a chirp
LEAST_LIKENESS = 0.7  # of waveform or envelope where there is no noise to blame
SILENT_DBFS = -110.0  # below this nothing at all came back
FLAT_TOP_S = 1 / 16_000  # a clipped peak stays at its limit for longer than any peak of the probe
FLAT_TOLERANCE = 2e-5  # of full scale: less than a step of 16 bits
CLIPPED_FROM = 0.1  # of full scale; below it, steps of 16 bits look like flat tops
NEWTON_STEPS = 5
RINGING = 512  # frames in which the slopes of the band fade
LARGEST_SNR_DB = 120.0


class LabError(CommandError):
    """A measurement that cannot be made or trusted; the message says what to change."""


class NoLoopback(LabError):
    """Nothing of the probe came back."""


class NoisyPath(LabError):
    """The probe came back too deep in noise."""


class ClippedPath(LabError):
    """The probe came back with its peaks cut off."""


class ChangedProbe(LabError):
    """What came back is not the probe's waveform, and no noise is to blame."""


@dataclass(frozen=True, slots=True)
class Delay:
    """One delay and its quality."""

    frames: float
    likeness: float  # of probe and echo in the band, 0..1
    snr_db: float  # of the probe over all else in the band, noise and distortion alike
    detection: float  # peak of the correlation over the RMS of the rest
    inverted: bool  # the echo came back upside down
    peak: float  # largest sample of the echo


def by_phase(probe: Probe, received: Array, longest: int) -> Delay:
    """Return the delay in 0..longest of the probe in `received`, float of shape (frames,) that begins when the probe does.

    Raises NoLoopback where no lag stands out.
    """
    sound = np.asarray(received[: len(probe.sound) + longest], np.float64)
    size = _fast_length(len(probe.sound) + longest)
    band = _band(probe, size)
    sent = np.fft.rfft(probe.sound.astype(np.float64), size) * band
    cross = np.conj(sent) * np.fft.rfft(sound, size)
    correlation = np.fft.irfft(cross, size)[: longest + 1]
    at = int(np.argmax(np.abs(correlation)))
    detection = _detection(correlation, at, probe)
    if not detection >= DETECTION:
        raise NoLoopback(f"no lag up to {longest} frames fits the probe")
    lag, height = _refined(cross, size, at)
    echo = _in_band(sound, size, band, round(lag), len(probe.sound))
    whole = _in_band(probe.sound, size, band, 0, len(probe.sound))
    likeness = min(1.0, abs(height) / float(np.linalg.norm(whole) * np.linalg.norm(echo)))
    return Delay(lag, likeness, _snr_db(likeness), detection, height < 0, float(np.abs(sound).max()))


def by_envelope(probe: Probe, received: Array, longest: int) -> Delay:
    """Return the delay in 0..longest of the probe's envelope in `received`; as `by_phase`, but to about half a millisecond."""
    frames = len(probe.sound) + longest
    size = _fast_length(2 * frames)
    sent = _slow_envelope(probe, probe.sound, size)[:frames]
    heard = _slow_envelope(probe, np.asarray(received[:frames], np.float64), size)[:frames]
    heard -= heard.mean()
    sent = sent[: len(probe.sound)] - sent[: len(probe.sound)].mean()
    cross = np.conj(np.fft.rfft(sent, size)) * np.fft.rfft(heard, size)
    correlation = np.fft.irfft(cross, size)[: longest + 1]
    at = int(np.argmax(correlation))
    if not correlation[at] > 1e-12:
        raise NoLoopback(f"no lag up to {longest} frames fits the envelope of the probe")
    lag, _ = _refined(cross, size, at)
    part = heard[at : at + len(sent)]
    part = part - part.mean()
    likeness = float(np.dot(sent[: len(part)], part) / max(np.linalg.norm(sent) * np.linalg.norm(part), 1e-30))
    rest = float(np.sqrt(np.mean(correlation**2)))
    return Delay(lag, likeness, _snr_db(likeness), float(correlation[at]) / rest, False, float(np.abs(received).max()))


METHODS = {"phase": by_phase, "envelope": by_envelope}


def why_not_found(probe: Probe, received: Array, silence: Array, method: str) -> LabError:
    """Return what to say where no delay was found: silence, noise, or another sound than the probe."""
    peak = float(np.abs(received).max())
    if dbfs(peak) < SILENT_DBFS:
        return NoLoopback("nothing came back: digital silence")
    if _noise_to_blame(probe, received, silence):
        return NoisyPath(
            f"the path is too noisy: the probe is lost in noise of {band_noise_db(probe, silence):.0f} dBFS in its band; "
            f"quieten it, or send the probe louder with --level"
        )
    return ChangedProbe(f"what comes back does not resemble the probe's {_WORDS[method]}; {_WAY_OUT[method]}")


def judge(probe: Probe, delay: Delay, received: Array, silence: Array, method: str) -> None:
    """Raise ClippedPath, NoisyPath or ChangedProbe where a delay is not to be trusted.

    `received` is what the delay was found in, `silence` what came back before anything was sent.
    """
    if is_clipped(received, probe.sample_rate):
        raise ClippedPath(
            f"the path clips: what comes back is cut off at {dbfs(delay.peak):+.1f} dBFS; turn its gain down by 6 dB, or send "
            f"the probe more softly with --level -6"
        )
    noisy = _noise_to_blame(probe, received, silence)
    if delay.snr_db < LEAST_SNR_DB and noisy:
        lacking = LEAST_SNR_DB - delay.snr_db
        raise NoisyPath(
            f"the path is too noisy: the probe comes back at {delay.snr_db:+.0f} dB SNR and {LEAST_SNR_DB:+.0f} dB are needed; "
            f"quieten it by {lacking:.0f} dB, or send the probe louder with --level {np.ceil(lacking):.0f}"
        )
    if delay.likeness < LEAST_LIKENESS and not noisy:
        raise ChangedProbe(
            f"what comes back resembles the probe's {_WORDS[method]} by {delay.likeness:.2f} only (1 = the same, "
            f"{LEAST_LIKENESS} is needed); {_WAY_OUT[method]}"
        )


_WORDS = {"phase": "waveform", "envelope": "envelope"}
_WAY_OUT = {
    "phase": "measure it with --method envelope, or set it to change nothing",
    "envelope": "set it to change less",
}


def _noise_to_blame(probe: Probe, received: Array, silence: Array) -> bool:
    echo_db = 20 * np.log10(max(_rms_in_band(probe, received), 1e-12))
    return bool(band_noise_db(probe, silence) > echo_db - 20)


def is_clipped(sound: Array, sample_rate: float) -> bool:
    """Say whether peaks stay at one limit for longer than a peak of the probe can, at three places or more."""
    peak = float(np.abs(sound).max())
    if peak < CLIPPED_FROM:
        return False
    flat = np.abs(sound) >= peak - FLAT_TOLERANCE
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flat.astype(np.int8), [0]))))
    longest = max(3, round(FLAT_TOP_S * sample_rate))
    return int(np.count_nonzero(edges[1::2] - edges[::2] >= longest)) >= 3


def band_noise_db(probe: Probe, silence: Array) -> float:
    """Return the level of `silence` in the probe's band, in dBFS RMS."""
    return 20 * float(np.log10(max(_rms_in_band(probe, silence), 1e-12)))


def dbfs(amplitude: float) -> float:
    """Return an amplitude as dB of full scale, not below -120."""
    return 20 * float(np.log10(max(amplitude, 1e-6)))


def _fast_length(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _band(probe: Probe, size: int) -> Array:
    """Return the weights of rfft's bins: 1 in the probe's band, raised-cosine slopes around it."""
    frequency = np.fft.rfftfreq(size, 1 / probe.sample_rate)
    low, high = probe.band_hz
    edge = BAND_EDGE * (high - low)
    rise = np.clip((frequency - (low - edge)) / (2 * edge), 0, 1)
    fall = np.clip(((high + edge) - frequency) / (2 * edge), 0, 1)
    return np.asarray(0.25 * (1 - np.cos(np.pi * rise)) * (1 - np.cos(np.pi * fall)))


def _detection(correlation: Array, at: int, probe: Probe) -> float:
    """Return the peak over the RMS of what lies away from it by more than its own width."""
    width = round(4 * probe.sample_rate / (probe.band_hz[1] - probe.band_hz[0]))
    rest = np.concatenate((correlation[: max(at - width, 0)], correlation[at + width + 1 :]))
    background = float(np.sqrt(np.mean(rest**2))) if len(rest) else 0.0
    peak = abs(float(correlation[at]))
    if peak <= 1e-30:
        return 0.0
    return peak / background if background > 1e-12 * peak else 1e12


def _refined(cross: Array, size: int, at: int) -> tuple[float, float]:
    """Climb from a frame to the extremum between frames, and return it with its height.

    The correlation at a real lag t is Re sum(w_k C_k exp(i 2 pi k t / size)) / size; Newton's method on its derivative.
    """
    bins = np.flatnonzero(np.abs(cross) > 1e-9 * np.abs(cross).max())
    omega = 2 * np.pi * bins / size
    weight = np.where((bins == 0) | (bins == size // 2), 1.0, 2.0) * cross[bins] / size
    lag = float(at)
    for _ in range(NEWTON_STEPS):
        turned = weight * np.exp(1j * omega * lag)
        slope, bend = float(np.sum(-omega * turned.imag)), float(np.sum(-(omega**2) * turned.real))
        step = -slope / bend if bend != 0 else 0.0
        lag = min(max(lag + min(max(step, -0.5), 0.5), at - 1.0), at + 1.0)
    return lag, float(np.sum((weight * np.exp(1j * omega * lag)).real))


def _in_band(sound: Array, size: int, band: Array, start: int, frames: int) -> Array:
    """Return what of a sound lies in the band: `frames` from `start` on, with the filter's ringing before and after."""
    whole = np.fft.irfft(np.fft.rfft(np.asarray(sound, np.float64), size) * band, size)
    return np.asarray(np.roll(whole, RINGING - start)[: min(frames + 2 * RINGING, size)])


def _rms_in_band(probe: Probe, sound: Array) -> float:
    if not len(sound):
        return 0.0
    size = _fast_length(len(sound))
    return float(np.sqrt(np.mean(_in_band(sound, size, _band(probe, size), 0, len(sound)) ** 2)))


def _slow_envelope(probe: Probe, sound: Array, size: int) -> Array:
    """Return the magnitude of the analytic signal in the band, without what moves faster than ENVELOPE_HZ."""
    spectrum = np.fft.rfft(sound, size) * _band(probe, size)
    analytic = np.zeros(size, np.complex128)
    analytic[: len(spectrum)] = 2 * spectrum
    magnitude = np.abs(np.fft.ifft(analytic))
    frequency = np.fft.rfftfreq(size, 1 / probe.sample_rate)
    return np.fft.irfft(np.fft.rfft(magnitude) * np.exp(-0.5 * (frequency / ENVELOPE_HZ) ** 2), size)


def _snr_db(likeness: float) -> float:
    """Return the ratio of what is alike to what is not: r^2 / (1 - r^2)."""
    square = max(likeness, 0.0) ** 2
    return float(np.clip(10 * np.log10(max(square, 1e-12) / max(1 - square, 1e-12)), -LARGEST_SNR_DB, LARGEST_SNR_DB))
