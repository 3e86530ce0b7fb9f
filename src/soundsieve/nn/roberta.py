"""RoBERTa: a transformer over the tokens of a text (Liu et al., 2019, arXiv 1907.11692).

The function and the tensor names of ``transformers.RobertaModel``, written out here because importing transformers
takes longer, and more memory, than everything else that a first answer waits for.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.nn.linear import Linear

_EPS = 1e-5


def _dense_and_norm(inputs: int, outputs: int) -> nn.ModuleDict:
    return nn.ModuleDict({"dense": Linear(inputs, outputs), "LayerNorm": nn.LayerNorm(outputs, eps=_EPS)})


class Attention(nn.Module):
    """Self-attention over tokens, its residual and norm; padding is not attended to."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.self = nn.ModuleDict({name: Linear(width, width) for name in ("query", "key", "value")})
        self.output = _dense_and_norm(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Tokens ``(B, L, width)`` and a mask ``(B, 1, 1, L)`` of those to attend to, None for all."""
        query, key, value = (
            self.self[name](x).unflatten(2, (self.heads, -1)).transpose(1, 2) for name in ("query", "key", "value")
        )
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        y = F.dropout(self.output["dense"](attended.transpose(1, 2).flatten(2)), self.dropout, self.training)
        return self.output["LayerNorm"](x + y)  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Attention, then Linear, GELU, Linear, each followed by its residual and norm."""

    def __init__(self, width: int, heads: int, mlp_width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.attention = Attention(width, heads, dropout)
        self.intermediate = nn.ModuleDict({"dense": Linear(width, mlp_width, activation="gelu")})
        self.output = _dense_and_norm(mlp_width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """As `Attention.forward`."""
        x = self.attention(x, mask)
        y = F.dropout(self.output["dense"](self.intermediate["dense"](x)), self.dropout, self.training)
        return self.output["LayerNorm"](x + y)  # type: ignore[no-any-return]


class Embeddings(nn.Module):
    """Token, place and kind of every token, summed and normalised; places are counted from ``pad_id + 1``."""

    def __init__(self, vocab_size: int, positions: int, width: int, *, pad_id: int, dropout: float) -> None:
        super().__init__()
        self.pad_id, self.dropout = pad_id, dropout
        self.word_embeddings = nn.Embedding(vocab_size, width)
        self.position_embeddings = nn.Embedding(positions, width)
        self.token_type_embeddings = nn.Embedding(1, width)
        self.LayerNorm = nn.LayerNorm(width, eps=_EPS)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Token ids ``(B, L)`` to ``(B, L, width)``."""
        real = (input_ids != self.pad_id).long()
        places = self.position_embeddings(self.pad_id + real.cumsum(1) * real)  # padding is at pad_id
        x = self.word_embeddings(input_ids) + self.token_type_embeddings(torch.zeros_like(input_ids)) + places
        return F.dropout(self.LayerNorm(x), self.dropout, self.training)


class Pooler(nn.Module):
    """One vector from the first token's state s: tanh(W s + b)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = Linear(width, width)

    def forward(self, states: Tensor) -> Tensor:
        """``(B, L, width)`` to ``(B, width)``."""
        return self.dense(states[:, 0]).tanh()  # type: ignore[no-any-return]


class RoBERTa(nn.Module):
    """Token ids to one state a token.

    Args:
        vocab_size: tokens known.
        width: channels, a multiple of ``heads``.
        layers: number of layers.
        heads: attention heads.
        mlp_width: hidden width of an MLP.
        positions: rows of the position table; the first token has position ``pad_id + 1``.
        pad_id: token id of padding.
        pooler: whether it owns a `Pooler`, which is for the caller to apply.
        dropout: probability, in training only.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        width: int,
        layers: int,
        heads: int,
        mlp_width: int,
        positions: int,
        pad_id: int,
        pooler: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embeddings = Embeddings(vocab_size, positions, width, pad_id=pad_id, dropout=dropout)
        self.encoder = nn.ModuleDict(
            {"layer": nn.Sequential(*(Layer(width, heads, mlp_width, dropout) for _ in range(layers)))}
        )
        self.pooler = Pooler(width) if pooler else None
        for module in self.modules():  # RoBERTa's initial values
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Tokens and mask, both ``(B, L)``, to their states ``(B, L, width)``."""
        x = self.embeddings(input_ids)
        mask = None if bool(attention_mask.all()) else attention_mask[:, None, None].bool()
        for layer in self.encoder["layer"].children():
            x = layer(x, mask)
        return x  # type: ignore[no-any-return]
