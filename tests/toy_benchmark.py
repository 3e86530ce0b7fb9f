"""Twelve synthetic clips of four labels, and systems whose answers about them are known."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from soundsieve.evaluation.pairs import SAMPLE_RATE, Clip
from soundsieve.query import Condition, Query
from soundsieve.systems.base import Estimate, System

LABELS = {"hum": 150.0, "tone": 700.0, "whistle": 2500.0, "hiss": None}
"""Pitch in Hz; the hiss is noise."""
SECONDS = 1.0

CLIPS = {
    f"{label}/{take}.wav": Clip(
        f"{label}/{take}.wav",
        label,
        f"A {label}, take {take}.",
        f"{label}-{0 if label == 'hiss' else take}",  # the hiss comes from a single recording
        "studio" if take == 2 else "field",
        "test",
    )
    for label in LABELS
    for take in range(3)
}


def _waveform(number: int, pitch: float | None) -> Tensor:
    """0.5 to 1.5 s of a tone, or of noise, with a little noise of its own."""
    g = torch.Generator().manual_seed(number)
    length = int(SAMPLE_RATE * (0.5 + torch.rand(1, generator=g).item()))
    noise = torch.randn(length, generator=g)
    if pitch is None:
        return 0.1 * noise
    time = torch.arange(length) / SAMPLE_RATE
    return 0.3 * torch.sin(2 * torch.pi * pitch * time) + 0.001 * noise


SOUNDS = {path: _waveform(number, LABELS[clip.label]) for number, (path, clip) in enumerate(CLIPS.items())}


def sounds(path: str) -> Tensor:
    return SOUNDS[path]


class Unmoved(System):
    """Answers the mixture to every query, and keeps what it was asked."""

    name = "unmoved"
    queries = frozenset({"text", "audio", "exclude"})
    sample_rate = SAMPLE_RATE
    segment_s = SECONDS

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[Query] = []

    def encode_query(self, query: Query) -> Condition:
        self.encoded.append(query)
        number = torch.tensor([[float(len(self.encoded) - 1)]])
        return Condition(number, torch.zeros_like(number))

    def asked(self, condition: Condition) -> list[Query]:
        return [self.encoded[int(number)] for number in condition.positive[:, 0]]

    def forward(self, mixture: Tensor, condition: Condition) -> Tensor:
        return mixture


class Knowing(Unmoved):
    """Keeps 60 Hz around the pitch of the label that is named (for the hiss, all else), and knows presence."""

    name = "knowing"

    def forward(self, mixture: Tensor, condition: Condition) -> Tensor:
        spectrum = torch.fft.rfft(mixture)
        keep = torch.stack([self._bins(query, mixture.shape[1]) for query in self.asked(condition)])
        return torch.fft.irfft(spectrum * keep, n=mixture.shape[1])

    def estimate(self, mixture: Tensor, condition: Condition) -> Estimate:
        target = self(mixture, condition)
        return Estimate(target, (target.square().mean(1) / mixture.square().mean(1)).clamp(0, 1))

    def _bins(self, query: Query, length: int) -> Tensor:
        hertz = torch.fft.rfftfreq(length, 1 / self.sample_rate)
        near = {label: (hertz - pitch).abs() < 60 for label, pitch in LABELS.items() if pitch}
        near["hiss"] = ~torch.stack(list(near.values())).any(0)
        wanted = query.text or query.like
        named = str(wanted or query.exclude)
        keep = next(bins for label, bins in near.items() if label in named)
        return keep if wanted else ~keep


class KnowingMany(Knowing):
    """The same, several queries about a mixture at once."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def estimate_many(self, mixture: Tensor, conditions: Sequence[Condition]) -> list[Estimate]:
        self.calls += 1
        return [self.estimate(mixture, condition) for condition in conditions]
