"""FlowSep's UNet: how the latent of a target moves, given that of the mixture, the time, and a text.

State and mixture enter together, channel by channel. On the way down and up again, each place of attention has two
transformers, one after the other: the first sees the map alone, the second attends to the text as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.errors import ConfigError
from soundsieve.systems.flowsep.attention import Context, SpatialTransformer
from soundsieve.systems.flowsep.blocks import Conv, Doubling, ResBlock, activated, zero

_EPS = 1e-5
_LONGEST_PERIOD = 10000.0

Text: TypeAlias = tuple[Context, ...]
"""What texts are to each transformer that reads them, in their order: see `FlowUNet.read`."""


@dataclass(frozen=True)
class FlowUNetConfig:
    """Sizes of a `FlowUNet`; the defaults are the published ones.

    Raises:
        ConfigError: a size is not positive, or one does not divide another as it must.
    """

    latent_channels: int = 8
    """Channels of a latent; state and mixture have as many."""
    outputs: int = 16
    """Channels put out; the first ``latent_channels`` are the velocity. The released network has as many again, of
    which nothing makes use."""
    channels: int = 128
    """Channels of the highest level."""
    multipliers: tuple[int, ...] = (1, 2, 3, 5)
    """Channels of each level over ``channels``; every level but the last halves time and frequency."""
    blocks: int = 2
    """Residual blocks of a level on the way down; there is one more on the way up."""
    attention: tuple[bool, ...] = (False, True, True, True)
    """Which levels have attention; there always is some in the middle."""
    head_width: int = 32
    """Channels of an attention head; a divisor of the channels wherever there is attention."""
    context_width: int = 1024
    """Width of a token of the text."""
    groups: int = 32
    """Groups of every norm; a divisor of ``channels``."""
    dropout: float = 0.0
    """Probability, in training only."""

    def __post_init__(self) -> None:
        sizes = (self.latent_channels, self.channels, *self.multipliers, self.blocks, self.head_width, self.groups)
        if not self.multipliers or min(*sizes, self.context_width) < 1:
            raise ConfigError("FlowSep's UNet: sizes are at least 1, and there is a multiplier for each level")
        if self.outputs < self.latent_channels:
            raise ConfigError(f"FlowSep's UNet: outputs must be at least latent_channels ({self.latent_channels})")
        if len(self.attention) != len(self.multipliers):
            raise ConfigError(f"FlowSep's UNet: attention needs {len(self.multipliers)} values, one for each level")
        if self.channels % self.groups or self.channels % 2:
            raise ConfigError(f"FlowSep's UNet: 2 and groups {self.groups} must divide channels {self.channels}")
        for width, attends in zip(self.widths, (*self.attention[:-1], True), strict=True):
            if attends and width % self.head_width:
                raise ConfigError(
                    f"FlowSep's UNet: head_width {self.head_width} must divide a level's {width} channels"
                )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"FlowSep's UNet: dropout must be at least 0 and below 1, not {self.dropout}")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, the highest resolution first."""
        return tuple(self.channels * multiplier for multiplier in self.multipliers)

    @property
    def factor(self) -> int:
        """What the sides of a latent must be multiples of."""
        return int(2 ** (len(self.multipliers) - 1))

    @property
    def time_width(self) -> int:
        """Width of the embedding of a time."""
        return 4 * self.channels

    @classmethod
    def base(cls) -> FlowUNetConfig:
        """The published one: 266 M parameters."""
        return cls()

    @classmethod
    def small(cls) -> FlowUNetConfig:
        """One that a processor trains in an hour or two: 13.4 M parameters, asked by the vector of a sentence.

        Attention at the lowest level alone: on a processor, wide convolutions are the cheaper way to look around.
        """
        return cls(
            latent_channels=16,
            outputs=16,
            channels=64,
            multipliers=(1, 2, 3),
            blocks=1,
            attention=(False, False, True),
            context_width=384,
            groups=8,
        )

    @classmethod
    def debug(cls) -> FlowUNetConfig:
        """A tiny one for tests."""
        return cls(
            latent_channels=2,
            outputs=2,
            channels=8,
            multipliers=(1, 2),
            blocks=1,
            attention=(False, True),
            head_width=4,
            context_width=16,
            groups=4,
        )


class TimeEmbedding(nn.Module):
    """Times to vectors: cosines and sines of them at frequencies from 1 down to 1/10000, Linear, SiLU, Linear."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.frequencies = channels // 2
        self.hidden = nn.Linear(channels, width)
        self.out = nn.Linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        """``(B,)`` to ``(B, width)``. Times of a flow lie in [0, 1] and are not scaled, as in the released model."""
        k = torch.arange(self.frequencies, dtype=torch.float32, device=t.device)
        angle = t[:, None].float() * torch.exp(-math.log(_LONGEST_PERIOD) * k / self.frequencies)
        waves = torch.cat([angle.cos(), angle.sin()], dim=1).to(self.hidden.weight.dtype)
        return self.out(F.silu(self.hidden(waves)))  # type: ignore[no-any-return]


class Stage(nn.Module):
    """A residual block and, where there is attention, transformers ``alone`` with the map and ``reading`` the text."""

    def __init__(self, inputs: int, outputs: int, attends: bool, config: FlowUNetConfig) -> None:
        super().__init__()
        self.block = _block(inputs, outputs, config)
        self.alone = _transformer(outputs, None, config) if attends else None
        self.reading = _transformer(outputs, config.context_width, config) if attends else None

    def forward(self, x: Tensor, time: Tensor, text: Iterator[Context]) -> Tensor:
        """``(B, inputs, N, F)`` to ``(B, outputs, N, F)``; where there is attention, takes the next of ``text``."""
        x = self.block(x, time)
        if self.alone is not None and self.reading is not None:
            x = self.reading(self.alone(x), next(text))
        return x


class Level(nn.Module):
    """Stages, then what changes the resolution for the next level, if there is one."""

    def __init__(self, stages: Iterable[Stage], resample: nn.Module | None) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.resample = resample

    def __iter__(self) -> Iterator[Stage]:
        for stage in self.stages:
            assert isinstance(stage, Stage)
            yield stage


class FlowUNet(nn.Module):
    """Velocities of latents.

    Args:
        config: sizes.
    """

    def __init__(self, config: FlowUNetConfig) -> None:
        super().__init__()
        self.config = config
        self.time = TimeEmbedding(config.channels, config.time_width)
        self.stem = Conv(2 * config.latent_channels, config.channels, 3)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        before, skips, lowest = config.channels, [config.channels], len(config.widths) - 1
        for i, (width, attends) in enumerate(zip(config.widths, config.attention, strict=True)):
            inputs = [before] + [width] * (config.blocks - 1)
            stages = [Stage(channels, width, attends, config) for channels in inputs]
            resample = None if i == lowest else nn.Conv2d(width, width, 3, stride=2, padding=1)
            self.down.append(Level(stages, resample))
            before, skips = width, skips + [width] * (config.blocks + (i < lowest))
        self.middle = Stage(before, before, True, config)
        self.middle_block = _block(before, before, config)
        for i, (width, attends) in reversed(list(enumerate(zip(config.widths, config.attention, strict=True)))):
            inputs = [channels + skips.pop() for channels in [before] + [width] * config.blocks]
            stages = [Stage(channels, width, attends, config) for channels in inputs]
            self.up.append(Level(stages, Doubling(width) if i else None))
            before = width
        self.norm = nn.GroupNorm(config.groups, before, _EPS)
        self.out = Conv(before, config.outputs, 3)
        zero(self.out)

    def forward(self, x: Tensor, mixture: Tensor, t: Tensor, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """The velocity of states of a latent; `read` and `velocity` in one.

        Args:
            x: states, shape ``(B, C, N, F)``; both sides are multiples of ``config.factor``.
            mixture: latents of the mixtures, same shape.
            t: times in [0, 1], shape ``(B,)``.
            tokens: what the texts say, shape ``(B, L, context_width)``.
            mask: true or 1 for tokens, false or 0 for padding, shape ``(B, L)``; None where nothing is padded.

        Returns:
            Shape ``(B, C, N, F)``.

        Raises:
            ConfigError: the sides are no such multiples.
        """
        return self.velocity(x, mixture, t, self.read(tokens, mask))

    def read(self, tokens: Tensor, mask: Tensor | None = None) -> Text:
        """What texts are to the network, the same at every step: keys and values for all that reads them.

        Arguments as of `forward`. Padding of all texts is left out; a text of padding alone is read as it is.
        """
        if mask is not None:
            mask = mask.bool() | ~mask.bool().any(1, keepdim=True)
            used = mask.any(0)
            tokens, mask = tokens[:, used], None if bool(mask[:, used].all()) else mask[:, used]
        return tuple(
            stage.reading.attention2.context(tokens, mask) for stage in self._stages() if stage.reading is not None
        )

    def _stages(self) -> Iterator[Stage]:
        """All stages in the order in which a map passes them."""
        for level in _levels(self.down):
            yield from level
        yield self.middle
        for level in _levels(self.up):
            yield from level

    def velocity(self, x: Tensor, mixture: Tensor, t: Tensor, text: Text) -> Tensor:
        """As `forward`, of texts that `read` has read."""
        factor = self.config.factor
        if x.shape[2] % factor or x.shape[3] % factor:
            raise ConfigError(f"FlowSep's UNet: latents of {x.shape[2]} x {x.shape[3]}: give multiples of {factor}")
        words = iter(text)
        time = F.silu(self.time(t))
        x = self.stem(torch.cat([x, mixture], dim=1).contiguous(memory_format=torch.channels_last))
        skips = [x]
        for level in _levels(self.down):
            for stage in level:
                x = stage(x, time, words)
                skips.append(x)
            if level.resample is not None:
                x = level.resample(x)
                skips.append(x)
        x = self.middle_block(self.middle(x, time, words), time)
        for level in _levels(self.up):
            for stage in level:
                x = stage(torch.cat([x, skips.pop()], dim=1), time, words)
            if level.resample is not None:
                x = level.resample(x)
        return self.out(activated(self.norm, x))[:, : self.config.latent_channels]  # type: ignore[no-any-return]


def _levels(part: nn.ModuleList) -> Iterator[Level]:
    for level in part:
        assert isinstance(level, Level)
        yield level


def _block(inputs: int, outputs: int, config: FlowUNetConfig) -> ResBlock:
    block = ResBlock(
        inputs, outputs, groups=config.groups, eps=_EPS, time_width=config.time_width, dropout=config.dropout
    )
    zero(block.conv2)
    return block


def _transformer(channels: int, context_width: int | None, config: FlowUNetConfig) -> SpatialTransformer:
    return SpatialTransformer(
        channels,
        head_width=config.head_width,
        context_width=context_width,
        groups=config.groups,
        dropout=config.dropout,
    )
