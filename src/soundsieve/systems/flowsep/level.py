"""The level of a generated sound: what it has to be multiplied by to lie in the mixture as the sound itself does.

A generated waveform has phases of its own, so it cannot be fitted to the mixture sample by sample. Its energies can: in
cells of a mel spectrogram, X of the mixture and Y of the answer, the ratio X / Y is the square of the gain wherever the
sound is alone, and larger wherever others join in. So the gain is found at the lower end of these ratios,

    gain^2 = the quartile of X / Y, each cell counting with Y.

A least squares fit, of energies or magnitudes, would follow whatever else is loud.
"""

from __future__ import annotations

import torch
from torch import Tensor

from soundsieve.dsp.mel import mel_filterbank
from soundsieve.dsp.stft import stft

_QUARTILE = 0.25
_N_FFT, _HOP, _BANDS = 1024, 160, 64
_LEAST_DB, _MOST_DB = -40.0, 6.0
"""Bounds of the gain. An answer that is rightly next to silent is not blown up to what else is in the mixture."""


def matching_gain(answer: Tensor, mixture: Tensor, sample_rate: int) -> Tensor:
    """What answers have to be multiplied by to have their level in the mixtures, shape ``(B,)``; see above.

    Args:
        answer: generated sounds, shape ``(B, T)``.
        mixture: what they are part of, same shape.
        sample_rate: Hz.

    Returns:
        Gains from -40 dB to 6 dB; 1 for a silent answer.
    """
    filters = mel_filterbank(sample_rate, _N_FFT, _BANDS, 0.0, sample_rate / 2).to(answer)

    def energies(x: Tensor) -> Tensor:
        power = stft(x, n_fft=_N_FFT, hop_length=_HOP).abs().square()
        return (power.transpose(1, 2) @ filters).flatten(1)

    there, made = energies(mixture), energies(answer)
    ratio, order = (there / made.clamp_min(1e-20)).sort(dim=1)
    share = made.gather(1, order).double().cumsum(1)
    place = (share < _QUARTILE * share[:, -1:]).sum(1, keepdim=True)
    gain = ratio.gather(1, place)[:, 0].sqrt()
    gain = gain.clamp(10 ** (_LEAST_DB / 20), 10 ** (_MOST_DB / 20))
    return torch.where(share[:, -1] > 0, gain, 1.0)
