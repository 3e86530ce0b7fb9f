"""Band-energy mixtures: what Sieve trains on instead of waveforms, a thousand times cheaper to make.

The power of a sum of two unrelated sounds is, on average, the sum of their powers: |S + N|^2 = |S|^2 + |N|^2 + cross
terms, which are left out. So a mixture is a sum of band energies that were computed once for every clip and speed, and
equalising, low-passing, reverberation and noise are products and sums of small arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from soundsieve import audio
from soundsieve.errors import ConfigError
from soundsieve.systems.sieve import Sieve
from soundsieve.training.store import ClipStore, Ragged

_FLOOR = 1e-12
Energies = NDArray[np.float32]
"""Band energies of a crop, shape ``(N, bands)``."""


@dataclass(frozen=True)
class EnergyConfig:
    """How mixtures of band energies are made."""

    segment_s: float = 4.0
    """Length of a mixture."""
    speeds: tuple[float, ...] = (0.8, 0.87, 0.93, 1.0, 1.07, 1.15, 1.25)
    """Speeds (and so pitches) at which every clip is available."""
    three_sources: float = 0.25
    """Share of mixtures with three sources instead of two."""
    four_sources: float = 0.0
    """Share of mixtures with four."""
    twins: float = 0.0
    """Share of sources that are two clips of their label at once."""
    snr_db: float = 4.0
    """Levels of the sources lie within this of each other."""
    label_power: float = 0.6
    """A label with n clips is drawn with probability n to this power."""
    eq_db: float = 3.0
    """Spread of a smooth random equaliser (six knots) on every source."""
    lowpass: float = 0.1
    """Share of sources that lose everything above a random cutoff from 3 kHz up."""
    reverb: float = 0.2
    """Share of sources with an exponential tail, 0.1 to 0.8 s."""
    noise: float = 0.2
    """Share of mixtures over a steady noise floor, 20 to 50 dB down."""
    stretch: float = 0.0
    """Share of sources that are made 0.7 to 1.4 times as long, at the same pitch."""
    shift: float = 0.0
    """Share of sources whose bands are moved, by up to three, at the same pace."""
    dynamics: float = 0.0
    """Share of sources whose energies are raised to a power of 0.8 to 1.25: what is soft comes nearer or goes away."""

    def __post_init__(self) -> None:
        for name in (
            "three_sources",
            "four_sources",
            "twins",
            "lowpass",
            "reverb",
            "noise",
            "stretch",
            "shift",
            "dynamics",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is a share, between 0 and 1; got {getattr(self, name)}")
        if self.three_sources + self.four_sources > 1:
            raise ConfigError("three_sources and four_sources are shares of all mixtures: together at most 1")
        if not self.speeds or min(self.speeds) <= 0:
            raise ConfigError("speeds takes at least one positive number")

    @property
    def most_sources(self) -> int:
        """Of any mixture."""
        return 4 if self.four_sources else 3

    def draw_count(self, rng: np.random.Generator) -> int:
        """How many sources a mixture has."""
        drawn = rng.random()
        if drawn < self.three_sources:
            return 3
        return 4 if drawn < self.three_sources + self.four_sources else 2


def snr_db(mask: torch.Tensor, target: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """SNR of a masked mixture in dB, from energies: sum(S) / sum((1 - m)^2 S + m^2 N).

    Args:
        mask: m, what is done to amplitudes, shape ``(..., bands, N)``.
        target: S, energies of the sound asked for, same shape.
        rest: N, energies of all else; what rounding leaves below zero counts as zero.
    """
    error = ((1 - mask).square() * target + mask.square() * rest.clamp_min(0)).sum((-2, -1))
    return 10 * torch.log10(target.sum((-2, -1)) / error.clamp_min(1e-9))


class EnergyBank:
    """Band energies of clips at several speeds, and crops of them."""

    def __init__(self, store: ClipStore, sieve: Sieve, config: EnergyConfig) -> None:
        self.config, shape = config, sieve.config
        self.bands, rate = shape.n_bands, shape.sample_rate
        self._frame_rate = rate / shape.hop_length
        self.frames = round(config.segment_s * rate / shape.hop_length) // 4 * 4
        self.bank = []
        for speed in config.speeds:

            def energies(samples: NDArray[np.float32], speed: float = speed) -> NDArray[np.generic]:
                changed = audio.resample(samples, round(rate * speed), rate) if speed != 1 else samples
                _, power = sieve.spectrum(torch.from_numpy(changed)[None])
                used = len(changed) // shape.hop_length + 1
                return torch.log10(power[0, :, :used].T + _FLOOR).to(torch.float16).numpy()

            settings = [speed, shape.n_fft, shape.hop_length, shape.n_bands, shape.fmin_hz, shape.fmax_hz]
            self.bank.append(store.derive("energies", settings, energies))
        self._knots = np.linspace(0, self.bands - 1, 6)

    @property
    def plain(self) -> Ragged:
        """Logarithms of the energies of each clip, whole and at its own speed, ``(N, bands)`` each."""
        return self.bank[min(range(len(self.bank)), key=lambda i: abs(self.config.speeds[i] - 1))]

    def crop(self, clip: int, rng: np.random.Generator) -> Energies:
        """A random piece of a clip that holds sound, at a random speed, with total energy 1.

        Longer clips are cut, the louder of two random places being taken; shorter ones are placed anywhere or repeated.
        """
        logs = self._changed(self.bank[rng.integers(len(self.bank))][clip], rng)
        length, frames = len(logs), self.frames
        if length > frames:
            starts = rng.integers(0, length - frames + 1, 2)
            pieces = [10.0 ** logs[start : start + frames].astype(np.float32) for start in starts]
            piece = max(pieces, key=lambda x: float(x.sum()))
        else:
            short = 10.0 ** logs.astype(np.float32)
            piece = np.zeros((frames, self.bands), np.float32)
            if rng.random() < 0.5 and length < frames // 2:
                gap = int(rng.integers(0, length + 1))
                for start in range(int(rng.integers(0, length + gap)) - length, frames, length + gap):
                    low, high = max(start, 0), min(start + length, frames)
                    piece[low:high] = short[low - start : high - start]
            else:
                start = int(rng.integers(0, frames - length + 1))
                piece[start : start + length] = short
        return self._vary(piece / max(float(piece.sum()), _FLOOR), rng)

    def _changed(self, logs: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Length, pitch and dynamics, each apart from the others; ``logs`` are powers of ten, shape ``(N, bands)``."""
        config = self.config
        if rng.random() < config.stretch:
            frames = max(1, round(len(logs) * rng.uniform(0.7, 1.4)))
            places = np.linspace(0, len(logs) - 1, frames)
            low = places.astype(int)
            after = (places - low).astype(np.float32)[:, None]
            logs = logs[low] * (1 - after) + logs[np.minimum(low + 1, len(logs) - 1)] * after
        if rng.random() < config.shift:
            moved = np.arange(self.bands) + rng.uniform(-3, 3)
            inside = np.clip(moved, 0, self.bands - 1)
            low = inside.astype(int)
            above = (inside - low).astype(np.float32)
            values = logs[:, low] * (1 - above) + logs[:, np.minimum(low + 1, self.bands - 1)] * above
            logs = np.where(moved == inside, values, np.log10(_FLOOR)).astype(np.float32)
        if rng.random() < config.dynamics:
            loudest = np.float32(logs.max())
            logs = loudest + (logs - loudest) * np.float32(np.exp(rng.uniform(np.log(0.8), np.log(1.25))))
        return logs

    def _vary(self, piece: Energies, rng: np.random.Generator) -> Energies:
        """Equaliser, low-pass and reverberation; the energy is 1 again afterwards."""
        config, bands = self.config, np.arange(self.bands)
        gain_db = np.interp(bands, self._knots, rng.normal(0, config.eq_db, 6))
        if rng.random() < config.lowpass:  # from the upper half of the bands, which starts at about 3 kHz
            cutoff = rng.uniform(self.bands * 0.55, self.bands)
            gain_db -= np.clip((bands - cutoff) * 15.0, 0, 60)
        piece = piece * (10.0 ** (gain_db / 10)).astype(np.float32)
        if rng.random() < config.reverb:
            # The energy of a diffuse tail falls by 60 dB in T60: y[n] = x[n] + g * t[n], t[n] = d (t[n-1] + x[n-1]).
            decay = 10.0 ** (-6.0 / (self._frame_rate * rng.uniform(0.1, 0.8)))
            wet = np.float32(10.0 ** (rng.uniform(-12, -3) / 10) * (1 - decay))
            tail, out = np.zeros(self.bands, np.float32), piece.copy()
            for n in range(1, len(piece)):
                tail = np.float32(decay) * (tail + piece[n - 1])
                out[n] += wet * tail
            piece = out
        return piece / max(float(piece.sum()), _FLOOR)

    def mixture(
        self,
        clips: Sequence[int],
        rng: np.random.Generator,
        *,
        twins: Mapping[int, int] | None = None,
        softer_db: Mapping[int, float] | None = None,
    ) -> tuple[Energies, Energies]:
        """Mix crops of clips.

        Args:
            clips: one for each source.
            rng: of everything drawn.
            twins: a second clip, up to 12 dB softer, for some of the sources, by their place in ``clips``.
            softer_db: how far some of the sources lie under the level that all are drawn around, by their place.

        Returns:
            The mixture, shape ``(N, bands)``, and its sources, ``(len(clips), N, bands)``.
        """
        config = self.config
        levels_db = rng.uniform(-config.snr_db / 2, config.snr_db / 2, len(clips))
        for place, down_db in (softer_db or {}).items():
            levels_db[place] -= down_db
        sources = np.stack([self.crop(clip, rng) for clip in clips])
        for place, twin in (twins or {}).items():
            sources[place] += self.crop(twin, rng) * np.float32(10.0 ** (rng.uniform(-12, 0) / 10))
        energies = sources.sum((1, 2)).clip(_FLOOR)
        sources *= (10.0 ** (levels_db / 10) / energies).astype(np.float32)[:, None, None]
        mixture = sources.sum(0)
        if rng.random() < config.noise:
            shape = 10.0 ** (np.interp(np.arange(self.bands), self._knots, rng.normal(0, 6, 6)) / 10)
            level = 10.0 ** (-rng.uniform(20, 50) / 10)
            steady = rng.chisquare(4, (self.frames, self.bands)) * shape
            mixture = mixture + (level * mixture.sum() * steady / steady.sum()).astype(np.float32)
        return mixture, sources
