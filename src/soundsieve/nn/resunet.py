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

Maps are ``(B, C, N, F)``: frames, then bins. Training, and whatever asks for gradients, takes each map whole and norm
by norm. For answers alone, on a processor, the same function is computed one mixture at a time, strip by strip along
time (`soundsieve.nn.strips`), with what the query adds and the second batch norm of a block folded into the convolution
between them, and with fewer multiplications where there are many channels (`soundsieve.nn.winograd`). What is folded is
kept beside the weights, never in place of them.
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
from soundsieve.nn.strips import Conv, Rows, by_strips, for_answers, scale_and_bias

SLOPE = 0.01
"""Of the leaky ReLUs."""

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
    y: Tensor = norm(x)
    return F.leaky_relu(y if shift is None else y + shift.to(y.dtype), slope)


def _activated_at_once(norm: nn.BatchNorm2d, x: Tensor, shift: Tensor | None, slope: float = SLOPE) -> Tensor:
    """`_activated` in evaluation for a batch of one, the shift added to the norm's own bias."""
    bias = norm.bias if shift is None else norm.bias + shift.flatten()
    return F.leaky_relu_(F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, bias, eps=norm.eps), slope)


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
        h = self.conv1(h) + first if self.shifts_last else self.conv1(h)
        h = self.conv2(_activated(self.norm2, h, None if self.shifts_last else second))
        out: Tensor = (h + second if self.shifts_last else h) + around
        return out

    def strip(self, x: Rows, shifts: Sequence[Tensor]) -> Rows:
        """`forward` in evaluation, of rows: two fewer wherever the map goes on."""
        first, second, *of_shortcut = (shift.flatten() for shift in shifts)
        before, after = second, None
        if self.shifts_last:  # norm(y + a) = norm(y) + scale a, and what is added last is added to the sum
            before, after = first * scale_and_bias(self.norm2)[0], sum(of_shortcut, second)
        h = x.holding(_activated_at_once(self.norm1, x.values, None if self.shifts_last else shifts[0]))
        h = self.conv1.strip(h, before, self.norm2)
        h = self.conv2.strip(h.holding(F.leaky_relu_(h.values, SLOPE)), after)
        around = x.part(h.start, h.stop)
        return h.holding(h.values.add_(around if self.shortcut is None else self.shortcut(around)))


class Level(nn.Module):
    """Residual blocks one after the other."""

    def __init__(self, widths: Sequence[int], config: ResUNetConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(a, b, config) for a, b in pairwise(widths))
        self.widest = max(widths)

    @property
    def dtype(self) -> torch.dtype:
        """What maps are made in."""
        return self.blocks[0].conv1.weight.dtype  # type: ignore[union-attr, return-value]

    @property
    def reach(self) -> int:
        """How many rows around a row it depends on: each 3 x 3 convolution adds one on either side."""
        return 2 * len(self.blocks)

    def whole(self, x: Tensor, embedding: Tensor) -> Tensor:
        """``(B, C, N, F)`` to the last width's channels."""
        for block in self.blocks:
            x = block(x, [shift.to(x.dtype) for shift in block.shifts(embedding)])  # type: ignore[operator]
        return x

    def prepared(self, embedding: Tensor) -> Callable[[Rows], Rows]:
        """`whole` in evaluation, of rows, for one query: its shifts are computed once, however many strips follow."""
        shifts = [block.shifts(embedding) for block in self.blocks]  # type: ignore[operator]

        def run(rows: Rows) -> Rows:
            for block, each in zip(self.blocks, shifts, strict=True):
                rows = block.strip(rows, each)  # type: ignore[operator]
            return rows

        return run


class Encoder(Level):
    """One level down: blocks, then average pooling; what is before the pooling goes to the decoder as well."""

    def __init__(self, inputs: int, outputs: int, stride: Pair, config: ResUNetConfig, *, stem: bool = False) -> None:
        super().__init__([outputs if stem else inputs] + [outputs] * config.blocks, config)
        self.stem = Conv(inputs, outputs, 1, bias=True) if stem else None
        self.pool = nn.AvgPool2d(stride)

    def forward(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, C, N, F)`` to this level's map and its pooled map."""
        if not for_answers(self, x):
            y = self.whole(self._entered(x), embedding)
            return y, self.pool(y)
        run, length = self.prepared(embedding), x.shape[2]

        def rows(start: int, stop: int) -> Rows:
            part = x[:, :, start:stop].contiguous(memory_format=torch.channels_last)
            return run(Rows(self._entered(part), start, length))

        y = by_strips(rows, length, x.shape[3] * self.widest, self.reach)
        return y, self.pool(y)

    def _entered(self, x: Tensor) -> Tensor:
        return (x if self.stem is None else self.stem(x)).to(self.dtype)


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
        """The map from below and the encoder's map of this level to this level's map, or the network's output.

        Where no gradients are asked for, this level's map may be written over the encoder's.
        """
        shift = None if self.film is None else self.film(embedding)[..., None, None]
        if not for_answers(self, x):
            raised = self._raised(_activated(self.norm, x, shift, self.slope), skip.shape[2])
            y = self.whole(torch.cat([raised, skip], dim=1), embedding)
            return self._ended(y if self.tail is None else self.tail.whole(y, embedding))
        run, length = self.prepared(embedding), skip.shape[2]
        ending = None if self.tail is None else self.tail.prepared(embedding)

        def rows(start: int, stop: int) -> Rows:
            first = max(0, start // self.stride[0] - self.overlap)
            below = x[:, :, first : stop // self.stride[0]].contiguous(memory_format=torch.channels_last)
            offset = first * self.stride[0]
            raised = self._raised(_activated_at_once(self.norm, below, shift, self.slope), stop - offset)
            made = run(Rows(torch.cat([raised[:, :, start - offset :], skip[:, :, start:stop]], dim=1), start, length))
            made = made if ending is None else ending(made)
            return made.holding(self._ended(made.values))

        reach = self.reach + (0 if self.tail is None else self.tail.reach)
        place = skip if self.out is None else None
        return by_strips(rows, length, skip.shape[3] * self.widest, reach, step=self.stride[0], place=place)

    def _raised(self, x: Tensor, rows: int) -> Tensor:
        """The upsampled map. Row 2 n of an overlapping kernel, past the last, is left out; the bins are 2 n + 1."""
        y: Tensor = self.up(x)
        return y[:, :, :rows]

    def _ended(self, x: Tensor) -> Tensor:
        """The network's output, in float32, if this is the last one."""
        return x if self.out is None else self.out(x.to(self.out.weight.dtype))


class Center(Level):
    """The blocks at the bottom."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """``(B, C, N, F)`` to the same shape."""
        if not for_answers(self, x):
            return self.whole(x, embedding)
        return self.prepared(embedding)(Rows(x.contiguous(memory_format=torch.channels_last), 0, x.shape[2])).values


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

    def to_bfloat16(self) -> None:
        """Round the convolutions between the first and the last one, and what passes between them, for good.

        For answers alone, on processors that multiply bfloat16. What enters and what leaves, batch norms and what the
        query adds stay in float32.
        """
        for name, layer in self.named_modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)) and not name.endswith(("stem", "out")):
                for key, parameter in list(layer.named_parameters()):
                    setattr(layer, key, nn.Parameter(parameter.detach().bfloat16(), requires_grad=False))

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
        if for_answers(self, x):
            maps = torch.cat(
                [self._maps(*one) for one in zip(torch.split(x, 1), torch.split(embedding, 1), strict=True)]
            )
        else:
            maps = self._maps(x, embedding)
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
