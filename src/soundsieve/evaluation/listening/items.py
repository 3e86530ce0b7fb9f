"""What a listening test is about: some mixtures, what is asked of each, and what every system answered."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from soundsieve import audio
from soundsieve.errors import ConfigError
from soundsieve.evaluation.benchmarks.example import Example
from soundsieve.evaluation.benchmarks.mixing import Mixture
from soundsieve.separator import Separator

_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Item:
    """A mixture and a question about it.

    Attributes:
        name: no other item has it.
        query: what is asked, in words.
        mixture: shape ``(T,)``.
        reference: what is asked for, as it is in the mixture; None where nobody knows it.
        sample_rate: Hz.
        stems: what a file with an answer may be called, without its suffix.
    """

    name: str
    query: str
    mixture: Tensor
    reference: Tensor | None
    sample_rate: int
    stems: tuple[str, ...]


def draw(
    examples: Sequence[Example], mixed_of: Callable[[Example], Mixture], *, sample_rate: int, count: int, seed: int
) -> list[Item]:
    """Items drawn from a list, of those that are asked for in words.

    An answer is called by its example, or by the file of its mixture.

    Args:
        examples: of the list.
        mixed_of: makes the mixture of one.
        sample_rate: of the mixtures, in Hz.
        count: how many; all where there are fewer.
        seed: of the draw.

    Raises:
        ConfigError: no example is asked for in words.
        AudioError: an example cannot be mixed.
    """
    worded = [example for example in examples if example.text]
    if not worded:
        raise ConfigError("the list asks for nothing in words: a listener could not tell what to expect")
    items = []
    for example in random.Random(seed).sample(worded, min(count, len(worded))):
        mixed = mixed_of(example)
        stems = tuple(dict.fromkeys(stem for stem in (example.example_id, Path(example.mixture).stem) if stem))
        items.append(Item(example.example_id, example.text, mixed.mixture, mixed.reference, sample_rate, stems))
    return items


class Answering(Protocol):
    """What gives a system's answers."""

    def __call__(self, items: Sequence[Item]) -> list[Tensor]:
        """One answer an item, mono, at the item's sample rate."""


Systems: TypeAlias = Mapping[str, Answering]
"""Systems by the names that the scores will call them."""


def of_folder(folder: Path) -> Answering:
    """Answers that are files of a folder, each called by one of its item's ``stems``, with any suffix.

    Raises:
        ConfigError: there is no such folder; later, when an item has no file there, or two.
        AudioError: later, when a file cannot be read.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder} with answers")
    by_stem: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in audio.READABLE:
            by_stem.setdefault(path.stem, []).append(path)

    def answers(items: Sequence[Item]) -> list[Tensor]:
        found = [[path for stem in item.stems for path in by_stem.get(stem, [])] for item in items]
        missing = [item.stems[0] for item, paths in zip(items, found, strict=True) if not paths]
        if missing:
            shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
            raise ConfigError(f"{folder} lacks {len(missing)} of {len(items)} answers, such as NAME.wav: {shown}")
        several = next((paths for paths in found if len(paths) > 1), None)
        if several is not None:
            raise ConfigError(f"{several[0]} and {several[1]} answer the same: leave one of them in the folder")
        return [_mono(paths[0], item.sample_rate) for item, paths in zip(items, found, strict=True)]

    return answers


def of_model(separator: Separator) -> Answering:
    """Answers that a model gives when it is asked."""

    def answers(items: Sequence[Item]) -> list[Tensor]:
        return [
            torch.from_numpy(
                separator.separate(item.mixture.numpy(), item.query, sample_rate=item.sample_rate).target.copy()
            )
            for item in items
        ]

    return answers


def _mono(path: Path, sample_rate: int) -> Tensor:
    samples, rate = audio.decode(path)
    return torch.from_numpy(audio.resample(np.ascontiguousarray(samples.mean(0)), rate, sample_rate))
