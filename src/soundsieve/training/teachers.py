"""Whose sentence vectors a small text tower learns: a large model's, or its own from before.

Each teacher gives the unit vectors of texts and the vocabulary that its student may have.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from soundsieve.encoders.text import SentenceEncoder
from soundsieve.errors import ConfigError, WeightsError
from soundsieve.files import replacing

Progress = Callable[[str, int, int], None]


class Teaches(Protocol):
    """What a student needs of its teacher."""

    @property
    def vocabulary(self) -> dict[str, int]:
        """Its tokens."""

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Tensor:
        """Unit vectors of texts, float16, shape ``(N, width)``."""


class Itself:
    """A tower as it was when its training went on: what it says already is what it has to keep saying.

    Args:
        tower: copied, so that training does not reach it; the copy reads texts as they are typed.
    """

    def __init__(self, tower: SentenceEncoder) -> None:
        self.tower = copy.deepcopy(tower).eval()
        self.tower.spell_by(None)

    @property
    def vocabulary(self) -> dict[str, int]:
        """Its tokens."""
        return self.tower.vocabulary

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Tensor:
        """Unit vectors of texts, float16, shape ``(N, width)``."""
        return by_length(lambda part: self.tower.encode(part), texts, progress)


class Teacher:
    """A sentence-transformers model of the BERT kind with mean pooling, by transformers alone.

    Args:
        source: a folder with the model, an installed package that has one in its folder ``model``, or a hub name.

    Raises:
        WeightsError: there is no such model.
    """

    def __init__(self, source: str) -> None:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging as transformers_logging

        self.source = _teacher_folder(source)
        shown = transformers_logging.get_verbosity()
        transformers_logging.set_verbosity(logging.ERROR)
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            self.model = AutoModel.from_pretrained(self.source).eval()
            self.tokenizer = AutoTokenizer.from_pretrained(self.source, use_fast=True)
        except (OSError, ValueError) as error:
            raise WeightsError(
                f"no teacher at '{source}': give a folder, an installed package or a hub name"
            ) from error
        finally:
            transformers_logging.set_verbosity(shown)
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]

    @property
    def vocabulary(self) -> dict[str, int]:
        """Its tokens."""
        return dict(self.tokenizer.get_vocab())

    @torch.inference_mode()
    def tokens_alone(self, tokens: Sequence[str]) -> Tensor:
        """The unit vector of each token as a text of its own, shape ``(len(tokens), width)``."""
        vocabulary = self.vocabulary
        first, last = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        ids = torch.tensor([[first, vocabulary[token], last] for token in tokens])
        return torch.cat([self._pool(part, torch.ones_like(part)) for part in torch.split(ids, 512)]).clone()

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Tensor:
        """Unit vectors of texts, float16, shape ``(N, width)``."""

        def vectors(part: list[str]) -> Tensor:
            encoded = self.tokenizer(part, padding=True, truncation=False, return_tensors="pt")
            return self._pool(encoded["input_ids"], encoded["attention_mask"])

        return by_length(vectors, texts, progress)

    def _pool(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            states = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None].float()
        return F.normalize((states.float() * mask).sum(1) / mask.sum(1), dim=1)


def by_length(
    encode: Callable[[list[str]], Tensor], texts: Sequence[str], progress: Progress | None, batch_size: int = 256
) -> Tensor:
    """Vectors of texts in float16, in the texts' order; short texts are encoded first, so that little is padding.

    Raises:
        ConfigError: there is no text.
    """
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    out: Tensor | None = None
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        vectors = encode([texts[i] for i in rows]).half()
        if out is None:
            out = torch.zeros(len(texts), vectors.shape[1], dtype=torch.float16)
        out[torch.tensor(rows)] = vectors
        if progress:
            progress("teacher's sentences", min(start + batch_size, len(order)) - 1, len(order))
    if out is None:
        raise ConfigError("there is no sentence for the teacher")
    return out.clone()


def remembered(teacher: Teaches, texts: Sequence[str], cache: Path | None, progress: Progress | None) -> Tensor:
    """The teacher's vectors; with a cache, a `Teacher` is asked only for sentences that no earlier run asked for."""
    if cache is None or not texts or not isinstance(teacher, Teacher):
        return teacher.encode(texts, progress)
    path = cache / f"teacher-{hashlib.sha256(teacher.source.encode()).hexdigest()[:16]}.npz"
    known: list[str] = []
    vectors: Tensor | None = None
    if path.is_file():
        with np.load(path) as stored:
            known = json.loads(stored["texts"].tobytes())
            vectors = torch.from_numpy(stored["vectors"])
    row = {text: i for i, text in enumerate(known)}
    new = [text for text in dict.fromkeys(texts) if text not in row]
    if new:
        asked = teacher.encode(new, progress)
        vectors = asked if vectors is None else torch.cat([vectors, asked])
        row |= {text: i for i, text in enumerate(new, len(known))}
        listed = np.frombuffer(json.dumps([*known, *new]).encode(), np.uint8)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, texts=listed, vectors=vectors.numpy())
    assert vectors is not None
    return vectors[torch.tensor([row[text] for text in texts])]


def _teacher_folder(source: str) -> str:
    if Path(source).is_dir():
        return source
    if source.isidentifier():
        spec = importlib.util.find_spec(source)
        for folder in (spec and spec.submodule_search_locations) or ():
            if (Path(folder) / "model").is_dir():
                return str(Path(folder) / "model")
    return source
