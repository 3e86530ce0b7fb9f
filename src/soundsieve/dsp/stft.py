"""Short-time Fourier transform and its inverse: periodic Hann window, frames centred on their hop, reflected edges.

Frame n holds the spectrum of w[k] x[n hop + k - n_fft / 2]. The inverse adds the windowed frames up again and divides
by the summed squared windows, sum_n w^2[t - n hop], so it is exact for any hop up to half a window whatever the window.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def _hann(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.hann_window(length, periodic=True, dtype=dtype, device=device)


def n_frames(length: int, hop_length: int) -> int:
    """How many frames `stft` makes of ``length`` samples."""
    return length // hop_length + 1


def stft(x: Tensor, *, n_fft: int, hop_length: int) -> Tensor:
    """Complex spectrogram.

    Args:
        x: waveform, shape ``(..., T)``, T >= 1. Where T is too short to reflect, the edges are zeros.
        n_fft: window and transform length in samples.
        hop_length: step between frames in samples.

    Returns:
        Shape ``(..., F, N)`` with ``F = n_fft // 2 + 1`` and ``N = T // hop_length + 1``.
    """
    shape, flat = x.shape, x.reshape(-1, x.shape[-1])
    mode = "reflect" if x.shape[-1] > n_fft // 2 else "constant"
    flat = F.pad(flat[:, None], (n_fft // 2, n_fft // 2), mode=mode)[:, 0]
    window = _hann(n_fft, x.dtype, x.device)
    spectrum = torch.stft(flat, n_fft, hop_length, window=window, center=False, return_complex=True)
    return spectrum.reshape(*shape[:-1], *spectrum.shape[-2:])


def istft(spectrum: Tensor, *, n_fft: int, hop_length: int, length: int) -> Tensor:
    """Inverse of `stft`: shape ``(..., F, N)`` to ``(..., length)``."""
    shape, flat = spectrum.shape, spectrum.reshape(-1, *spectrum.shape[-2:])
    window = _hann(n_fft, flat.real.dtype, flat.device)
    signal = torch.istft(flat, n_fft, hop_length, window=window, center=True, length=length)
    return signal.reshape(*shape[:-2], length)
