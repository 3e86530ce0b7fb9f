"""The contract that every separation system keeps, whatever paper it comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from soundsieve.errors import ConfigError, QueryError
from soundsieve.query import Condition, Query

_MEANING = {"text": "text", "audio": "example clips (like, unlike)", "exclude": "exclusion (exclude, unlike)"}


@dataclass(frozen=True)
class Estimate:
    """What a system answers for a batch of mixtures.

    Attributes:
        target: the queried sound, shape ``(B, T)``; ``(B, C, T)`` from `System.estimate_channels`.
        presence: probability that it is there at all, shape ``(B,)``; None where a system has no such output.
        gain: what the target has been turned down by for doubting its presence, shape ``(B,)``, above 0; None for a
            system that never does. One, or its least, wherever the presence is sure: from the threshold up, or up to
            half of it.
    """

    target: Tensor
    presence: Tensor | None = None
    gain: Tensor | None = None


class System(nn.Module, ABC):
    """A network that answers a condition about a mixture at its own sample rate.

    Attributes:
        sample_rate: Hz; the Separator resamples to it and back.
        segment_s: the longest piece in seconds that is separated at once; longer recordings are cut to it.
        queries: the kinds of query understood: some of ``text``, ``audio``, ``exclude``.
        config: the frozen dataclass it was built from.
        min_samples: the shortest mixture it takes.
        shares_channels: whether `estimate_channels` decides once for all channels, so that what is left of each is
            the same share of it and the stereo image stays; without it every channel is separated on its own.
        compares: whether `agreement` can tell how well a sound fits a query.
        aligned: whether an answer lines up with the mixture, sample by sample. One that is made anew does not:
            ratios of energies say nothing of it, and taking it away from the mixture does not take the sound away.
        in_order: whether an answer has to go on from the one about the segment before, see `answer_in_order`.
    """

    name: ClassVar[str]
    queries: ClassVar[frozenset[str]]
    shares_channels: ClassVar[bool] = False
    compares: ClassVar[bool] = False
    aligned: bool = True
    in_order: ClassVar[bool] = False
    config: Any
    sample_rate: int
    segment_s: float
    min_samples: int = 1

    @property
    def presence_threshold(self) -> float:
        """A presence below this means that the sound was not found."""
        return 0.5

    def assets(self) -> dict[str, str]:
        """Text files to be stored beside the weights, by name."""
        return {}

    @property
    def warning_of_rest(self) -> str | None:
        """What is to be said to who wants what is left of a recording; None where there is nothing."""
        if self.aligned:
            return None
        return (
            f"{self.name} makes its answer anew: it is no part of the recording, and what is left by subtracting it "
            "still holds the sound; with project the answer is a part, and the two add up"
        )

    def check_parts(self, count: int) -> None:
        """Raise a QueryError if answers to so many queries cannot share a recording."""
        if count > 1 and not self.aligned:
            raise QueryError(f"{self.name} makes every sound anew, so they cannot share a recording: add project")

    def with_settings(self, settings: Mapping[str, object]) -> System:
        """This system, with the same weights in the same memory, answering in another way; see what overrides it.

        Raises:
            ConfigError: it has no such setting, or a value is out of range.
        """
        for name in settings:
            raise ConfigError(f"{self.name} has no setting '{name}': leave it out")
        return self

    @abstractmethod
    def encode_query(self, query: Query) -> Condition:
        """Turn a query into a condition of one, shape ``(1, D)`` each side."""

    @abstractmethod
    def forward(self, mixture: Tensor, condition: Condition) -> Tensor:
        """Separate a batch of mono mixtures ``(B, T)`` at ``sample_rate``; returns targets of the same shape."""

    def estimate(self, mixture: Tensor, condition: Condition) -> Estimate:
        """As `forward`, with the presence where the system can tell it."""
        return Estimate(self(mixture, condition))

    def estimate_many(self, mixture: Tensor, conditions: Sequence[Condition]) -> list[Estimate]:
        """Several conditions about the same mixtures ``(B, T)``; a system that can do it for less overrides this."""
        return [self.estimate(mixture, condition) for condition in conditions]

    def estimate_channels(self, mixture: Tensor, conditions: Sequence[Condition]) -> list[Estimate]:
        """As `estimate_many` for recordings ``(B, C, T)``: targets ``(B, C, T)``, one presence for each recording.

        For systems of which ``shares_channels`` is true; nobody asks the others.
        """
        raise NotImplementedError(f"{self.name} separates every channel on its own")

    def answer_in_order(
        self, pieces: Iterable[tuple[int, Tensor]], conditions: Sequence[Condition], *, batch: int
    ) -> Iterator[list[Estimate]]:
        """Answers about the segments of one recording, each fitting to the one before it where the two overlap.

        For systems of which ``in_order`` is true; nobody asks the others.

        Args:
            pieces: in order, where each starts in the recording, in samples, and its mixture ``(C, T)``.
            conditions: each of one.
            batch: how many answers are worked on at once.

        Yields:
            For each piece, before the next is taken, what `estimate_many` gives.
        """
        raise NotImplementedError(f"{self.name} answers about every segment on its own")

    def agreement(self, target: Tensor, condition: Condition) -> Tensor:
        """How well targets ``(B, T)`` sound like what was wanted: cosines, shape ``(B,)``.

        For systems of which ``compares`` is true; nobody asks the others.
        """
        raise NotImplementedError(f"{self.name} cannot compare a sound with a query")

    def check_query(self, query: Query) -> None:
        """Raise a QueryError that names what this system takes, if the query asks for anything else."""
        unknown = query.kinds - self.queries
        if unknown:
            asked = " and ".join(_MEANING[kind] for kind in sorted(unknown))
            known = ", ".join(_MEANING[kind] for kind in sorted(self.queries))
            raise QueryError(f"{self.name} does not take {asked}; it takes {known}")
