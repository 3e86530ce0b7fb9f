"""Mixtures of waveforms, made on the fly: what systems with an STFT of their own train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from soundsieve import audio
from soundsieve.errors import ConfigError
from soundsieve.training.store import ClipStore

Waveform: TypeAlias = NDArray[np.float32]
"""Samples, shape ``(T,)``, or of several sounds, shape ``(S, T)``."""


@dataclass(frozen=True)
class MixtureConfig:
    """How mixtures of waveforms are made."""

    segment_s: float = 5.0
    """Length of a mixture."""
    three_sources: float = 0.25
    """Share of mixtures with three sources instead of two."""
    snr_db: tuple[float, float] = (-5.0, 5.0)
    """Every source lies this far from the first one, drawn evenly."""
    measure: Literal["power", "peak"] = "power"
    """What ``snr_db`` compares: mean powers, or peaks, as LASS-Net's released code does."""
    level_db: tuple[float, float] | None = (-38.0, -20.0)
    """Mean power of the mixture, re full scale, drawn evenly; null leaves the first source at its own level, and turns
    a mixture that passes full scale down to a peak of 0.9."""
    peak: float | None = None
    """Of every mixture, in place of ``level_db``."""
    places: int = 2
    """Of a longer clip, the loudest of this many random pieces is taken."""
    speed: tuple[float, float] = (0.87, 1.15)
    """Speed (and so pitch) of every source, drawn evenly."""
    speed_share: float = 0.5
    """Share of sources whose speed is changed."""
    label_power: float = 0.6
    """A label with n clips is drawn with probability n to this power."""

    def __post_init__(self) -> None:
        if not 0 <= self.three_sources <= 1 or not 0 <= self.speed_share <= 1:
            raise ConfigError("three_sources and speed_share are shares, between 0 and 1")
        if self.segment_s <= 0 or min(self.speed) <= 0:
            raise ConfigError("segment_s and speed are above 0")
        if self.places < 1 or (self.peak is not None and self.peak <= 0):
            raise ConfigError("places is at least 1, peak above 0")
        if self.peak is not None and self.level_db is not None:
            raise ConfigError("a mixture has a peak or a level_db: set the other to null")
        for name in ("snr_db", "level_db", "speed"):
            low, high = getattr(self, name) or (0.0, 0.0)
            if low > high:
                raise ConfigError(f"{name} goes from low to high, got {low} to {high}")


class Mixer:
    """Crops and mixes the clips of a store; everything random is drawn from the generator that is given."""

    def __init__(self, store: ClipStore, config: MixtureConfig) -> None:
        self.store, self.config = store, config
        self.samples = round(config.segment_s * store.sample_rate)

    def crop(self, clip: int, rng: np.random.Generator) -> Waveform:
        """A random piece of a clip that holds sound.

        Longer clips are cut, the loudest of some random places being taken; shorter ones are placed anywhere or
        repeated.
        """
        config, sound = self.config, self.store[clip]
        speed = rng.uniform(*config.speed) if rng.random() < config.speed_share else 1.0
        rate = self.store.sample_rate
        needed = int(self.samples * speed) + 1
        if len(sound) > needed:
            starts = rng.integers(0, len(sound) - needed + 1, config.places)
            pieces = [sound[start : start + needed] for start in starts]
            sound = max(pieces, key=lambda x: float(np.square(x).sum()))
        if speed != 1.0:
            sound = audio.resample(sound, round(rate * speed), rate)
        out = np.zeros(self.samples, np.float32)
        if len(sound) >= self.samples:
            out[:] = sound[: self.samples]
        elif rng.random() < 0.5 and len(sound) < self.samples // 2:
            gap = int(rng.integers(0, len(sound) + 1))
            first = int(rng.integers(0, len(sound) + gap)) - len(sound)
            for start in range(first, self.samples, len(sound) + gap):
                low, high = max(start, 0), min(start + len(sound), self.samples)
                out[low:high] = sound[low - start : high - start]
        else:
            start = int(rng.integers(0, self.samples - len(sound) + 1))
            out[start : start + len(sound)] = sound
        return out

    def mixture(self, clips: Sequence[int], rng: np.random.Generator) -> tuple[Waveform, Waveform]:
        """Mix crops of clips; returns the mixture ``(T,)`` and its sources ``(len(clips), T)``, which add up to it."""
        config = self.config
        gains_db = np.array([0.0, *rng.uniform(*config.snr_db, len(clips) - 1)])
        sources = np.stack([self.crop(clip, rng) for clip in clips])
        size = np.array([_rms(source) if config.measure == "power" else _peak(source) for source in sources])
        sources *= (size[0] * 10.0 ** (-gains_db / 20) / size)[:, None].astype(np.float32)
        mixture = sources.sum(0)
        if config.level_db is not None:
            scale = 10.0 ** (rng.uniform(*config.level_db) / 20) / _rms(mixture)
        elif config.peak is not None:
            scale = config.peak / _peak(mixture)
        else:
            scale = 0.9 / _peak(mixture) if _peak(mixture) > 1 else 1.0
        sources *= np.float32(scale)
        return sources.sum(0), sources


def _rms(x: Waveform) -> float:
    """Root of the mean power; a floor stands for silence."""
    return max(float(np.sqrt(np.square(x).mean())), 1e-6)


def _peak(x: Waveform) -> float:
    return max(float(np.abs(x).max()), 1e-6)
