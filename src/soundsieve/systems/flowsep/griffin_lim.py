"""A vocoder that needs no training: the waveform whose spectrogram comes nearest to the one that is given.

Two things are missing of a mel spectrogram Y. The **magnitudes** between its bands: X >= 0 with X M nearest to Y, M
being the filters, found by the multiplicative updates of Lee and Seung ("Algorithms for non-negative matrix
factorization", NIPS 2000),

    X <- X * (Y M') / (X M M')

And the **phases**: those of a waveform whose magnitudes are X, found by going back and forth between the two (Griffin
and Lim, IEEE Trans. ASSP 32, 1984), each time a little further than the last change asks for (Perraudin, Balazs and
Sondergaard, "A fast Griffin-Lim algorithm", WASPAA 2013).

It stands in for a BigVGAN in small models: one that a processor trains in minutes is less true to the spectrogram.
Phases are found for a window at a time; where two windows of a long recording meet, they are cross-faded as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.dsp.mel import mel_filterbank
from soundsieve.dsp.stft import istft, stft
from soundsieve.errors import ConfigError
from soundsieve.systems.flowsep.mel import MelConfig

_LEAST = 1e-12


@dataclass(frozen=True)
class GriffinLimConfig:
    """How long a `GriffinLim` looks; its sizes are those of the spectrogram.

    Raises:
        ConfigError: a number is out of range.
    """

    updates: int = 12
    """Of the magnitudes."""
    iterations: int = 16
    """Back and forth for the phases."""
    momentum: float = 0.99
    """How much further a step goes than it should; 0 is Griffin and Lim's own."""

    def __post_init__(self) -> None:
        if self.updates < 0 or self.iterations < 1:
            raise ConfigError("Griffin-Lim: updates is at least 0, iterations at least 1")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"Griffin-Lim: momentum lies between 0 and 1, not {self.momentum}")


class GriffinLim(nn.Module):
    """Natural logarithms of mel magnitudes to a waveform, without weights.

    Args:
        config: how long it looks.
        mel: of which spectrogram.
    """

    filters: Tensor

    def __init__(self, config: GriffinLimConfig, mel: MelConfig) -> None:
        super().__init__()
        self.config, self.mel = config, mel
        filters = mel_filterbank(mel.sample_rate, mel.n_fft, mel.n_mels, mel.fmin_hz, mel.fmax_hz)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, mel: Tensor, known: Tensor | None = None) -> Tensor:
        """``(B, bands, N)`` to ``(B, hop N)``; where nothing is above the floor there is silence.

        Where it begins with a known waveform ``(B, t)``, that is what it begins with, but for the last ``n_fft`` of
        these samples; what comes after goes on from there.
        """
        magnitudes = self.magnitudes(mel.transpose(1, 2)).transpose(1, 2)
        size, length = {"n_fft": self.mel.n_fft, "hop_length": self.mel.hop_length}, mel.shape[2] * self.mel.hop_length
        magnitudes = F.pad(magnitudes, (0, 1))  # the frame that is centred on the end
        g = torch.Generator().manual_seed(0)  # on the CPU: every device starts from the same
        angles = 2 * torch.pi * torch.rand(magnitudes.shape[1:], generator=g).to(mel.device)
        spectrum = self._begun(torch.polar(magnitudes, angles.expand_as(magnitudes)), known)
        before = torch.zeros_like(spectrum)
        for _ in range(self.config.iterations):
            found = stft(istft(spectrum, **size, length=length), **size)
            further = (found + self.config.momentum * (found - before)).angle()
            spectrum = self._begun(torch.polar(magnitudes, further), known)
            before = found
        return istft(spectrum, **size, length=length)

    def _begun(self, spectrum: Tensor, known: Tensor | None) -> Tensor:
        """The spectrum ``(B, F, N)`` with the frames that lie in what is known as they are there."""
        n_fft, hop = self.mel.n_fft, self.mel.hop_length
        if known is None or known.shape[1] < n_fft:
            return spectrum
        count = (known.shape[1] - n_fft // 2) // hop + 1
        there = stft(known, n_fft=n_fft, hop_length=hop)[..., :count]
        return torch.cat([there, spectrum[..., count:]], dim=2)

    def magnitudes(self, mel: Tensor) -> Tensor:
        """Log-mel ``(B, N, bands)`` to magnitudes of bins ``(B, N, F)``."""
        floor = torch.tensor(self.mel.floor, device=mel.device).log() + 0.1
        there = torch.where(mel > floor, mel.exp(), 0.0)
        shares = self.filters / self.filters.sum(0)
        found = (there / self.filters.sum(0)) @ shares.T / shares.sum(1).clamp_min(1e-8) + _LEAST
        wanted = there @ self.filters.T
        for _ in range(self.config.updates):
            found = found * wanted / (found @ self.filters @ self.filters.T + _LEAST)
        return found
