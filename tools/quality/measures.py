"""The measures of the report, one function each, and the table that names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from autovoice.tools.quality import judges, pitch, words
from autovoice.tools.quality.clips import Clip
from autovoice.tools.quality.signal import (
    CONTOUR_RATE,
    JUDGED_RATE,
    Array,
    active,
    active_dbfs,
    contour,
    delay_s,
    frame_power,
    log_mel_db,
    mel_cepstra,
    resample,
    undelayed,
)
from scipy.signal import find_peaks

MOST_SNR_DB = 90.0
NUCLEUS_APART_S = 0.1  # at least, between two syllables
NUCLEUS_PROMINENCE = 0.08  # of the loudness contour's range


class NotApplicable(Exception):
    """A measure has nothing to compare with in this clip."""


class Heard:
    """A clip at the judges' rate, with what several measures need, each found once."""

    def __init__(self, clip: Clip, whisper: str) -> None:
        """Find nothing yet; `whisper` is "base" or "tiny"."""
        self.clip, self.whisper = clip, whisper

    @cached_property
    def source(self) -> Array:
        """Return the source."""
        return resample(self.clip.source, self.clip.rate, JUDGED_RATE)

    @cached_property
    def late(self) -> Array:
        """Return the conversion as it came out."""
        return resample(self.clip.converted, self.clip.rate, JUDGED_RATE)

    @cached_property
    def measured_delay_s(self) -> float:
        """Return by how much the conversion is later than the source."""
        return delay_s(self.source, self.late, JUDGED_RATE)

    @cached_property
    def converted(self) -> Array:
        """Return the conversion without its delay: the declared one, or the measured one where none is declared."""
        late = self.measured_delay_s if self.clip.delay_s is None else self.clip.delay_s
        return undelayed(self.late, JUDGED_RATE, late, len(self.source))

    @cached_property
    def aligned(self) -> Array:
        """Return the source's words in the target's voice."""
        if self.clip.aligned is None:
            raise NotApplicable
        sound = resample(self.clip.aligned, self.clip.rate, JUDGED_RATE)
        return undelayed(sound, JUDGED_RATE, 0.0, len(self.source))

    @cached_property
    def target(self) -> Array:
        """Return the embedding of the target: the mean over its references."""
        if not self.clip.references:
            raise NotApplicable
        own = [judges.embedding(resample(sound, self.clip.rate, JUDGED_RATE)) for sound in self.clip.references]
        return np.asarray(np.mean(own, 0))

    @cached_property
    def text(self) -> str:
        """Return what is said, as far as is known."""
        return self.clip.text if self.clip.text is not None else self.source_transcript

    @cached_property
    def source_transcript(self) -> str:
        """Return what Whisper hears in the source."""
        return judges.transcript(self.source, self.whisper)

    @cached_property
    def transcript(self) -> str:
        """Return what Whisper hears in the conversion."""
        return judges.transcript(self.converted, self.whisper)

    @cached_property
    def grades(self) -> dict[str, float]:
        """Return DNSMOS's grades."""
        return judges.grades(self.converted)

    @cached_property
    def source_melody(self) -> pitch.Melody:
        """Return the pitch of the source."""
        return pitch.melody(self.source, JUDGED_RATE, f"{self.clip.name}: source")

    @cached_property
    def melody(self) -> pitch.Melody:
        """Return the pitch of the conversion."""
        return pitch.melody(self.converted, JUDGED_RATE, f"{self.clip.name}: converted")


def similarity_target(heard: Heard) -> float:
    """Cosine of Resemblyzer embeddings, conversion and the target's references; 0..1."""
    return judges.similarity(judges.embedding(heard.converted), heard.target)


def similarity_source(heard: Heard) -> float:
    """Cosine of Resemblyzer embeddings, conversion and source; 0..1."""
    return judges.similarity(judges.embedding(heard.converted), judges.embedding(heard.source))


def word_error(heard: Heard) -> float:
    """Word error of what Whisper hears in the conversion, against the text, or the source's transcript; percent."""
    return words.word_error(heard.text, heard.transcript)


def character_error(heard: Heard) -> float:
    """Character error of what Whisper hears in the conversion, against the text, or the source's transcript; percent."""
    return words.character_error(heard.text, heard.transcript)


def source_character_error(heard: Heard) -> float:
    """Character error of what Whisper hears in the source, against the text; percent; needs the text."""
    if heard.clip.text is None:
        raise NotApplicable
    return words.character_error(heard.clip.text, heard.source_transcript)


def dnsmos_ovrl(heard: Heard) -> float:
    """Grade the whole by DNSMOS P.835; 1..5."""
    return heard.grades["ovrl"]


def dnsmos_sig(heard: Heard) -> float:
    """Grade the speech by DNSMOS P.835; 1..5."""
    return heard.grades["sig"]


def dnsmos_bak(heard: Heard) -> float:
    """Grade the background by DNSMOS P.835, 5 being silent; 1..5."""
    return heard.grades["bak"]


def pesq(heard: Heard) -> float:
    """PESQ, wide band (ITU-T P.862.2), against the same words in the target's voice; about 1..4.6."""
    return judges.pesq(heard.aligned, heard.converted)


def stoi(heard: Heard) -> float:
    """STOI (C. H. Taal et al., 2011), against the same words in the target's voice; about 0..1."""
    return judges.stoi(heard.aligned, heard.converted)


def f0_correlation(heard: Heard) -> float:
    """Pearson's correlation of log f0 with the source's, frames voiced in both and certain; -1..1."""
    return pitch.correlation(heard.source_melody, heard.melody, heard.clip.name)


def f0_correlation_all(heard: Heard) -> float:
    """Pearson's correlation of log f0 with the source's, all frames voiced in both, the tracker's slips included; -1..1."""
    return pitch.correlation(heard.source_melody, heard.melody, heard.clip.name, certain=False)


def f0_error_cents(heard: Heard) -> float:
    """How far the melody departs from the source's, moved by a fixed interval: median absolute deviation, cents."""
    return pitch.error_cents(heard.source_melody, heard.melody, heard.clip.name)


def voicing_f1(heard: Heard) -> float:
    """F1 score of the voiced frames against the source's; 0..1."""
    return pitch.voicing_f1(heard.source_melody, heard.melody)


def f0_range_st(heard: Heard) -> float:
    """Range of the melody, 5th to 95th percentile, less the source's; semitones, 0 = as lively as the source."""
    return heard.melody.range_st() - heard.source_melody.range_st()


def snr_db(heard: Heard) -> float:
    """Power while the source speaks, over the power in its pauses; dB, at most 90; needs 50 ms of pause at least.

    Pauses are hops that are at 40 ms and more from any active hop of the source.
    """
    speaking = active(heard.source, JUDGED_RATE)
    near = np.convolve(speaking, np.ones(9), "same") > 0
    power = frame_power(heard.converted, JUDGED_RATE)[: len(speaking)]
    if (~near[: len(power)]).sum() < 5:
        raise NotApplicable
    ratio = power[speaking[: len(power)]].mean() / (power[~near[: len(power)]].mean() + 1e-12)
    return float(min(10 * np.log10(ratio + 1e-12), MOST_SNR_DB))


def mcd_db(heard: Heard) -> float:
    """Mel-cepstral distortion (R. Kubichek, 1993) to the same words in the target's voice, over its active hops; dB."""
    a, b = (mel_cepstra(sound, JUDGED_RATE) for sound in (heard.aligned, heard.converted))
    rows = np.flatnonzero(active(heard.aligned, JUDGED_RATE))
    return float(10 / np.log(10) * np.sqrt(2 * np.square(a[rows] - b[rows]).sum(1)).mean())


def log_mel_distance_db(heard: Heard) -> float:
    """Mean absolute difference of log-mel levels to the same words in the target's voice, both at one level; dB."""
    a, b = (log_mel_db(sound * 10 ** (-active_dbfs(sound) / 20), JUDGED_RATE) for sound in (heard.aligned, heard.converted))
    rows = np.flatnonzero(active(heard.aligned, JUDGED_RATE))
    return float(np.abs(a[rows] - b[rows]).mean())


def energy_correlation(heard: Heard) -> float:
    """Pearson's correlation of the loudness contours of conversion and source; -1..1."""
    return float(np.corrcoef(contour(heard.source, JUDGED_RATE), contour(heard.converted, JUDGED_RATE))[0, 1])


def speaking_rate(heard: Heard) -> float:
    """Syllable nuclei of the conversion over those of the source, peaks of loudness (after de Jong and Wempe, 2009); ratio."""
    counts = []
    for sound in (heard.source, heard.converted):
        loudness = contour(sound, JUDGED_RATE)
        smooth = np.convolve(loudness, np.hanning(81) / 40, "same")
        least = NUCLEUS_PROMINENCE * float(np.ptp(smooth))
        counts.append(len(find_peaks(smooth, distance=round(NUCLEUS_APART_S * CONTOUR_RATE), prominence=least)[0]))
    return counts[1] / max(counts[0], 1)


def delay_ms(heard: Heard) -> float:
    """Delay by the cross-correlation of loudness contours, -100..600; ms."""
    return heard.measured_delay_s * 1e3


def declared_delay_ms(heard: Heard) -> float:
    """Delay as the converter declares it; ms."""
    if heard.clip.delay_s is None:
        raise NotApplicable
    return heard.clip.delay_s * 1e3


def rtf(heard: Heard) -> float:
    """Seconds of computing for a second of sound."""
    if heard.clip.compute_s is None:
        raise NotApplicable
    return heard.clip.compute_s / (len(heard.clip.source) / heard.clip.rate)


Better = Literal["higher", "lower", "as source", ""]


@dataclass(frozen=True, slots=True)
class Measure:
    """One row of the table."""

    of: Callable[[Heard], float]
    title: str
    unit: str = ""
    better: Better = "higher"
    judge: str = ""  # a key of JUDGES, or "whisper"

    @property
    def what(self) -> str:
        """Return what it measures."""
        return (self.of.__doc__ or "").splitlines()[0]


MEASURES: Mapping[str, Measure] = {
    "similarity_target": Measure(similarity_target, "similarity to the target", judge="speaker"),
    "similarity_source": Measure(similarity_source, "similarity to the source", better="lower", judge="speaker"),
    "character_error": Measure(character_error, "character error", "%", "lower", "whisper"),
    "word_error": Measure(word_error, "word error", "%", "lower", "whisper"),
    "source_character_error": Measure(source_character_error, "the source's own character error", "%", "", "whisper"),
    "dnsmos_ovrl": Measure(dnsmos_ovrl, "DNSMOS OVRL", judge="dnsmos"),
    "dnsmos_sig": Measure(dnsmos_sig, "DNSMOS SIG", judge="dnsmos"),
    "dnsmos_bak": Measure(dnsmos_bak, "DNSMOS BAK", judge="dnsmos"),
    "pesq": Measure(pesq, "PESQ", judge="pesq"),
    "stoi": Measure(stoi, "STOI", judge="stoi"),
    "f0_correlation": Measure(f0_correlation, "F0 correlation"),
    "f0_correlation_all": Measure(f0_correlation_all, "F0 correlation, every frame"),
    "f0_error_cents": Measure(f0_error_cents, "F0 error", "cents", "lower"),
    "voicing_f1": Measure(voicing_f1, "voicing F1"),
    "f0_range_st": Measure(f0_range_st, "F0 range less the source's", "st", "as source"),
    "energy_correlation": Measure(energy_correlation, "energy correlation"),
    "speaking_rate": Measure(speaking_rate, "speaking rate over the source's", "", "as source"),
    "mcd_db": Measure(mcd_db, "mel-cepstral distortion", "dB", "lower"),
    "log_mel_distance_db": Measure(log_mel_distance_db, "log-mel distance", "dB", "lower"),
    "snr_db": Measure(snr_db, "speech over pauses", "dB"),
    "delay_ms": Measure(delay_ms, "delay, measured", "ms", "lower"),
    "declared_delay_ms": Measure(declared_delay_ms, "delay, declared", "ms", "lower"),
    "rtf": Measure(rtf, "real-time factor", "", "lower"),
}
QUICK = (
    *("similarity_target", "similarity_source", "character_error", "source_character_error"),
    *("dnsmos_ovrl", "f0_correlation", "delay_ms", "declared_delay_ms", "rtf"),
)
