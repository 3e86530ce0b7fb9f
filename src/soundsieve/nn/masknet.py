"""CLAPSep's mask network: what the decoder found, beside the mixture's own spectrum, to a mask per bin and frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.nn.linear import Linear, has_fast_products, linear


class BinsNorm(nn.BatchNorm1d):
    """Batch norm per bin of ``(B, F, N)``.

    With fixed statistics it is a scale and a shift, (x - mean) gamma / sqrt(var + eps) + beta, made in one pass.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(B, F, N)`` to the same shape."""
        if self.training or torch.is_grad_enabled() or self.running_mean is None or self.running_var is None:
            return super().forward(x)
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return torch.addcmul((self.bias - self.running_mean * scale)[:, None], x, scale[:, None])


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence to itself; parameters named as `torch.nn.MultiheadAttention` names them.

    Args:
        width: width of the sequence, a multiple of ``heads``.
        heads: number of heads.
        dropout: probability that an attention weight is left out, in training only.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = Linear(width, width)
        self.in_proj: nn.Module | None = None  # takes the place of the two parameters above, see nn/int8.py
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, N, D)`` to the same shape."""
        batch, frames, width = x.shape
        qkv = linear(x, self.in_proj_weight, self.in_proj_bias) if self.in_proj is None else self.in_proj(x)
        q, k, v = qkv.view(batch, frames, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (B, heads, N, D / heads) each
        if has_fast_products(x):
            attended = torch.stack([_attend(*heads) for heads in zip(q, k, v, strict=True)])
        else:
            dropout = self.dropout if self.training else 0.0
            attended = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout).transpose(1, 2)
        return self.out_proj(attended.reshape(batch, frames, width))  # type: ignore[no-any-return]


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v of each head, ``(heads, N, d)`` to ``(N, heads, d)``.

    Both products are Linear layers without a bias, x W^T with W = k and W = v^T, and so take the fast path of those.
    """
    q, k, v = (q * q.shape[-1] ** -0.5).contiguous(), k.contiguous(), v.contiguous()
    out = q.new_empty(q.shape[1], q.shape[0], q.shape[2])
    for head in range(len(q)):
        out[:, head] = linear(linear(q[head], k[head]).softmax(1), v[head].t())
    return out


class EncoderLayer(nn.Module):
    """Self-attention, then Linear, ReLU, Linear, each added to what came in and normalised.

    The function and the parameters of `torch.nn.TransformerEncoderLayer`.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.self_attn = SelfAttention(width, heads, dropout)
        self.linear1 = Linear(width, 4 * width, activation="relu")
        self.linear2 = Linear(4 * width, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, N, D)`` to the same shape."""
        x = self.norm1(x + self._drop(self.self_attn(x)))
        return self.norm2(x + self._drop(self.linear2(self._drop(self.linear1(x)))))  # type: ignore[no-any-return]

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.training and self.dropout else x


class MaskNet(nn.Module):
    """Linear, LayerNorm, transformer over time (no positions: the features carry them), Linear, sigmoid.

    The magnitude enters on a linear scale, with batch norm per bin.

    Args:
        n_bins: frequency bins F.
        n_features: features M per frame.
        width: width of the transformer, a multiple of ``heads``.
        layers: number of transformer layers (each normalised after its sums).
        heads: attention heads.
        dropout: probability, in training only.
    """

    def __init__(self, n_bins: int, n_features: int, *, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.bins_norm = BinsNorm(n_bins)
        self.into = Linear(n_bins + n_features, width)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, dropout) for _ in range(layers))
        self.out = Linear(width, n_bins)

    def forward(self, magnitude: Tensor, features: Tensor) -> Tensor:
        """Magnitudes ``(B, F, N)`` and features ``(B, N, M)`` to a mask ``(B, F, N)`` between 0 and 1."""
        x = torch.cat([self.bins_norm(magnitude).transpose(1, 2), features], dim=2)
        x = self.norm(self.into(x))
        for layer in self.layers:
            x = layer(x)
        return self.out(x).sigmoid().transpose(1, 2)  # type: ignore[no-any-return]
