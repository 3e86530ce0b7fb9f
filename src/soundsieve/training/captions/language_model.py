"""What writes captions when it is asked to: an endpoint, or a model on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Answer:
    """What a language model said.

    Attributes:
        text: its words.
        cut_off: whether it was stopped before it was done.
    """

    text: str
    cut_off: bool = False


class LanguageModel(Protocol):
    """What answers.

    Attributes:
        name: of the model.
        batch_size: requests that it takes at once.
    """

    name: str
    batch_size: int

    def answer(self, system: str, prompts: Sequence[str], first: int) -> Iterator[list[Answer]]:
        """Answers to prompts, in their order, in as many pieces as they come in.

        Args:
            system: what the model is told to be.
            prompts: what is asked for.
            first: number of the first prompt, for models that draw by it.
        """
