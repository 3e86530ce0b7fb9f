"""FlowSep's KL autoencoder: log-mel spectrograms to latents a quarter as long and as high, and back.

The layout is that of latent diffusion's first stage (Rombach et al., 2022, arXiv 2112.10752) as AudioLDM took it over
(Liu et al., 2023, arXiv 2301.12503): residual blocks on levels of halved resolution, and attention at the lowest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.errors import ConfigError
from soundsieve.nn.linear import has_fast_products, linear
from soundsieve.systems.flowsep.blocks import Conv, Doubling, ResBlock, activated

_EPS = 1e-6
_LOG_VARIANCE = (-30.0, 20.0)  # the released model clamps to these
_QUERIES = 256  # whose scores, 4 MB of them for ten seconds, stay in a processor's cache


@dataclass(frozen=True)
class VAEConfig:
    """Sizes of a `VAE`; the defaults are the published ones.

    Raises:
        ConfigError: a size is not positive, or groups do not divide the channels.
    """

    channels: int = 128
    """Channels of the highest level."""
    multipliers: tuple[int, ...] = (1, 2, 4)
    """Channels of each level over ``channels``; every level but the last halves time and frequency."""
    blocks: int = 2
    """Residual blocks of a level of the encoder; the decoder has one more."""
    latent_channels: int = 8
    """Channels of a latent."""
    groups: int = 32
    """Groups of every norm; a divisor of ``channels``."""
    attention: bool = True
    """Attention at the lowest level; without, a latent depends on its surroundings alone, however long the sound."""
    dropout: float = 0.0
    """Probability, in training only, inside residual blocks."""

    def __post_init__(self) -> None:
        sizes = (self.channels, *self.multipliers, self.blocks, self.latent_channels, self.groups)
        if not self.multipliers or min(sizes) < 1:
            raise ConfigError("VAE: sizes are at least 1, and there is a multiplier for each level")
        if self.channels % self.groups:
            raise ConfigError(f"VAE: groups {self.groups} must divide channels {self.channels}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"VAE: dropout must be at least 0 and below 1, not {self.dropout}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, the highest resolution first."""
        return tuple(self.channels * multiplier for multiplier in self.multipliers)

    @property
    def factor(self) -> int:
        """How many frames, and how many bands, become one of a latent."""
        return int(2 ** (len(self.multipliers) - 1))

    @classmethod
    def base(cls) -> VAEConfig:
        """The published one: 55 M parameters."""
        return cls()

    @classmethod
    def small(cls) -> VAEConfig:
        """One that a processor trains in minutes: 0.7 M parameters; a latent holds as many numbers as a spectrogram."""
        return cls(channels=16, blocks=1, latent_channels=16, groups=8, attention=False)

    @classmethod
    def debug(cls) -> VAEConfig:
        """A tiny one for tests."""
        return cls(channels=8, multipliers=(1, 1, 2), blocks=1, latent_channels=2, groups=4)


class Posterior(NamedTuple):
    """What a spectrogram says of its latent: a Gaussian, independent in every place."""

    mean: Tensor
    """Shape ``(B, C, N, F)``."""
    log_variance: Tensor
    """Shape ``(B, C, N, F)``, within [-30, 20]."""

    def sample(self, noise: Tensor) -> Tensor:
        """``mean + std noise`` for standard normal noise of the same shape, or one for all."""
        return self.mean + torch.exp(0.5 * self.log_variance) * noise

    def kl(self) -> Tensor:
        """Kullback-Leibler divergence from the standard normal distribution, in nats, shape ``(B,)``.

        ``sum (mean^2 + var - 1 - ln var) / 2`` over a latent (Kingma and Welling, 2014, arXiv 1312.6114, appendix B).
        """
        each = self.mean.square() + self.log_variance.exp() - 1 - self.log_variance
        return 0.5 * each.flatten(1).sum(1)


class Attention(nn.Module):
    """``x + out(attention(norm(x)))`` of all places among each other, with a single head."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, _EPS)
        self.q = Conv(channels, channels, 1)
        self.k = Conv(channels, channels, 1)
        self.v = Conv(channels, channels, 1)
        self.out = Conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, N, F)`` to the same shape."""
        b, c, n, f = x.shape
        y = self.norm(x)
        q, k, v = (layer(y).permute(0, 2, 3, 1).reshape(b, n * f, c) for layer in (self.q, self.k, self.v))
        return x + self.out(attended(q, k, v).reshape(b, n, f, c).permute(0, 3, 1, 2))  # type: ignore[no-any-return]


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """``softmax(q k^T / sqrt(D)) v`` of ``(B, L, D)``, some queries at a time where that is faster."""
    if not has_fast_products(q):
        return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
    q = q * q.shape[2] ** -0.5
    out = torch.empty_like(q)
    for one, keys, values, place in zip(q, k, v.transpose(1, 2).contiguous(), out, strict=True):
        for some, here in zip(one.split(_QUERIES), place.split(_QUERIES), strict=True):
            here.copy_(linear(linear(some, keys).softmax(-1), values))
    return out


class Middle(nn.Module):
    """A residual block, attention, and a residual block."""

    def __init__(self, channels: int, config: VAEConfig) -> None:
        super().__init__()
        self.first = _block(channels, channels, config)
        self.attention = Attention(channels, config.groups) if config.attention else nn.Identity()
        self.last = _block(channels, channels, config)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, N, F)`` to the same shape."""
        return self.last(self.attention(self.first(x)))  # type: ignore[no-any-return]


class Level(nn.Module):
    """Residual blocks, then a convolution that halves or doubles time and frequency, if one follows."""

    def __init__(self, inputs: int, outputs: int, blocks: int, resample: nn.Module, config: VAEConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_block(outputs if i else inputs, outputs, config) for i in range(blocks))
        self.resample = resample

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, N, F)`` to ``(B, outputs, N', F')``."""
        for block in self.blocks:
            x = block(x)
        return self.resample(x)  # type: ignore[no-any-return]


class Halving(nn.Conv2d):
    """A 3 x 3 convolution of every second place, with zeros after the last row and column and none before."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, N, F)`` to ``(B, C, N/2, F/2)``."""
        return super().forward(F.pad(x, (0, 1, 0, 1)))


class Encoder(nn.Module):
    """Spectrograms to moments: means and log-variances before their last 1 x 1 convolution."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        widths = config.widths
        self.stem = Conv(1, widths[0], 3)
        self.levels = nn.ModuleList(
            Level(before, width, config.blocks, nn.Identity() if is_last else Halving(width), config)
            for before, width, is_last in zip((widths[0], *widths), widths, _lasts(widths), strict=False)
        )
        self.middle = Middle(widths[-1], config)
        self.norm = nn.GroupNorm(config.groups, widths[-1], _EPS)
        self.out = Conv(widths[-1], 2 * config.latent_channels, 3)

    def forward(self, mel: Tensor) -> Tensor:
        """``(B, 1, N, F)`` to ``(B, 2 C, N', F')``."""
        x = self.stem(mel).contiguous(memory_format=torch.channels_last)
        for level in self.levels:
            x = level(x)
        return self.out(activated(self.norm, self.middle(x)))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Latents, after their first 1 x 1 convolution, to spectrograms; levels from the lowest resolution up."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        widths = config.widths[::-1]
        self.stem = Conv(config.latent_channels, widths[0], 3)
        self.middle = Middle(widths[0], config)
        self.levels = nn.ModuleList(
            Level(before, width, config.blocks + 1, nn.Identity() if is_last else Doubling(width), config)
            for before, width, is_last in zip((widths[0], *widths), widths, _lasts(widths), strict=False)
        )
        self.norm = nn.GroupNorm(config.groups, widths[-1], _EPS)
        self.out = Conv(widths[-1], 1, 3)

    def forward(self, latent: Tensor) -> Tensor:
        """``(B, C, N', F')`` to ``(B, 1, N, F)``."""
        x = self.middle(self.stem(latent).contiguous(memory_format=torch.channels_last))
        for level in self.levels:
            x = level(x)
        return self.out(activated(self.norm, x))  # type: ignore[no-any-return]


class VAE(nn.Module):
    """Log-mel spectrograms to Gaussian latents and back.

    Args:
        config: sizes.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.to_moments = Conv(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.from_latent = Conv(config.latent_channels, config.latent_channels, 1)

    def encode(self, mel: Tensor) -> Posterior:
        """Spectrograms ``(B, 1, N, F)`` to posteriors of ``(B, C, N / factor, F / factor)``.

        A posterior has the spectrogram's type, under autocast too: its divergence is a sum over thousands of places.

        Raises:
            ConfigError: N or F is no multiple of the config's ``factor``.
        """
        factor = self.config.factor
        if mel.shape[2] % factor or mel.shape[3] % factor:
            raise ConfigError(f"VAE: a spectrogram of {mel.shape[2]} x {mel.shape[3]}: give multiples of {factor}")
        mean, log_variance = self.to_moments(self.encoder(mel)).to(mel.dtype).chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(*_LOG_VARIANCE))

    def decode(self, latent: Tensor) -> Tensor:
        """Latents ``(B, C, N, F)`` to spectrograms ``(B, 1, factor N, factor F)``."""
        return self.decoder(self.from_latent(latent))  # type: ignore[no-any-return]

    def forward(self, mel: Tensor, noise: Tensor) -> tuple[Tensor, Posterior]:
        """What training needs of spectrograms: them again, by way of a sampled latent, and the posterior."""
        posterior = self.encode(mel)
        return self.decode(posterior.sample(noise)), posterior


def _block(inputs: int, outputs: int, config: VAEConfig) -> ResBlock:
    return ResBlock(inputs, outputs, groups=config.groups, eps=_EPS, dropout=config.dropout)


def _lasts(widths: tuple[int, ...]) -> list[bool]:
    return [i == len(widths) - 1 for i in range(len(widths))]
