"""Loudness of a recording as ITU-R BS.1770-4 measures it, in LUFS (LKFS), and gains to reach one.

Each channel is filtered (K-weighting: a shelf of +4 dB above 1.7 kHz for the head, a high pass at 38 Hz) and cut into
blocks of 400 ms that start every 100 ms. With z_c the mean square of channel c in a block, the loudness of the block is

    l = -0.691 + 10 log10(sum_c z_c)

(left, right and centre weigh the same; surround channels, which weigh more, are not taken). The loudness of the whole
is the same formula of the mean of z over the blocks that pass two gates: louder than -70 LUFS, and then less than 10 LU
below what the blocks that passed the first gate measure together.

The standard tabulates both filters at 48 kHz alone. Other rates take the same analogue filter: a biquad at the rate f
is the bilinear transform s = (1 - z^-1) / (1 + z^-1) of a ratio of quadratics (B0 + B1 s + B2 s^2) / (A0 + A1 s +
A2 s^2), whose corner frequency f0 lies at s = sqrt(A0 / A2) = tan(pi f0 / f). So s is scaled by the ratio of the two
tangents, which keeps the corner where it is, and transformed back.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BLOCK_S = 0.4
STEP_S = 0.1
ABSOLUTE_GATE_LUFS = -70.0
RELATIVE_GATE_LU = -10.0

_TABLE_RATE = 48000
_SHELF = (1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585)
_HIGH_PASS = (1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621)
_DECAY_S = 0.25
"""After which the response of the high pass, whose poles have a time constant of 4 ms, is less than 1e-26."""
_LOWEST_RATE = 8000
_CHANNELS = 3


def loudness_lufs(x: Tensor, sample_rate: int) -> float:
    """Integrated loudness of a recording, in LUFS.

    Args:
        x: samples, shape ``(C, T)`` or ``(T,)``, of one to three channels (front); one shorter than a block of 0.4 s
            counts as one block.
        sample_rate: Hz, from 8000.

    Returns:
        LUFS; -inf where no block passes the absolute gate, as in silence.

    Raises:
        ValueError: the shape, the number of channels or the rate is not one of these.

    Example (997 Hz at full scale in one channel; the standard says -3.01):
        >>> tone = torch.sin(2 * math.pi * 997 * torch.arange(48000) / 48000)
        >>> round(loudness_lufs(tone, 48000), 2)
        -3.01
    """
    channels = x if x.ndim == 2 else x[None]
    if channels.ndim != 2 or not 1 <= len(channels) <= _CHANNELS or channels.shape[1] == 0:
        raise ValueError(f"loudness is measured of (C, T) samples, C from 1 to {_CHANNELS}; got {tuple(x.shape)}")
    if sample_rate < _LOWEST_RATE:
        raise ValueError(f"loudness is measured from {_LOWEST_RATE} Hz up, got {sample_rate}")
    power = k_weighted(channels, sample_rate).square().sum(0)
    block = min(round(BLOCK_S * sample_rate), len(power))
    running = torch.nn.functional.pad(power.cumsum(0), (1, 0))
    starts = torch.arange(0, len(power) - block + 1, round(STEP_S * sample_rate))
    z = (running[starts + block] - running[starts]).clamp_min(0) / block
    for_all = z[_lufs(z) > ABSOLUTE_GATE_LUFS]
    if not len(for_all):
        return -math.inf
    gate = float(_lufs(for_all.mean())) + RELATIVE_GATE_LU
    return float(_lufs(for_all[_lufs(for_all) > gate].mean()))


def k_weighted(x: Tensor, sample_rate: int) -> Tensor:
    """Samples through both filters of the standard: ``(..., T)`` to ``(..., T)``, float64.

    The filters are applied as a product of spectra, which is their convolution, over more samples than there are by the
    time that the response takes to vanish.
    """
    size = x.shape[-1]
    n = 1 << (size + math.ceil(_DECAY_S * sample_rate) - 1).bit_length()
    spectrum = torch.fft.rfft(x.double(), n)
    for numerator, denominator in (_SHELF, _HIGH_PASS):
        b, a = _at_rate(numerator, denominator, sample_rate)
        spectrum = spectrum * torch.fft.rfft(b, n) / torch.fft.rfft(a, n)
    filtered: Tensor = torch.fft.irfft(spectrum, n)
    return filtered[..., :size]


def _lufs(z: Tensor) -> Tensor:
    return -0.691 + 10 * z.log10()


def _at_rate(numerator: tuple[float, ...], denominator: tuple[float, ...], sample_rate: int) -> tuple[Tensor, Tensor]:
    """Coefficients of a biquad of the table at another rate, as the head of this module derives."""
    (b0, b1, b2), (a0, a1, a2) = _analogue(numerator), _analogue(denominator)
    corner = math.sqrt(a0 / a2)
    ratio = corner / math.tan(math.atan(corner) * _TABLE_RATE / sample_rate)
    scale = 1.0, ratio, ratio**2
    digital = [_digital(b0 * scale[0], b1 * scale[1], b2 * scale[2]), _digital(a0, a1 * scale[1], a2 * scale[2])]
    return torch.tensor(digital[0], dtype=torch.float64), torch.tensor(digital[1], dtype=torch.float64)


def _analogue(z: tuple[float, ...]) -> tuple[float, float, float]:
    """The quadratic in s of c0 + c1 z^-1 + c2 z^-2, times (1 + s)^2 (common to both sides of a biquad)."""
    return z[0] + z[1] + z[2], 2 * (z[0] - z[2]), z[0] - z[1] + z[2]


def _digital(s0: float, s1: float, s2: float) -> tuple[float, float, float]:
    """The reverse, times (1 + z^-1)^2."""
    return s0 + s1 + s2, 2 * (s0 - s2), s0 - s1 + s2
