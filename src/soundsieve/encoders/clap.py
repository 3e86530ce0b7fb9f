"""CLAP: sounds and their descriptions in one space (Wu et al., 2023, arXiv 2211.06687).

An HTS-AT audio tower and a RoBERTa text tower, each followed by a two-layer projection and scaled to length one; the
cosine of two embeddings says how well a text describes a sound. ``CLAPConfig()`` has the shapes of the released
HTSAT-base + RoBERTa-base model without fusion; what that file holds beside them and inference does not use (class
heads, the training-time transforms and their logit scale) is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.encoders.text import SentenceEncoder, SentenceEncoderConfig
from soundsieve.encoders.tokens import JSONTokenizer, Tokenize
from soundsieve.errors import ConfigError, QueryError
from soundsieve.nn.htsat import HTSAT, HTSATConfig
from soundsieve.nn.linear import Linear
from soundsieve.nn.roberta import RoBERTa


@dataclass(frozen=True)
class TextTowerConfig:
    """Size of the text tower; the defaults are RoBERTa-base."""

    vocab_size: int = 50265
    """Tokens known."""
    width: int = 768
    """Channels."""
    layers: int = 12
    """Transformer layers."""
    heads: int = 12
    """Attention heads."""
    mlp_width: int = 3072
    """Hidden width of an MLP."""
    positions: int = 514
    """Rows of the position table; the first token has position ``pad_id + 1``."""
    max_tokens: int = 77
    """Longest text in tokens, its start and end included; at most ``positions - pad_id - 1``."""
    pad_id: int = 1
    """Token id of padding."""
    pooling: Literal["first", "mean"] = "first"
    """``first``: the pooler (Linear, tanh) on the first token; ``mean``: the mean over the tokens."""
    dropout: float = 0.1
    """Probability, in training only."""

    def __post_init__(self) -> None:
        if min(self.vocab_size, self.width, self.layers, self.heads, self.mlp_width) < 1 or self.width % self.heads:
            raise ConfigError(f"text tower: sizes are at least 1 and heads {self.heads} divide width {self.width}")
        if not 0 <= self.pad_id < self.vocab_size:
            raise ConfigError(f"text tower: pad_id {self.pad_id} must be one of {self.vocab_size} tokens")
        if not 0 < self.max_tokens < self.positions - self.pad_id:
            raise ConfigError(f"text tower: {self.max_tokens} tokens do not fit {self.positions} positions")
        if self.pooling not in ("first", "mean"):
            raise ConfigError(f"text tower: pooling is 'first' or 'mean', not '{self.pooling}'")

    @classmethod
    def like(cls, encoder: SentenceEncoderConfig) -> TextTowerConfig:
        """A tower that a `SentenceEncoder` of these sizes can be copied into."""
        return cls(
            vocab_size=encoder.vocab_size,
            width=encoder.hidden,
            layers=encoder.layers,
            heads=encoder.heads,
            mlp_width=encoder.intermediate,
            positions=encoder.max_tokens + 1,
            max_tokens=encoder.max_tokens,
            pad_id=0,
            pooling="mean",
            dropout=0.0,
        )


@dataclass(frozen=True)
class CLAPConfig:
    """Both towers and the space they share; the defaults are the released base model."""

    audio: HTSATConfig = field(default_factory=HTSATConfig)
    """The audio tower."""
    text: TextTowerConfig = field(default_factory=TextTowerConfig)
    """The text tower."""
    dim: int = 512
    """Width D of the shared space."""

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ConfigError(f"CLAP: dim is at least 1, not {self.dim}")

    @classmethod
    def base(cls) -> CLAPConfig:
        """The released HTSAT-base + RoBERTa-base model: 194 M parameters, clips of 10 s at 48 kHz."""
        return cls()

    @classmethod
    def small(cls, text: SentenceEncoderConfig | None = None) -> CLAPConfig:
        """For training on a CPU in minutes: clips of 5 s at 32 kHz, 20 ms frames, an image of 128 x 128.

        Args:
            text: sizes of the `SentenceEncoder` that the text tower is copied from.
        """
        audio = HTSATConfig(
            sample_rate=32000,
            clip_s=5.0,
            hop_length=640,
            image_size=128,
            width=48,
            depths=(2, 2, 2, 2),
            heads=(3, 6, 12, 24),
        )
        return cls(audio, TextTowerConfig.like(text or SentenceEncoderConfig.small()), dim=256)

    @classmethod
    def debug(cls) -> CLAPConfig:
        """A tiny one for tests: clips of 1.2 s at 32 kHz, and a text tower over single characters."""
        audio = HTSATConfig(
            sample_rate=32000,
            clip_s=1.2,
            n_fft=512,
            hop_length=320,
            n_mels=32,
            image_size=64,
            width=8,
            depths=(2, 2),
            heads=(2, 4),
            window=4,
            mlp_ratio=2.0,
        )
        return cls(audio, TextTowerConfig.like(SentenceEncoderConfig.debug()), dim=16)


_TOKENIZER = "tokenizer.json"


class TextTower(nn.Module):
    """RoBERTa (Liu et al., 2019, arXiv 1907.11692), and one vector out of its tokens."""

    def __init__(self, config: TextTowerConfig) -> None:
        super().__init__()
        self.config = config
        self.roberta = RoBERTa(
            vocab_size=config.vocab_size,
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            mlp_width=config.mlp_width,
            positions=config.positions,
            pad_id=config.pad_id,
            pooler=config.pooling == "first",
            dropout=config.dropout,
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids and mask, both ``(B, L)``, to one vector each, ``(B, width)``."""
        states = self.roberta(input_ids, attention_mask)
        if self.roberta.pooler is not None:
            return self.roberta.pooler(states)  # type: ignore[no-any-return]
        weight = attention_mask[..., None].to(states.dtype)
        return (states * weight).sum(1) / weight.sum(1)  # type: ignore[no-any-return]


def fit_clip(waveform: Tensor, length: int) -> Tensor:
    """Repeat a short waveform ``(..., T)`` as often as it fits whole into ``length`` samples, then add silence."""
    repeated = waveform.repeat(*[1] * (waveform.ndim - 1), max(1, length // waveform.shape[-1]))
    return F.pad(repeated, (0, length - repeated.shape[-1]))


class CLAP(nn.Module):
    """Two towers, one space.

    Trained by `contrastive_loss` on `embed_audio`, `embed_tokens` and ``logit_scale.exp()``: everything is trained,
    except the text tower after `freeze_text_tower` (its projection still is). CLAPSep keeps all of it frozen.

    Args:
        config: sizes.
        tokenizer: texts to token ids, which `embed_text` needs. If there is none, a text tower over the built-in
            vocabulary of single characters (that of ``CLAPConfig.debug()``) gets the tokenizer that belongs to it.
        assets: what `assets` returned, in place of a tokenizer.
    """

    def __init__(
        self, config: CLAPConfig, *, tokenizer: Tokenize | None = None, assets: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer
        if tokenizer is None and assets and _TOKENIZER in assets:
            self._set_tokenizer(assets[_TOKENIZER])
        elif tokenizer is None and config.text == TextTowerConfig.like(SentenceEncoderConfig.debug()):
            self._set_tokenizer(SentenceEncoder(SentenceEncoderConfig.debug()).assets()[_TOKENIZER])
        self.audio = HTSAT(config.audio)
        self.audio_projection = self._projection(self.audio.out_features)
        self.text = TextTower(config.text)
        self.text_projection = self._projection(config.text.width)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def _projection(self, width: int) -> nn.Sequential:
        return nn.Sequential(Linear(width, self.config.dim), nn.ReLU(), Linear(self.config.dim, self.config.dim))

    def _set_tokenizer(self, json: str) -> None:
        text = self.config.text
        tokenizer = JSONTokenizer(json, pad_id=text.pad_id, max_tokens=text.max_tokens)
        if tokenizer.vocab_size > text.vocab_size:
            raise ConfigError(f"the tokenizer has {tokenizer.vocab_size} tokens, the text tower {text.vocab_size}")
        self.tokenizer = tokenizer

    def assets(self) -> dict[str, str]:
        """The files that belong to the weights, as name -> text: the tokenizer, if there is one that can be stored."""
        return {_TOKENIZER: self.tokenizer.json} if isinstance(self.tokenizer, JSONTokenizer) else {}

    def embed_audio(self, waveform: Tensor) -> Tensor:
        """Unit embeddings of waveforms.

        A shorter waveform than ``clip_s`` is repeated as often as it fits whole and followed by silence, as in CLAP's
        training. A longer one is heard in windows of ``clip_s``, as few as cover it, evenly spread, one after the
        other; their embeddings are averaged. (The released code hears one window at a random place instead, and rounds
        what comes from files to 16 bits.)

        Args:
            waveform: shape ``(B, T)``, T >= 1, at ``config.audio.sample_rate``.

        Returns:
            Shape ``(B, D)``, each row of length one.
        """
        if waveform.ndim != 2 or not waveform.numel():
            raise QueryError(f"an audio query is a waveform (B, T) that is not empty; got {tuple(waveform.shape)}")
        samples, length = waveform.shape[1], self.config.audio.clip_samples
        if samples <= length:
            return self._embed_window(fit_clip(waveform, length))
        n = math.ceil(samples / length)
        starts = [i * (samples - length) // (n - 1) for i in range(n)]
        each = torch.stack([self._embed_window(waveform[:, start : start + length]) for start in starts])
        return F.normalize(each.mean(0), dim=1)

    def _embed_window(self, waveform: Tensor) -> Tensor:
        return F.normalize(self.audio_projection(self.audio(waveform)), dim=1)

    def embed_tokens(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Unit embeddings ``(B, D)`` of tokenised texts, both inputs ``(B, L)``."""
        return F.normalize(self.text_projection(self.text(input_ids, attention_mask)), dim=1)

    def embed_text(self, texts: list[str]) -> Tensor:
        """Unit embeddings of texts, shape ``(B, D)``.

        Raises:
            QueryError: no tokenizer was given.
        """
        if self.tokenizer is None:
            raise QueryError(
                "this model has no tokenizer and cannot read text: give it one (--tokenizer), or ask by example clips "
                "(--like, --unlike)"
            )
        device = self.logit_scale.device
        input_ids, attention_mask = self.tokenizer(texts)
        return self.embed_tokens(input_ids.to(device), attention_mask.to(device))

    def take_text_tower(self, encoder: SentenceEncoder) -> None:
        """Copy a sentence encoder's transformer and tokenizer into the text tower; its last Linear has no place here.

        Raises:
            ConfigError: the sizes differ; ``CLAPConfig.small(encoder.config)`` fits.
        """
        fitting = TextTowerConfig.like(encoder.config)
        if self.config.text != fitting:
            raise ConfigError(f"the sentence encoder asks for {fitting}, the text tower is {self.config.text}")
        self.text.roberta.load_state_dict(encoder.tower.state_dict(), strict=True)
        self._set_tokenizer(encoder.assets()[_TOKENIZER])

    def freeze_text_tower(self) -> None:
        """Train everything but the text tower, which also stays without dropout."""
        self.text.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> CLAP:
        """As `torch.nn.Module.train`; a frozen text tower stays in evaluation mode."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.text.parameters()):
            self.text.eval()
        return self
