"""3 x 3 convolutions in half of the multiplications: four rows of the output at a time, by Winograd's algorithm.

Along time, four outputs y_i = sum_j w_j x_{i+j} of a filter of three taps need six products in place of twelve. With
polynomials in mind: convolution is multiplication of polynomials, and a product of degree 5 is known by its values at
six points, here 0, 1, -1, 2, -2 and infinity. Transposed (Winograd, 1980; Lavin and Gray, 2015, arXiv 1509.09308):

    y = A^T [(G w) * (B^T x)],

    G   = [ 1/4    0     0  ]   B^T = [ 4  0 -5  0  1  0 ]   A^T = [ 1  1  1  1  1  0 ]
          [-1/6  -1/6  -1/6 ]         [ 0 -4 -4  1  1  0 ]         [ 0  1 -1  2 -2  0 ]
          [-1/6   1/6  -1/6 ]         [ 0  4 -4 -1  1  0 ]         [ 0  1  1  4  4  0 ]
          [ 1/24  1/12  1/6 ]         [ 0 -2 -1  2  1  0 ]         [ 0  1 -1  8 -8  1 ]
          [ 1/24 -1/12  1/6 ]         [ 0  2 -1 -2  1  0 ]
          [  0     0     1  ]         [ 0  4  0 -5  0  1 ]

Each of the six products is a 1 x 3 convolution over all channels, along frequency. What is added, once for every
channel, is little beside what is saved, once for every pair of channels, where there are many of them. All is float32,
with about three times the rounding error of the sum of nine.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 4
"""Rows of the output that are made together."""

_G = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)


def transformed(weight: Tensor) -> Tensor:
    """G w: a weight ``(outputs, inputs, 3, 3)`` to the six of `convolve`, ``(6, outputs, inputs, 1, 3)``."""
    points = torch.tensor(_G, dtype=torch.float64, device=weight.device)
    # One after the other, each in the layout of its convolution: (outputs, 1, 3, inputs) in memory.
    six = [torch.einsum("j,oijk->oki", point, weight.double()).float() for point in points]
    return torch.stack(six)[:, :, None].permute(0, 1, 4, 2, 3)


def convolve(x: Tensor, six: Tensor, bias: Tensor | None = None) -> Tensor:
    """The 3 x 3 convolution with zeros around the bins, and none around the rows.

    Args:
        x: shape ``(1, inputs, n + 2, F)``, float32, channels last, any n from 1 up.
        six: what `transformed` made of the weight.
        bias: shape ``(outputs,)``.

    Returns:
        Shape ``(1, outputs, n, F)``, channels last.
    """
    n = x.shape[2] - 2
    tiles = -(-n // TILE)
    rows = F.pad(x.permute(0, 2, 3, 1)[0], (0, 0, 0, 0, 0, TILE * tiles - n))  # (rows, F, inputs), as in memory
    x0, x1, x2, x3, x4, x5 = (rows[i : i + TILE * tiles - 3 : TILE] for i in range(6))
    # B^T x, from differences that several of its lines share.
    x4_x2, x3_x1 = x4 - x2, x3 - x1
    even, odd = torch.sub(x4, x2, alpha=4), torch.sub(x3, x1, alpha=4)
    values = (
        torch.add(x4_x2, x0 - x2, alpha=4),
        even + odd,
        even - odd,
        torch.add(x4_x2, x3_x1, alpha=2),
        torch.sub(x4_x2, x3_x1, alpha=2),
        torch.sub(x5 - x3, x3_x1, alpha=4),
    )
    del rows, x0, x1, x2, x3, x4, x5, x4_x2, x3_x1, even, odd
    # A^T m. The second value is in all four lines once, and brings the bias along.
    m0, m1, m2, m3, m4, m5 = (
        F.conv2d(value[None].permute(0, 3, 1, 2), weight, bias if k == 1 else None, padding=(0, 1)).permute(0, 2, 3, 1)[
            0
        ]
        for k, (value, weight) in enumerate(zip(values, six, strict=True))
    )
    del values
    y = m0.new_empty(tiles, TILE, *m0.shape[1:])
    sum12, difference12, sum34, difference34 = m1 + m2, m1 - m2, m3 + m4, m3 - m4
    torch.add(sum12, sum34, out=y[:, 0]).add_(m0)
    torch.add(difference12, difference34, alpha=2, out=y[:, 1])
    torch.add(sum12, sum34, alpha=4, out=y[:, 2])
    torch.add(difference12, difference34, alpha=8, out=y[:, 3]).add_(m5)
    return y.flatten(0, 1)[None, :n].permute(0, 3, 1, 2)  # in this order: the strides of a map that is channels last
