"""Mel filterbank and log-mel spectrogram as CLAP's audio tower takes them in (Slaney's scale and area norm).

Slaney's mel scale is linear to 1 kHz and logarithmic above it, 27 mels for every factor of 6.4:

    mel(f) = 3 f / 200                        for f < 1000 Hz (so mel(1000) = 15)
    mel(f) = 15 + 27 ln(f / 1000) / ln(6.4)   above

Source: M. Slaney, "Auditory Toolbox", 1998 (the default of librosa, with which CLAP was trained).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from soundsieve.errors import ConfigError

POWER_FLOOR = 1e-10
"""Smallest power that the logarithm sees."""

FLOOR_DB = 10 * math.log10(POWER_FLOOR)
"""The log-mel value of silence: -100 dB."""

_BREAK_HZ, _BREAK_MEL, _LOG_STEP = 1000.0, 15.0, math.log(6.4) / 27


def hz_to_mel(hz: np.ndarray) -> np.ndarray:
    """Frequencies in Hz to Slaney mels."""
    hz = np.asarray(hz, dtype=np.float64)
    above = _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz * _BREAK_MEL / _BREAK_HZ, above)


def mel_to_hz(mel: np.ndarray) -> np.ndarray:
    """Slaney mels to frequencies in Hz; the inverse of `hz_to_mel`."""
    mel = np.asarray(mel, dtype=np.float64)
    above = _BREAK_HZ * np.exp((np.maximum(mel, _BREAK_MEL) - _BREAK_MEL) * _LOG_STEP)
    return np.where(mel < _BREAK_MEL, mel * _BREAK_HZ / _BREAK_MEL, above)


def mel_filterbank(sample_rate: int, n_fft: int, n_mels: int, fmin_hz: float, fmax_hz: float) -> Tensor:
    """Triangular filters, equally spaced in Slaney mels, each of area one (Hz times weight).

    Band m rises from edge m to edge m + 1 and falls to edge m + 2.
    Its height is 2 / (edge[m+2] - edge[m]).

    Args:
        sample_rate: Hz.
        n_fft: transform length in samples.
        n_mels: number of bands.
        fmin_hz: lowest edge.
        fmax_hz: highest edge, at most half the sample rate.

    Returns:
        Shape ``(n_fft // 2 + 1, n_mels)``, float32.

    Raises:
        ConfigError: the edges do not lie in order within 0 and half the sample rate.
    """
    if not 0 <= fmin_hz < fmax_hz <= sample_rate / 2:
        raise ConfigError(f"mel edges need 0 <= fmin < fmax <= {sample_rate / 2:g} Hz; got {fmin_hz:g} and {fmax_hz:g}")
    bins_hz = np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)
    low, high = hz_to_mel(np.array([fmin_hz, fmax_hz]))
    edges_hz = mel_to_hz(np.linspace(low, high, n_mels + 2))
    left, centre, right = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rising = (bins_hz[:, None] - left) / (centre - left)
    falling = (right - bins_hz[:, None]) / (right - centre)
    weights = np.maximum(0, np.minimum(rising, falling)) * (2 / (right - left))
    return torch.from_numpy(weights.astype(np.float32))


def power_to_db(power: Tensor) -> Tensor:
    """10 log10(power), never below `FLOOR_DB`."""
    return 10 * torch.log10(power.clamp(min=POWER_FLOOR))
