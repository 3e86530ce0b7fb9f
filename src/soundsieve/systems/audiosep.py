"""AudioSep: separation by any description, CLAP in front of a ResUNet30 (Liu et al., 2023, arXiv 2308.05037).

A frozen CLAP embeds the query, text or example clip, as a unit vector; `ResUNet30` takes that sound out of the mixture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.dsp.sinc_resample import sinc_resample
from soundsieve.encoders.clap import CLAP, CLAPConfig
from soundsieve.errors import ConfigError
from soundsieve.nn.resunet import ResUNetConfig
from soundsieve.nn.resunet30 import ResUNet30
from soundsieve.query import ClipLike, Condition, Query, combine
from soundsieve.systems.base import System
from soundsieve.systems.clips import clip_waveform


def _clap() -> CLAPConfig:
    """The base CLAP, with texts of up to 512 tokens."""
    base = CLAPConfig.base()
    return replace(base, text=replace(base.text, max_tokens=512))


@dataclass(frozen=True)
class AudioSepConfig:
    """Sizes of an AudioSep; the defaults are the published base model."""

    clap: CLAPConfig = field(default_factory=_clap)
    """The CLAP that embeds queries."""
    sample_rate: int = 32000
    """Hz of mixture and target."""
    segment_s: float = 10.0
    """Longest mixture in seconds that is separated at once, the length of the published tests; trained on 5 s."""
    n_fft: int = 2048
    """Window of the spectrogram in samples."""
    hop_length: int = 320
    """Step between its frames in samples."""
    resunet: ResUNetConfig = field(default_factory=ResUNetConfig)
    """The network over the spectrogram."""

    def __post_init__(self) -> None:
        if self.resunet.style != "resunet30" or self.resunet.maps != 3:
            raise ConfigError("AudioSep: its resunet has the style resunet30 and 3 maps")
        if self.resunet.condition != self.clap.dim:
            raise ConfigError(f"AudioSep: the resunet's condition is as wide as CLAP's space, {self.clap.dim}")
        if not 0 < self.hop_length <= self.n_fft // 2:
            raise ConfigError(f"hop_length {self.hop_length} must be at most half of n_fft {self.n_fft}")
        if not 0 < self.segment_s < float("inf") or self.sample_rate < 1:
            raise ConfigError("AudioSep: segment_s and sample_rate are above 0")
        self.resunet.check_bins(self.n_fft)

    @classmethod
    def base(cls) -> AudioSepConfig:
        """The published model: 32 kHz, 26 M parameters beside CLAP."""
        return cls()

    @classmethod
    def debug(cls) -> AudioSepConfig:
        """A tiny one for tests: mixtures of 1 s."""
        clap = CLAPConfig.debug()
        resunet = ResUNetConfig.debug(condition=clap.dim)
        return cls(clap, segment_s=1.0, n_fft=512, hop_length=256, resunet=resunet)


class AudioSep(System):
    """Separates by text and example clips.

    Trained: ``network``. Frozen: ``clap``, which also stays in evaluation mode.

    Args:
        config: sizes.
        clap: a trained CLAP of ``config.clap``'s sizes; if not given, a new one, for weights that are loaded later.
        assets: what `assets` returned: the tokenizer of the new CLAP.
    """

    name: ClassVar[str] = "audiosep"
    queries: ClassVar[frozenset[str]] = frozenset({"text", "audio"})
    compares: ClassVar[bool] = True
    kept_float32: ClassVar[tuple[str, ...]] = ("film",)

    def __init__(
        self, config: AudioSepConfig, *, clap: CLAP | None = None, assets: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.sample_rate, self.segment_s = config.sample_rate, config.segment_s
        if clap is not None and clap.config != config.clap:
            raise ConfigError("the given CLAP has other sizes than the config's: build the config from clap.config")
        self.clap = CLAP(config.clap, assets=assets) if clap is None else clap
        self.clap.requires_grad_(False)
        self.network = ResUNet30(config.n_fft, config.hop_length, config.resunet)
        self.train(self.training)

    def train(self, mode: bool = True) -> AudioSep:
        """As `torch.nn.Module.train`, but CLAP stays in evaluation mode."""
        super().train(mode)
        self.clap.eval()
        return self

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that are not frozen."""
        return (parameter for parameter in self.parameters() if parameter.requires_grad)

    def assets(self) -> dict[str, str]:
        """The files that belong to the weights, as name -> text."""
        return self.clap.assets()

    @torch.no_grad()
    def encode_query(self, query: Query) -> Condition:
        """Texts and example clips, joined by `soundsieve.query.combine`.

        Texts are not padded: the released code pads them to 512 tokens and doubles a single one, for the same vectors.
        """
        self.check_query(query)
        text = self.clap.embed_text(list(query.text)) if query.text else None
        audio = torch.cat([self._embed_clip(clip) for clip in query.like]) if query.like else None
        wanted = combine(text, audio, query.audio_weight)
        assert wanted is not None
        return Condition(wanted, torch.zeros_like(wanted))

    def forward(self, mixture: Tensor, condition: Condition) -> Tensor:
        """Separate mixtures ``(B, T)`` of any length."""
        return self.network(mixture, condition.expand(len(mixture)).positive)  # type: ignore[no-any-return]

    @torch.no_grad()
    def agreement(self, target: Tensor, condition: Condition) -> Tensor:
        """Cosines, shape ``(B,)``, of CLAP's embeddings of targets ``(B, T)`` with what was wanted."""
        return F.cosine_similarity(self.embed_audio(target), condition.expand(len(target)).positive, dim=1)

    def _embed_clip(self, clip: ClipLike) -> Tensor:
        return self.embed_audio(clip_waveform(clip, self.sample_rate)[None].to(self.clap.logit_scale.device))

    def embed_audio(self, waveform: Tensor) -> Tensor:
        """CLAP's vectors ``(B, D)`` of ``(B, T)``; as published, at the rate of the mixtures on the way to CLAP's."""
        return self.clap.embed_audio(sinc_resample(waveform, self.sample_rate, self.config.clap.audio.sample_rate))
