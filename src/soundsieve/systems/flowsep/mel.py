"""The log-mel spectrogram that FlowSep generates: 64 bands up to 8 kHz, a hundred frames a second, time first."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from soundsieve.dsp.mel import mel_filterbank
from soundsieve.dsp.stft import stft
from soundsieve.errors import ConfigError


@dataclass(frozen=True)
class MelConfig:
    """What a `LogMel` makes of a waveform; the defaults are the published ones.

    Raises:
        ConfigError: a size is not positive, the hop is longer than half a window, or the edges are out of range.
    """

    sample_rate: int = 16000
    """Hz."""
    n_fft: int = 1024
    """Window and transform length in samples."""
    hop_length: int = 160
    """Step between frames in samples."""
    n_mels: int = 64
    """Bands."""
    fmin_hz: float = 0.0
    """Lowest edge."""
    fmax_hz: float = 8000.0
    """Highest edge."""
    floor: float = 1e-5
    """Smallest magnitude that the logarithm sees."""

    def __post_init__(self) -> None:
        for name in ("sample_rate", "n_fft", "hop_length", "n_mels", "floor"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"mel: {name} must be above 0, not {getattr(self, name)!r}")
        if 2 * self.hop_length > self.n_fft:
            raise ConfigError(f"mel: hop_length {self.hop_length} must be at most half of n_fft {self.n_fft}")
        if not 0 <= self.fmin_hz < self.fmax_hz <= self.sample_rate / 2:
            raise ConfigError(f"mel: edges need 0 <= fmin_hz < fmax_hz <= {self.sample_rate / 2:g}")

    @classmethod
    def base(cls) -> MelConfig:
        """The published one."""
        return cls()

    @classmethod
    def debug(cls) -> MelConfig:
        """A small one for tests."""
        return cls(n_fft=512, n_mels=16)


class LogMel(nn.Module):
    """Waveforms to log-mel spectrograms: ``ln(max(|STFT| M, floor))`` with Slaney's filters M.

    Args:
        config: sizes.
    """

    filters: Tensor

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        self.config = config
        filters = mel_filterbank(config.sample_rate, config.n_fft, config.n_mels, config.fmin_hz, config.fmax_hz)
        self.register_buffer("filters", filters, persistent=False)

    def frames(self, samples: int) -> int:
        """How many frames there are of so many samples: one a hop, and without the one that is centred on the end.

        Where the length is no multiple of the hop, the frame that begins the last, shorter hop counts too.
        """
        return -(-samples // self.config.hop_length)

    def forward(self, waveform: Tensor) -> Tensor:
        """Waveforms ``(B, T)``, clipped to [-1, 1], to log-mel spectrograms ``(B, 1, N, n_mels)``, N = `frames` (T).

        Under autocast as well in the waveform's own type: bfloat16 has steps of 0.03 and more where logarithms lie.
        """
        n_fft, hop_length = self.config.n_fft, self.config.hop_length
        with torch.autocast(waveform.device.type, enabled=False):
            # In float64: the rounding of a float32 transform would show in quiet bands, at 1e-3 in the logarithm.
            spectrum = stft(waveform.clamp(-1, 1).double(), n_fft=n_fft, hop_length=hop_length)
            magnitude = spectrum.abs().to(waveform.dtype).transpose(1, 2)[:, : self.frames(waveform.shape[1])]
            return (magnitude @ self.filters).clamp(min=self.config.floor).log()[:, None]
