"""The encoder of T5 as FlowSep asks it: a text to the states of exactly so many tokens (Raffel et al., 2020, JMLR 21).

The transformer is the transformers library's; FLAN-T5 (Chung et al., 2022, arXiv 2210.11416) is the same network with
other weights.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.encoders.tokens import JSONTokenizer
from soundsieve.errors import ConfigError, QueryError

_TOKENIZER = "tokenizer.json"
_SPECIAL_TOKENS = ("<pad>", "</s>", "<unk>")
_CHARACTERS = (*_SPECIAL_TOKENS, " ", *string.ascii_lowercase, *string.digits, *string.punctuation)
_PAD, _END, _UNKNOWN = range(3)


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
        size = len(_CHARACTERS)
        return cls(vocab_size=size, width=16, layers=1, heads=2, head_width=8, mlp_width=32, dropout=0.0, tokens=64)


class T5(nn.Module):
    """Texts to states of tokens.

    Args:
        config: sizes.
        tokenizer: texts to token ids that end with 1, which `encode` needs; `t5_tokenizer` makes it. If there is none,
            an encoder over the built-in vocabulary of single characters (that of ``T5Config.debug()``) gets its own.
        assets: what `assets` returned, in place of a tokenizer.
    """

    def __init__(
        self, config: T5Config, *, tokenizer: JSONTokenizer | None = None, assets: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        from transformers import T5Config as Sizes
        from transformers import T5EncoderModel

        if tokenizer is None and assets and _TOKENIZER in assets:
            tokenizer = t5_tokenizer(assets[_TOKENIZER], config)
        elif tokenizer is None and config == T5Config.debug():
            tokenizer = t5_tokenizer(_character_tokenizer(), config)
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
        model: Any = T5EncoderModel(sizes)
        model.encoder.embed_tokens = None  # the same words: under one name, they are stored and counted once
        self.words: nn.Embedding = model.shared
        self.encoder: nn.Module = model.encoder

    def assets(self) -> dict[str, str]:
        """The files that belong to the weights, as name -> text: the tokenizer, if there is one."""
        return {} if self.tokenizer is None else {_TOKENIZER: self.tokenizer.json}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Tokens and mask, both ``(B, L)``, to their states ``(B, L, width)``."""
        found = self.encoder(inputs_embeds=self.words(input_ids), attention_mask=attention_mask)
        return found.last_hidden_state  # type: ignore[no-any-return]

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """What texts say, without gradients; an empty one is its end alone.

        Returns:
            States ``(B, L, width)`` and a mask, bool ``(B, L)``, with L = ``config.tokens``. Where the mask is false,
            behind the end of a text, states are zeros: nothing reads them.

        Raises:
            QueryError: there is no tokenizer or no text, or a text is too long.
        """
        if self.tokenizer is None:
            raise QueryError("this text encoder has no tokenizer: give one (the tokenizer.json of FLAN-T5)")
        input_ids, attention_mask = (x.to(self.words.weight.device) for x in self.tokenizer(texts))
        mask = attention_mask.bool()
        states = self(input_ids, attention_mask).masked_fill(~mask[..., None], 0)
        behind = self.config.tokens - mask.shape[1]
        return F.pad(states, (0, 0, 0, behind)), F.pad(mask, (0, behind))


def t5_tokenizer(json: str, config: T5Config | None = None) -> JSONTokenizer:
    """T5's tokenizer for an encoder of these sizes.

    Args:
        json: the text of a ``tokenizer.json``; FlowSep's is that of FLAN-T5, of any size.
        config: sizes; those of FLAN-T5-large unless given.

    Raises:
        ConfigError: it has more tokens than there are vectors, or does not end a text as T5 does.
        WeightsError: it is no tokenizer.
    """
    config = config or T5Config.base()
    tokenizer = JSONTokenizer(json, pad_id=_PAD, max_tokens=config.tokens)
    if tokenizer.vocab_size > config.vocab_size:
        raise ConfigError(f"the tokenizer has {tokenizer.vocab_size} tokens, the text encoder only {config.vocab_size}")
    if tokenizer(["a"])[0][0, -1:].tolist() != [_END]:
        raise ConfigError(f"the tokenizer does not end texts with token {_END}: give the tokenizer.json of FLAN-T5")
    return tokenizer


def _character_tokenizer() -> str:
    """Lower-case letters, digits and signs, one by one, and the end of a text."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    ids = {character: i for i, character in enumerate(_CHARACTERS)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=_SPECIAL_TOKENS[_UNKNOWN]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    end = _SPECIAL_TOKENS[_END]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {end}", special_tokens=[(end, _END)])
    return str(tokenizer.to_str())
