"""Recordings of any length through a system that was trained on short ones, whatever the system.

A recording is cut to segments of equal length that overlap. Each is separated on its own, and the answers are
cross-faded: with weights w_k(t) that rise and fall over the overlap,

    out(t) = sum_k w_k(t) y_k(t) / sum_k w_k(t),

so a system that returns its input gives back the recording, whatever the weights. They rise and fall in the middle of
the overlap alone: near its ends a segment knows one side of what it hears, so there its neighbour, which knows both,
answers alone.

Everything here takes and hands out what it can at once: `cut` needs no more of the recording than a segment and what is
new since the last one, and not its length; `cross_fade` gives each stretch as soon as no later segment can change it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch
from torch import Tensor

from soundsieve.errors import ConfigError, WeightsError
from soundsieve.query import Condition
from soundsieve.systems.base import Estimate, System

_ALONE = 0.4
"""Share of an overlap, at each of its ends, that is left to the segment in whose middle part it lies."""


@dataclass(frozen=True)
class Segment:
    """Samples ``start`` to ``stop`` (exclusive) of a recording; ``last`` where the recording ends with it."""

    start: int
    stop: int
    last: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Plan:
    """How a recording of ``length`` samples is cut; None for a length that only its end will tell.

    Segments start every ``segment - overlap`` samples; the last one is moved back to end with the recording, so all are
    equally long. A recording no longer than ``segment`` is one segment.
    """

    length: int | None
    segment: int
    overlap: int

    def __post_init__(self) -> None:
        if (self.length is not None and self.length < 1) or self.segment < 1 or not 0 <= self.overlap < self.segment:
            raise ConfigError(f"cannot cut {self.length} samples to {self.segment} with an overlap of {self.overlap}")

    @property
    def step(self) -> int:
        """Samples from the start of a segment to that of the next."""
        return self.segment - self.overlap

    def __len__(self) -> int:
        length = self._known()
        return 1 if length <= self.segment else 1 + -(-(length - self.segment) // self.step)

    def __iter__(self) -> Iterator[Segment]:
        length, count = self._known(), len(self)
        size = min(self.segment, length)
        for index in range(count):
            start = min(index * self.step, length - size)
            yield Segment(start, start + size, last=index == count - 1)

    def _known(self) -> int:
        if self.length is None:
            raise ConfigError("the segments of a recording of unknown length cannot be listed")
        return self.length


def plan_for(system: System, length: int | None, *, segment_s: float | None = None, overlap: float = 0.25) -> Plan:
    """The plan for a recording of ``length`` samples at the system's rate, or of a length not known.

    Args:
        segment_s: seconds per segment; by default what the system was trained on.
        overlap: fraction of a segment shared with the next, at least 0 and below 1.

    Raises:
        ConfigError: a value out of range.
    """
    seconds = system.segment_s if segment_s is None else segment_s
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"segment_s is {seconds}: a segment lasts more than 0 seconds")
    if not 0 <= overlap < 1:
        raise ConfigError(f"overlap is {overlap}: it is a fraction of a segment, at least 0 and below 1")
    segment = max(1, round(seconds * system.sample_rate))
    return Plan(length, segment, min(int(segment * overlap), segment - 1))


def cut(blocks: Iterable[Tensor], plan: Plan) -> Iterator[tuple[Segment, Tensor]]:
    """Cut a recording that comes in consecutive blocks ``(C, n)`` to the plan's segments ``(C, stop - start)``.

    The plan's length is not used: the recording is as long as the blocks say. A segment is handed out with the first
    sample after it, which tells that it is not the last, so at most one segment, one step and one block are held.
    """
    held: list[Tensor] = []
    start, end, due = 0, 0, 0  # of what is held; where the next segment starts if it is not the last
    for block in blocks:
        if not block.shape[1]:
            continue
        held.append(block)
        end += block.shape[1]
        if end <= due + plan.segment:
            continue
        joined = torch.cat(held, 1)
        while end > due + plan.segment:
            yield Segment(due, due + plan.segment), joined[:, due - start : due - start + plan.segment]
            joined, start = joined[:, due - start :], due  # the last segment may start as early as here
            due += plan.step
        held = [joined.clone()]  # of its own memory: a view would keep all that it came from
    if held:
        first = max(0, end - plan.segment)
        yield Segment(first, end, last=True), torch.cat(held, 1)[:, first - start :]


def separate_segments(
    system: System,
    pieces: Iterable[tuple[Segment, Tensor]],
    conditions: Sequence[Condition],
    *,
    batch: int = 4,
    shared: bool = False,
) -> Iterator[tuple[Segment, Tensor, list[Estimate]]]:
    """Answer conditions about one segment after the other, reading each when its turn comes.

    Segments shorter than the system's ``min_samples`` (1 where it names none) are padded with zeros at the end, and
    the answer is cut back.

    Args:
        pieces: segments with their mixtures, shape ``(C, stop - start)``.
        conditions: each of one; on the system's device.
        batch: how many mixtures go through the system at once; with ``shared``, how many segments.
        shared: decide once for all channels of a segment, where the system can (``System.shares_channels``).

    Yields:
        Each segment with its mixture and an estimate for each condition, on the CPU: target ``(C, stop - start)``;
        presence and gain ``(C,)``, or ``(1,)`` where the decision was shared.

    Raises:
        ConfigError: the batch is less than one.
        WeightsError: the system's answer is not finite or has another shape than what was asked.
    """
    if batch < 1:
        raise ConfigError(f"batch is {batch}: at least one segment goes through at a time")
    if system.in_order:
        yield from _separate_in_order(system, pieces, conditions, batch)
        return
    queue = iter(pieces)
    while group := list(islice(queue, 1)):
        together = shared and system.shares_channels and len(group[0][1]) > 1
        rows = 1 if together else len(group[0][1])
        group += islice(queue, max(1, batch // rows) - 1)
        stacked = torch.stack([mixture for _, mixture in group])
        mixtures = stacked if together else stacked.flatten(0, 1)
        parts = [_estimate(system, part, conditions) for part in torch.split(mixtures, batch)]
        answers = [_joined([part[q] for part in parts]) for q in range(len(conditions))]
        for index, (segment, mixture) in enumerate(group):
            at = slice(index * rows, (index + 1) * rows)
            yield (
                segment,
                mixture,
                [
                    Estimate(
                        answer.target[index] if together else answer.target[at],
                        None if answer.presence is None else answer.presence[at],
                        None if answer.gain is None else answer.gain[at],
                    )
                    for answer in answers
                ],
            )


def _estimate(system: System, mixture: Tensor, conditions: Sequence[Condition]) -> list[Estimate]:
    """Answers about mixtures ``(B, T)``, or recordings ``(B, C, T)``, of any length; on the CPU."""
    samples, device = mixture.shape[-1], conditions[0].positive.device
    padded = torch.nn.functional.pad(mixture, (0, max(0, int(getattr(system, "min_samples", 1)) - samples))).to(device)
    asked = [condition.expand(len(padded)) for condition in conditions]
    with torch.inference_mode():
        answers = (system.estimate_many if padded.ndim == 2 else system.estimate_channels)(padded, asked)
    return _checked(system, answers, padded.shape, samples)


def _separate_in_order(
    system: System, pieces: Iterable[tuple[Segment, Tensor]], conditions: Sequence[Condition], batch: int
) -> Iterator[tuple[Segment, Tensor, list[Estimate]]]:
    """As `separate_segments`, for a system that goes on from one segment to the next."""
    device = conditions[0].positive.device
    taken: list[tuple[Segment, Tensor]] = []

    def heard() -> Iterator[tuple[int, Tensor]]:
        for segment, mixture in pieces:
            taken.append((segment, mixture))
            yield segment.start, mixture.to(device)

    for answers in system.answer_in_order(heard(), conditions, batch=batch):
        segment, mixture = taken.pop()
        yield segment, mixture, _checked(system, answers, mixture.shape, mixture.shape[1])


def _checked(system: System, answers: Sequence[Estimate], shape: torch.Size, samples: int) -> list[Estimate]:
    """Answers that are of that shape and finite, cut to so many samples; on the CPU."""
    for answer in answers:
        if answer.target.shape != shape:
            raise WeightsError(f"{system.name} answered {tuple(answer.target.shape)} to {tuple(shape)}")
        if not torch.isfinite(answer.target).all():
            raise WeightsError(
                f"{system.name} answered with values that are not finite: its weights do not fit this sound"
            )
    return [
        Estimate(
            answer.target[..., :samples].float().cpu(),
            None if answer.presence is None else answer.presence.float().cpu(),
            None if answer.gain is None else answer.gain.float().cpu(),
        )
        for answer in answers
    ]


def _joined(parts: Sequence[Estimate]) -> Estimate:
    if len(parts) == 1:
        return parts[0]
    presences = [part.presence for part in parts if part.presence is not None]
    gains = [part.gain for part in parts if part.gain is not None]
    return Estimate(
        torch.cat([part.target for part in parts]),
        torch.cat(presences) if presences else None,
        torch.cat(gains) if gains else None,
    )


def cross_fade(pieces: Iterable[tuple[Segment, Tensor]], plan: Plan) -> Iterator[Tensor]:
    """Join the answers to a plan's segments.

    Args:
        pieces: every segment of the plan in order, with its answer, shape ``(B, stop - start)``.

    Yields:
        Consecutive stretches ``(B, n)`` that add up to the whole recording, each as soon as it is final.
    """
    done = 0
    total: Tensor | None = None
    weights = torch.zeros(0)
    for segment, piece in pieces:
        weight = _fade(segment, plan)
        if total is None:
            total = piece.new_zeros(len(piece), 0)
        if segment.start > done:
            finished = segment.start - done
            yield total[:, :finished] / weights[:finished]
            total, weights, done = total[:, finished:], weights[finished:], segment.start
        more = segment.stop - done - total.shape[1]
        total = torch.nn.functional.pad(total, (0, more))
        weights = torch.nn.functional.pad(weights, (0, more))
        total[:, segment.start - done :] += weight * piece
        weights[segment.start - done :] += weight
    if total is not None:
        yield total / weights


def _fade(segment: Segment, plan: Plan) -> Tensor:
    """Weights of a segment: nothing, up, one, down, nothing; no fade at the recording's own ends.

    Of an overlap of n samples the outer m = 0.4 n at each end have weight zero. The ramp between is
    i / (n - 2 m + 1), i = 1 .. n - 2 m, so that ramps of neighbours add up to one. Wherever one segment has no weight
    another has some: what has weight is 1 - 0.8 overlap long, segments start every 1 - overlap.
    """
    size = segment.stop - segment.start
    weight = torch.ones(size)
    n = min(plan.overlap, size)
    alone = int(_ALONE * n)
    ramp = torch.zeros(n)
    ramp[alone : n - alone] = torch.arange(1, n - 2 * alone + 1) / (n - 2 * alone + 1)
    ramp[n - alone :] = 1
    if segment.start > 0:
        weight[:n] = ramp
    if not segment.last:
        weight[size - n :] = torch.minimum(weight[size - n :], ramp.flip(0))
    return weight


def separate(
    system: System,
    mixture: Tensor,
    condition: Condition,
    *,
    segment_s: float | None = None,
    overlap: float = 0.25,
    batch: int = 4,
    progress: Callable[[float], None] | None = None,
) -> Estimate:
    """Separate mixtures of any length that are in memory, each row on its own.

    The presence of a sound in a recording is the largest of its segments' presences: it is there if it is there once.

    Args:
        mixture: shape ``(B, T)`` at the system's rate, on the CPU.
        condition: of one; on the system's device.
        segment_s: seconds per segment; by default what the system was trained on.
        overlap: fraction of a segment shared with the next.
        batch: how many segments go through the system at once.
        progress: called with the fraction done, after every segment.

    Returns:
        Target ``(B, T)`` and presence ``(B,)``, on the CPU.
    """
    plan = plan_for(system, mixture.shape[1], segment_s=segment_s, overlap=overlap)
    presences: list[Tensor] = []

    def answers() -> Iterator[tuple[Segment, Tensor]]:
        pieces = cut([mixture], plan)
        for index, (segment, _, (answer,)) in enumerate(separate_segments(system, pieces, [condition], batch=batch)):
            if answer.presence is not None:
                presences.append(answer.presence)
            if progress is not None:
                progress((index + 1) / len(plan))
            yield segment, answer.target

    target = torch.cat(list(cross_fade(answers(), plan)), dim=1)
    return Estimate(target, torch.stack(presences).amax(0) if presences else None)
