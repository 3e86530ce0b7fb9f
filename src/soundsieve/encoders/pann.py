"""Cnn14: which of AudioSet's classes a recording holds (Kong et al., 2020, "PANNs", arXiv 1912.10211)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.dsp.mel import mel_filterbank, power_to_db
from soundsieve.dsp.stft import stft
from soundsieve.errors import ConfigError


@dataclass(frozen=True)
class Cnn14Config:
    """Sizes of a `Cnn14`; the defaults are the released model's at 32 kHz."""

    sample_rate: int = 32000
    """Hz."""
    n_fft: int = 1024
    """Window of the spectrogram in samples."""
    hop_length: int = 320
    """Step between its frames in samples."""
    n_mels: int = 64
    """Mel bands."""
    fmin_hz: float = 50.0
    """Lower edge of the lowest band."""
    fmax_hz: float = 14000.0
    """Upper edge of the highest band."""
    channels: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)
    """Of each block."""
    classes: int = 527
    """Of the answer."""

    def __post_init__(self) -> None:
        if not self.channels or min(*self.channels, self.classes) < 1:
            raise ConfigError("Cnn14: there is a block, channels and classes are at least 1")
        if self.n_mels < self.reduction or not 0 < self.hop_length <= self.n_fft // 2:
            raise ConfigError(f"Cnn14: n_mels is at least {self.reduction}, hop_length at most half of n_fft")

    @property
    def reduction(self) -> int:
        """Frames in, for one frame out: every block but the last halves them."""
        return int(2 ** (len(self.channels) - 1))

    @classmethod
    def debug(cls) -> Cnn14Config:
        """A tiny one for tests, which knows all 527 classes."""
        return cls(n_fft=512, hop_length=256, n_mels=16, channels=(4, 4, 8))


class ConvBlock(nn.Module):
    """Twice a 3 x 3 convolution, batch norm and ReLU; then average pooling."""

    def __init__(self, inputs: int, outputs: int, pool: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.pool = nn.AvgPool2d(pool)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, N, F)`` to ``(B, outputs, N / pool, F / pool)``."""
        x = F.relu(self.norm1(self.conv1(x)))
        return self.pool(F.relu(self.norm2(self.conv2(x))))  # type: ignore[no-any-return]


class Cnn14(nn.Module):
    """Waveforms to the probability of each class.

    Args:
        config: sizes.
    """

    filterbank: Tensor

    def __init__(self, config: Cnn14Config) -> None:
        super().__init__()
        self.config = config
        filterbank = mel_filterbank(config.sample_rate, config.n_fft, config.n_mels, config.fmin_hz, config.fmax_hz)
        self.register_buffer("filterbank", filterbank, persistent=False)
        self.bands_norm = nn.BatchNorm1d(config.n_mels)
        widths = (1, *config.channels)
        self.blocks = nn.ModuleList(
            ConvBlock(widths[k], widths[k + 1], 2 if k + 1 < len(config.channels) else 1)
            for k in range(len(config.channels))
        )
        self.embed = nn.Linear(widths[-1], widths[-1])
        self.classify = nn.Linear(widths[-1], config.classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def min_samples(self) -> int:
        """The shortest waveform that leaves a frame after all pooling."""
        return (self.config.reduction - 1) * self.config.hop_length

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Mel bands in dB, shape ``(B, n_mels, N)``."""
        spectrum = stft(waveform, n_fft=self.config.n_fft, hop_length=self.config.hop_length)
        power = torch.view_as_real(spectrum).square().sum(-1)
        return power_to_db(self.filterbank.t() @ power)

    def forward(self, waveform: Tensor) -> Tensor:
        """Waveforms ``(B, T)`` of at least `min_samples` to probabilities ``(B, classes)``."""
        x = self.bands_norm(self.log_mel(waveform)).transpose(1, 2)[:, None]
        for block in self.blocks:
            x = block(x.contiguous(memory_format=torch.channels_last))
        frames = x.mean(3)
        embedding = F.relu(self.embed(frames.amax(2) + frames.mean(2)))
        return self.classify(embedding).sigmoid()  # type: ignore[no-any-return]
