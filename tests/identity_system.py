"""A tiny system for tests of what surrounds a system: its answer is a fixed, known part of the mixture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from soundsieve.query import Condition, Query
from soundsieve.systems.base import Estimate, System


@dataclass(frozen=True)
class PartConfig:
    rows: int = 6
    columns: int = 10


@dataclass(frozen=True)
class IdentityConfig:
    sample_rate: int = 16000
    segment_s: float = 1.0
    gain: float = 1.0
    presence: float | None = 0.9
    queries: tuple[str, ...] = ("audio", "exclude", "text")
    part: PartConfig = field(default_factory=PartConfig)


class IdentitySystem(System):
    """Returns ``gain * mixture``, whatever is asked; counts its calls."""

    name: ClassVar[str] = "identity"
    queries: ClassVar[frozenset[str]] = frozenset({"text", "audio", "exclude"})

    def __init__(self, config: IdentityConfig | None = None, assets: dict[str, str] | None = None) -> None:
        super().__init__()
        self.config = config or IdentityConfig()
        self.sample_rate = self.config.sample_rate
        self.segment_s = self.config.segment_s
        self.queries = frozenset(self.config.queries)  # type: ignore[misc]
        self.gain = nn.Parameter(torch.tensor(self.config.gain))
        self.linear = nn.Linear(self.config.part.columns, self.config.part.rows)
        self.register_buffer("steps", torch.tensor(3))
        self.texts = dict(assets or {"vocab": "dog cat"})
        self.encoded: list[Query] = []
        self.batches: list[tuple[int, ...]] = []

    def assets(self) -> dict[str, str]:
        return self.texts

    def encode_query(self, query: Query) -> Condition:
        self.encoded.append(query)
        return Condition(torch.ones(1, 4), torch.zeros(1, 4))

    def forward(self, mixture: Tensor, condition: Condition) -> Tensor:
        self.batches.append(tuple(mixture.shape))
        assert condition.positive.shape[0] == mixture.shape[0]
        return mixture * self.gain

    def estimate(self, mixture: Tensor, condition: Condition) -> Estimate:
        target = self(mixture, condition)
        if self.config.presence is None:
            return Estimate(target)
        return Estimate(target, torch.full((len(mixture),), self.config.presence))
