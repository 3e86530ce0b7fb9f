"""What a Separator answers with."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from soundsieve import audio
from soundsieve.audio import ClipMode, Samples, Written
from soundsieve.errors import ConfigError
from soundsieve.pouring import kind_for, on_steps
from soundsieve.presence import Finder, Span
from soundsieve.query import Query


@dataclass(frozen=True, eq=False)
class Separation:
    """The answer to one query about one recording.

    Attributes:
        target: what was asked for, float32, in the recording's own shape, ``(C, T)`` or ``(T,)``.
        residual: everything else, ``mixture - target``, so that the two add up to the mixture: exactly for recordings
            of up to 24 bits (any of their PCM files) as long as neither passes 2, to float32 rounding otherwise. Of a
            target that was made anew (FlowSep's, if it is not projected) it still holds the sound.
        sample_rate: the recording's, in Hz.
        query: what was asked.
        finder: what knows whether the sound is there, and where.
        source: what the header of the recording's file says; None for samples from memory.
        warning: what is to be said to who writes the residual; None where there is nothing.
    """

    target: Samples
    residual: Samples
    sample_rate: int
    query: Query
    finder: Finder
    source: audio.AudioInfo | None = None
    warning: str | None = None

    @cached_property
    def presence(self) -> float:
        """Probability that the sound is there at all: the greatest of all segments.

        Of CLAPSep and AudioSep it is worked out when it is first asked for, like the spans: they hear the answer again
        for it (`soundsieve.presence`).
        """
        return self.finder.presence

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """Where it was found; empty where the presence stays below the system's threshold."""
        return self.finder.spans()

    def save(
        self,
        path: str | Path,
        *,
        part: Literal["target", "residual"] = "target",
        subtype: str | None = None,
        clip_mode: ClipMode = "none",
    ) -> Written:
        """Write the target, or the residual, as the kind of file that the suffix names; see `audio.Writer`.

        The sample format is the recording's own where it came from a file, 32-bit float where it came from memory, as
        far as the kind of file has it (`soundsieve.pouring.kind_for`). Target and residual saved in one format, of 16
        or 24 bits, add up to the recording as it is in that format.

        Returns:
            The path, and a note where the file could not hold the samples exactly as they are.

        Raises:
            AudioError: the file cannot be written.
        """
        if part not in ("target", "residual"):
            raise ConfigError(f"part is '{part}': choose target or residual")
        if part == "residual" and self.warning is not None:
            warnings.warn(self.warning, stacklevel=2)
        container, kind = kind_for(self.source, Path(path).suffix, subtype)
        samples = on_steps(self.target, kind)
        if part == "residual":
            samples = self.residual if samples is self.target else self.target + self.residual - samples
        rows = np.atleast_2d(samples)
        writer = audio.Writer(path, self.sample_rate, len(rows), subtype=kind, container=container, clip_mode=clip_mode)
        with writer:
            writer.write(rows)
        return writer.written


@dataclass(frozen=True, eq=False)
class Splits:
    """A recording divided among several queries: the targets and the rest add up to it, as in `Separation`.

    Attributes:
        targets: one for each query, in order, in the recording's own shape.
        rest: what no query asked for.
        sample_rate: Hz.
        queries: what was asked.
        finders: for each query, what knows whether the sound is there, and where.
    """

    targets: tuple[Samples, ...]
    rest: Samples
    sample_rate: int
    queries: tuple[Query, ...]
    finders: tuple[Finder, ...]

    @cached_property
    def presences(self) -> tuple[float, ...]:
        """For each query, the greatest presence of all segments; worked out when asked for, as in `Separation`."""
        return tuple(finder.presence for finder in self.finders)

    @cached_property
    def spans(self) -> tuple[tuple[Span, ...], ...]:
        """For each query, where it was found."""
        return tuple(finder.spans() for finder in self.finders)


@dataclass(frozen=True)
class Extraction:
    """What `Separator.extract_file` did.

    Attributes:
        target: the file that was written; None if none was asked for.
        residual: likewise.
        samples: of every channel of the recording.
        sample_rate: Hz.
        presence: the greatest of all segments.
        query: what was asked.
        spans: where the sound was found.
    """

    target: Written | None
    residual: Written | None
    samples: int
    sample_rate: int
    presence: float
    query: Query
    spans: tuple[Span, ...]
