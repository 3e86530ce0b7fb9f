"""Feature-wise linear modulation: a query scales and shifts every channel (Perez et al., 2018, arXiv 1709.07871)."""

from __future__ import annotations

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
        gamma: Tensor = self.gamma(embedding)
        beta: Tensor = self.beta(embedding)
        return gamma.reshape(shape) * x + beta.reshape(shape)
