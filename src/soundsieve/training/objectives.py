"""What stands for a sound while a network learns to extract it: its caption, the sound itself, or captions like it.

A network that is asked in words has to be trained on vectors of words, or on something that may stand for them. With a
and t the unit vectors of a clip and of its caption in a space that text and audio share (a CLAP's), the condition c is

    supervised      t
    audio           a, the target's own: vanilla parallel-data-free training (Ma et al., 2024, arXiv 2409.09398)
    audio+dropout   unit(m * a), each m_i 0 with probability p, else 1 / (1 - p) (Saijo et al., 2024, arXiv 2409.13152)
    audio+noise     unit(a + s g / sqrt(D)), g ~ N(0, 1): a random vector of length about s is added
    retrieval       of t_1 ... t_k, the captions of a cache that are nearest to a by cosine, with the weights
                    w = softmax(t_i . a / T): one of them, drawn by w, or unit(sum w_i t_i); k = 1 is the nearest
                    (arXiv 2409.09398)
    hybrid          unit(u a + (1 - u) t), one u ~ U(0, 1) a batch (CLAPSep, arXiv 2402.17455, eq. 3)

All but supervised and hybrid do without the clip's caption. What is to be suppressed is described in the same way, from
the interferer. Nothing here is learnt, and everything random comes from the generator that is given.

The numbers p, s, T and k are settings, ours where a recipe does not say otherwise. That dropout, noise and hybrid end
in a unit vector is ours too, since every other condition is one; eq. 3 keeps the length of what lies between a and t.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from soundsieve.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Objective:
    """How conditions are made while training; one line of a recipe, such as ``objective: {name: retrieval, k: 5}``."""

    name: Literal["supervised", "audio", "audio+dropout", "audio+noise", "retrieval", "hybrid"] = "supervised"
    """See `soundsieve.training.objectives`."""
    dropout: float = 0.5
    """audio+dropout: probability of a coordinate to be put to zero."""
    noise: float = 0.5
    """audio+noise: length of the random vector; that of the embedding is 1."""
    k: int = 1
    """retrieval: captions that are looked up for a clip."""
    temperature: float = 0.05
    """retrieval: of the softmax over the cosines of these k; near 0 the nearest has it all."""
    pick: Literal["sample", "average"] = "sample"
    """retrieval: draw one of the k anew each time, or take their weighted mean."""

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"objective: dropout lies between 0 and 1, got {self.dropout}")
        if self.noise < 0 or self.temperature <= 0 or self.k < 1:
            raise ConfigError("objective: noise is at least 0, temperature above 0, k at least 1")

    @property
    def needs_text(self) -> bool:
        """Whether captions of the training clips are used; without, no caption or label of theirs is looked at."""
        return self.name in ("supervised", "hybrid")

    @property
    def needs_audio(self) -> bool:
        """Whether the target's audio embedding is used."""
        return self.name != "supervised"

    @property
    def needs_cache(self) -> bool:
        """Whether conditions are looked up in a cache of captions."""
        return self.name == "retrieval"


class Captions(Protocol):
    """What retrieval asks of a cache of captions; `soundsieve.training.captions.cache.CaptionCache` is one."""

    def __len__(self) -> int: ...

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Cosines and indices ``(B, k)`` of the k captions nearest to each of the queries ``(B, D)``, best first."""

    def vectors(self, indices: Tensor) -> Tensor:
        """Unit vectors of captions by index, shape ``(..., D)``."""


@dataclass(frozen=True)
class Neighbours:
    """The captions of a cache that lie nearest to some clips.

    Attributes:
        scores: cosines, best first, shape ``(B, k)``.
        vectors: the captions' unit vectors, shape ``(B, k, D)``.
    """

    scores: Tensor
    vectors: Tensor

    def __getitem__(self, index: Tensor | slice) -> Neighbours:
        return Neighbours(self.scores[index], self.vectors[index])


def neighbours(audio: Tensor, cache: Captions, k: int) -> Neighbours:
    """The ``k`` captions of a cache nearest to each of the audio embeddings ``(B, D)``.

    Raises:
        ConfigError: the cache holds fewer than ``k`` captions.
    """
    if len(cache) < k:
        raise ConfigError(f"objective: k is {k} and the caption cache holds {len(cache)} captions")
    scores, indices = cache.search(audio, k)
    return Neighbours(scores.to(audio.device), cache.vectors(indices).to(audio.device))


def condition(
    objective: Objective, rng: np.random.Generator, *, text: Tensor | None = None, audio: Tensor | None = None,
    near: Neighbours | None = None,
) -> Tensor:  # fmt: skip
    """What stands for each of B sounds, whether it is to be extracted or to be suppressed.

    Args:
        objective: which of them, and its numbers.
        rng: all that is drawn comes from here.
        text: unit embeddings of the sounds' captions, shape ``(B, D)``; only where ``objective.needs_text``.
        audio: unit embeddings of the sounds, shape ``(B, D)``; only where ``objective.needs_audio``.
        near: the captions nearest to them; for retrieval, which looks at nothing else.

    Returns:
        Unit vectors, shape ``(B, D)``.

    Raises:
        ValueError: what the objective needs is not given.
    """
    if objective.name == "retrieval":
        return _retrieved(_given(near, "near", objective), objective, rng)
    if objective.name == "supervised":
        return _given(text, "text", objective)
    heard = _given(audio, "audio", objective)
    if objective.name == "audio":
        return heard
    if objective.name == "hybrid":
        return F.normalize(torch.lerp(_given(text, "text", objective), heard, float(rng.random())), dim=1)
    if objective.name == "audio+dropout":
        kept = rng.random(tuple(heard.shape)) >= objective.dropout
        return F.normalize(heard * _like(kept, heard) / (1 - objective.dropout), dim=1)
    noise = rng.standard_normal(tuple(heard.shape)) * (objective.noise / heard.shape[1] ** 0.5)
    return F.normalize(heard + _like(noise, heard), dim=1)


def _retrieved(near: Neighbours, objective: Objective, rng: np.random.Generator) -> Tensor:
    """One of the k captions drawn by the softmax of their cosines, or their mean weighted by it."""
    scores, vectors = near.scores[:, : objective.k], near.vectors[:, : objective.k]
    weights = (scores.double() / objective.temperature).softmax(1)
    if objective.pick == "average":
        return F.normalize((weights.to(vectors.dtype)[..., None] * vectors).sum(1), dim=1)
    # The inverse of the distribution: the first caption up to which the weights add up to more than a uniform number.
    drawn = _like(rng.random((len(scores), 1)), weights)
    chosen = (weights.cumsum(1) <= drawn).sum(1).clamp_max(scores.shape[1] - 1)
    return vectors[torch.arange(len(vectors), device=vectors.device), chosen]


def _like(values: np.ndarray, other: Tensor) -> Tensor:
    return torch.from_numpy(values).to(other.device, other.dtype)


def _given(value: T | None, name: str, objective: Objective) -> T:
    if value is None:
        raise ValueError(f"the objective '{objective.name}' needs {name}")
    return value
