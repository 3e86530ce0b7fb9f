"""USS: universal source separation with weakly labelled data (Kong et al., 2023, arXiv 2305.07447).

A tagger, `Cnn14`, hears an example of what is wanted; its 527 probabilities are the condition of a `ResUNet30`. Classes
are asked for by name: then the tagger hears the mixture itself, the probabilities of all other classes are set to zero,
and where none of those wanted is likely, the target is silence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from soundsieve.encoders import audioset
from soundsieve.encoders.pann import Cnn14, Cnn14Config
from soundsieve.errors import ConfigError, QueryError
from soundsieve.nn.resunet import ResUNetConfig
from soundsieve.nn.resunet30 import ResUNet30
from soundsieve.query import ClipLike, Condition, Query
from soundsieve.systems.base import Estimate, System
from soundsieve.systems.clips import clip_waveform

_WINDOW_S = 0.1
_QUIET = 0.02
"""Windows of an example clip whose peak does not pass this are left out."""
_AT_ONCE = 8
"""Pieces of an example clip that are heard together."""


def _resunet() -> ResUNetConfig:
    return ResUNetConfig(condition=527)


@dataclass(frozen=True)
class USSConfig:
    """Sizes of a USS; the defaults are the published model with soft tags (``at_soft``)."""

    tagger: Cnn14Config = field(default_factory=Cnn14Config)
    """What makes conditions."""
    sample_rate: int = 32000
    """Hz of mixture and target."""
    segment_s: float = 2.0
    """Length in seconds of the training mixtures, and of what is tagged at once."""
    n_fft: int = 2048
    """Window of the spectrogram in samples."""
    hop_length: int = 320
    """Step between its frames in samples."""
    resunet: ResUNetConfig = field(default_factory=_resunet)
    """The network over the spectrogram."""
    threshold: float = 0.2
    """A class below this probability is not separated."""

    def __post_init__(self) -> None:
        if self.resunet.style != "resunet30" or self.resunet.maps != 3:
            raise ConfigError("USS: its resunet has the style resunet30 and 3 maps")
        if self.resunet.condition != self.tagger.classes or self.tagger.classes != len(audioset.classes()):
            raise ConfigError(f"USS: tagger and condition have AudioSet's {len(audioset.classes())} classes")
        if self.tagger.sample_rate != self.sample_rate:
            raise ConfigError("USS: the tagger has the sample rate of the mixtures")
        if not 0 < self.hop_length <= self.n_fft // 2:
            raise ConfigError(f"hop_length {self.hop_length} must be at most half of n_fft {self.n_fft}")
        if not 0 < self.segment_s < float("inf") or not 0 <= self.threshold <= 1:
            raise ConfigError("USS: segment_s is above 0, threshold from 0 to 1")
        self.resunet.check_bins(self.n_fft)

    @property
    def segment_samples(self) -> int:
        """Samples that are tagged at once."""
        return round(self.segment_s * self.sample_rate)

    @classmethod
    def base(cls) -> USSConfig:
        """The published model: 32 kHz, mixtures of 2 s, 106 M parameters."""
        return cls()

    @classmethod
    def debug(cls) -> USSConfig:
        """A tiny one for tests: mixtures of 0.5 s."""
        tagger = Cnn14Config.debug()
        resunet = ResUNetConfig.debug(condition=tagger.classes)
        return cls(tagger, segment_s=0.5, n_fft=512, hop_length=256, resunet=resunet)


class USS(System):
    """Separates by example clips, or by classes of AudioSet (see `soundsieve.encoders.audioset.find`).

    A condition is ``[probabilities, wanted classes]``: probabilities of example clips, or one at each wanted class, and
    zeros for the other half.

    Args:
        config: sizes.
        assets: nothing; every system takes this.
    """

    name: ClassVar[str] = "uss"
    queries: ClassVar[frozenset[str]] = frozenset({"text", "audio"})
    kept_float32: ClassVar[tuple[str, ...]] = ("film",)

    def __init__(self, config: USSConfig, *, assets: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.config = config
        self.sample_rate, self.segment_s = config.sample_rate, config.segment_s
        self.tagger = Cnn14(config.tagger)
        self.tagger.requires_grad_(False)
        self.network = ResUNet30(config.n_fft, config.hop_length, config.resunet)
        self.train(self.training)

    def train(self, mode: bool = True) -> USS:
        """As `torch.nn.Module.train`, but the tagger is frozen and stays in evaluation mode."""
        super().train(mode)
        self.tagger.eval()
        return self

    @property
    def presence_threshold(self) -> float:
        """Below this probability of the likeliest of the wanted classes, the target is silence."""
        return float(self.config.threshold)

    @torch.no_grad()
    def encode_query(self, query: Query) -> Condition:
        """The mean of the example clips' probabilities, or all classes that the texts name.

        Raises:
            QueryError: a text names no class, a clip is silent, or both are given.
        """
        self.check_query(query)
        if query.text and query.like:
            raise QueryError("uss takes classes of AudioSet by name, or example clips: not both at once")
        probabilities = self.network.bins_norm.weight.new_zeros(1, self.config.tagger.classes)
        wanted = torch.zeros_like(probabilities)
        if query.like:
            probabilities = torch.stack([self._hear(clip) for clip in query.like]).mean(0, keepdim=True)
        else:
            wanted[:, sorted(frozenset().union(*(audioset.find(text) for text in query.text)))] = 1
        positive = torch.cat([probabilities, wanted], dim=1)
        return Condition(positive, torch.zeros_like(positive))

    def forward(self, mixture: Tensor, condition: Condition) -> Tensor:
        """Separate mixtures ``(B, T)`` of any length."""
        return self.estimate(mixture, condition).target

    def estimate(self, mixture: Tensor, condition: Condition) -> Estimate:
        """As `forward`; for classes, with the probability of the likeliest of those wanted."""
        probabilities, wanted = condition.expand(len(mixture)).positive.chunk(2, dim=1)
        if not bool(wanted.any()):
            return Estimate(self.network(mixture, probabilities))
        tags = self.tag(mixture) * wanted
        presence = tags.amax(1)
        found = presence >= self.config.threshold
        target = torch.zeros_like(mixture)
        if bool(found.any()):
            target[found] = self.network(mixture[found], tags[found])
        return Estimate(target, presence)

    @torch.no_grad()
    def tag(self, waveform: Tensor) -> Tensor:
        """Probabilities ``(B, 527)`` of what is heard in ``(B, T)``, which is filled up with silence to a segment."""
        missing = max(self.config.segment_samples, self.tagger.min_samples) - waveform.shape[1]
        return self.tagger(F.pad(waveform, (0, max(0, missing))))  # type: ignore[no-any-return]

    def _hear(self, clip: ClipLike) -> Tensor:
        """Probabilities ``(527,)`` of a clip: without its silent windows, in pieces of a segment, averaged."""
        waveform = clip_waveform(clip, self.sample_rate).to(self.network.bins_norm.weight.device)
        window, length = round(_WINDOW_S * self.sample_rate), self.config.segment_samples
        whole = waveform[: len(waveform) // window * window].reshape(-1, window)
        loud = whole[whole.abs().amax(1) > _QUIET].flatten() if len(whole) else waveform[:0]
        if not len(loud):
            raise QueryError(
                f"an example clip for uss lasts at least {_WINDOW_S:g} s and its level passes {_QUIET:g}: "
                "give a longer one, or turn it up"
            )
        pieces = torch.stack([_repeated(piece, length) for piece in torch.split(loud, length)])
        return torch.cat([self.tag(some) for some in torch.split(pieces, _AT_ONCE)]).mean(0)


def _repeated(piece: Tensor, length: int) -> Tensor:
    """A piece ``(T,)``, as often as it takes to fill ``length`` samples."""
    return piece.repeat(math.ceil(length / len(piece)))[:length]
