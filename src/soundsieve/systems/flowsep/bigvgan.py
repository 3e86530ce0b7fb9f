"""BigVGAN's generator: log-mel spectrograms to waveforms (Lee et al., ICLR 2023, arXiv 2206.04658).

Transposed convolutions bring the frames to the sample rate, stage by stage; after each, blocks of dilated convolutions
and periodic activations (`soundsieve.systems.flowsep.snake`) shape the wave. Published weights come with the weight
norms of their training, w = g v / |v|, or with them removed; here a weight is a weight.

Maps are ``(B, C, 1, T)`` with channels last in memory: that is how a CPU's convolutions are fastest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.errors import ConfigError
from soundsieve.systems.flowsep import snake
from soundsieve.systems.flowsep.snake import SmoothSnake

_FRAMES = 1024
"""About how many frames are made at a time, where no gradients are asked for: it bounds memory."""
_ENDS = 7
"""Kernel of the first and the last convolution."""


@dataclass(frozen=True)
class BigVGANConfig:
    """Sizes of a `BigVGAN`; the defaults are the published ones.

    Raises:
        ConfigError: a size is not positive, channels cannot be halved as often as there are stages, a stage would lose
            samples, or a kernel of a block is even.
    """

    bands: int = 64
    """Bands of the spectrogram."""
    channels: int = 512
    """Channels before the first stage; every stage has half of those of the one before."""
    rates: tuple[int, ...] = (5, 4, 2, 2, 2)
    """How many times longer each stage makes the signal; their product is the hop of the spectrogram."""
    kernels: tuple[int, ...] = (16, 16, 8, 4, 4)
    """Kernel of each stage's transposed convolution, no less than its rate."""
    block_kernels: tuple[int, ...] = (3, 7, 11)
    """Kernels of a stage's blocks, whose outputs are averaged."""
    dilations: tuple[int, ...] = (1, 3, 5)
    """Dilations within each block."""

    def __post_init__(self) -> None:
        rows = (self.rates, self.kernels, self.block_kernels, self.dilations)
        if not all(rows) or min(self.bands, self.channels, *(min(row) for row in rows)) < 1:
            raise ConfigError("BigVGAN: sizes are at least 1, and there is one stage, block and dilation or more")
        if len(self.rates) != len(self.kernels):
            raise ConfigError(f"BigVGAN: {len(self.rates)} rates need as many kernels, not {len(self.kernels)}")
        if any(kernel < rate for rate, kernel in zip(self.rates, self.kernels, strict=True)):
            raise ConfigError("BigVGAN: each kernel must be at least its rate")
        if self.channels % 2 ** len(self.rates):
            raise ConfigError(f"BigVGAN: channels {self.channels} cannot be halved {len(self.rates)} times")
        if any(kernel % 2 == 0 for kernel in self.block_kernels):
            raise ConfigError("BigVGAN: kernels of blocks are odd")

    @property
    def hop_length(self) -> int:
        """Samples of a frame."""
        return math.prod(self.rates)

    def samples(self, frames: int) -> int:
        """How many samples come of so many frames: 160 a frame and 32 more for the published one.

        A kernel and a rate that are not both even or both odd give one sample more at that stage.
        """
        for rate, kernel in zip(self.rates, self.kernels, strict=True):
            frames = rate * frames + (kernel - rate) % 2
        return frames

    @property
    def reach(self) -> int:
        """A sample depends on no frame farther than this from its own."""
        convolutions = sum((max(self.block_kernels) - 1) // 2 * (dilation + 1) for dilation in self.dilations)
        reach = _ENDS // 2 + snake.REACH
        for rate, kernel in zip(reversed(self.rates), reversed(self.kernels), strict=True):
            reach = math.ceil((reach + convolutions + 2 * len(self.dilations) * snake.REACH + kernel) / rate)
        return reach + _ENDS // 2

    @classmethod
    def base(cls) -> BigVGANConfig:
        """The published one, of 16 kHz and a hop of 160: 14 M parameters."""
        return cls()

    @classmethod
    def debug(cls) -> BigVGANConfig:
        """A tiny one for tests, with the published hop."""
        return cls(channels=32, block_kernels=(3, 5), dilations=(1, 3))


class Conv(nn.Conv1d):
    """A convolution along time that keeps the length."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, dilation=dilation, padding=dilation * (kernel - 1) // 2)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, 1, T)`` to ``(B, outputs, 1, T)``."""
        around, dilation = (0, int(self.padding[0])), (1, self.dilation[0])
        return F.conv2d(x, self.weight[:, :, None], self.bias, padding=around, dilation=dilation)


class Longer(nn.ConvTranspose1d):
    """A transposed convolution along time, ``rate`` samples for one.

    Half of what the kernel has beyond the rate is cut off at either end; if that is odd, one sample more is left.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, rate: int) -> None:
        super().__init__(inputs, outputs, kernel, rate, padding=(kernel - rate) // 2)

    def forward(self, x: Tensor, _output_size: object = None) -> Tensor:
        """``(B, inputs, 1, T)`` to ``(B, outputs, 1, rate T)``, or one more."""
        around, rate = (0, int(self.padding[0])), (1, self.stride[0])
        return F.conv_transpose2d(x, self.weight[:, :, None], self.bias, stride=rate, padding=around)


class Unit(nn.Module):
    """``x + conv2(act2(conv1(act1(x))))``, the first convolution dilated."""

    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.act1 = SmoothSnake(channels)
        self.conv1 = Conv(channels, channels, kernel, dilation)
        self.act2 = SmoothSnake(channels)
        self.conv2 = Conv(channels, channels, kernel)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, 1, T)`` to the same shape."""
        made: Tensor = self.conv2(self.act2(self.conv1(self.act1(x))))
        return made.add_(x)


class Stage(nn.Module):
    """A longer signal, and the average of what several blocks, each a chain of units, make of it."""

    def __init__(self, inputs: int, config: BigVGANConfig, rate: int, kernel: int) -> None:
        super().__init__()
        channels = inputs // 2
        self.up = Longer(inputs, channels, kernel, rate)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(Unit(channels, size, dilation) for dilation in config.dilations))
            for size in config.block_kernels
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, 1, T)`` to ``(B, C / 2, 1, rate T)``, or one more."""
        x = self.up(x)
        total: Tensor = self.blocks[0](x)
        for block in self.blocks[1:]:
            total = total.add_(block(x))
        return total.div_(len(self.blocks))


class BigVGAN(nn.Module):
    """Natural logarithms of mel magnitudes to a waveform.

    Args:
        config: sizes.
    """

    def __init__(self, config: BigVGANConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = Conv(config.bands, config.channels, _ENDS)
        widths = [config.channels >> i for i in range(len(config.rates) + 1)]
        self.stages = nn.ModuleList(
            Stage(width, config, rate, kernel)
            for width, rate, kernel in zip(widths, config.rates, config.kernels, strict=False)
        )
        self.act = SmoothSnake(widths[-1])
        self.out = Conv(widths[-1], 1, _ENDS)

    def forward(self, mel: Tensor) -> Tensor:
        """``(B, bands, N)`` to ``(B, config.samples(N))``, within [-1, 1]; any N from 1 up.

        Without gradients, long spectrograms are made strip by strip, which changes nothing but the memory it takes.
        """
        if torch.is_grad_enabled() or mel.shape[2] <= 2 * _FRAMES:
            return self._whole(mel)
        return torch.cat([self._strip(mel, *ends) for ends in _strips(mel.shape[2], _FRAMES)], dim=1)

    def _whole(self, mel: Tensor) -> Tensor:
        x = self.stem(mel[:, :, None].contiguous(memory_format=torch.channels_last))
        for stage in self.stages:
            x = stage(x)
        return self.out(self.act(x))[:, 0, 0].tanh()  # type: ignore[no-any-return]

    def _strip(self, mel: Tensor, start: int, stop: int) -> Tensor:
        """The samples of frames ``start`` to ``stop``; what is beyond the last frame belongs to it."""
        length, hop = mel.shape[2], self.config.hop_length
        first, last = max(0, start - self.config.reach), min(length, stop + self.config.reach)
        waveform = self._whole(mel[:, :, first:last])[:, hop * (start - first) :]
        return waveform if stop == length else waveform[:, : hop * (stop - start)]


def _strips(length: int, size: int) -> Sequence[tuple[int, int]]:
    """Starts and ends of about equally long parts, none of them longer than ``size``."""
    count = -(-length // size)
    ends = [length * i // count for i in range(count + 1)]
    return list(pairwise(ends))
