"""LASS-Net: separation by a caption, a small BERT in front of a ResUNet (Liu et al., 2022, arXiv 2203.15147).

The caption's vector shifts the features of a `ResUNet` over the mixture's magnitudes; its one map, through a sigmoid,
is the mask. The phase is the mixture's. The network does not answer for the two highest bins: their mask is 1/2.

The encoder of captions, and the style of the network, can be others than the published ones: a small model for a
processor is made of a `SentenceEncoder` and the lighter blocks of ``resunet30``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor

from soundsieve.dsp.stft import istft, stft
from soundsieve.encoders.bert import BERTConfig, CaptionEncoder
from soundsieve.encoders.text import SentenceEncoder, SentenceEncoderConfig
from soundsieve.encoders.tokens import JSONTokenizer
from soundsieve.errors import ConfigError
from soundsieve.nn.resunet import ResUNet, ResUNetConfig
from soundsieve.query import Condition, Query
from soundsieve.systems.base import System

TextEncoder: TypeAlias = CaptionEncoder | SentenceEncoder


def _resunet() -> ResUNetConfig:
    return ResUNetConfig("lassnet", condition=256, strides=((2, 2),) * 6, maps=1)


@dataclass(frozen=True)
class LASSNetConfig:
    """Sizes of a LASS-Net; the defaults are the published model."""

    text: BERTConfig | SentenceEncoderConfig = field(default_factory=BERTConfig)
    """The encoder of captions: a `CaptionEncoder`, or a `SentenceEncoder`."""
    sample_rate: int = 32000
    """Hz of mixture and target."""
    segment_s: float = 10.0
    """Longest mixture in seconds that is separated at once, as long as those of its training."""
    n_fft: int = 1024
    """Window of the spectrogram in samples."""
    hop_length: int = 512
    """Step between its frames in samples."""
    resunet: ResUNetConfig = field(default_factory=_resunet)
    """The network over the spectrogram."""

    def __post_init__(self) -> None:
        if self.resunet.maps != 1:
            raise ConfigError("LASS-Net: its resunet has 1 map")
        width = self.text.dim if isinstance(self.text, BERTConfig) else self.text.width
        if self.resunet.condition != width:
            raise ConfigError(f"LASS-Net: the resunet's condition is as wide as a caption's vector, {width}")
        if not 0 < self.hop_length <= self.n_fft // 2:
            raise ConfigError(f"hop_length {self.hop_length} must be at most half of n_fft {self.n_fft}")
        if not 0 < self.segment_s < float("inf") or self.sample_rate < 1:
            raise ConfigError("LASS-Net: segment_s and sample_rate are above 0")
        self.resunet.check_bins(self.n_fft)

    @classmethod
    def base(cls) -> LASSNetConfig:
        """The published model: 32 kHz, 63 M parameters."""
        return cls()

    @classmethod
    def debug(cls) -> LASSNetConfig:
        """A tiny one for tests: mixtures of 1 s."""
        text = BERTConfig.debug()
        resunet = ResUNetConfig.debug("lassnet", condition=text.dim)
        return cls(text, segment_s=1.0, n_fft=512, hop_length=256, resunet=resunet)


def _text_encoder(
    config: BERTConfig | SentenceEncoderConfig, tokenizer: JSONTokenizer | None, assets: Mapping[str, str]
) -> TextEncoder:
    if isinstance(config, BERTConfig):
        return CaptionEncoder(config, tokenizer=tokenizer, assets=assets)
    return SentenceEncoder(config, assets.get("tokenizer.json") if tokenizer is None else tokenizer.json)


class LASSNet(System):
    """Separates by text.

    Args:
        config: sizes.
        text: a trained encoder of ``config.text``'s sizes; if not given, a new one, for weights that are loaded later.
        tokenizer: of the new one; see `CaptionEncoder`.
        assets: what `assets` returned, in place of a tokenizer.
    """

    name: ClassVar[str] = "lassnet"
    queries: ClassVar[frozenset[str]] = frozenset({"text"})
    kept_float32: ClassVar[tuple[str, ...]] = ("film",)

    def __init__(
        self,
        config: LASSNetConfig,
        *,
        text: TextEncoder | None = None,
        tokenizer: JSONTokenizer | None = None,
        assets: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.sample_rate, self.segment_s = config.sample_rate, config.segment_s
        if text is not None and text.config != config.text:
            raise ConfigError("the given text encoder has other sizes than the config's: build the config from its own")
        self.text = text if text is not None else _text_encoder(config.text, tokenizer, assets or {})
        self.net = ResUNet(config.resunet)

    @property
    def pretrained(self) -> str:
        """Name of the part that comes from another training: BERT without what is on top of it, a sentence encoder."""
        return "text.bert" if isinstance(self.text, CaptionEncoder) else "text"

    def freeze_text(self) -> None:
        """Leave the pretrained part as it is; it stays in evaluation mode from here on."""
        self.get_submodule(self.pretrained).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> LASSNet:
        """As `torch.nn.Module.train`, but what is frozen of the text encoder stays in evaluation mode."""
        super().train(mode)
        pretrained = self.get_submodule(self.pretrained)
        if not any(parameter.requires_grad for parameter in pretrained.parameters()):
            pretrained.eval()
        return self

    def assets(self) -> dict[str, str]:
        """The files that belong to the weights, as name -> text."""
        return self.text.assets()

    @torch.no_grad()
    def encode_query(self, query: Query) -> Condition:
        """The vectors of the texts, averaged."""
        self.check_query(query)
        wanted = self.embed_text(query.text).mean(0, keepdim=True)
        return Condition(wanted, torch.zeros_like(wanted))

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Vectors of texts, shape ``(B, D)``, as the network takes them.

        A `SentenceEncoder`'s are of length one, so that each of their values is small: they are scaled to a mean square
        of one, and a network learns to listen to them in a tenth of the steps.
        """
        input_ids, attention_mask = self.text.tokenize(texts)
        device = self.text.project.weight.device
        vectors: Tensor = self.text(input_ids.to(device), attention_mask.to(device))
        return vectors * math.sqrt(vectors.shape[1]) if isinstance(self.text, SentenceEncoder) else vectors

    def forward(self, mixture: Tensor, condition: Condition) -> Tensor:
        """Separate mixtures ``(B, T)`` of any length.

        The released code fills mixtures up to 10 s, and scales every target to full level.
        """
        spectrum = stft(mixture, n_fft=self.config.n_fft, hop_length=self.config.hop_length)
        maps = self.net(spectrum.abs().transpose(1, 2), condition.expand(len(mixture)).positive)
        mask = maps[:, 0].float().sigmoid().transpose(1, 2)
        return istft(
            mask * spectrum, n_fft=self.config.n_fft, hop_length=self.config.hop_length, length=mixture.shape[1]
        )
