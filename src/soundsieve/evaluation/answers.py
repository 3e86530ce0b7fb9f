"""Ask a system about a batch of mixtures, at their sample rate and length, whatever its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from soundsieve import audio
from soundsieve.query import Condition
from soundsieve.segments import separate
from soundsieve.systems.base import Estimate, System


@contextmanager
def evaluating(system: System) -> Iterator[None]:
    """The system in evaluation mode, and afterwards in the mode it was in."""
    training = system.training
    system.eval()
    try:
        yield
    finally:
        system.train(training)


def estimates(system: System, mixture: Tensor, conditions: Sequence[Condition], *, sample_rate: int) -> list[Estimate]:
    """Answers of the mixtures' length and rate, on the CPU, whatever the system's own rate, device and segments.

    Args:
        system: what is asked.
        mixture: shape ``(B, T)``.
        conditions: each one of the B mixtures' conditions, shape ``(B, D)``.
        sample_rate: of the mixtures, in Hz.

    Returns:
        For each condition, targets ``(B, T)``, and presences ``(B,)`` where the system tells them.
    """
    device = next(iter((*system.parameters(), *system.buffers())), mixture).device
    inputs = _resample(mixture, sample_rate, system.sample_rate).to(device)
    if inputs.shape[1] > round(system.segment_s * system.sample_rate):
        answers = [_in_segments(system, inputs, condition) for condition in conditions]
    else:
        answers = system.estimate_many(inputs, conditions)
    return [
        Estimate(
            _resample(answer.target.float().cpu(), system.sample_rate, sample_rate)[:, : mixture.shape[1]],
            None if answer.presence is None else answer.presence.float().cpu(),
        )
        for answer in answers
    ]


def _in_segments(system: System, mixture: Tensor, condition: Condition) -> Estimate:
    """For a system of shorter segments than the mixtures: each mixture is cut and cross-faded on its own."""
    sides = zip(torch.split(condition.positive, 1), torch.split(condition.negative, 1), strict=True)
    answers = [
        separate(system, row.cpu(), Condition(*side)) for row, side in zip(torch.split(mixture, 1), sides, strict=True)
    ]
    presences = [answer.presence for answer in answers if answer.presence is not None]
    return Estimate(torch.cat([answer.target for answer in answers]), torch.cat(presences) if presences else None)


def _resample(x: Tensor, from_rate: int, to_rate: int) -> Tensor:
    if from_rate == to_rate:
        return x
    return torch.from_numpy(audio.resample(x.numpy(), from_rate, to_rate))
