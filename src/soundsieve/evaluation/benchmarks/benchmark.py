"""What a benchmark is: its list, its audio, how it mixes, what it measures, and what published systems score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from soundsieve.evaluation.benchmarks.example import Example
from soundsieve.evaluation.benchmarks.mixing import Mixing


@dataclass(frozen=True)
class Score:
    """What a published system scores, as its source prints it.

    Attributes:
        system: which.
        values: by metric, as in `soundsieve.metrics.table`.
        source: where it says so.
    """

    system: str
    values: Mapping[str, float]
    source: str


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        name: what the command calls it.
        title: what people call it.
        reader: reads its list (for a benchmark without one, the folder with the audio).
        list_at: where the list is to be had.
        audio_at: where the audio is to be had, and how it has to lie in its folder.
        licence: of audio and annotations.
        mixing: how its mixtures are made.
        made: the same in words, with the source.
        sample_rate: Hz, of mixtures, targets and metrics.
        metrics: what it reports, best known first, by the names of `soundsieve.metrics.table`.
        averaged: over what its published scores are means: all ``examples``; the means of all ``labels``; or the
            ``label medians``.
        protocol: what else matters for comparable numbers.
        conditions: how its systems are asked, by the names of `soundsieve.evaluation.listed.CONDITIONS`.
        examples: how many its published list has; None where that depends on the folder.
        scores: published ones that could be read.
        drawn: whether its list is drawn with the seed.
    """

    name: str
    title: str
    reader: Callable[..., list[Example]]
    list_at: str
    audio_at: str
    licence: str
    mixing: Mixing
    made: str
    sample_rate: int
    metrics: tuple[str, ...] = ("sdri", "si_sdri")
    averaged: Literal["examples", "labels", "label medians"] = "examples"
    protocol: str = ""
    conditions: tuple[str, ...] = ("text",)
    examples: int | None = None
    scores: tuple[Score, ...] = field(default=())
    drawn: bool = False

    @property
    def has_list(self) -> bool:
        """Whether it has a list, beside its audio."""
        return bool(self.list_at)

    def read(self, path: str | Path, *, seed: int = 0) -> list[Example]:
        """Its examples: of its list, or of the folder with the audio where it has none.

        Raises:
            ConfigError: the list cannot be read, or is another one.
        """
        return self.reader(path, seed=seed) if self.drawn else self.reader(path)
