"""CLAPSep: separation by what to extract and what to suppress, on top of CLAP (Ma et al., 2024, arXiv 2402.17455).

Read upwards from here or downwards from `CLAPSep`: a frozen CLAP embeds the query; a copy of its audio tower, adapted
by LoRA, hears the mixture; a U-shaped decoder joins the tower's levels with the query; a mask network turns the result
and the mixture's spectrum into a mask.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.dsp.sinc_resample import sinc_resample
from soundsieve.dsp.stft import istft, stft
from soundsieve.encoders.clap import CLAP, CLAPConfig
from soundsieve.errors import ConfigError
from soundsieve.nn.film import FiLM
from soundsieve.nn.htsat import HTSAT, HTSATConfig, unfold
from soundsieve.nn.linear import Linear
from soundsieve.nn.lora import add_lora, merge_lora
from soundsieve.nn.masknet import MaskNet
from soundsieve.nn.swin import PatchExpanding, SwinBlock
from soundsieve.query import ClipLike, Condition, Query, combine
from soundsieve.systems.base import System
from soundsieve.systems.clips import clip_waveform

_ADAPTED = ("qkv", "proj")
"""The Linears of the audio tower that LoRA adapts: those of its window attention."""


@dataclass(frozen=True)
class CLAPSepConfig:
    """Sizes of a CLAPSep; the defaults are the published base model."""

    clap: CLAPConfig = field(default_factory=CLAPConfig)
    """The CLAP that embeds queries, and whose audio tower is copied."""
    sample_rate: int = 32000
    """Hz of mixture and target."""
    segment_s: float = 10.0
    """Length in seconds of the training mixtures."""
    n_fft: int = 1024
    """Window of the masked spectrogram in samples."""
    hop_length: int = 320
    """Step between its frames in samples: as long in time as that of CLAP's audio tower."""
    lora_rank: int = 16
    """Rank of the adaptation; 0 where it has been merged into the weights."""
    lora_alpha: float = 1.0
    """The adaptation is scaled by ``lora_alpha / lora_rank``."""
    mask_width: int = 640
    """Width of the mask network."""
    mask_layers: int = 3
    """Transformer layers of the mask network."""
    mask_heads: int = 8
    """Attention heads of the mask network."""
    dropout: float = 0.1
    """Probability in the mask network's transformer, in training only."""
    normalise_concat: bool = True
    """Whether [positive, negative] is scaled to length one, as in training; the paper's own test code does not."""

    def __post_init__(self) -> None:
        tower = self.clap.audio
        if self.hop_length * tower.sample_rate != tower.hop_length * self.sample_rate:
            raise ConfigError("hop_length / sample_rate must be the same in CLAPSep and in its CLAP's audio tower")
        if not 0 < self.hop_length <= self.n_fft // 2:
            raise ConfigError(f"hop_length {self.hop_length} must be at most half of n_fft {self.n_fft}")
        if round(self.segment_s * self.sample_rate) // self.hop_length >= tower.n_frames:
            raise ConfigError(f"segment_s {self.segment_s:g} does not fit into {tower.n_frames} frames")
        if self.mask_width % self.mask_heads or self.mask_layers < 1:
            raise ConfigError(
                f"mask_heads {self.mask_heads} must divide mask_width {self.mask_width}, mask_layers >= 1"
            )
        if self.lora_rank < 0 or not 0 <= self.dropout < 1:
            raise ConfigError("lora_rank is at least 0, dropout at least 0 and below 1")

    @classmethod
    def base(cls) -> CLAPSepConfig:
        """The published model: 32 kHz, mixtures of 10 s, 306 M parameters."""
        return cls()

    @classmethod
    def small(cls, clap: CLAPConfig | None = None) -> CLAPSepConfig:
        """For training on a CPU in minutes: mixtures of 5 s, 20 ms frames.

        Args:
            clap: sizes of the CLAP to build on, ``CLAPConfig.small()`` or as small.
        """
        return cls(
            clap or CLAPConfig.small(),
            segment_s=5.0,
            n_fft=2048,
            hop_length=640,
            lora_alpha=16.0,
            mask_width=192,
            mask_layers=2,
            mask_heads=6,
            dropout=0.0,
        )

    @classmethod
    def debug(cls) -> CLAPSepConfig:
        """A tiny one for tests: mixtures of 1.2 s."""
        return cls(
            CLAPConfig.debug(),
            segment_s=1.2,
            lora_rank=2,
            mask_width=16,
            mask_layers=1,
            mask_heads=2,
        )


class QuerySkip(nn.Module):
    """A level of the tower, modulated by the query, joined to the decoder: LayerNorm(FiLM(Linear(features)) + x)."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.project = Linear(channels, channels)
        self.film = FiLM(channels, condition)
        self.norm = nn.LayerNorm(channels)

    def forward(self, features: Tensor, embedding: Tensor, x: Tensor | None = None) -> Tensor:
        """All maps ``(B, G, G, C)``; embedding ``(B, 2 D)``."""
        modulated = self.film(self.project(features), embedding)
        return self.norm(modulated if x is None else modulated + x)  # type: ignore[no-any-return]


class DecoderLevel(nn.Module):
    """Patch expanding (but not at the deepest level), one Swin block, one skip from the tower."""

    def __init__(self, tower: HTSATConfig, k: int, condition: int) -> None:
        super().__init__()
        deepest = k == len(tower.depths) - 1
        channels, grid = tower.channels(k), tower.grid(k)
        self.expanding = None if deepest else PatchExpanding(2 * channels)
        self.block = SwinBlock(
            channels,
            grid,
            grid,
            heads=tower.heads[k],
            window=tower.window,
            shifted=False,
            mlp_ratio=tower.mlp_ratio,
        )
        self.skip = QuerySkip(channels, condition)

    def forward(self, x: Tensor, features: Tensor, embedding: Tensor) -> Tensor:
        """Decoder's map from below and the tower's features of this level to this level's map ``(B, G, G, C)``."""
        if self.expanding is not None:
            x = self.expanding(x)
        return self.skip(features, embedding, self.block(x))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """U-shaped: from the tower's deepest level back to an image as large as the one it heard, a frame at a time."""

    def __init__(self, tower: HTSATConfig, condition: int) -> None:
        super().__init__()
        self.pieces = tower.pieces
        stages = range(len(tower.depths))
        self.bottom = QuerySkip(tower.channels(stages[-1]), condition)
        self.levels = nn.ModuleList(DecoderLevel(tower, k, condition) for k in reversed(stages))
        self.norm = nn.LayerNorm(tower.width)
        self.unpatch = nn.ConvTranspose2d(tower.width, 1, tower.patch_size, stride=tower.patch_size)

    def forward(self, features: list[Tensor], embedding: Tensor) -> Tensor:
        """What `HTSAT.features` returns, and embeddings ``(B, 2 D)``, to features of every frame ``(B, N, n_mels)``."""
        *skips, x = features
        x = self.bottom(x, embedding)
        for level, skip in zip(self.levels, reversed(skips), strict=True):
            x = level(x, skip, embedding)
        image = self.unpatch(self.norm(x).permute(0, 3, 1, 2))[:, 0]
        return unfold(image, self.pieces)


class CLAPSep(System):
    """Separates by text, example clips and exclusions.

    Trained: the decoder, the mask network, and in ``tower`` the LoRA factors and the biases of the layers they adapt.
    Frozen: ``clap`` and all else in ``tower``, its batch norm's statistics included. The constructor freezes, and
    `train` keeps the frozen parts in evaluation mode; `trainable_parameters` is what an optimiser takes.

    Args:
        config: sizes.
        clap: a trained CLAP of ``config.clap``'s sizes, taken over as it is, its audio tower copied; if not given, a
            new one, for weights that are loaded afterwards.
        assets: what `assets` returned: the tokenizer of the new CLAP.
    """

    name: ClassVar[str] = "clapsep"
    queries: ClassVar[frozenset[str]] = frozenset({"text", "audio", "exclude"})
    compares: ClassVar[bool] = True
    kept_float32: ClassVar[tuple[str, ...]] = ("mask_net.into", "mask_net.out", ".film.", "_projection", "clap.text.")
    """What `soundsieve.nn.int8` leaves alone: the layer that hears the mixture's spectrum (whose bins differ by more
    than 8 bits can tell apart), the mask's own, what the query goes through, and the text tower, whose errors reach
    all of the answer and which is asked once."""

    def __init__(
        self,
        config: CLAPSepConfig,
        *,
        clap: CLAP | None = None,
        assets: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.sample_rate, self.segment_s = config.sample_rate, config.segment_s
        if clap is not None and clap.config != config.clap:
            raise ConfigError("the given CLAP has other sizes than the config's: build the config from clap.config")
        self.clap = CLAP(config.clap, assets=assets) if clap is None else clap
        self.clap.requires_grad_(False)
        self.tower: HTSAT = copy.deepcopy(self.clap.audio)
        if config.lora_rank:
            add_lora(self.tower, _ADAPTED, rank=config.lora_rank, alpha=config.lora_alpha)
        self.decoder = Decoder(config.clap.audio, 2 * config.clap.dim)
        self.mask_net = MaskNet(
            config.n_fft // 2 + 1,
            config.clap.audio.n_mels,
            width=config.mask_width,
            layers=config.mask_layers,
            heads=config.mask_heads,
            dropout=config.dropout,
        )
        self.train(self.training)

    def train(self, mode: bool = True) -> CLAPSep:
        """As `torch.nn.Module.train`, but CLAP and the tower's batch norm stay in evaluation mode."""
        super().train(mode)
        self.clap.eval()
        self.tower.bands_norm.eval()
        return self

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that are not frozen."""
        return (parameter for parameter in self.parameters() if parameter.requires_grad)

    def merge_lora(self) -> None:
        """Merge the adaptation into the tower's weights, for good: same output, fewer operations and parameters."""
        merge_lora(self.tower)
        self.tower.requires_grad_(False)
        self.config = replace(self.config, lora_rank=0)

    def assets(self) -> dict[str, str]:
        """The files that belong to the weights, as name -> text."""
        return self.clap.assets()

    @torch.no_grad()
    def encode_query(self, query: Query) -> Condition:
        """Text and example clips of each side, joined by `soundsieve.query.combine`; zeros for a side not asked."""
        self.check_query(query)
        share = query.audio_weight
        wanted = combine(self._embed_texts(query.text), self._embed_clips(query.like), share)
        unwanted = combine(self._embed_texts(query.exclude), self._embed_clips(query.unlike), share)
        nothing = self.clap.logit_scale.new_zeros(1, self.config.clap.dim)
        return Condition(nothing if wanted is None else wanted, nothing if unwanted is None else unwanted)

    def forward(self, mixture: Tensor, condition: Condition) -> Tensor:
        """Separate mixtures ``(B, T)`` of any length below the tower's image (10.24 s in base).

        Raises:
            AudioError: the mixture is longer than that.
        """
        spectrum = stft(mixture, n_fft=self.config.n_fft, hop_length=self.config.hop_length)
        heard = sinc_resample(mixture, self.sample_rate, self.config.clap.audio.sample_rate)
        levels = self.tower.features(self.tower.pad(self.tower.log_mel(heard)))
        features = self.decoder(levels, self._embedding(condition.expand(len(mixture))))
        mask = self.mask_net(spectrum.abs(), features[:, : spectrum.shape[2]])
        # A real mask scales the magnitude and leaves the mixture's phase.
        masked = torch.view_as_complex(mask[..., None] * torch.view_as_real(spectrum))
        return istft(masked, n_fft=self.config.n_fft, hop_length=self.config.hop_length, length=mixture.shape[1])

    @torch.no_grad()
    def agreement(self, target: Tensor, condition: Condition) -> Tensor:
        """Cosines, shape ``(B,)``, of CLAP's embeddings of targets ``(B, T)`` with what was wanted.

        By CLAP's own audio tower: the adapted one makes masks, and its embeddings fit no query any more.
        """
        heard = sinc_resample(target, self.sample_rate, self.config.clap.audio.sample_rate)
        return F.cosine_similarity(self.clap.embed_audio(heard), condition.expand(len(target)).positive, dim=1)

    def _embed_texts(self, texts: tuple[str, ...]) -> Tensor | None:
        return self.clap.embed_text(list(texts)) if texts else None

    def _embed_clips(self, clips: tuple[ClipLike, ...]) -> Tensor | None:
        return torch.cat([self._embed_clip(clip) for clip in clips]) if clips else None

    def _embed_clip(self, clip: ClipLike) -> Tensor:
        heard = clip_waveform(clip, self.config.clap.audio.sample_rate)
        return self.clap.embed_audio(heard[None].to(self.clap.logit_scale.device))

    def _embedding(self, condition: Condition) -> Tensor:
        return F.normalize(condition.concat(), dim=1) if self.config.normalise_concat else condition.concat()
