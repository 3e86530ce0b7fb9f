"""ResUNet: a residual U-Net over a spectrogram, told by an embedding what to look for.

Two published networks are one here, with the same shape and a few habits of their own (``ResUNetConfig.style``):

- ``resunet30`` is the network of USS and AudioSep (Kong et al., 2021, arXiv 2109.05418, and 2023, arXiv 2305.07447);
- ``lassnet`` is that of LASS-Net (Liu et al., 2022, arXiv 2203.15147), which came before it.

=================== ============================================ =================================================
style               resunet30                                    lassnet
=================== ============================================ =================================================
additive FiLM       W e + b, between batch norm and activation   two layers with ReLU, after the convolution
blocks a level      1                                            2
upsampling          kernel = stride                              3 x 3 kernel, stride 2: n becomes 2 n + 1
bins left out       the last 1, so that 2^k n remain             the last 2, so that 2^k n - 1 remain
at the ends         1 x 1 convolutions                           one more block before the last convolution
=================== ============================================ =================================================

Maps are ``(B, C, N, F)``: frames, then bins. Where no gradients are asked for, large maps are made strip by strip along
time, so that what is between two convolutions stays in the processor's cache, and batch norms are folded into the
convolutions before them: the same function, in a third of the time and memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.errors import ConfigError
from soundsieve.nn.kept import Kept
from soundsieve.nn.linear import linear

SLOPE = 0.01
"""Of the leaky ReLUs."""

_STRIP = 2**21
"""About how many values the widest map of a strip holds (8 MB)."""

_ROWS = 16
"""How many times as long as what is cut off it a strip is at least."""

Pair = tuple[int, int]


@dataclass(frozen=True)
class ResUNetConfig:
    """Sizes of a `ResUNet`; the defaults are AudioSep's."""

    style: Literal["resunet30", "lassnet"] = "resunet30"
    """Whose habits it has; see the top of this file."""
    condition: int = 512
    """Width D of the embedding."""
    channels: tuple[int, ...] = (32, 64, 128, 256, 384, 384)
    """Of each level, downwards."""
    strides: tuple[Pair, ...] = ((2, 2), (2, 2), (2, 2), (2, 2), (2, 2), (1, 2))
    """By how much each level's map is reduced for the next, in time and frequency."""
    maps: int = 3
    """Of the output."""

    def __post_init__(self) -> None:
        if not self.channels or len(self.channels) != len(self.strides) or min(self.channels) < 1:
            raise ConfigError("ResUNet: channels and strides have one entry a level, channels are at least 1")
        if min(self.condition, self.maps) < 1 or min(min(stride) for stride in self.strides) < 1:
            raise ConfigError("ResUNet: condition, maps and strides are at least 1")
        if self.overlapping and any(stride != (2, 2) for stride in self.strides):
            raise ConfigError("ResUNet: every stride is (2, 2) in the style of lassnet")

    @property
    def overlapping(self) -> bool:
        """Whether the upsampling kernels are larger than their stride."""
        return self.style == "lassnet"

    @property
    def blocks(self) -> int:
        """Residual blocks of each level."""
        return 2 if self.style == "lassnet" else 1

    @property
    def left_out(self) -> int:
        """Bins at the top that the network neither sees nor answers for."""
        return 2 if self.overlapping else 1

    @property
    def frames_step(self) -> int:
        """The number of frames is filled up to a multiple of this."""
        return math.prod(stride[0] for stride in self.strides)

    @classmethod
    def debug(cls, style: Literal["resunet30", "lassnet"] = "resunet30", *, condition: int = 16) -> ResUNetConfig:
        """A tiny one for tests."""
        lassnet = style == "lassnet"
        return cls(style, condition, (4, 6), ((2, 2), (2, 2) if lassnet else (1, 2)), 1 if lassnet else 3)

    def check_bins(self, n_fft: int) -> None:
        """Raise a ConfigError if spectra of this transform length do not fit the strides."""
        step = math.prod(stride[1] for stride in self.strides)
        if n_fft % (2 * step):
            raise ConfigError(f"ResUNet: n_fft {n_fft} must be a multiple of {2 * step}, by which it is reduced")


class Conv(nn.Conv2d):
    """A convolution that keeps the map's size, its batch norm folded in where `folded` is used."""

    def __init__(self, inputs: int, outputs: int, size: int, *, bias: bool) -> None:
        super().__init__(inputs, outputs, size, padding=size // 2, bias=bias)
        self._kept = Kept()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, N, F)`` to as many channels as there are outputs."""
        if self.kernel_size == (1, 1) and x.is_contiguous(memory_format=torch.channels_last):
            flat = linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
            return flat.permute(0, 3, 1, 2)
        return super().forward(x)

    def folded(self, x: Tensor, norm: nn.BatchNorm2d, shift: Tensor) -> Tensor:
        """``norm(conv(x)) + shift`` in evaluation, for a batch of one; shift ``(1, C, 1, 1)``."""
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, var = norm.running_mean, norm.running_var

        def make() -> Tensor:
            scale = norm.weight * torch.rsqrt(var + norm.eps)
            return (self.weight * scale[:, None, None, None]).contiguous(memory_format=torch.channels_last)

        weight = self._kept.get(make, self.weight, norm.weight, var)
        bias = norm.bias - mean * norm.weight * torch.rsqrt(var + norm.eps)
        return F.conv2d(x, weight, bias + shift.flatten(), padding=self.kernel_size[0] // 2)


def _film(config: ResUNetConfig, channels: int) -> nn.Module:
    """An embedding ``(B, D)`` to what is added to each channel, ``(B, C)``."""
    if config.style == "resunet30":
        return nn.Linear(config.condition, channels)
    wide = nn.Linear(config.condition, 2 * channels)
    return nn.Sequential(wide, nn.ReLU(), nn.Linear(2 * channels, channels), nn.ReLU())


def _norm(config: ResUNetConfig, channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, momentum=0.01 if config.style == "resunet30" else 0.1)


def _activated(norm: nn.BatchNorm2d, x: Tensor, shift: Tensor | None = None, slope: float = SLOPE) -> Tensor:
    """leaky ReLU(norm(x) + shift); shift ``(B, C, 1, 1)``."""
    if norm.training or torch.is_grad_enabled() or len(x) > 1:
        y: Tensor = norm(x)
        return F.leaky_relu(y if shift is None else y + shift, slope)
    bias = norm.bias if shift is None else norm.bias + shift.flatten()
    y = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, bias, eps=norm.eps)
    return F.leaky_relu_(y, slope)


class ResidualBlock(nn.Module):
    """Twice batch norm, leaky ReLU and a 3 x 3 convolution; the input, or a 1 x 1 convolution of it, leads around.

    Each half is shifted by the query: before its activation (resunet30) or after its convolution (lassnet, where the
    1 x 1 convolution is as well).
    """

    def __init__(self, inputs: int, outputs: int, config: ResUNetConfig) -> None:
        super().__init__()
        self.shifts_last = config.style == "lassnet"
        self.norm1, self.norm2 = _norm(config, inputs), _norm(config, outputs)
        self.conv1 = Conv(inputs, outputs, 3, bias=False)
        self.conv2 = Conv(outputs, outputs, 3, bias=False)
        self.film1 = _film(config, outputs if self.shifts_last else inputs)
        self.film2 = _film(config, outputs)
        self.shortcut = Conv(inputs, outputs, 1, bias=True) if inputs != outputs else None
        self.film_shortcut = _film(config, outputs) if self.shifts_last and inputs != outputs else None

    def shifts(self, embedding: Tensor) -> list[Tensor]:
        """What is added by `film1`, `film2` and `film_shortcut` (where there is one), each ``(B, C, 1, 1)``."""
        films = [film for film in (self.film1, self.film2, self.film_shortcut) if film is not None]
        return [film(embedding)[..., None, None] for film in films]

    def forward(self, x: Tensor, shifts: Sequence[Tensor]) -> Tensor:
        """``(B, inputs, N, F)`` to ``(B, outputs, N, F)``; the shifts of `shifts`."""
        first, second, *of_shortcut = shifts
        around = x if self.shortcut is None else self.shortcut(x)
        if of_shortcut:
            around = around + of_shortcut[0]
        h = _activated(self.norm1, x, None if self.shifts_last else first)
        if self.training or torch.is_grad_enabled() or len(x) > 1:
            h = self.conv1(h) + first if self.shifts_last else self.conv1(h)
            h = self.conv2(_activated(self.norm2, h, None if self.shifts_last else second))
        else:
            h = self.conv2(F.leaky_relu_(self.conv1.folded(h, self.norm2, self._before_second(first, second)), SLOPE))
        out: Tensor = (h + second if self.shifts_last else h) + around
        return out

    def _before_second(self, first: Tensor, second: Tensor) -> Tensor:
        """What comes after ``norm2`` and before its activation: norm(y + a) = norm(y) + a * weight / deviation."""
        if not self.shifts_last:
            return second
        assert self.norm2.running_var is not None
        scale = self.norm2.weight * torch.rsqrt(self.norm2.running_var + self.norm2.eps)
        return first * scale[:, None, None]


class Level(nn.Module):
    """Residual blocks one after the other."""

    def __init__(self, widths: Sequence[int], config: ResUNetConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(a, b, config) for a, b in pairwise(widths))
        self.widest = max(widths)

    @property
    def reach(self) -> int:
        """How many rows around a row it depends on: each 3 x 3 convolution adds one on either side."""
        return 2 * len(self.blocks)

    def prepared(self, embedding: Tensor) -> Callable[[Tensor], Tensor]:
        """The level for one query: the shifts are computed once, however many strips follow."""
        shifts = [block.shifts(embedding) for block in self.blocks]  # type: ignore[operator]

        def run(x: Tensor) -> Tensor:
            x = x.contiguous(memory_format=torch.channels_last)
            for block, each in zip(self.blocks, shifts, strict=True):
                x = block(x, each)
            return x

        return run


class Encoder(Level):
    """One level down: blocks, then average pooling; what is before the pooling goes to the decoder as well."""

    def __init__(self, inputs: int, outputs: int, stride: Pair, config: ResUNetConfig, *, stem: bool = False) -> None:
        super().__init__([outputs if stem else inputs] + [outputs] * config.blocks, config)
        self.stem = Conv(inputs, outputs, 1, bias=True) if stem else None
        self.pool = nn.AvgPool2d(stride)

    def forward(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, C, N, F)`` to this level's map and its pooled map."""
        run = self.prepared(embedding)

        def rows(start: int, stop: int) -> Tensor:
            part = x[:, :, start:stop]
            return run(part if self.stem is None else self.stem(part))

        y = _by_strips(rows, x.shape[2], x.shape[3] * self.widest, self.reach)
        return y, self.pool(y)


class Decoder(Level):
    """One level up: batch norm, activation and a transposed convolution, joined to the encoder's map; then blocks.

    The last one has a tail: blocks and a convolution that end the network.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: Pair, config: ResUNetConfig, *, is_last: bool = False
    ) -> None:
        super().__init__([2 * outputs] + [outputs] * config.blocks, config)
        kernel = (3, 3) if config.overlapping else stride
        self.stride, self.overlap = stride, int(config.overlapping)
        self.norm = _norm(config, inputs)
        # LASS-Net asks for nothing here, and its activation is a plain ReLU.
        self.film = None if config.style == "lassnet" else _film(config, inputs)
        self.slope = 0.0 if config.style == "lassnet" else SLOPE
        self.up = nn.ConvTranspose2d(inputs, outputs, kernel, stride, bias=False)
        self.tail = Level([outputs] * 2 if config.style == "lassnet" else [outputs], config) if is_last else None
        self.out = Conv(outputs, config.maps, 1, bias=True) if is_last else None

    def forward(self, x: Tensor, skip: Tensor, embedding: Tensor) -> Tensor:
        """The map from below and the encoder's map of this level to this level's map, or the network's output."""
        run = self.prepared(embedding)
        ending = None if self.tail is None else self.tail.prepared(embedding)
        shift = None if self.film is None else self.film(embedding)[..., None, None]

        def rows(start: int, stop: int) -> Tensor:
            y = run(torch.cat([self._raised(x, shift, start, stop), skip[:, :, start:stop]], dim=1))
            return y if ending is None or self.out is None else self.out(ending(y))

        reach = self.reach + (0 if self.tail is None else self.tail.reach)
        reach = -(-reach // self.stride[0]) * self.stride[0]  # cut between rows of the map below
        return _by_strips(rows, skip.shape[2], skip.shape[3] * self.widest, reach, step=self.stride[0])

    def _raised(self, x: Tensor, shift: Tensor | None, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop`` of the upsampled map, multiples of the stride both."""
        first = max(0, start // self.stride[0] - self.overlap)
        below = x[:, :, first : stop // self.stride[0]].contiguous(memory_format=torch.channels_last)
        # Row 2 n of an overlapping kernel, past the last, is left out; the bins are 2 n + 1 again.
        offset = start - first * self.stride[0]
        return self.up(_activated(self.norm, below, shift, self.slope))[:, :, offset : offset + stop - start]  # type: ignore[no-any-return]


def _by_strips(
    rows: Callable[[int, int], Tensor], length: int, row_values: int, reach: int, *, step: int = 1
) -> Tensor:
    """``rows(0, length)``, but where no gradients are asked for in strips that fit a processor's cache.

    Args:
        rows: makes rows ``start`` to ``stop`` of a map. Row r must depend on rows r - reach to r + reach alone: each
            strip is made that much longer on both sides, and cut.
        length: number of rows.
        row_values: how many values the widest map has in a row.
        reach: see ``rows``; a multiple of ``step``.
        step: strips begin and end at multiples of this.
    """
    size = max(_ROWS * reach, _STRIP // row_values) // step * step
    if torch.is_grad_enabled() or not 0 < size < length:
        return rows(0, length)
    whole: Tensor | None = None
    for start in range(0, length, size):
        stop = min(start + size, length)
        first, last = max(0, start - reach), min(length, stop + reach)
        strip = rows(first, last)[:, :, start - first : stop - first]
        if whole is None:
            shape = (len(strip), strip.shape[1], length, strip.shape[3])
            whole = torch.empty(shape, dtype=strip.dtype, device=strip.device, memory_format=torch.channels_last)
        whole[:, :, start:stop] = strip
    assert whole is not None
    return whole


class Center(Level):
    """The blocks at the bottom."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """``(B, C, N, F)`` to the same shape."""
        return self.prepared(embedding)(x)


class ResUNet(nn.Module):
    """A spectrogram of magnitudes and an embedding to maps of the spectrogram's size.

    Args:
        config: sizes.
    """

    def __init__(self, config: ResUNetConfig) -> None:
        super().__init__()
        self.config = config
        widths, strides, bottom = config.channels, config.strides, config.channels[-1]
        resunet30 = config.style == "resunet30"
        self.encoders = nn.ModuleList(
            Encoder(widths[max(k - 1, 0)] if k else 1, width, stride, config, stem=resunet30 and k == 0)
            for k, (width, stride) in enumerate(zip(widths, strides, strict=True))
        )
        self.center = Center([bottom, bottom], config)
        self.decoders = nn.ModuleList(
            Decoder(widths[min(k + 1, len(widths) - 1)], widths[k], strides[k], config, is_last=k == 0)
            for k in reversed(range(len(widths)))
        )
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, magnitude: Tensor, embedding: Tensor) -> Tensor:
        """Maps of a spectrogram, zero in the bins that are left out.

        Args:
            magnitude: shape ``(B, N, F)``, F one more than a multiple of all strides in frequency.
            embedding: shape ``(B, D)``.

        Returns:
            Shape ``(B, maps, N, F)``.
        """
        left_out, frames = self.config.left_out, magnitude.shape[1]
        x = F.pad(magnitude[:, None, :, :-left_out], (0, 0, 0, -frames % self.config.frames_step))
        if torch.is_grad_enabled() or x.device.type != "cpu":
            maps = self._maps(x, embedding)
        else:  # one after the other: as fast on a processor, in a fraction of the memory
            maps = torch.cat([self._maps(x[i : i + 1], embedding[i : i + 1]) for i in range(len(x))])
        return F.pad(maps[:, :, :frames], (0, left_out))

    def _maps(self, x: Tensor, embedding: Tensor) -> Tensor:
        skips = []
        for encoder in self.encoders:
            skip, x = encoder(x, embedding)
            skips.append(skip)
        x = self.center(x, embedding)
        for decoder in self.decoders:
            x = decoder(x, skips.pop(), embedding)
        return x
