"""The encoder of T5 as FlowSep asks it: a text to the states of exactly so many tokens (Raffel et al., 2020, JMLR 21).

The transformer is the transformers library's; FLAN-T5 (Chung et al., 2022, arXiv 2210.11416) is the same network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from soundsieve.encoders.text import SentenceEncoder, SentenceEncoderConfig
from soundsieve.encoders.tokens import JSONTokenizer
from soundsieve.errors import ConfigError, QueryError

_TOKENIZER = "tokenizer.json"
_PAD, _END = 0, 1


@dataclass(frozen=True)
class T5Config:
    """Sizes of a `T5`; the defaults are those of FLAN-T5-large.

    Raises:
        ConfigError: a size is not positive, or there is no room for a word and the end.
    """

    vocab_size: int = 32128
    """Token vectors; a tokenizer may have fewer tokens (FLAN-T5's has 32100)."""
    width: int = 1024
    """Channels."""
    layers: int = 24
    """Transformer layers."""
    heads: int = 16
    """Attention heads."""
    head_width: int = 64
    """Channels of a head."""
    mlp_width: int = 2816
    """Hidden width of an MLP, which is a gated GELU."""
    buckets: int = 32
    """Relative positions that are told apart."""
    farthest: int = 128
    """Relative position from which on they are not."""
    dropout: float = 0.1
    """Probability, in training only."""
    tokens: int = 50
    """Tokens L of every text, its end included: shorter ones are padded, longer ones an error."""

    def __post_init__(self) -> None:
        sizes = (self.width, self.layers, self.heads, self.head_width, self.mlp_width)
        if min(*sizes, self.vocab_size, self.buckets, self.farthest) < 1:
            raise ConfigError("T5: sizes are at least 1")
        if self.buckets < 4 or self.buckets % 4 or self.farthest <= self.buckets // 4:
            raise ConfigError("T5: buckets must be a multiple of 4, and farthest more than a quarter of them")
        if self.tokens < 2:
            raise ConfigError(f"T5: tokens must be at least 2, a word and the end, not {self.tokens}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"T5: dropout must be at least 0 and below 1, not {self.dropout}")

    @classmethod
    def base(cls) -> T5Config:
        """FLAN-T5-large, as FlowSep has it: 341 M parameters."""
        return cls()

    @classmethod
    def debug(cls) -> T5Config:
        """A tiny one for tests, over a built-in vocabulary of single characters."""
        return cls(vocab_size=160, width=16, layers=1, heads=2, head_width=8, mlp_width=32, dropout=0.0)


class T5(nn.Module):
    """Texts to states of tokens.

    Args:
        config: sizes.
        tokenizer: texts to token ids that end with 1; `t5_tokenizer` makes it.
        assets: what `assets` returned, in place of a tokenizer.
    """

    def __init__(
        self, config: T5Config, *, tokenizer: JSONTokenizer | None = None, assets: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        from transformers import T5Config as Sizes
        from transformers import T5EncoderModel

        sizes = Sizes(
            vocab_size=config.vocab_size,
            d_model=config.width,
            d_kv=config.head_width,
            d_ff=config.mlp_width,
            num_layers=config.layers,
            num_heads=config.heads,
            relative_attention_num_buckets=config.buckets,
            relative_attention_max_distance=config.farthest,
            dropout_rate=config.dropout,
            feed_forward_proj="gated-gelu",
        )
        self.config = config
        self.tokenizer = tokenizer
        model = T5EncoderModel(sizes)
        self.words = model.shared
        self.encoder = model.encoder
        self.encoder.embed_tokens = None  # they are the same words

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Tokens and mask, both ``(B, L)``, to their states ``(B, L, width)``."""
        found = self.encoder(inputs_embeds=self.words(input_ids), attention_mask=attention_mask)
        return found.last_hidden_state  # type: ignore[no-any-return]
