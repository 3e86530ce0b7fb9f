"""What FlowSep's VAE and its UNet are both made of: residual blocks of group norms and convolutions.

Maps are ``(B, C, N, F)``, time before frequency, as mel spectrograms and latents are, and best laid out channels last.
What is for answers alone, on a processor, takes ways with fewer multiplications and fewer passes through memory, to the
same sums in another order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.nn import strips
from soundsieve.nn.kept import Kept
from soundsieve.nn.linear import has_fast_products, linear
from soundsieve.nn.strips import MANY, Rows, by_strips, for_answers

_LARGE = 1024  # places from which on a map is worth the effort
_HEAVY = 2**18  # pairs of channels from which on transformed weights, 18 MB of them, are too much to keep
_AT_ONCE = 2**18  # values that are summed up at once: 1 MB


class Conv(strips.Conv):
    """A convolution that keeps the map's size."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__(inputs, outputs, size, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, N, F)`` to ``(B, outputs, N, F)``."""
        b, inputs, n, f = x.shape
        if self.kernel_size != (3, 3) or b * n * f >= self.out_channels or not has_fast_products(x):
            return super().forward(x)
        # Fewer places than filters: reading the weights is the work, and a matrix product reads them as they lie.
        around = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        columns = around.unfold(1, 3, 1).unfold(2, 3, 1).reshape(b, n, f, 9 * inputs)
        return linear(columns, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class ResBlock(nn.Module):
    """Twice group norm, SiLU and a 3 x 3 convolution; the input, or a 1 x 1 convolution of it, leads around.

    Args:
        inputs: channels in.
        outputs: channels out.
        groups: of the norms.
        eps: of the norms.
        time_width: width of an embedding that is added, by a Linear of its own, between the halves; 0 for none.
        dropout: probability, in training only, before the second convolution.
    """

    def __init__(
        self, inputs: int, outputs: int, *, groups: int, eps: float, time_width: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, eps)
        self.conv1 = Conv(inputs, outputs, 3)
        self.time = nn.Linear(time_width, outputs) if time_width else None
        self.norm2 = nn.GroupNorm(groups, outputs, eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = Conv(outputs, outputs, 3)
        self.skip = Conv(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """``(B, inputs, N, F)`` to ``(B, outputs, N, F)``; ``time`` is ``(B, time_width)``, after its SiLU."""
        shift = None if self.time is None else self.time(time)
        inputs, outputs = self.conv1.in_channels, self.conv1.out_channels
        if min(inputs, outputs) >= MANY and max(inputs, outputs) * outputs < _HEAVY and is_large(self.conv1, x):
            x = x.contiguous(memory_format=torch.channels_last)
            maps = [self._in_strips(x[i : i + 1], None if shift is None else shift[i]) for i in range(len(x))]
            return maps[0] if len(maps) == 1 else torch.cat(maps)
        y = self.conv1(activated(self.norm1, x))
        if shift is not None:
            y = y + shift[..., None, None]
        y = self.conv2(self.dropout(activated(self.norm2, y)))
        return self.skip(x) + y  # type: ignore[no-any-return]

    def _in_strips(self, x: Tensor, shift: Tensor | None) -> Tensor:
        """As `forward` of one map, whose convolutions are made by Winograd's algorithm."""
        length, width = x.shape[2:]
        bias = self.conv1.bias if shift is None else self.conv1.bias + shift  # type: ignore[operator]

        def first(start: int, stop: int) -> Rows:
            return self.conv1.strip(Rows(_activated(x[:, :, start:stop], into1), start, length), bias)

        def second(start: int, stop: int) -> Rows:
            made = self.conv2.strip(Rows(_activated(y[:, :, start:stop], into2), start, length), self.conv2.bias)
            made.values.add_(self.skip(x[:, :, made.start : made.stop]))
            return made

        into1 = scale_and_shift(self.norm1, x)
        y = by_strips(first, length, width * max(x.shape[1], self.conv1.out_channels), 1)
        into2 = scale_and_shift(self.norm2, y)
        return by_strips(second, length, width * y.shape[1], 1, place=y)


class Doubling(nn.Conv2d):
    """Every place twice, along both axes, and a 3 x 3 convolution.

    Of the nine places that an output adds up, four are different ones: the same is a transposed convolution of stride 2
    with the filter that the 3 x 3 one becomes where each of its taps is spread over 2 x 2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)
        self._spread = Kept()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, N, F)`` to ``(B, C, 2 N, 2 F)``."""
        if not is_large(self, x):
            return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        spread = self._spread.get(self._made, self.weight)
        return F.conv_transpose2d(x, spread, self.bias, stride=2, padding=1)

    def _made(self) -> Tensor:
        """The filter of the transposed convolution, shape ``(C, C, 4, 4)``."""
        taps = F.pad(self.weight.flip(2, 3), (1, 1, 1, 1))
        sums = taps[:, :, :-1, :-1] + taps[:, :, :-1, 1:] + taps[:, :, 1:, :-1] + taps[:, :, 1:, 1:]
        return sums.transpose(0, 1).contiguous(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> Doubling:
        """As `torch.nn.Module.train`; training lets go of what is kept."""
        if mode:
            self._spread.clear()
        return super().train(mode)


def activated(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """``silu(norm(x))``."""
    return F.silu(norm(x), inplace=not torch.is_grad_enabled())


def scale_and_shift(norm: nn.GroupNorm, x: Tensor) -> tuple[Tensor, Tensor]:
    """A group norm of one map as ``scale x + shift``, each of shape ``(C, 1, 1)``.

    Of every channel, n places, with a guess g of its mean: s = sum(x - g) and q = sum((x - g)^2) give its mean
    m = g + s / n and its variance v = q / n - (s / n)^2, without loss where the guess is near; a group of channels has
    the mean of their means, and the mean of their v + (m - that)^2 for a variance.

    Args:
        norm: with weights.
        x: shape ``(1, C, N, F)``, channels last.
    """
    places = x[0].permute(1, 2, 0).flatten(0, 1)
    guess = places[:64].mean(0)
    sums, squares = torch.zeros_like(guess, dtype=torch.float64), torch.zeros_like(guess, dtype=torch.float64)
    for some in torch.split(places, max(1, _AT_ONCE // places.shape[1])):
        some = some - guess
        sums += some.sum(0)
        squares += some.square_().sum(0)
    offset = sums / len(places)
    mean, variance = guess + offset, squares / len(places) - offset.square()
    means = mean.view(norm.num_groups, -1)
    group = means.mean(1, keepdim=True)
    spread = (variance.view_as(means) + (means - group).square()).mean(1, keepdim=True)
    scale = norm.weight * (spread + norm.eps).rsqrt().expand_as(means).flatten()
    shift = norm.bias - group.expand_as(means).flatten() * scale
    return scale.float()[:, None, None], shift.float()[:, None, None]


def zero(layer: nn.Conv2d) -> None:
    """Let a layer begin by putting out zeros, so that what it is added to passes unchanged."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def is_large(layer: nn.Conv2d, x: Tensor) -> bool:
    """Whether a map is large, for answers alone, and in float32, which alone is exact enough for another order."""
    exact = x.dtype == layer.weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return exact and for_answers(layer, x) and x.shape[2] * x.shape[3] >= _LARGE


def _activated(x: Tensor, into: tuple[Tensor, Tensor]) -> Tensor:
    scale, shift = into
    return F.silu(torch.addcmul(shift, x, scale), inplace=True)
