"""Transformers over the places of a map: each place attends to all others, and to the words of a text."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.nn.linear import Linear
from soundsieve.systems.flowsep.blocks import Conv, zero

_EPS = 1e-6


class Context(NamedTuple):
    """What is attended to, as keys and values that can be used again."""

    keys: Tensor
    """Shape ``(B, heads, L, head_width)``."""
    values: Tensor
    """Shape ``(B, heads, L, head_width)``."""
    mask: Tensor | None = None
    """Which may be attended to: bool ``(B, 1, 1, L)``; None for all."""


class Attention(nn.Module):
    """Multi-head attention of ``x`` to itself or to a context of another width.

    Args:
        channels: width of ``x``, a multiple of ``head_width``.
        head_width: channels of a head.
        context_width: width of what is attended to.
        dropout: probability, in training only, of what comes out.
    """

    def __init__(self, channels: int, head_width: int, context_width: int, dropout: float) -> None:
        super().__init__()
        self.heads = channels // head_width
        self.q = Linear(channels, channels, bias=False)
        self.k = Linear(context_width, channels, bias=False)
        self.v = Linear(context_width, channels, bias=False)
        self.out = Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)

    def context(self, x: Tensor, mask: Tensor | None = None) -> Context:
        """Keys and values of ``x (B, L, context_width)``; those count where ``mask``, bool ``(B, L)``, is true."""
        keys, values = self._heads(self.k(x)), self._heads(self.v(x))
        return Context(keys, values, None if mask is None else mask[:, None, None])

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        """``(B, L, channels)`` to the same shape; attends to itself where there is no context."""
        keys, values, mask = context or self.context(x)
        if len(keys) != len(x):  # one text for all
            keys, values = (part.expand(len(x), -1, -1, -1) for part in (keys, values))
        y = F.scaled_dot_product_attention(self._heads(self.q(x)), keys, values, attn_mask=mask)
        return self.dropout(self.out(y.transpose(1, 2).flatten(2)))  # type: ignore[no-any-return]

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class GatedMLP(nn.Module):
    """GEGLU (Shazeer, 2020, arXiv 2002.05202): ``out(x1 gelu(x2))`` with x1, x2 the halves of ``proj(x)``."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.proj = Linear(channels, 8 * channels)
        self.dropout = nn.Dropout(dropout)
        self.out = Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., channels)`` to the same shape."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        return self.out(self.dropout(value * F.gelu(gate)))  # type: ignore[no-any-return]


class SpatialTransformer(nn.Module):
    """``x + out(block(in(norm(x))))`` over the places of a map, in reading order and without positions.

    The block: self-attention, attention to the context (or to itself again, where there is none), MLP; each after a
    layer norm and added to what it was given.

    Args:
        channels: of the map, a multiple of ``head_width`` and of ``groups``.
        head_width: channels of a head.
        context_width: width of a context; None for a transformer that is given none.
        groups: of the norm at the entrance.
        dropout: probability, in training only.
    """

    def __init__(
        self, channels: int, *, head_width: int, context_width: int | None, groups: int, dropout: float
    ) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, _EPS)
        self.proj_in = Conv(channels, channels, 1)
        self.norm1 = nn.LayerNorm(channels)
        self.attention1 = Attention(channels, head_width, channels, dropout)
        self.norm2 = nn.LayerNorm(channels)
        self.attention2 = Attention(channels, head_width, context_width or channels, dropout)
        self.norm3 = nn.LayerNorm(channels)
        self.mlp = GatedMLP(channels, dropout)
        self.proj_out = Conv(channels, channels, 1)
        zero(self.proj_out)

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        """``(B, C, N, F)`` to the same shape; a context is one that ``attention2`` has made."""
        y = self.proj_in(self.norm(x)).permute(0, 2, 3, 1).flatten(1, 2)
        y = y + self.attention1(self.norm1(y))
        y = y + self.attention2(self.norm2(y), context)
        y = y + self.mlp(self.norm3(y))
        return x + self.proj_out(y.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2))  # type: ignore[no-any-return]
