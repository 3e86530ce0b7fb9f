"""Swin transformer blocks: attention in windows that shift (Liu et al., 2021, arXiv 2103.14030).

Feature maps are ``(B, H, W, C)`` throughout.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.nn.kept import Kept
from soundsieve.nn.linear import Linear

_BLOCKED = -100.0
"""Added to the score of positions that only the cyclic shift made neighbours (the released models use this value)."""


def to_windows(x: Tensor, window: int) -> Tensor:
    """``(B, H, W, C)`` to ``(B windows, window^2, C)``, windows of one image together and in reading order."""
    b, h, w, c = x.shape
    x = x.view(b, h // window, window, w // window, window, c)
    return x.transpose(2, 3).reshape(-1, window * window, c)


def from_windows(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """The inverse of `to_windows`, to ``(B, height, width, C)``; windows may come as ``(B, windows, window^2, C)``."""
    c = windows.shape[-1]
    x = windows.view(-1, height // window, width // window, window, window, c)
    return x.transpose(2, 3).reshape(-1, height, width, c)


def relative_position_index(window: int) -> Tensor:
    """Which row of the bias table holds for query i and key j of a window, shape ``(window^2, window^2)``.

    Offsets of rows and columns run over -(window - 1) .. window - 1; the table lists them in reading order.
    """
    row, column = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    rows, columns = row.flatten(), column.flatten()
    return (rows[:, None] - rows + window - 1) * (2 * window - 1) + (columns[:, None] - columns + window - 1)


def shift_mask(height: int, width: int, window: int, shift: int) -> Tensor:
    """What to add to the scores inside each window after a cyclic shift, shape ``(windows, window^2, window^2)``.

    A shifted map consists of regions that were not neighbours before: along each side, whole windows, the rest of the
    last window, and what was wrapped around. Pairs of one region add 0, all others -100.
    """

    def regions(length: int) -> Tensor:
        position = torch.arange(length)
        return (position >= length - window).int() + (position >= length - shift).int()

    region = 3 * regions(height)[:, None] + regions(width)
    windows = to_windows(region[None, :, :, None], window)[..., 0]
    return (windows[:, :, None] != windows[:, None, :]) * _BLOCKED


class WindowAttention(nn.Module):
    """Multi-head attention inside windows, with a learnt bias for every relative position.

    Args:
        channels: width of the features, a multiple of ``heads``.
        heads: number of heads.
        window: side of a window.
    """

    _index: Tensor
    _mask: Tensor | None

    def __init__(self, channels: int, heads: int, window: int, mask: Tensor | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(channels, 3 * channels)
        self.proj = Linear(channels, channels)
        self.bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias_table, std=0.02)
        self.register_buffer("_index", relative_position_index(window).flatten(), persistent=False)
        self.register_buffer("_mask", mask, persistent=False)
        self._bias = Kept()

    def score_bias(self) -> Tensor:
        """Relative position bias plus shift mask, shape ``(windows or 1, heads, window^2, window^2)``.

        Without gradients it is made once for as long as the table stays as it is.
        """
        return self._score_bias() if torch.is_grad_enabled() else self._bias.get(self._score_bias, self.bias_table)

    def _score_bias(self) -> Tensor:
        n = round(len(self._index) ** 0.5)
        bias = self.bias_table.t()[:, self._index].view(1, self.heads, n, n)
        return bias if self._mask is None else bias + self._mask[:, None]

    def forward(self, x: Tensor) -> Tensor:
        """Attend within windows ``(B, windows, window^2, C)``, or with the first two dimensions as one."""
        *_, n, c = x.shape
        n_windows = x.numel() // (n * c)
        q, k, v = self.qkv(x).view(n_windows, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.score_bias()
        repeats = n_windows // len(bias) if len(bias) > 1 else 1
        if repeats > 1 and not torch.is_grad_enabled():  # image by image, so that the bias need not be copied
            parts = zip(q.chunk(repeats), k.chunk(repeats), v.chunk(repeats), strict=True)
            out = torch.cat([F.scaled_dot_product_attention(*part, attn_mask=bias) for part in parts])
        else:  # repeating is cheaper than moving q, k, v to where the bias broadcasts
            bias = bias.repeat(repeats, 1, 1, 1) if repeats > 1 else bias
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(out.transpose(1, 2).reshape(x.shape))  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> WindowAttention:
        """As `torch.nn.Module.train`; training lets go of what inference keeps."""
        if mode:
            self._bias.clear()
        return super().train(mode)


class MLP(nn.Module):
    """Linear, exact GELU, Linear."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Linear(channels, hidden, activation="gelu")
        self.fc2 = Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., C)`` to ``(..., C)``."""
        return self.fc2(self.fc1(x))  # type: ignore[no-any-return]


class SwinBlock(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)).

    On a map no larger than the window, one window covers it and nothing is shifted.

    Args:
        channels: width of the features.
        height: rows of the map.
        width: columns of the map.
        heads: number of attention heads.
        window: side of a window; must divide the map where the map is larger.
        shifted: whether windows are moved by half a window.
        mlp_ratio: hidden width of the MLP over ``channels``.
    """

    def __init__(
        self, channels: int, height: int, width: int, *, heads: int, window: int, shifted: bool, mlp_ratio: float
    ) -> None:
        super().__init__()
        self.window = min(window, height, width)
        self.shift = self.window // 2 if shifted and min(height, width) > window else 0
        mask = shift_mask(height, width, self.window, self.shift) if self.shift else None
        self.norm1 = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads, self.window, mask)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = MLP(channels, int(channels * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, height, width, C)`` to the same shape."""
        _, height, width, _ = x.shape
        h = self.norm1(x)
        if self.shift:
            h = h.roll((-self.shift, -self.shift), (1, 2))
        windows = to_windows(h, self.window)
        windows = windows.view(len(x), -1, *windows.shape[1:])  # each item of the batch is one to `Int8Linear` too
        h = from_windows(self.attention(windows), self.window, height, width)
        if self.shift:
            h = h.roll((self.shift, self.shift), (1, 2))
        x = x + h
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


def squeeze(x: Tensor) -> Tensor:
    """2 x 2 neighbours into channels, ``(B, 2 H, 2 W, C)`` to ``(B, H, W, 4 C)``, in the order of (row, column) offsets
    (0, 0), (1, 0), (0, 1), (1, 1)."""
    b, h, w, c = x.shape
    return x.view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5).reshape(b, h // 2, w // 2, 4 * c)


def unsqueeze(x: Tensor) -> Tensor:
    """The inverse of `squeeze`: ``(B, H, W, 4 C)`` to ``(B, 2 H, 2 W, C)``."""
    b, h, w, c = x.shape
    return x.view(b, h, w, 2, 2, c // 4).permute(0, 1, 4, 2, 3, 5).reshape(b, 2 * h, 2 * w, c // 4)


class PatchMerging(nn.Module):
    """Half the resolution, twice the channels: ``(B, 2 H, 2 W, C)`` to ``(B, H, W, 2 C)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduction = Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Squeeze, normalise, reduce."""
        return self.reduction(self.norm(squeeze(x)))  # type: ignore[no-any-return]


class PatchExpanding(nn.Module):
    """Twice the resolution, half the channels: ``(B, H, W, C)`` to ``(B, 2 H, 2 W, C / 2)``.

    Source: Cao et al., "Swin-Unet", 2022 (arXiv 2105.05537), here in the order of `squeeze`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expansion = Linear(channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Expand, unsqueeze, normalise."""
        return self.norm(unsqueeze(self.expansion(x)))  # type: ignore[no-any-return]
