"""BERT as LASS-Net asks it: a caption to one vector (Devlin et al., 2019, arXiv 1810.04805).

The tokens of a caption pass a transformer; the state of the first, ``[CLS]``, passes a Linear and a ReLU. LASS-Net's
captions are read without the ``[SEP]`` that BERT was trained to see at their end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from soundsieve.encoders.text import SentenceEncoder, SentenceEncoderConfig
from soundsieve.encoders.tokens import JSONTokenizer
from soundsieve.errors import ConfigError, QueryError
from soundsieve.nn.linear import Linear
from soundsieve.nn.roberta import Layer

_EPS = 1e-12
_TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class BERTConfig:
    """Sizes of a `CaptionEncoder`; the defaults are BERT-mini's (Turc et al., 2019, arXiv 1908.08962)."""

    vocab_size: int = 30522
    """Tokens known."""
    width: int = 256
    """Channels."""
    layers: int = 4
    """Transformer layers."""
    heads: int = 4
    """Attention heads."""
    mlp_width: int = 1024
    """Hidden width of an MLP."""
    positions: int = 512
    """Longest text in tokens."""
    pad_id: int = 0
    """Token id of padding."""
    dropout: float = 0.1
    """Probability, in training only."""
    dim: int = 256
    """Width D of the caption's vector."""

    def __post_init__(self) -> None:
        if min(self.vocab_size, self.width, self.layers, self.heads, self.mlp_width, self.dim) < 1:
            raise ConfigError("BERT: sizes are at least 1")
        if self.width % self.heads:
            raise ConfigError(f"BERT: heads {self.heads} must divide width {self.width}")
        if self.positions < 2 or not 0 <= self.pad_id < self.vocab_size or not 0 <= self.dropout < 1:
            raise ConfigError("BERT: positions is at least 2, pad_id a token, dropout at least 0 and below 1")

    @property
    def max_tokens(self) -> int:
        """Longest text in tokens, its start and end included."""
        return self.positions

    @classmethod
    def mini(cls) -> BERTConfig:
        """LASS-Net's: 11 M parameters."""
        return cls()

    @classmethod
    def debug(cls) -> BERTConfig:
        """A tiny one for tests, over the built-in vocabulary of letters, digits and signs."""
        size = SentenceEncoderConfig.debug().vocab_size
        return cls(vocab_size=size, width=16, layers=1, heads=2, mlp_width=32, positions=64, dropout=0.0, dim=16)


class BERT(nn.Module):
    """Token ids to one state a token; places are counted from 0, and every token is of the first kind."""

    def __init__(self, config: BERTConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(config.vocab_size, config.width),
                "position_embeddings": nn.Embedding(config.positions, config.width),
                "token_type_embeddings": nn.Embedding(2, config.width),
                "LayerNorm": nn.LayerNorm(config.width),
            }
        )
        self.layers = nn.ModuleList(
            Layer(config.width, config.heads, config.mlp_width, config.dropout) for _ in range(config.layers)
        )
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.LayerNorm):
                module.eps = _EPS

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Tokens and mask, both ``(B, L)``, to their states ``(B, L, width)``."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.embeddings["word_embeddings"](input_ids) + self.embeddings["position_embeddings"](places)
        x = self.embeddings["LayerNorm"](x + self.embeddings["token_type_embeddings"](torch.zeros_like(input_ids)))
        x = nn.functional.dropout(x, self.dropout, self.training)
        mask = None if bool(attention_mask.all()) else attention_mask[:, None, None].bool()
        for layer in self.layers:
            x = layer(x, mask)
        return x  # type: ignore[no-any-return]


class CaptionEncoder(nn.Module):
    """Captions to non-negative vectors.

    Args:
        config: sizes.
        tokenizer: texts to token ids between ``[CLS]`` and ``[SEP]``, as BERT's does, which `encode` needs. If there
            is none, an encoder over the built-in vocabulary of single characters (that of ``BERTConfig.debug()``) gets
            the tokenizer that belongs to it.
        assets: what `assets` returned, in place of a tokenizer.
    """

    def __init__(
        self, config: BERTConfig, *, tokenizer: JSONTokenizer | None = None, assets: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self.config = config
        if tokenizer is None and assets and _TOKENIZER in assets:
            tokenizer = bert_tokenizer(assets[_TOKENIZER], config)
        elif tokenizer is None and config == BERTConfig.debug():
            characters = SentenceEncoder(SentenceEncoderConfig.debug()).assets()[_TOKENIZER]
            tokenizer = bert_tokenizer(characters, config)
        self.tokenizer = tokenizer
        self.bert = BERT(config)
        self.project = Linear(config.width, config.dim)

    def assets(self) -> dict[str, str]:
        """The files that belong to the weights, as name -> text: the tokenizer, if there is one."""
        return {} if self.tokenizer is None else {_TOKENIZER: self.tokenizer.json}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Tokens that start with ``[CLS]``, and their mask, both ``(B, L)``, to vectors ``(B, dim)``."""
        return self.project(self.bert(input_ids, attention_mask)[:, 0]).relu()  # type: ignore[no-any-return]

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and mask, both int64 ``(B, L)``: ``[CLS]`` and the text's own, without ``[SEP]``.

        Raises:
            QueryError: there is no tokenizer, or a text is too long.
        """
        if self.tokenizer is None:
            raise QueryError("this text encoder has no tokenizer: give one (the tokenizer.json of BERT, uncased)")
        ids, mask = self.tokenizer(texts)
        last = mask.cumsum(1) == mask.sum(1, keepdim=True)  # the last token, [SEP], and what pads it
        return torch.where(last, self.config.pad_id, ids)[:, :-1], mask.masked_fill(last, 0)[:, :-1]

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Vectors of texts, shape ``(B, dim)``.

        Raises:
            QueryError: there is no tokenizer, or a text is too long.
        """
        input_ids, attention_mask = self.tokenize(texts)
        device = self.project.weight.device
        return self(input_ids.to(device), attention_mask.to(device))  # type: ignore[no-any-return]


def bert_tokenizer(json: str, config: BERTConfig | None = None) -> JSONTokenizer:
    """BERT's tokenizer for an encoder of these sizes.

    Args:
        json: the text of a ``tokenizer.json``; LASS-Net's is that of BERT, English, uncased.
        config: sizes; BERT-mini's unless given.

    Raises:
        ConfigError: it has another number of tokens.
        WeightsError: it is no tokenizer.
    """
    config = config or BERTConfig.mini()
    tokenizer = JSONTokenizer(json, pad_id=config.pad_id, max_tokens=config.positions)
    if tokenizer.vocab_size != config.vocab_size:
        raise ConfigError(f"the tokenizer has {tokenizer.vocab_size} tokens, the text encoder {config.vocab_size}")
    return tokenizer
