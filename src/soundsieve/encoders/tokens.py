"""Texts to token ids, from one JSON text that can travel beside the weights it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from soundsieve.errors import QueryError, WeightsError

Tokenize: TypeAlias = Callable[[list[str]], tuple[Tensor, Tensor]]
"""Texts to token ids and attention mask, both int64 ``(B, L)``; the mask is 1 for tokens and 0 for padding."""


class JSONTokenizer:
    """A tokenizer as the tokenizers library writes it.

    Args:
        json: the tokenizer; `soundsieve.encoders.text.build_tokenizer` makes one.
        pad_id: token id of padding.
        max_tokens: longest text in tokens, its start and end included.

    Raises:
        WeightsError: ``json`` is not a tokenizer.
    """

    def __init__(self, json: str, *, pad_id: int, max_tokens: int) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_str(json)
        except Exception as error:  # the library raises plain Exception
            raise WeightsError(f"the tokenizer cannot be read: {' '.join(str(error).split())}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.pad_id, self.max_tokens = pad_id, max_tokens

    @property
    def json(self) -> str:
        """The tokenizer as text."""
        return str(self._tokenizer.to_str())

    @property
    def vocab_size(self) -> int:
        """How many tokens there are."""
        return int(self._tokenizer.get_vocab_size())

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and attention mask, both int64 ``(B, L)`` with L the longest text's; nothing is cut off.

        Raises:
            QueryError: there is no text, or one has more than ``max_tokens`` tokens.
        """
        if not texts:
            raise QueryError("there is no text to encode")
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        longest = max(len(tokens) for tokens in ids)
        if longest > self.max_tokens:
            text = next(text for text, tokens in zip(texts, ids, strict=True) if len(tokens) == longest)
            raise QueryError(
                f"the text '{text[:40]}...' has {longest} tokens and at most {self.max_tokens} are read: shorten it"
            )
        input_ids = torch.tensor([tokens + [self.pad_id] * (longest - len(tokens)) for tokens in ids])
        mask = torch.tensor([[1] * len(tokens) + [0] * (longest - len(tokens)) for tokens in ids])
        return input_ids, mask


def roberta_tokenizer(source: str = "roberta-base", *, max_tokens: int = 77) -> JSONTokenizer:
    """RoBERTa's own tokenizer, which the released CLAP models were trained with.

    Args:
        source: a local folder with the tokenizer's files, or a name on the Hugging Face hub.
        max_tokens: longest text in tokens; CLAP was trained with 77.

    Raises:
        WeightsError: there is no such tokenizer.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"no RoBERTa tokenizer at '{source}': give a folder with its tokenizer.json, or a name on the hub"
        ) from error
    return JSONTokenizer(tokenizer.backend_tokenizer.to_str(), pad_id=tokenizer.pad_token_id, max_tokens=max_tokens)
