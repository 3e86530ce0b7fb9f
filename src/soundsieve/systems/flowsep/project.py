"""A generated sound as a mask: what of the mixture is where the generated sound is.

The answer is then a part of the mixture, with the mixture's phases: answer and residual add up, and the two can be told
apart by subtraction. Where sounds overlap it has the holes and remains that a mask has.

A generated waveform has phases of its own, so the magnitudes of single bins scatter about those of the sound. Averaged
over a few neighbours they do not: with |X| of the mixture and |Y| of what was generated, averaged over 11 bins and
5 frames of a spectrogram (172 Hz, 80 ms at 16 kHz), the mask is that of Wiener's filter on magnitudes, of a target |Y|
in a rest of max(|X| - |Y|, 0):

    mask = |Y| / (|Y| + max(|X| - |Y|, 0)) = min(1, |Y| / |X|)
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from soundsieve.dsp.stft import istft, stft

_SIZE = {"n_fft": 1024, "hop_length": 256}
_BINS, _FRAMES = 11, 5


def project(mixture: Tensor, answer: Tensor) -> Tensor:
    """What of mixtures lies where answers are.

    Args:
        mixture: shape ``(B, T)``.
        answer: generated, at their level in the mixtures, same shape.

    Returns:
        Mixtures through the mask, shape ``(B, T)``.
    """
    spectrum = stft(mixture, **_SIZE)
    there, made = _averaged(spectrum.abs()), _averaged(stft(answer, **_SIZE).abs())
    mask = (made / there.clamp_min(1e-12)).clamp_max(1.0)
    return istft(mask * spectrum, **_SIZE, length=mixture.shape[1])


def _averaged(magnitude: Tensor) -> Tensor:
    """``(B, F, N)`` to the same shape; at the edges, the average of those that there are."""
    padding = (_BINS // 2, _FRAMES // 2)
    pooled = F.avg_pool2d(magnitude[:, None], (_BINS, _FRAMES), 1, padding, count_include_pad=False)
    return pooled[:, 0]
