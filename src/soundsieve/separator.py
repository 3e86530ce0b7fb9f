"""Load once, separate many: the waveform in, the waveform out, whatever the system needs in between."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from soundsieve import audio, segments
from soundsieve.audio import Samples, Written
from soundsieve.errors import AudioError, ConfigError, QueryError
from soundsieve.query import Clip, ClipLike, Condition, Query
from soundsieve.systems.base import System
from soundsieve.weights.checkpoint import pick_device

Mixture: TypeAlias = "str | Path | np.ndarray[Any, np.dtype[Any]] | torch.Tensor"
"""A recording: a file's path, or samples of shape ``(C, T)`` or ``(T,)`` as floats, nominally in [-1, 1]."""

_GRID = np.float32(2.0**23)  # full scale of 24-bit samples
_MOST_CHANNELS = 64


def load(
    name_or_path: str | Path = "starter",
    device: str | torch.device = "cpu",
    *,
    weights: str | Path | None = None,
    clap: str | Path | None = None,
    tokenizer: str | Path | None = None,
    precision: str = "float32",
) -> Separator:
    """Load a model.

    Args:
        name_or_path: a name that ``soundsieve models`` lists, or the path of a file of weights.
        device: where it computes, such as ``cpu`` or ``cuda``; never replaced by another one in silence.
        weights: for ``clapsep``, a file in place of the published ``best_model.ckpt``.
        clap: the CLAP that the weights build on, where they do not hold it: the published ``.pt``, or soundsieve's.
        tokenizer: RoBERTa's ``tokenizer.json``, a folder that holds it or its name on the hub, for published weights;
            ``none`` makes a model that is asked by example clips alone.
        precision: what it computes in: ``float32``, or ``int8`` for speed on some CPUs.

    Raises:
        WeightsError: no such model, or its weights are missing, damaged or cannot be fetched.
        ConfigError: there is no such device or precision, or something is given that the model has no use for.
    """
    from soundsieve.nn.int8 import to_precision
    from soundsieve.weights.catalog import load_model

    system = load_model(name_or_path, device, weights=weights, clap=clap, tokenizer=tokenizer)
    to_precision(system, precision)
    return Separator(system, device)


@dataclass(frozen=True, eq=False)
class Separation:
    """The answer to one query about one recording.

    Attributes:
        target: what was asked for, float32, in the recording's own shape, ``(C, T)`` or ``(T,)``.
        residual: everything else, ``mixture - target``, so that the two add up to the mixture: exactly for recordings
            of up to 24 bits (any of their PCM files) as long as neither passes 2, to float32 rounding otherwise.
        sample_rate: the recording's, in Hz.
        presence: probability that the sound is there at all; None where the system cannot tell.
        query: what was asked.
    """

    target: Samples
    residual: Samples
    sample_rate: int
    presence: float | None
    query: Query

    def save(
        self, path: str | Path, *, part: Literal["target", "residual"] = "target", subtype: str | None = None
    ) -> Written:
        """Write the target, or the residual, as the kind of file that the suffix names; see `audio.encode`.

        Returns:
            The path, and a note where the file could not hold the samples exactly as they are.

        Raises:
            AudioError: the file cannot be written.
        """
        if part not in ("target", "residual"):
            raise ConfigError(f"part is '{part}': choose target or residual")
        samples = self.target if part == "target" else self.residual
        return audio.encode(path, samples, self.sample_rate, subtype=subtype)


class Separator:
    """A system with what surrounds it: sample rates, channels and length of any recording.

    Every channel is separated on its own, with the same condition. The recording is resampled to the system's rate
    and its target back, so what lies above half the system's rate is never part of the target: it stays in the
    residual. A silent channel's target is silence.

    Args:
        system: what answers; it is moved to the device and put in evaluation mode.
        device: where it computes.
    """

    def __init__(self, system: System, device: str | torch.device = "cpu") -> None:
        self.device = pick_device(device)
        self.system = system.to(self.device).eval()
        self._last: tuple[object, Condition] | None = None

    @property
    def presence_threshold(self) -> float:
        """Below this presence the sound counts as not found; the system's own, 0.5 where it has none."""
        return float(getattr(self.system, "presence_threshold", 0.5))

    def separate(
        self,
        mixture: Mixture,
        text: str | Sequence[str] | None = None,
        *,
        sample_rate: int | None = None,
        exclude: str | Sequence[str] | None = None,
        like: ClipLike | Sequence[ClipLike] | None = None,
        unlike: ClipLike | Sequence[ClipLike] | None = None,
        audio_weight: float | None = None,
        query: Query | None = None,
        segment_s: float | None = None,
        overlap: float = 0.25,
        batch: int = 4,
        progress: Callable[[float], None] | None = None,
    ) -> Separation:
        """Take one sound out of a recording.

        Args:
            mixture: a path, or samples ``(C, T)`` or ``(T,)`` as a numpy array or torch tensor.
            text: what to extract, in words; several texts are averaged.
            sample_rate: of the samples, in Hz; a file knows its own.
            exclude: what to suppress, in words.
            like: example clips of what to extract: paths or ``(samples, sample_rate)``.
            unlike: example clips of what to suppress.
            audio_weight: share of the example clips, from 0 to 1, on a side that has text too; by default half.
            query: all of the above in one, instead of them.
            segment_s: seconds that go through the system at once; by default what it was trained on.
            overlap: fraction of a segment shared with the next.
            batch: how many segments go through the system at once.
            progress: called with the fraction done, now and then.

        Returns:
            Target and residual with the recording's own shape, length and sample rate.

        Raises:
            AudioError: a recording or example clip cannot be read or used.
            QueryError: nothing, or nothing this system understands, is asked.
            ConfigError: a setting is out of range.
        """
        if query is None:
            weight = Query.audio_weight if audio_weight is None else audio_weight
            query = Query(text, exclude, like, unlike, weight)  # type: ignore[arg-type]  # Query makes tuples of them
        elif not all(asked is None for asked in (text, exclude, like, unlike, audio_weight)):
            raise QueryError("give either a query, or text, exclude, like, unlike and audio_weight, not both")
        condition = self.encode(query)
        samples, rate, is_flat = _read(mixture, sample_rate)
        target, presence = self._extract(samples, rate, condition, segment_s, overlap, batch, progress)
        target = _on_grid_of(samples, target)
        residual = samples - target
        if is_flat:
            target, residual = target[0], residual[0]
        return Separation(target, residual, rate, presence, query)

    def encode(self, query: Query) -> Condition:
        """The condition of a query, on the system's device; asked again for the same query it is not made again.

        Raises:
            QueryError: the system does not understand this kind of query.
            AudioError: an example clip cannot be read.
        """
        self.system.check_query(query)
        key = _key(query)
        if self._last is not None and key is not None and self._last[0] == key:
            return self._last[1]
        decoded = replace(query, like=_decoded(query.like), unlike=_decoded(query.unlike))
        with torch.inference_mode():
            condition = self.system.encode_query(decoded).to(self.device)
        self._last = None if key is None else (key, condition)
        return condition

    def _extract(
        self,
        samples: Samples,
        rate: int,
        condition: Condition,
        segment_s: float | None,
        overlap: float,
        batch: int,
        progress: Callable[[float], None] | None,
    ) -> tuple[Samples, float | None]:
        target = np.zeros_like(samples)
        audible = np.abs(samples).max(axis=1) > 0
        rows = audio.resample(samples[audible] if audible.any() else samples[:1], rate, self.system.sample_rate)
        estimate = segments.separate(
            self.system,
            torch.from_numpy(np.ascontiguousarray(rows)),
            condition,
            segment_s=segment_s,
            overlap=overlap,
            batch=batch,
            progress=progress,
        )
        presence = None if estimate.presence is None else float(estimate.presence.max())
        if not audible.any():
            return target, None if presence is None else 0.0
        back = audio.resample(estimate.target.numpy(), self.system.sample_rate, rate, length=samples.shape[1])
        target[audible] = back
        return target, presence


def _read(mixture: Mixture, sample_rate: int | None) -> tuple[Samples, int, bool]:
    """A recording as ``(C, T)``, its rate, and whether it was given as ``(T,)``."""
    if isinstance(mixture, (str, Path)):
        if sample_rate is not None:
            raise AudioError("sample_rate is for samples; a file knows its own")
        return (*audio.decode(mixture), False)
    if not isinstance(mixture, (np.ndarray, torch.Tensor)):
        raise AudioError(f"a recording is a path, a numpy array or a torch tensor; got {type(mixture).__name__}")
    if sample_rate is None:
        raise AudioError("samples come without their rate: give sample_rate, in Hz")
    return (*check_samples(mixture, sample_rate, "the recording"), mixture.ndim == 1)


def check_samples(
    samples: np.ndarray[Any, np.dtype[Any]] | torch.Tensor, sample_rate: int, what: str
) -> tuple[Samples, int]:
    """Samples from a caller as float32 ``(C, T)``, and their rate.

    Raises:
        AudioError: integers, complex numbers, a wrong shape, no samples, values that are not finite, or a bad rate.
    """
    array = samples.detach().cpu().numpy() if isinstance(samples, torch.Tensor) else np.asarray(samples)
    if isinstance(sample_rate, bool) or int(sample_rate) != sample_rate or sample_rate <= 0:
        raise AudioError(f"{what} has a sample rate of {sample_rate}: it is a whole number of Hz above 0")
    if not np.issubdtype(array.dtype, np.floating):
        raise AudioError(f"{what} has {array.dtype} samples: give floats in [-1, 1] (for int16, divide by 32768)")
    if array.ndim not in (1, 2):
        raise AudioError(f"{what} has shape {array.shape}: give (C, T), or (T,) for one channel")
    if array.size == 0:
        raise AudioError(f"{what} holds no samples")
    array = np.atleast_2d(array)
    if len(array) > _MOST_CHANNELS and len(array) > array.shape[1]:
        raise AudioError(
            f"{what} has {len(array)} channels of {array.shape[1]} samples: channels come first, time last"
        )
    with np.errstate(over="ignore"):  # what is past float32 turns infinite, and is refused as such
        array = np.ascontiguousarray(array, dtype=np.float32)
    audio.check_finite(array, int(sample_rate), what)
    return array, int(sample_rate)


def _decoded(clips: Sequence[ClipLike]) -> tuple[Clip, ...]:
    return tuple(
        check_samples(*clip, "an example clip") if isinstance(clip, tuple) else audio.decode(clip) for clip in clips
    )


def _key(query: Query) -> object | None:
    """What tells whether a query is the same as before; None if that cannot be told (samples may change in place)."""
    stamps = []
    for clip in (*query.like, *query.unlike):
        if isinstance(clip, tuple) or not os.path.exists(clip):
            return None
        status = Path(clip).stat()
        stamps.append((status.st_mtime_ns, status.st_size))
    return (query, tuple(stamps))


def _on_grid_of(mixture: Samples, target: Samples) -> Samples:
    """Round the target to the 24-bit grid where the mixture lies on it, so that target + residual has no rounding.

    Multiples of 2^-23 up to 2 are float32 numbers, and so are their sums and differences up to 2. A mixture that is
    not on the grid (decoded from a lossy file, or made of floats) leaves the target as it is.
    """
    scaled = mixture * _GRID
    if not np.array_equal(scaled, np.rint(scaled)):
        return target
    return np.asarray(np.rint(target * _GRID) / _GRID, dtype=np.float32)
