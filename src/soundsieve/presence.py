"""Is the sound there at all, and where: presence for systems that do not tell, and spans for all.

Presence is decided segment by segment. A system with an output of its own is believed; for the others it is estimated
from how much of the segment the answer holds, and, where the system can compare the two (``System.compares``), from how
well the answer agrees with the query:

    presence = sigmoid(bias + energy * 10 log10(|target|^2 / |mixture|^2) + agreement * cos(target, query))

To compare, the system hears its answer, which takes time. So it is done for who looks at the presence, and not before.

Within the segments in which the sound is present, the energy of the target tells where it is.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from soundsieve.audio import Samples
from soundsieve.query import Condition
from soundsieve.systems.base import System

FRAME_S = 0.02
"""Seconds for each value of the energy envelope."""

_LEAST_ENERGY_DB = -60.0
_HEARD_FROM_DB = -40.0
"""An answer this far below its mixture, or further, agrees with nothing: full agreement would make no half of it."""
_SMOOTH = 3  # frames
_STEADY_DB = 12.0  # an envelope with less between its quietest tenth and its peak is one sound all along
_FROM_FLOOR = 0.6  # a span starts this far up from the quietest tenth to the peak, in dB ...
_LEAST_BELOW_PEAK_DB = 15.0  # ... but never further below the peak than this
_JOINED_S = 0.5  # spans less than this apart are one
_SHORTEST_S = 0.04


@dataclass(frozen=True)
class Span:
    """A stretch of a recording in which the sound was found.

    Attributes:
        start_s: in seconds from the start of the recording.
        end_s: likewise.
        score: the greatest presence of the segments that found it, 0 to 1.
    """

    start_s: float
    end_s: float
    score: float


@dataclass(frozen=True)
class Calibration:
    """The constants of the formula above, fitted by ``benchmarks/presence.py``."""

    bias: float
    energy: float
    agreement: float = 0.0


BY_ENERGY = Calibration(bias=0.7653, energy=0.1277)
"""For systems that cannot compare, and for who asks not to: little better than a guess."""

BY_AGREEMENT = Calibration(bias=-1.5971, energy=0.0542, agreement=3.7124)
"""For systems that can.

Both are in ``benchmarks/results/presence-clapsep-validation.json``, made by ``python benchmarks/presence.py --model
MODEL --clap CLAP --clips CLIPS.csv --split validation`` with a CLAPSep of small size, trained on the starter's clips:
published models were not at hand, and theirs may lie higher or lower. Measured on test mixtures in docs/recordings.md.
"""


class Presence:
    """How likely it is that a sound is in a segment, 0 to 1; worked out when it is first asked for.

    Args:
        value: the number, or what works it out.
    """

    def __init__(self, value: float | Callable[[], float]) -> None:
        self._value = value

    @property
    def value(self) -> float:
        """The number."""
        found = self._value  # one look: another thread may put the number in its place
        if callable(found):
            found = self._value = found()
        return found

    def __reduce__(self) -> tuple[type[Presence], tuple[float]]:
        return Presence, (self.value,)


def energy_db(mixture: Tensor, target: Tensor) -> Tensor:
    """Energy of a target ``(C, T)`` relative to its mixture's in dB, shape ``()``; at least -60."""
    ratio = target.square().sum() / mixture.square().sum().clamp_min(1e-20)
    return 10.0 * torch.log10(ratio.clamp_min(10.0 ** (_LEAST_ENERGY_DB / 10)))


def estimated_presence(
    system: System, mixture: Tensor, target: Tensor, condition: Condition, *, agreement: bool = True
) -> Presence:
    """Presence of the sound in a mixture ``(C, T)``, from a system's target ``(C, T)``.

    Where nothing is wanted ("everything but x") there is nothing that could be missing: the presence is one. Of several
    channels the loudest of the target is compared with the query; their mean could be silence.

    Args:
        system: what answered.
        mixture: at the system's sample rate, like the target.
        target: what it answered.
        condition: of one.
        agreement: whether to compare, where the system can; else it is the energy alone that tells.
    """
    if not bool(condition.positive.any()):
        return Presence(1.0)
    energy = float(energy_db(mixture, target))
    if not (agreement and system.compares):
        return Presence(_likely(BY_ENERGY, energy))
    if energy <= _HEARD_FROM_DB:
        return Presence(_likely(BY_AGREEMENT, energy))
    loudest = target[target.square().sum(1).argmax()].clone()  # of its own memory: it may be kept for a while
    return Presence(partial(_compared, system, loudest, condition, energy))


def _compared(system: System, target: Tensor, condition: Condition, energy: float) -> float:
    with torch.inference_mode():
        cosine = system.agreement(target[None].to(condition.positive.device), condition)
    return _likely(BY_AGREEMENT, energy, float(cosine))


def _likely(known: Calibration, energy: float, agreement: float = 0.0) -> float:
    return 1 / (1 + math.exp(-(known.bias + known.energy * energy + known.agreement * agreement)))


class Finder:
    """Finds spans, block by block: keeps one number for every 20 ms and one for every segment.

    Args:
        sample_rate: of the target, in Hz.
        threshold: from which presence a segment has the sound.
    """

    def __init__(self, sample_rate: int, threshold: float) -> None:
        self._rate, self._threshold = sample_rate, threshold
        self._frame = max(1, round(FRAME_S * sample_rate))
        self._energies = array("f")
        self._left = np.zeros(0)
        self._heard: list[tuple[float, float, Presence]] = []

    def hear(self, start_s: float, end_s: float, presence: Presence) -> None:
        """Take note of a segment, in the order of their starts; told again it is not noted twice."""
        if not self._heard or start_s > self._heard[-1][0]:
            self._heard.append((start_s, end_s, presence))

    def add(self, target: Samples) -> None:
        """Take in the next stretch of the target, shape ``(C, n)``."""
        power = np.concatenate([self._left, np.einsum("ct,ct->t", target, target, dtype=np.float64)])
        whole = len(power) // self._frame * self._frame
        self._energies.extend(power[:whole].reshape(-1, self._frame).sum(1).tolist())
        self._left = power[whole:]

    @property
    def presence(self) -> float:
        """The greatest of all segments."""
        return max((presence.value for _, _, presence in self._heard), default=0.0)

    def spans(self) -> tuple[Span, ...]:
        """Where the sound is in what was taken in so far."""
        energies = np.append(np.frombuffer(self._energies, np.float32), np.float32(self._left.sum()))
        samples = len(self._energies) * self._frame + len(self._left)
        heard = [(start_s, end_s, presence.value) for start_s, end_s, presence in self._heard]
        return find_spans(energies, self._frame / self._rate, samples / self._rate, heard, self._threshold)


def find_spans(
    energies: npt.NDArray[np.float32],
    frame_s: float,
    seconds: float,
    heard: Sequence[tuple[float, float, float]],
    threshold: float,
) -> tuple[Span, ...]:
    """Spans from the energies of a target.

    In a segment whose presence reaches the threshold, a frame belongs to the sound where its energy, averaged over
    60 ms, lies within 15 dB of the segment's peak, and, where the peak is more than 12 dB above the floor (the level of
    the segment's quietest tenth), at least 0.6 of the way up from floor to peak, in dB. So a sound that is there all
    along is one span, and of one that comes and goes only its own moments are. The constants were chosen on 72
    validation mixtures of a short sound in a steady one: 86% of starts and 83% of ends within 0.3 s.

    Args:
        energies: of the target, one for each frame.
        frame_s: seconds in a frame.
        seconds: length of the recording.
        heard: start and end of every segment in seconds, and the presence in it.
        threshold: of presence.
    """
    smooth = np.convolve(energies, np.ones(_SMOOTH) / _SMOOTH, mode="same") if len(energies) >= _SMOOTH else energies
    levels = 10.0 * np.log10(np.maximum(smooth, 1e-20))
    score = np.zeros(len(levels))
    for start_s, end_s, presence in heard:
        if presence < threshold:
            continue
        first, last = int(start_s / frame_s), min(len(levels), int(np.ceil(end_s / frame_s)))
        within = levels[first:last]
        if not within.size or within.max() <= -200.0:
            continue
        peak, floor = within.max(), np.percentile(within, 10)
        least = peak - _LEAST_BELOW_PEAK_DB
        if peak - floor >= _STEADY_DB:
            least = max(least, floor + _FROM_FLOOR * (peak - floor))
        score[first:last] = np.maximum(score[first:last], np.where(within >= least, presence, 0.0))
    found: list[Span] = []
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (score > 0).astype(np.int8), [0]])))
    for first, last in edges.reshape(-1, 2):
        span = Span(float(first * frame_s), float(min(seconds, last * frame_s)), float(score[first:last].max()))
        if found and span.start_s - found[-1].end_s < _JOINED_S:
            span = Span(found[-1].start_s, span.end_s, max(found[-1].score, span.score))
            found.pop()
        found.append(span)
    return tuple(span for span in found if span.end_s - span.start_s >= min(_SHORTEST_S, seconds))
