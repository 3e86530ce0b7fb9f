"""What a mask can reach: the answer of a system that knows both sounds."""

from __future__ import annotations

from torch import Tensor

from soundsieve.dsp.stft import istft, stft


def ideal_ratio_mask(target: Tensor, interferer: Tensor, *, n_fft: int = 2048, hop_length: int = 640) -> Tensor:
    """Separate a mixture by the ideal ratio mask, keeping the phase of the mixture.

    With the spectra S and N of the two sounds, the mask of every cell is |S| / (|S| + |N|), and the answer is the
    inverse transform of mask x (S + N).

    Args:
        target: shape ``(..., T)``.
        interferer: the same shape.
        n_fft: window of the STFT in samples (64 ms at 32 kHz).
        hop_length: its step in samples (20 ms at 32 kHz).

    Returns:
        The estimate of the target, shape ``(..., T)``.
    """
    wanted = stft(target, n_fft=n_fft, hop_length=hop_length)
    rest = stft(interferer, n_fft=n_fft, hop_length=hop_length)
    mask = wanted.abs() / (wanted.abs() + rest.abs()).clamp_min(1e-12)
    return istft(mask * (wanted + rest), n_fft=n_fft, hop_length=hop_length, length=target.shape[-1])
