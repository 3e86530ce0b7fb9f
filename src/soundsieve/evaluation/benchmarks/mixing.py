"""How benchmarks mix: at a ratio, at a loudness, or not at all, so that anyone gets the same samples.

Everything that is drawn comes from the seed and the example's name, not from its place in the list, and every gain is
rounded to a ten-thousandth of a dB before it is applied. Sums over a recording depend in their last digits (about 1e-14
dB) on the machine that adds them up; the rounding keeps these digits out of the samples, but for one gain in 10^10.
What is left is products and sums of float32 numbers one by one, which are the same everywhere: two machines that decode
and resample alike mix alike.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from torch import Tensor

from soundsieve.dsp.loudness import loudness_lufs
from soundsieve.dsp.mixing import energy_db, fit_length, gain_db
from soundsieve.errors import AudioError, ConfigError
from soundsieve.evaluation.benchmarks.example import Example
from soundsieve.evaluation.benchmarks.recordings import Sounds

Kind: TypeAlias = Literal["ready", "snr", "lufs"]

_DIGITS = 4
_DRAWN_DIGITS = 3


@dataclass(frozen=True)
class Mixing:
    """A rule for mixing.

    Attributes:
        kind: ``ready``: the list names mixtures that exist; ``snr``: the interferer is brought to a ratio of energies
            to the target, in dB, and the target stays as it is; ``lufs``: both are brought to a loudness.
        low: the ratio, or loudness in LUFS, or the lowest that is drawn.
        high: the highest that is drawn; for ``lufs``, target and interferer each get their own.
        of_rows: take the ratio that the list gives for an example, where it does, before ``low`` and ``high``.
        whole: draw whole numbers alone.
        segment_s: seconds of every recording that are taken; shorter ones are followed by zeros. None: as much as the
            target has.
        or_ready: take an example as it is where the list names a mixture that exists, and mix only the others.
        peak: to what the largest sample of a mixture is turned down, target and all, where it would be past 1.

    Raises:
        ConfigError: a value is out of range.
    """

    kind: Kind = "ready"
    low: float = 0.0
    high: float = 0.0
    of_rows: bool = False
    whole: bool = False
    segment_s: float | None = None
    or_ready: bool = False
    peak: float = 0.9

    def __post_init__(self) -> None:
        if not -math.inf < self.low <= self.high < math.inf:
            raise ConfigError(f"a mixing goes from its lowest to its highest value, not from {self.low} to {self.high}")
        if self.segment_s is not None and not 0 < self.segment_s < math.inf:
            raise ConfigError(f"a segment of {self.segment_s} s is none")
        if not 0 < self.peak <= 1:
            raise ConfigError(f"a peak of {self.peak} is none: it lies between 0 and 1")

    def draw(self, example: Example, seed: int, times: int = 1) -> list[float]:
        """Values for an example, in dB or LUFS; the same seed and name give the same ones, here and anywhere."""
        rng = random.Random(f"{seed}:{example.example_id}")
        if self.whole:
            return [float(rng.randint(math.ceil(self.low), math.floor(self.high))) for _ in range(times)]
        return [round(self.low + (self.high - self.low) * rng.random(), _DRAWN_DIGITS) for _ in range(times)]

    def describe(self) -> str:
        """In short, such as ``snr:-15:15``."""
        if self.kind == "ready":
            return "ready"
        drawn = f":{self.high:g}" if self.high > self.low else ""
        if self.of_rows:
            drawn += " where the list gives none"
        return f"{'ready or ' * self.or_ready}{self.kind}:{self.low:g}{drawn}"

    def is_ready(self, example: Example) -> bool:
        """Whether an example's mixture exists, and is taken as it is."""
        return self.kind == "ready" or (self.or_ready and bool(example.mixture))

    def needs(self, example: Example) -> tuple[str, ...]:
        """Which recordings an example is mixed of.

        Raises:
            ConfigError: the list does not name them.
        """
        if self.is_ready(example):
            if not example.mixture:
                raise ConfigError(
                    f"example {example.example_id} has no ready-made mixture: choose another mixing (--mix)"
                )
            return (example.mixture, *([example.reference] if example.reference else []))
        if not example.target:
            raise ConfigError(f"example {example.example_id} names a ready-made mixture alone: it needs --mix ready")
        return (example.target, *example.interferers)


def parse(text: str, usual: Mixing) -> Mixing:
    """A mixing in words: ``ready``, ``snr:0``, ``snr:-15:15`` or ``lufs:-35:-25``, for all examples of a list alike.

    Segments and peaks are as usual.

    Raises:
        ConfigError: it is none of these.
    """
    kind, *values = text.split(":")
    try:
        low, high = (float(values[0]), float(values[-1])) if values else (0.0, 0.0)
    except ValueError:
        kind = ""
    kinds: dict[str, Kind] = {"ready": "ready", "snr": "snr", "lufs": "lufs"}
    if kind not in kinds or (kind == "ready") != (not values) or len(values) > 2:
        raise ConfigError(f"there is no mixing '{text}': write ready, snr:0, snr:-15:15 or lufs:-35:-25")
    return replace(usual, kind=kinds[kind], low=low, high=high, of_rows=False, whole=False, or_ready=False)


@dataclass(frozen=True)
class Mixture:
    """An example as sound.

    Attributes:
        mixture: shape ``(T,)``.
        reference: the target as it is in the mixture, shape ``(T,)``; None where nobody knows it.
    """

    mixture: Tensor
    reference: Tensor | None

    @property
    def interferer(self) -> Tensor | None:
        """All else in the mixture, shape ``(T,)``."""
        return None if self.reference is None else self.mixture - self.reference

    @property
    def snr_db(self) -> float | None:
        """Energy of the target over that of all else, in dB."""
        if self.reference is None or self.interferer is None:
            return None
        return float(energy_db(self.reference) - energy_db(self.interferer))


def mix(example: Example, mixing: Mixing, sounds: Sounds, *, sample_rate: int, seed: int = 0) -> Mixture:
    """Make the mixture of an example.

    Args:
        example: what to mix.
        mixing: how.
        sounds: gives the recordings, at ``sample_rate``.
        sample_rate: Hz.
        seed: of what is drawn.

    Raises:
        AudioError: a recording cannot be read, is silent, or does not fit the others.
        ConfigError: the list does not name what the mixing needs.
    """
    mixing.needs(example)
    try:
        if mixing.is_ready(example):
            return _ready(example, mixing, sounds, sample_rate)
        if example.target in example.interferers:
            raise ValueError("the target and an interferer are the same recording")
        target = _piece(sounds(example.target), example, mixing, sample_rate)
        interferers = [
            fit_length(_from_start(sounds(name), example, sample_rate)[: len(target)], len(target))
            for name in example.interferers
        ]
        if mixing.kind == "snr":
            given = example.snr_db if mixing.of_rows else None
            snr_db = mixing.draw(example, seed)[0] if given is None else given
            scaled = _at_ratio(target, interferers, snr_db)
        else:
            levels = mixing.draw(example, seed, 1 + len(interferers))
            target = _at_loudness(target, levels[0], sample_rate)
            scaled = _sum([_at_loudness(x, y, sample_rate) for x, y in zip(interferers, levels[1:], strict=True)])
    except (ValueError, AudioError) as error:
        raise AudioError(f"example {example.example_id} cannot be mixed: {error}") from error
    return within(Mixture(target + scaled, target), mixing.peak)


def within(mixed: Mixture, peak: float) -> Mixture:
    """A mixture whose largest sample is past 1 turned down to ``peak``, target and all; any other as it is."""
    largest = float(mixed.mixture.abs().max())
    if largest <= 1:
        return mixed
    reference = None if mixed.reference is None else mixed.reference * (peak / largest)
    return Mixture(mixed.mixture * (peak / largest), reference)


def _ready(example: Example, mixing: Mixing, sounds: Sounds, sample_rate: int) -> Mixture:
    mixture = _piece(sounds(example.mixture), example, mixing, sample_rate)
    if not bool(mixture.any()):
        raise ValueError("the mixture is silent")
    if not example.reference:
        return Mixture(mixture, None)
    reference = _piece(sounds(example.reference), example, mixing, sample_rate)
    if len(reference) != len(mixture):
        raise ValueError(f"the mixture has {len(mixture)} samples and the target in it {len(reference)}")
    if not bool(reference.any()):
        raise ValueError("the target is silent")
    if bool((mixture == reference).all()):
        raise ValueError("the mixture is its target and nothing else")
    return Mixture(mixture, reference)


def _piece(x: Tensor, example: Example, mixing: Mixing, sample_rate: int) -> Tensor:
    """The segment of a recording that is taken, from where it starts, followed by zeros where it ends early."""
    rest = _from_start(x, example, sample_rate)
    length = len(rest) if mixing.segment_s is None else round(mixing.segment_s * sample_rate)
    return fit_length(rest[:length], length)


def _from_start(x: Tensor, example: Example, sample_rate: int) -> Tensor:
    start = round(example.start_s * sample_rate)
    if start >= len(x):
        raise ValueError(f"it starts at {example.start_s} s, and a recording has {len(x) / sample_rate:.2f} s")
    return x[start:]


def _at_ratio(target: Tensor, interferers: Sequence[Tensor], snr_db: float) -> Tensor:
    """The interferers, each brought to the target's energy where there are several, and their sum to the ratio."""
    wanted = _level(target, "the target")
    scaled = interferers[0]
    if len(interferers) > 1:
        scaled = _sum([_gained(x, wanted - _level(x, "an interferer")) for x in interferers])
    return _gained(scaled, wanted - _level(scaled, "the interferer") - snr_db)


def _at_loudness(x: Tensor, lufs: float, sample_rate: int) -> Tensor:
    measured = loudness_lufs(x, sample_rate)
    if measured == -math.inf:
        raise ValueError("a recording is too quiet to have a loudness")
    return _gained(x, lufs - measured)


def _gained(x: Tensor, gain: float) -> Tensor:
    return gain_db(x, round(gain, _DIGITS))


def _level(x: Tensor, what: str) -> float:
    level = float(energy_db(x))
    if level == -math.inf:
        raise ValueError(f"{what} is silent")
    return level


def _sum(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:  # one after the other: the order is part of the result
        total = total + part
    return total
