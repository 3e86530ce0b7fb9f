"""A bank of overlapping triangular bands that is its own way back.

With weights w[f, b] >= 0 that add up to one over b for every bin f, the same matrix serves both directions:

    band energy   E[b, n] = sum_f w[f, b] |X[f, n]|^2          (no energy is lost or counted twice)
    bin mask      m[f, n] = sum_b w[f, b] m[b, n]              (a band mask of ones is a bin mask of ones)
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def _mel(hz: np.ndarray) -> np.ndarray:
    return 2595.0 * np.log10(1.0 + hz / 700.0)


def _hz(mel: np.ndarray) -> np.ndarray:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


def band_centres(sample_rate: int, n_fft: int, n_bands: int, fmin_hz: float, fmax_hz: float) -> np.ndarray:
    """Centres in bins (fractional), mel-spaced from ``fmin_hz`` to ``fmax_hz`` but at least 1.5 bins apart.

    Mel spacing alone would put several of the lowest bands into one bin. The spacing is therefore
    max(1.5, a * mel step), with the start of the mel-spaced part found so that the last centre is ``fmax_hz``.
    """
    bin_hz = sample_rate / n_fft
    first, last = fmin_hz / bin_hz, fmax_hz / bin_hz
    if first + 1.5 * (n_bands - 1) > last:
        raise ValueError(
            f"{n_bands} bands at least 1.5 bins apart do not fit {fmin_hz} to {fmax_hz} Hz at n_fft {n_fft}"
        )
    for linear in range(n_bands):  # the first `linear` steps are 1.5 bins wide, the rest even in mel
        start = first + 1.5 * linear
        rest = (
            _hz(np.linspace(_mel(np.array(start * bin_hz)), _mel(np.array(last * bin_hz)), n_bands - linear)) / bin_hz
        )
        if len(rest) < 2 or rest[1] - rest[0] >= 1.5:
            return np.concatenate([first + 1.5 * np.arange(linear), rest])
    raise AssertionError("unreachable: equal spacing always fits")


def band_matrix(sample_rate: int, n_fft: int, n_bands: int, fmin_hz: float, fmax_hz: float) -> Tensor:
    """Weights w[f, b], shape ``(n_fft // 2 + 1, n_bands)``, float32; every row adds up to one.

    Between two centres the weights are linear; below the first and above the last centre the outermost band takes all.

    Args:
        sample_rate: Hz.
        n_fft: transform length in samples.
        n_bands: number of bands.
        fmin_hz: centre of the lowest band.
        fmax_hz: centre of the highest band.

    Raises:
        ValueError: the bands would be closer than 1.5 bins.
    """
    centres = band_centres(sample_rate, n_fft, n_bands, fmin_hz, fmax_hz)
    position = np.interp(np.arange(n_fft // 2 + 1), centres, np.arange(n_bands))
    distance = np.abs(position[:, None] - np.arange(n_bands)[None])
    return torch.from_numpy(np.maximum(0.0, 1.0 - distance).astype(np.float32))
