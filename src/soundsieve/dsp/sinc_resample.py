"""Resampling inside a network: a Hann-windowed sinc as one strided convolution, so that gradients pass.

Between samples, a signal band-limited below f_c is the sum of its samples' sinc pulses. Writing o and n for the old and
new rates divided by their greatest common divisor, output j lies at time j / n and input k at time k / o (in units of
one input block), hence

    y[j] = sum_k x[k] h(k / o - j / n),    h(t) = (b / o) sinc(b t) w(b t / L),

with b = 0.99 min(o, n) the doubled cut-off (just below the lower Nyquist rate), sinc(u) = sin(pi u) / (pi u),
w(u) = cos^2(pi u / 2) for |u| < 1 and 0 beyond (a Hann window) and L = 6 zero crossings a side. As h depends on j only
through j mod n, once k is counted from the block that j lies in, there are n different filters and the input advances
by o samples a block: a convolution of n output channels and stride o, whose channels are interleaved.

Width 6 and roll-off 0.99 are the defaults of torchaudio, with which CLAPSep was trained. Files are resampled by the
sharper `soundsieve.audio.resample` instead.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

_ZERO_CROSSINGS = 6
_ROLL_OFF = 0.99


@functools.lru_cache(maxsize=8)
def _filters(old: int, new: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, int]:
    """The n filters, shape ``(n, 1, 2 width + o)``, and how many samples they reach back."""
    with torch.inference_mode(False):  # what is kept must serve training too
        return _make_filters(old, new, dtype, device)


def _make_filters(old: int, new: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, int]:
    band = _ROLL_OFF * min(old, new)
    width = math.ceil(_ZERO_CROSSINGS * old / band)
    inputs = torch.arange(-width, width + old, dtype=torch.float64) / old
    outputs = torch.arange(new, dtype=torch.float64) / new
    t = (band * (inputs - outputs[:, None])).clamp(-_ZERO_CROSSINGS, _ZERO_CROSSINGS)
    filters = band / old * torch.sinc(t) * torch.cos(math.pi * t / (2 * _ZERO_CROSSINGS)) ** 2
    return filters[:, None].to(device=device, dtype=dtype), width


def sinc_resample(x: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """Resample waveforms ``(B, T)`` to ``(B, ceil(T to_rate / from_rate))``; equal rates return ``x`` as it is."""
    if from_rate == to_rate:
        return x
    divisor = math.gcd(from_rate, to_rate)
    old, new = from_rate // divisor, to_rate // divisor
    filters, width = _filters(old, new, x.dtype, x.device)
    blocks = F.conv1d(F.pad(x[:, None], (width, width + old)), filters, stride=old)
    return blocks.transpose(1, 2).flatten(1)[:, : -(-x.shape[1] * new // old)]
