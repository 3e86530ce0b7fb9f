"""CLAPSep's mask network: what the decoder found, beside the mixture's own spectrum, to a mask per bin and frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
        self.bins_norm = nn.BatchNorm1d(n_bins)
        self.into = nn.Linear(n_bins + n_features, width)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, batch_first=True) for _ in range(layers)
        )
        self.out = nn.Linear(width, n_bins)

    def forward(self, magnitude: Tensor, features: Tensor) -> Tensor:
        """Magnitudes ``(B, F, N)`` and features ``(B, N, M)`` to a mask ``(B, F, N)`` between 0 and 1."""
        x = torch.cat([self.bins_norm(magnitude).transpose(1, 2), features], dim=2)
        x = self.norm(self.into(x))
        for layer in self.layers:
            x = layer(x)
        return self.out(x).sigmoid().transpose(1, 2)  # type: ignore[no-any-return]
