"""SnakeBeta without aliasing: the activation of BigVGAN's blocks, made at twice the sample rate.

    SnakeBeta    z(y) = y + sin^2(alpha y) / (beta + 1e-9),    alpha and beta positive, one of each per channel

It bends a wave, and what that adds above half of the sample rate would fold back. So the signal is brought to twice the
rate, bent, and brought back, each time with the low-pass filter h of 12 taps that ends where the lower rate does:

    twice the rate   y[n] = 2 sum_m h[n + 5 - 2 m] x[m],     m = n/2 - 3 ... n/2 + 3:  6 taps for even n, 6 for odd n
    and back         out[t] = sum_j h[j] z[2 t - 5 + j],     12 taps

Beyond its ends a signal goes on with its first and last value, at either rate (so the released model pads).
Sources: SnakeBeta and the filters, Lee et al., "BigVGAN", ICLR 2023 (arXiv 2206.04658); Snake, Ziyin et al., 2020
(arXiv 2006.08195); upsampling around an activation, Karras et al., "StyleGAN3", 2021 (arXiv 2106.12423).
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

TAPS = 12
REACH = 6
"""An output depends on no sample of the input farther away than this."""

_EDGE = 3
"""Samples of the lower rate beyond either end that one of the filters asks for."""
_BLOCK = 8
"""Samples whose doubled rate is made by one matrix: more make it sparser, fewer make the products small."""
_STRIP = 2**16
"""About how many values of the input are in work at a time: with all that is made of them, a processor's cache."""


@cache
def lowpass() -> tuple[float, ...]:
    """The filter h: a sinc with its end at a quarter of the higher rate, under a Kaiser window, with sum 1.

    Kaiser's formulas (1974) give the attenuation of N taps, A = 2.285 (N/2 - 1) pi 4 w + 7.95 dB, where w = 0.3 is half
    of the transition's width (so the released model counts), and above 50 dB the window's parameter 0.1102 (A - 8.7).

    Returns:
        12 taps, symmetric.
    """
    attenuation_db = 2.285 * (TAPS / 2 - 1) * math.pi * 4 * 0.3 + 7.95  # 51 dB
    beta = 0.1102 * (attenuation_db - 8.7)
    taps = np.kaiser(TAPS, beta) * np.sinc(0.5 * (np.arange(TAPS) - (TAPS - 1) / 2))
    return tuple((taps / taps.sum()).tolist())


class SmoothSnake(nn.Module):
    """SnakeBeta at twice the sample rate, of ``(B, C, 1, T)`` to the same shape.

    Args:
        channels: C; each has its ``alpha`` and ``beta``, whose logarithms are stored.
    """

    taps: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.register_buffer("taps", torch.tensor(lowpass()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Any T from 1 up; without gradients, in float32 on a CPU, strip by strip and faster."""
        if not torch.is_grad_enabled() and x.device.type == "cpu" and x.dtype == self.alpha.dtype == torch.float32:
            made = x.new_empty(len(x), x.shape[3], x.shape[1])
            for one, place in zip(x, made, strict=True):
                self._by_strips(one[:, 0].t(), place)
            return made.permute(0, 2, 1)[:, :, None]
        return self._plain(x)

    def _plain(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        # Taps of h in the order of time that the formula above gives: h[11], h[9], ... for even n, h[10], ... for odd.
        even, odd = ((2 * self.taps.flip(0)[k::2]).expand(channels, 1, 1, -1).to(x.dtype) for k in (0, 1))
        around = F.pad(x, (_EDGE, _EDGE, 0, 0), mode="replicate")
        halves = (F.conv2d(around[..., :-1], even, groups=channels), F.conv2d(around[..., 1:], odd, groups=channels))
        y = torch.stack(halves, dim=-1).flatten(-2)
        alpha, beta = self.alpha.exp()[:, None, None], self.beta.exp()[:, None, None]
        z = F.pad(y + torch.sin(alpha * y).square() / (beta + 1e-9), (5, 6, 0, 0), mode="replicate")
        back = self.taps.expand(channels, 1, 1, -1).to(x.dtype)
        return F.conv2d(z, back, stride=(1, 2), groups=channels)

    def _by_strips(self, x: Tensor, out: Tensor) -> None:
        """The same of ``(T, C)``, written to ``out``.

        With u = alpha y in place of y, what is left to do is u + (alpha / beta) sin^2(u), and the filters do not mind:
        alpha comes in where the signal is copied, and goes out with the last filter.
        """
        length, channels = x.shape
        alpha = self.alpha.exp()
        bend = alpha / (self.beta.exp() + 1e-9)
        back = (self.taps / alpha[:, None]).view(channels, 1, 1, TAPS)
        size = min(max(_STRIP // channels, 2 * _BLOCK), length)
        blocks = -(-(size + 2 * _EDGE) // _BLOCK)
        double = torch.from_numpy(_doubling())
        copied = x.new_empty(blocks * _BLOCK + 2 * _EDGE, channels)
        blocked = copied.as_strided((blocks, _BLOCK + 2 * _EDGE, channels), (_BLOCK * channels, channels, 1))
        doubled = x.new_empty(2 * blocks * _BLOCK, channels)
        sine = torch.empty_like(doubled)
        for start in range(0, length, size):
            count = min(size, length - start)
            _copy(x, start - 2 * _EDGE, alpha, copied)
            torch.bmm(double.expand(blocks, -1, -1), blocked, out=doubled.view(blocks, 2 * _BLOCK, channels))
            # ``doubled`` begins with sample 2 (start - 3) of the doubled rate.
            if start == 0:
                doubled[: 2 * _EDGE] = doubled[2 * _EDGE]
            end = 2 * (length - start + _EDGE)
            doubled[end:] = doubled[min(end, len(doubled)) - 1]
            torch.sin(doubled, out=sine)
            doubled.addcmul_(sine.square_(), bend)
            made = F.conv2d(doubled[1 : 2 * count + TAPS - 1].t()[None, :, None], back, stride=(1, 2), groups=channels)
            out[start : start + count] = made[0, :, 0].t()


@cache
def _doubling() -> NDArray[np.float32]:
    """``y = D x`` for 8 samples x and 3 more on either side: 16 of the doubled rate, ``(16, 14)``."""
    n, m = np.arange(2 * _BLOCK)[:, None], np.arange(-_EDGE, _BLOCK + _EDGE)
    tap = n + 5 - 2 * m
    inside = (tap >= 0) & (tap < TAPS)
    return np.where(inside, 2 * np.array(lowpass())[tap * inside], 0).astype(np.float32)


def _copy(x: Tensor, start: int, scale: Tensor, place: Tensor) -> None:
    """Fill ``place`` with ``scale x`` from sample ``start`` on, the ends going on as they do."""
    length, first = len(x), max(0, -start)
    last = min(len(place), length - start)
    torch.mul(x[start + first : start + last], scale, out=place[first:last])
    place[:first] = place[first]
    place[last:] = place[last - 1]
