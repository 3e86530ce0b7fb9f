"""What is asked for: text, example clips, exclusions, and how their embeddings become one condition.

CLAPSep (Ma et al., 2024, arXiv 2402.17455) conditions on c = [positive, negative]: an embedding of what to extract
and one of what to suppress, zeros standing for a side that was not asked. When a side has both text and example
clips they are interpolated, e = a * audio + (1 - a) * text (eq. 3).

Where the released code differs, in its parts and from this:

- Training draws one a per batch, for both sides, and does not scale e to length one; here a is ``Query.audio_weight``
  and a side has length one whatever it is made of, so that a side is not the weaker for its text and clips disagreeing.
- The authors' demonstration adds text and audio: a = 1/2, but that side weighs double beside one of a single kind.
- Training and the demonstration scale c to length one, validation and test do not (``CLAPSepConfig.normalise_concat``).
- Training masks parts of the example clips at random, and its hooks go on doing so in evaluation; here they are heard
  whole, so the same query always gives the same condition.
- One text and one clip a side are all it takes; here several are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from soundsieve.errors import QueryError

Clip: TypeAlias = "tuple[np.ndarray, int]"
"""An example clip: samples, shape ``(T,)`` or ``(C, T)``, and their sample rate in Hz."""

ClipLike: TypeAlias = "str | Path | Clip"


def _tuple(value: object) -> tuple[object, ...]:
    if value is None:
        return ()
    if isinstance(value, (str, Path)):
        return (value,)
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], Integral):
        return (value,)  # one (samples, sample_rate) pair
    if isinstance(value, Sequence):
        return tuple(value)
    kind = type(value).__name__
    raise QueryError(f"a query is text, a path or (samples, sample_rate), or a list of these; got {kind}")


@dataclass(frozen=True)
class Query:
    """One question to a recording.

    Args:
        text: what to extract, in words; several texts are averaged.
        exclude: what to suppress, in words.
        like: example clips of what to extract: paths or ``(samples, sample_rate)``; several are averaged ("shots").
        unlike: example clips of what to suppress.
        audio_weight: share of the example clips, from 0 to 1, on a side that has both text and clips.

    Raises:
        QueryError: nothing is asked, a text is empty, the same text is both wanted and excluded, or the share is none.
    """

    text: tuple[str, ...] = field(default=())
    exclude: tuple[str, ...] = field(default=())
    like: tuple[ClipLike, ...] = field(default=())
    unlike: tuple[ClipLike, ...] = field(default=())
    audio_weight: float = 0.5

    def __post_init__(self) -> None:
        for name in ("text", "exclude", "like", "unlike"):
            object.__setattr__(self, name, _tuple(getattr(self, name)))
        for name in ("text", "exclude"):
            values = getattr(self, name)
            if not all(isinstance(value, str) for value in values):
                raise QueryError(f"{name} takes words; for example clips use {'like' if name == 'text' else 'unlike'}")
            if not all(value.strip() for value in values):
                raise QueryError(f"the {name} is empty: describe a sound in a few words, such as 'a dog barking'")
            object.__setattr__(self, name, tuple(" ".join(value.split()) for value in values))
        for name in ("like", "unlike"):
            for clip in getattr(self, name):
                pair = isinstance(clip, tuple) and len(clip) == 2 and isinstance(clip[1], Integral)
                if not pair and not isinstance(clip, (str, Path)):
                    raise QueryError(f"{name} takes paths or (samples, sample_rate), not {type(clip).__name__}")
        if not self.kinds:
            raise QueryError("nothing was asked: give a text, an example clip (like), or what to exclude")
        both = {value.lower() for value in self.text} & {value.lower() for value in self.exclude}
        if both:
            raise QueryError(f"'{sorted(both)[0]}' is both wanted and excluded: leave one of them out")
        if isinstance(self.audio_weight, bool) or not isinstance(self.audio_weight, Real):
            raise QueryError(f"audio_weight is a number from 0 to 1, not {type(self.audio_weight).__name__}")
        if not 0 <= self.audio_weight <= 1:
            raise QueryError(f"audio_weight is {self.audio_weight}: it lies between 0 (text alone) and 1 (clips alone)")

    @property
    def kinds(self) -> frozenset[str]:
        """Which of ``text``, ``audio`` and ``exclude`` this query needs a system to understand."""
        found = set()
        if self.text or self.exclude:
            found.add("text")
        if self.like or self.unlike:
            found.add("audio")
        if self.exclude or self.unlike:
            found.add("exclude")
        return frozenset(found)

    def describe(self) -> str:
        """A short plain phrase for names and messages, such as ``a dog barking without rain``."""

        def names(texts: tuple[str, ...], clips: tuple[ClipLike, ...]) -> str:
            parts = list(texts) + ["like " + (Path(c).stem if isinstance(c, (str, Path)) else "example") for c in clips]
            return " and ".join(parts)

        wanted, unwanted = names(self.text, self.like), names(self.exclude, self.unlike)
        return " without ".join(part for part in (wanted or "everything", unwanted) if part)


@dataclass(frozen=True)
class Condition:
    """What an encoder makes of a Query: encoded once, reused for every segment, file and channel.

    Attributes:
        positive: embedding of what is wanted, shape ``(B, D)``; zeros where nothing is.
        negative: embedding of what is to be suppressed, shape ``(B, D)``; zeros where nothing is.
    """

    positive: Tensor
    negative: Tensor

    def __post_init__(self) -> None:
        if self.positive.ndim != 2 or self.positive.shape != self.negative.shape:
            shapes = f"{tuple(self.positive.shape)} and {tuple(self.negative.shape)}"
            raise QueryError(f"a condition is two (B, D) embeddings; got {shapes}")

    def expand(self, batch: int) -> Condition:
        """The same condition for ``batch`` mixtures (a condition of one is repeated; no memory is copied)."""
        if len(self.positive) == batch:
            return self
        if len(self.positive) != 1:
            raise QueryError(f"a condition of {len(self.positive)} does not fit {batch} mixtures")
        return Condition(self.positive.expand(batch, -1), self.negative.expand(batch, -1))

    def to(self, device: torch.device | str) -> Condition:
        """The same condition on another device."""
        return Condition(self.positive.to(device), self.negative.to(device))

    def concat(self) -> Tensor:
        """c = [positive, negative], shape ``(B, 2 D)``."""
        return torch.cat([self.positive, self.negative], dim=1)


def combine(text: Tensor | None, audio: Tensor | None, audio_weight: float | Tensor = 0.5) -> Tensor | None:
    """Join the text and audio embeddings of one side of a query: e = a * audio + (1 - a) * text (eq. 3).

    Args:
        text: embeddings of the texts, shape ``(N, D)``, or None; averaged.
        audio: embeddings of the example clips, shape ``(M, D)``, or None; averaged.
        audio_weight: a, between 0 and 1; used only when both are given.

    Returns:
        One unit embedding, shape ``(1, D)``, or None when neither is given.
    """
    parts = [torch.nn.functional.normalize(e, dim=1).mean(0, keepdim=True) for e in (text, audio) if e is not None]
    if not parts:
        return None
    joined = parts[0] if len(parts) == 1 else (1 - audio_weight) * parts[0] + audio_weight * parts[1]
    return torch.nn.functional.normalize(joined, dim=1)
