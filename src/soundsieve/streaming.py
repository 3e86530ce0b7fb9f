"""The one engine behind every way to separate a recording: blocks in, blocks out, in memory that does not grow.

    blocks -> resampled to the system's rate -> segments -> system, a batch at a time -> cross-faded
           -> resampled back -> blocks of mixture and targets, in step

The mixture waits in a queue until its targets are there: a segment and what the resamplers hold back. Nothing needs to
know how long the recording is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from soundsieve import audio, segments
from soundsieve.audio import Samples
from soundsieve.dsp.stft import istft, stft
from soundsieve.presence import Finder, Presence, Span, estimated_presence
from soundsieve.query import Condition
from soundsieve.systems.base import Estimate, System

_GRID = np.float32(2.0**23)  # full scale of 24-bit samples
_SHARE_WINDOW_S = 0.064


@dataclass(frozen=True, eq=False)
class Heard:
    """A segment of the recording, and what the system thought of it.

    Attributes:
        start_s: where it starts, in seconds.
        end_s: where it ends.
        presences: for each condition, that of the sound in it.
    """

    start_s: float
    end_s: float
    presences: tuple[Presence, ...]

    @property
    def presence(self) -> tuple[float, ...]:
        """For each condition, the probability that the sound is in it."""
        return tuple(one.value for one in self.presences)


@dataclass(frozen=True, eq=False)
class Block:
    """A stretch of a recording with its answers. Consecutive blocks add up to the whole recording.

    Attributes:
        start: its first sample, counted from the start of the recording.
        mixture: the recording itself, float32, shape ``(C, n)``.
        targets: one for each query, same shape.
        heard: the segments that reach into this block.
    """

    start: int
    mixture: Samples
    targets: tuple[Samples, ...]
    heard: tuple[Heard, ...]

    @property
    def target(self) -> Samples:
        """The first query's."""
        return self.targets[0]

    @property
    def residual(self) -> Samples:
        """The mixture less all targets."""
        left = self.mixture
        for target in self.targets:
            left = left - target
        return left

    @property
    def presence(self) -> tuple[float, ...]:
        """For each query, the greatest presence of the segments that reach into this block."""
        return tuple(max(values) for values in zip(*(one.presence for one in self.heard), strict=True))


class Stream(Iterator[Block]):
    """Blocks as they are asked for; what was found is known in full after the last one.

    A context manager for those who may stop before the last block; whoever goes through all needs none.

    Attributes:
        sample_rate: of the recording and of every block, in Hz.
        channels: of both.
        samples: how many the recording has, as far as its source says; None where it does not.
        later: whether presences are worked out when somebody asks for them, for which what they need is kept, a number
            for every sample; else as the blocks go by.
    """

    def __init__(
        self,
        blocks: Iterator[Block],
        sample_rate: int,
        channels: int,
        samples: int | None,
        thresholds: Sequence[float],
        *,
        later: bool = False,
        progress: Callable[[float], None] | None = None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.sample_rate, self.channels, self.samples, self.later = sample_rate, channels, samples, later
        self._blocks, self._progress, self._close = blocks, progress, close
        self.finders = [Finder(sample_rate, threshold) for threshold in thresholds]

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Block:
        try:
            block = next(self._blocks)
        except StopIteration:
            if self._progress is not None:
                self._progress(1.0)
            self.close()
            raise
        except BaseException:
            self.close()
            raise
        for q, (finder, target) in enumerate(zip(self.finders, block.targets, strict=True)):
            for heard in block.heard:
                if not self.later:
                    heard.presences[q].value  # noqa: B018 (worked out here, and what it took let go of)
                finder.hear(heard.start_s, heard.end_s, heard.presences[q])
            finder.add(target)
        if self._progress is not None and self.samples:
            self._progress(min(1.0, (block.start + block.mixture.shape[1]) / self.samples))
        return block

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the source. There are no more blocks after that."""
        self._blocks = iter(())
        close, self._close = self._close, lambda: None
        close()

    @property
    def presences(self) -> tuple[float, ...]:
        """For each query, the greatest presence so far: it is there if it is there once."""
        return tuple(finder.presence for finder in self.finders)

    @property
    def spans(self) -> tuple[tuple[Span, ...], ...]:
        """For each query, where it was found so far; see `soundsieve.presence`."""
        return tuple(finder.spans() for finder in self.finders)


def separate_blocks(
    system: System,
    blocks: Iterable[Samples],
    sample_rate: int,
    conditions: Sequence[Condition],
    *,
    segment_s: float | None = None,
    overlap: float = 0.25,
    batch: int = 4,
    share: bool = False,
    agreement: bool = True,
) -> Iterator[Block]:
    """Answer conditions about a recording that comes in consecutive blocks.

    Where the system can, one decision is taken for all channels. What lies above half the system's rate is in no
    target. A silent segment's target is silence, and so is that of a silent channel. Targets are rounded to the 24-bit
    grid where the mixture lies on it, so that mixture - target and target + residual have no rounding.

    Args:
        system: in evaluation mode.
        blocks: float32, shape ``(C, n)``, any n, the same C for all.
        sample_rate: Hz.
        conditions: each of one, on the system's device.
        segment_s: seconds per segment; by default what the system was trained on.
        overlap: fraction of a segment shared with the next.
        batch: how many segments go through the system at once.
        share: let the targets together claim no more than there is, see `share_out`.
        agreement: estimate presence from agreement with the query too, see `estimated_presence`.

    Yields:
        Blocks that add up to the recording; about a segment's length behind what is read.

    Raises:
        ConfigError: a setting is out of range.
        WeightsError: the system's answer is not finite.
    """
    plan = segments.plan_for(system, None, segment_s=segment_s, overlap=overlap)
    if batch < 1:  # said before anything is read
        next(segments.separate_segments(system, (), conditions, batch=batch), None)
    return _Engine(system, sample_rate, conditions, plan, batch, share, agreement).run(blocks)


class _Engine:
    def __init__(
        self,
        system: System,
        sample_rate: int,
        conditions: Sequence[Condition],
        plan: segments.Plan,
        batch: int,
        share: bool,
        agreement: bool,
    ) -> None:
        self.system, self.rate, self.conditions = system, sample_rate, conditions
        self.plan, self.batch, self.share, self.agreement = plan, batch, share, agreement
        self.steady = [_SteadyGain(system.presence_threshold) for _ in conditions]
        self.waiting = _Queue()
        self.heard: deque[Heard] = deque()
        self.done = 0

    def run(self, blocks: Iterable[Samples]) -> Iterator[Block]:
        back: audio.StreamResampler | None = None
        for stretch in segments.cross_fade(self._answers(self._resampled(blocks)), self.plan):
            samples = stretch.numpy()
            if back is None:
                back = audio.StreamResampler(self.system.sample_rate, self.rate, len(samples))
            yield from self._emit(back.push(np.ascontiguousarray(samples)))
        if back is None:
            return
        yield from self._emit(back.finish(length=self.done + self.waiting.samples))

    def _resampled(self, blocks: Iterable[Samples]) -> Iterator[Tensor]:
        there: audio.StreamResampler | None = None
        for block in blocks:
            if there is None:
                there = audio.StreamResampler(self.rate, self.system.sample_rate, len(block))
            self.waiting.append(block)
            yield torch.from_numpy(there.push(block))
        if there is not None:
            yield torch.from_numpy(there.finish())

    def _answers(self, heard: Iterable[Tensor]) -> Iterator[tuple[segments.Segment, Tensor]]:
        """Each segment with all of its targets, one below the other: shape ``(Q * C, n)``."""
        pieces = segments.cut(heard, self.plan)
        answered = segments.separate_segments(self.system, pieces, self.conditions, batch=self.batch, shared=True)
        for segment, mixture, estimates in answered:
            audible = mixture.abs().amax(1) > 0
            targets: list[Tensor] = []
            presences: list[Presence] = []
            for steady, condition, estimate in zip(self.steady, self.conditions, estimates, strict=True):
                target = steady(estimate) * audible[:, None]
                targets.append(target)
                presences.append(self._presence(mixture, audible, target, condition, estimate.presence))
            rate = self.system.sample_rate
            self.heard.append(Heard(segment.start / rate, segment.stop / rate, tuple(presences)))
            together = torch.stack(targets)
            if self.share and len(targets) > 1:
                together = share_out(mixture, together, rate)
            yield segment, together.flatten(0, 1)

    def _presence(
        self, mixture: Tensor, audible: Tensor, target: Tensor, condition: Condition, told: Tensor | None
    ) -> Presence:
        """What the system told of the channels that are not silent, the greatest; or an estimate."""
        if not bool(audible.any()):
            return Presence(0.0)
        if told is None:
            return estimated_presence(self.system, mixture, target, condition, agreement=self.agreement)
        return Presence(float((told * audible if len(told) == len(audible) else told).max()))

    def _emit(self, targets: Samples) -> Iterator[Block]:
        count = min(targets.shape[1], self.waiting.samples)
        if not count:
            return
        mixture = self.waiting.take(count)
        start_s, end_s = self.done / self.rate, (self.done + count) / self.rate
        while len(self.heard) > 1 and self.heard[0].end_s <= start_s:
            self.heard.popleft()
        heard = tuple(one for one in self.heard if one.start_s < end_s) or (self.heard[-1],)
        split = targets[:, :count].reshape(len(self.conditions), -1, count)
        yield Block(self.done, mixture, tuple(on_grid_of(mixture, target) for target in split), heard)
        self.done += count


class _Queue:
    """The mixture until its targets are there."""

    def __init__(self) -> None:
        self._blocks: deque[Samples] = deque()
        self.samples = 0

    def append(self, block: Samples) -> None:
        self._blocks.append(block)
        self.samples += block.shape[1]

    def take(self, count: int) -> Samples:
        taken, left = [], count
        while left:
            block = self._blocks.popleft()
            taken.append(block[:, :left])
            if block.shape[1] > left:
                self._blocks.appendleft(block[:, left:])
            left -= taken[-1].shape[1]
        self.samples -= count
        return np.concatenate(taken, 1)


class _SteadyGain:
    """Keeps doubt from moving the level: the gain that it puts on an answer changes only where a segment is sure.

    Between "there" (presence from the threshold up) and "not there" (up to half of it) a small difference in presence
    is a large one in level, so a steady sound would step up and down with every segment. Such a segment goes on with
    the gain of the one before it; the first one has its own.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._gain: Tensor | None = None

    def __call__(self, estimate: Estimate) -> Tensor:
        if estimate.gain is None or estimate.presence is None:
            return estimate.target
        sure = (estimate.presence >= self._threshold) | (estimate.presence <= self._threshold / 2)
        self._gain = estimate.gain if self._gain is None else torch.where(sure, estimate.gain, self._gain)
        return estimate.target * (self._gain / estimate.gain)[:, None]


def share_out(mixture: Tensor, targets: Tensor, sample_rate: int) -> Tensor:
    """Turn down targets that claim the same sound, so that together they claim no more than there is.

    In every bin of a spectrogram (windows of 64 ms) with mixture X and targets Y_q, each target is multiplied by
    min(1, |X| / sum_q |Y_q|). Where their sum fits nothing changes.

    Args:
        mixture: shape ``(C, T)``.
        targets: shape ``(Q, C, T)``.
        sample_rate: Hz.

    Returns:
        The targets, shape ``(Q, C, T)``.
    """
    n_fft = 2 ** round(math.log2(_SHARE_WINDOW_S * sample_rate))
    size = {"n_fft": n_fft, "hop_length": n_fft // 4}
    there = stft(mixture, **size).abs()
    claims = stft(targets, **size)
    claimed = claims.abs().sum(0)
    scale = (there / claimed.clamp_min(1e-12)).clamp_max(1.0)
    return istft(claims * scale, **size, length=mixture.shape[1])


def on_grid_of(mixture: Samples, target: Samples) -> Samples:
    """Round the target to the 24-bit grid where the mixture lies on it, so that target + residual has no rounding.

    Multiples of 2^-23 up to 2 are float32 numbers, and so are their sums and differences up to 2. A mixture that is
    not on the grid (decoded from a lossy file, or made of floats) leaves the target as it is.
    """
    scaled = mixture * _GRID
    if not np.array_equal(scaled, np.rint(scaled)):
        return target
    return np.asarray(np.rint(target * _GRID) / _GRID, dtype=np.float32)
