"""Maps made strip by strip along time, so that what is between two convolutions stays in a processor's cache.

A 3 x 3 convolution needs one row more on either side than it makes. A strip therefore begins with as many rows more as
there are convolutions ahead and loses one on either side with each (`Rows`), but for the ends of the whole map, where
there is nothing more to know: zeros stand around it, as around the map in one piece.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.nn.kept import Kept
from soundsieve.nn.linear import linear
from soundsieve.nn.winograd import convolve, transformed

STRIP = 2**21
"""About how many values the widest map of a strip holds (8 MB in float32)."""

MANY = 128
"""From this many channels on, in and out, convolutions in float32 are those of `soundsieve.nn.winograd`."""


class Rows(NamedTuple):
    """Consecutive rows of a map that has ``length`` of them, from ``start`` on."""

    values: Tensor
    """Shape ``(1, C, n, F)``, channels last."""
    start: int
    length: int

    @property
    def stop(self) -> int:
        """The row after the last one."""
        return self.start + self.values.shape[2]

    @property
    def is_first(self) -> bool:
        """Whether the map begins with these rows."""
        return self.start == 0

    @property
    def is_last(self) -> bool:
        """Whether the map ends with these rows."""
        return self.stop == self.length

    def part(self, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop`` of the map."""
        return self.values[:, :, start - self.start : stop - self.start]

    def holding(self, values: Tensor) -> Rows:
        """Other values, as many and in the same place."""
        return Rows(values, self.start, self.length)


class Conv(nn.Conv2d):
    """A convolution that keeps the map's size; with `strip`, one of rows, a batch norm folded in."""

    def __init__(self, inputs: int, outputs: int, size: int, *, bias: bool) -> None:
        super().__init__(inputs, outputs, size, padding=size // 2, bias=bias)
        self._folded, self._transformed = Kept(), Kept()

    def train(self, mode: bool = True) -> Conv:
        """As `torch.nn.Module.train`; training lets go of what is kept."""
        if mode:
            self._folded.clear()
            self._transformed.clear()
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, N, F)`` to as many channels as there are outputs."""
        if self.kernel_size == (1, 1) and x.is_contiguous(memory_format=torch.channels_last):
            flat = linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
            return flat.permute(0, 3, 1, 2)
        return super().forward(x)

    def strip(self, x: Rows, bias: Tensor | None = None, norm: nn.BatchNorm2d | None = None) -> Rows:
        """A 3 x 3 convolution in evaluation, a row shorter wherever the map goes on: ``conv(x) + bias``.

        Args:
            x: rows, at least three of them unless they are the whole map.
            bias: shape ``(outputs,)``.
            norm: follows the convolution, before the bias: ``norm(conv(x)) + bias``.
        """
        sources = [self.weight]
        if norm is not None:
            own = scale_and_bias(norm)[1]
            bias = own if bias is None else own + bias
            assert norm.running_var is not None
            assert norm.num_batches_tracked is not None
            # What a norm writes to its averages is not counted (it may be trained alone); that it heard a batch is.
            sources += [norm.weight, norm.running_var, norm.num_batches_tracked]

        def folded() -> Tensor:
            return self.weight if norm is None else self.weight * scale_and_bias(norm)[0][:, None, None, None]

        def laid_out() -> Tensor:
            return folded().to(self.weight.dtype).contiguous(memory_format=torch.channels_last)

        first, last = int(x.is_first), int(x.is_last)
        if self._has_many():
            values = F.pad(x.values, (0, 0, first, last)) if first or last else x.values
            y = convolve(values, self._transformed.get(lambda: transformed(folded()), *sources), bias)
        else:
            around = max(first, last)
            weight = self._folded.get(laid_out, *sources)
            y = F.conv2d(x.values, weight, None if bias is None else bias.to(weight.dtype), padding=(around, 1))
            y = y[:, :, around - first : y.shape[2] - (around - last)]
        return Rows(y, x.start + 1 - first, x.length)

    def _has_many(self) -> bool:
        """Whether fewer multiplications are worth their additions, in float32, which alone is exact enough for it."""
        exact = self.weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        return exact and min(self.in_channels, self.out_channels) >= MANY


def for_answers(module: nn.Module, x: Tensor) -> bool:
    """Whether this is for answers alone, on a processor: mixtures one by one, maps in strips."""
    return not (module.training or torch.is_grad_enabled() or x.device.type != "cpu")


def scale_and_bias(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """A batch norm in evaluation as ``scale x + bias``, each of shape ``(C,)``."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def by_strips(
    rows: Callable[[int, int], Rows],
    length: int,
    row_values: int,
    reach: int,
    *,
    step: int = 1,
    place: Tensor | None = None,
) -> Tensor:
    """A map of ``length`` rows, in strips that fit a processor's cache.

    Args:
        rows: from rows ``start`` to ``stop`` of what the map is made from, makes those of the map that depend on no
            others: all but ``reach`` or fewer on either side, unless the map ends there.
        length: number of rows.
        row_values: how many values the widest map has in a row.
        reach: see ``rows``.
        step: what ``rows`` is asked for begins and ends at multiples of this.
        place: a map of the result's shape to write it to, if there is one that is no longer needed. It may be one that
            ``rows`` reads: a strip is written when the one after it has been made.
    """
    reach = -(-reach // step) * step
    count = -(-length // max(2 * reach, STRIP // row_values))
    size = -(-length // (count * step)) * step  # about equally long ones
    if size >= length:
        return rows(0, length).values
    waiting: tuple[slice, Tensor] | None = None
    for start in range(0, length, size):
        stop = min(start + size, length)
        strip = rows(max(0, start - reach), min(length, stop + reach)).part(start, stop)
        if place is None:
            shape = (1, strip.shape[1], length, strip.shape[3])
            place = torch.empty(shape, dtype=strip.dtype, memory_format=torch.channels_last)
        if waiting is not None:
            place[:, :, waiting[0]] = waiting[1]
        waiting = slice(start, stop), strip
    assert place is not None
    assert waiting is not None
    place[:, :, waiting[0]] = waiting[1]
    return place
