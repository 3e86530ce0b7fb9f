"""Feature-wise linear modulation: a query scales and shifts every channel (Perez et al., 2018, arXiv 1709.07871)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FiLM(nn.Module):
    """y = gamma(e) x + beta(e), with gamma and beta linear in the query's embedding e.

    A new layer passes features on before it has learnt anything (gamma's bias is one, beta's zero), yet is moved by the
    query at once: for an embedding of length one, weights of deviation 0.5 make gamma(e) and beta(e) vary by 0.5. The
    usual weights, smaller by the root of the embedding's width, would leave the query almost unheard for long.

    Args:
        channels: width of the features.
        condition: width of the embedding.
    """

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.gamma = nn.Linear(condition, channels)
        self.beta = nn.Linear(condition, channels)
        for linear in (self.gamma, self.beta):
            nn.init.normal_(linear.weight, std=0.5)
        nn.init.ones_(self.gamma.bias)
        nn.init.zeros_(self.beta.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Modulate ``x``, shape ``(B, ..., channels)``, by ``embedding``, shape ``(B, condition)``."""
        shape = (len(x), *[1] * (x.ndim - 2), -1)
        gamma, beta = _one_by_one(self.gamma, embedding), _one_by_one(self.beta, embedding)
        return gamma.reshape(shape) * x + beta.reshape(shape)


def _one_by_one(linear: nn.Linear, embedding: Tensor) -> Tensor:
    """The layer's answer; without gradients to each embedding alone, so that it is the same bits in every batch.

    (A product of one row and one of several differ in their last bit, which layers behind that round would enlarge.)
    """
    if torch.is_grad_enabled() or len(embedding) == 1:
        return linear(embedding)  # type: ignore[no-any-return]
    return torch.cat([linear(one[None]) for one in embedding])
