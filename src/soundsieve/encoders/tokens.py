"""Texts to token ids, from one JSON text that can travel beside the weights it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
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

    @property
    def vocabulary(self) -> dict[str, int]:
        """The tokens and their ids."""
        return dict(self._tokenizer.get_vocab())

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and attention mask, int64 ``(B, L)`` on the CPU, L the longest text's; nothing is cut off.

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
        input_ids = torch.tensor([tokens + [self.pad_id] * (longest - len(tokens)) for tokens in ids], device="cpu")
        mask = torch.tensor([[1] * len(tokens) + [0] * (longest - len(tokens)) for tokens in ids], device="cpu")
        return input_ids, mask


def tokenizer_json(source: str | Path) -> str:
    """The text of a ``tokenizer.json``.

    Args:
        source: that file, or a folder that holds it, such as a copy of a model's page on the Hugging Face hub.

    Raises:
        WeightsError: there is no such file.
    """
    path = Path(source)
    path = path / "tokenizer.json" if path.is_dir() else path
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"no tokenizer at {source}: give a tokenizer.json, or a folder that holds one") from error
