"""HTS-AT: a Swin transformer over a log-mel spectrogram folded into an image.

Source: Chen et al., "HTS-AT: A hierarchical token-semantic audio transformer", ICASSP 2022 (arXiv 2202.00874), in the
form of CLAP's audio tower (Wu et al., 2023, arXiv 2211.06687). Its class heads are left out: nothing here uses them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.dsp.mel import FLOOR_DB, mel_filterbank, power_to_db
from soundsieve.dsp.stft import stft
from soundsieve.errors import AudioError, ConfigError
from soundsieve.nn.swin import PatchMerging, SwinBlock


@dataclass(frozen=True)
class HTSATConfig:
    """Size and front end of the audio tower; the defaults are those of the released HTSAT-base."""

    sample_rate: int = 48000
    """Hz."""
    clip_s: float = 10.0
    """Length in seconds of the clips that it embeds."""
    n_fft: int = 1024
    """Window length in samples."""
    hop_length: int = 480
    """Step between frames in samples."""
    n_mels: int = 64
    """Mel bands."""
    fmin_hz: float = 50.0
    """Lowest edge of the mel bands."""
    fmax_hz: float = 14000.0
    """Highest edge of the mel bands."""
    image_size: int = 256
    """Side of the square image that the spectrogram is folded into, a multiple of ``n_mels``."""
    patch_size: int = 4
    """Side of a patch."""
    width: int = 128
    """Channels of the first stage; each later stage has twice as many."""
    depths: tuple[int, ...] = (2, 2, 12, 2)
    """Blocks in each stage."""
    heads: tuple[int, ...] = (4, 8, 16, 32)
    """Attention heads in each stage."""
    window: int = 8
    """Side of an attention window."""
    mlp_ratio: float = 4.0
    """Hidden width of an MLP over the stage's channels."""

    def __post_init__(self) -> None:
        if len(self.depths) != len(self.heads) or not self.depths:
            raise ConfigError(f"depths and heads name the same stages; got {self.depths} and {self.heads}")
        if min(self.hop_length, self.n_mels, self.window, *self.depths, *self.heads) < 1:
            raise ConfigError("hop_length, n_mels, window, depths and heads are at least 1")
        if any(self.channels(k) % heads for k, heads in enumerate(self.heads)):
            raise ConfigError(f"heads {self.heads} must divide the stages' channels, {self.width} and its doublings")
        if self.image_size % self.n_mels or self.image_size % (self.patch_size << (len(self.depths) - 1)):
            raise ConfigError(
                f"image_size {self.image_size} must be a multiple of n_mels {self.n_mels}, and of patch_size "
                f"{self.patch_size} doubled {len(self.depths) - 1} times"
            )
        if any(self.grid(k) > self.window and self.grid(k) % self.window for k in range(len(self.depths))):
            raise ConfigError(f"window {self.window} must divide every stage's map that is larger than it")
        if not 0 < self.clip_samples // self.hop_length + 1 <= self.n_frames:
            raise ConfigError(f"clip_s {self.clip_s:g} must give 1 to {self.n_frames} frames")

    def channels(self, stage: int) -> int:
        """Channels inside a stage."""
        return self.width << stage

    def grid(self, stage: int) -> int:
        """Side of the map inside a stage."""
        return self.image_size // self.patch_size >> stage

    @property
    def pieces(self) -> int:
        """Stretches of time stacked along frequency in the image."""
        return self.image_size // self.n_mels

    @property
    def n_frames(self) -> int:
        """Frames in one image."""
        return self.image_size * self.pieces

    @property
    def clip_samples(self) -> int:
        """Samples in one clip."""
        return round(self.clip_s * self.sample_rate)


def fold(spectrogram: Tensor, pieces: int) -> Tensor:
    """Stack stretches of time along frequency: ``(B, N, M)`` to ``(B, pieces M, N / pieces)``.

    Row ``p M + m`` and column ``n`` of the image hold band ``m`` of frame ``p N / pieces + n``.
    """
    b, n, m = spectrogram.shape
    return spectrogram.view(b, pieces, n // pieces, m).transpose(2, 3).reshape(b, pieces * m, n // pieces)


def unfold(image: Tensor, pieces: int) -> Tensor:
    """The inverse of `fold`: ``(B, pieces M, N / pieces)`` to ``(B, N, M)``."""
    b, rows, columns = image.shape
    return image.view(b, pieces, rows // pieces, columns).transpose(2, 3).reshape(b, pieces * columns, rows // pieces)


class PatchEmbedding(nn.Module):
    """Image to a map of patches: ``(B, H, W)`` to ``(B, H / patch, W / patch, C)``, normalised."""

    def __init__(self, channels: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, channels, patch, stride=patch)
        self.norm = nn.LayerNorm(channels)

    def forward(self, image: Tensor) -> Tensor:
        """Project each patch on its own."""
        return self.norm(self.proj(image[:, None]).permute(0, 2, 3, 1))  # type: ignore[no-any-return]


class Stage(nn.Module):
    """Swin blocks, every second one shifted, then patch merging (but not in the last stage)."""

    def __init__(self, config: HTSATConfig, k: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                SwinBlock(
                    config.channels(k),
                    config.grid(k),
                    config.grid(k),
                    heads=config.heads[k],
                    window=config.window,
                    shifted=i % 2 == 1,
                    mlp_ratio=config.mlp_ratio,
                )
                for i in range(config.depths[k])
            )
        )
        last = k == len(config.depths) - 1
        self.merging = None if last else PatchMerging(config.channels(k))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, G, G, C)`` to ``(B, G / 2, G / 2, 2 C)``; in the last stage to the same shape."""
        x = self.blocks(x)
        return x if self.merging is None else self.merging(x)


class HTSAT(nn.Module):
    """Log-mel spectrogram, batch norm per band, fold, patches, Swin stages, mean over all positions."""

    _filterbank: Tensor

    def __init__(self, config: HTSATConfig) -> None:
        super().__init__()
        self.config = config
        self.bands_norm = nn.BatchNorm1d(config.n_mels)
        self.patches = PatchEmbedding(config.width, config.patch_size)
        self.stages = nn.ModuleList(Stage(config, k) for k in range(len(config.depths)))
        self.norm = nn.LayerNorm(self.out_features)
        c = config
        filterbank = mel_filterbank(c.sample_rate, c.n_fft, c.n_mels, c.fmin_hz, c.fmax_hz)
        self.register_buffer("_filterbank", filterbank, persistent=False)

    @property
    def out_features(self) -> int:
        """Width of what `forward` returns."""
        return self.config.channels(len(self.config.depths) - 1)

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Waveforms ``(B, T)`` at the tower's rate to decibels ``(B, T // hop + 1, n_mels)``, at least -100 dB."""
        spectrum = stft(waveform, n_fft=self.config.n_fft, hop_length=self.config.hop_length)
        real, imaginary = torch.view_as_real(spectrum).unbind(-1)
        power = real.square() + imaginary.square()
        return power_to_db(power.transpose(1, 2) @ self._filterbank)

    def pad(self, log_mel: Tensor) -> Tensor:
        """Silence after the end, up to the image's number of frames.

        Raises:
            AudioError: there are more frames than that.
        """
        missing = self.config.n_frames - log_mel.shape[1]
        if missing < 0:
            longest = self.config.n_frames * self.config.hop_length / self.config.sample_rate
            raise AudioError(f"a segment of {log_mel.shape[1]} frames is too long: it must be under {longest:g} s")
        return F.pad(log_mel, (0, 0, 0, missing), value=FLOOR_DB)

    def features(self, log_mel: Tensor) -> list[Tensor]:
        """What every level sees.

        Args:
            log_mel: shape ``(B, N, n_mels)``. Fewer frames than the image holds are stretched to it (bicubic).

        Returns:
            The patches, ``(B, G, G, width)``, then every stage's output, ``(B, G / 2, G / 2, 2 width)`` and so on; the
            last two have the same shape, as the last stage does not merge.
        """
        bands = self.bands_norm(log_mel.transpose(1, 2))
        if bands.shape[2] < self.config.n_frames:
            size = (self.config.n_mels, self.config.n_frames)
            bands = F.interpolate(bands[:, None], size, mode="bicubic", align_corners=True)[:, 0]
        levels = [self.patches(fold(bands.transpose(1, 2).contiguous(), self.config.pieces))]
        for stage in self.stages:
            levels.append(stage(levels[-1]))
        return levels

    def forward(self, waveform: Tensor) -> Tensor:
        """Clips ``(B, clip_samples)`` to one vector each, ``(B, out_features)``."""
        deepest = self.features(self.log_mel(waveform))[-1]
        return self.norm(deepest).mean((1, 2))  # type: ignore[no-any-return]
