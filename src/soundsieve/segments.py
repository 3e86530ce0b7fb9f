"""Recordings of any length through a system that was trained on short ones, whatever the system.

A recording is cut to segments of equal length that overlap. Each is separated on its own, and the answers are
cross-faded: with weights w_k(t) that rise and fall over the overlap,

    out(t) = sum_k w_k(t) y_k(t) / sum_k w_k(t),

so a system that returns its input gives back the recording, whatever the weights. `cross_fade` hands out each stretch
as soon as no later segment can change it: memory holds one segment, not the recording.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from soundsieve.errors import ConfigError, WeightsError
from soundsieve.query import Condition
from soundsieve.systems.base import Estimate, System


@dataclass(frozen=True)
class Segment:
    """Samples ``start`` to ``stop`` (exclusive) of a recording."""

    start: int
    stop: int


@dataclass(frozen=True)
class Plan:
    """How a recording of ``length`` samples is cut.

    Segments start every ``segment - overlap`` samples; the last one is moved back to end with the recording, so all are
    equally long. A recording no longer than ``segment`` is one segment.
    """

    length: int
    segment: int
    overlap: int

    def __post_init__(self) -> None:
        if self.length < 1 or self.segment < 1 or not 0 <= self.overlap < self.segment:
            raise ConfigError(f"cannot cut {self.length} samples to {self.segment} with an overlap of {self.overlap}")

    def __len__(self) -> int:
        return (
            1 if self.length <= self.segment else 1 + -(-(self.length - self.segment) // (self.segment - self.overlap))
        )

    def __iter__(self) -> Iterator[Segment]:
        size = min(self.segment, self.length)
        for index in range(len(self)):
            start = min(index * (self.segment - self.overlap), self.length - size)
            yield Segment(start, start + size)


def plan_for(system: System, length: int, *, segment_s: float | None = None, overlap: float = 0.25) -> Plan:
    """The plan for a recording of ``length`` samples at the system's rate.

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


def separate_segments(
    system: System, read: Callable[[Segment], Tensor], plan: Plan, condition: Condition, *, batch: int = 4
) -> Iterator[tuple[Segment, Estimate]]:
    """Separate segment by segment, reading each when its turn comes.

    Segments shorter than the system's ``min_samples`` (1 where it names none) are padded with zeros at the end, and
    the answer is cut back.

    Args:
        read: gives a segment's mixtures, shape ``(B, stop - start)``: several recordings, or channels, side by side.
        condition: of one; on the system's device.
        batch: how many mixtures go through the system at once.

    Yields:
        Each segment with its estimate: target ``(B, stop - start)`` and presence ``(B,)``, on the CPU.

    Raises:
        WeightsError: the system's answer is not finite or has another shape than what was asked.
    """
    segments = iter(plan)
    device = condition.positive.device
    while group := list(islice(segments, 1)):
        mixtures = [read(group[0])]
        for segment in islice(segments, max(1, batch // max(1, len(mixtures[0]))) - 1):
            group.append(segment)
            mixtures.append(read(segment))
        rows = torch.cat(mixtures)
        answers = [_estimate(system, part.to(device), condition) for part in torch.split(rows, max(1, batch))]
        target = torch.split(torch.cat([answer.target for answer in answers]), len(mixtures[0]))
        presences = [answer.presence for answer in answers if answer.presence is not None]
        presence = torch.split(torch.cat(presences), len(mixtures[0])) if presences else [None] * len(group)
        for segment, t, p in zip(group, target, presence, strict=True):
            yield segment, Estimate(t, p)


def _estimate(system: System, mixture: Tensor, condition: Condition) -> Estimate:
    samples = mixture.shape[1]
    padded = torch.nn.functional.pad(mixture, (0, max(0, int(getattr(system, "min_samples", 1)) - samples)))
    with torch.inference_mode():
        answer = system.estimate(padded, condition.expand(len(padded)))
    if answer.target.shape != padded.shape:
        raise WeightsError(f"{system.name} answered {tuple(answer.target.shape)} to {tuple(padded.shape)}")
    if not torch.isfinite(answer.target).all():
        raise WeightsError(f"{system.name} answered with values that are not finite: its weights do not fit this sound")
    presence = answer.presence
    return Estimate(answer.target[:, :samples].float().cpu(), None if presence is None else presence.float().cpu())


def cross_fade(pieces: Iterable[tuple[Segment, Tensor]], plan: Plan) -> Iterator[Tensor]:
    """Join the answers to a plan's segments.

    Args:
        pieces: every segment of the plan in order, with its answer, shape ``(B, stop - start)``.

    Yields:
        Consecutive stretches ``(B, n)`` that add up to ``plan.length`` samples, each as soon as it is final.
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
    """Weights of a segment: up over the overlap, one, down over the overlap; no fade at the recording's own ends.

    The ramp is i / (n + 1), i = 1..n, so that ramps of neighbours add up to one and no weight is zero.
    """
    size = segment.stop - segment.start
    weight = torch.ones(size)
    n = min(plan.overlap, size)
    ramp = torch.arange(1, n + 1) / (n + 1)
    if segment.start > 0:
        weight[:n] = ramp
    if segment.stop < plan.length:
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
    """Separate mixtures of any length that are in memory.

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
    if batch < 1:
        raise ConfigError(f"batch is {batch}: at least one segment goes through at a time")
    presences: list[Tensor] = []

    def answers() -> Iterator[tuple[Segment, Tensor]]:
        found = separate_segments(system, lambda s: mixture[:, s.start : s.stop], plan, condition, batch=batch)
        for index, (segment, estimate) in enumerate(found):
            if estimate.presence is not None:
                presences.append(estimate.presence)
            if progress is not None:
                progress((index + 1) / len(plan))
            yield segment, estimate.target

    target = torch.cat(list(cross_fade(answers(), plan)), dim=1)
    return Estimate(target, torch.stack(presences).amax(0) if presences else None)
