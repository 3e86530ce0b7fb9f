"""Which clips meet in a mixture, and in which words they are asked for."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from soundsieve.errors import ConfigError
from soundsieve.evaluation.pairs import Clip


def read_sentences(paths: Sequence[str | Path], clips: Sequence[Clip]) -> dict[str, list[str]]:
    """All wordings of each clip label: the label, its clips' captions, and the rows of CSV files (label, text)."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for clip in clips:
        found[clip.label].update({clip.label: None, clip.caption: None})
    for path in paths:
        try:
            with open(path, newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except OSError as error:
            raise ConfigError(f"cannot read the sentences of {path}: {error.strerror}") from error
        for row in rows:
            text = row.get("text") or row.get("caption")
            if not row.get("label") or not text:
                raise ConfigError(f"{path} needs the columns label and text (or caption) in every row")
            if row["label"] in found:
                found[row["label"]][text] = None
    return {label: list(texts) for label, texts in sorted(found.items())}


def by_recording(clips: Sequence[Clip]) -> list[Clip]:
    """The clips without a word about them: their recording stands where label and caption were.

    What is drawn by label is then drawn by recording. Without labels nobody can tell whether two recordings are of one
    kind, so two dogs may meet in a mixture.
    """
    return [replace(clip, label=clip.group, caption=clip.group) for clip in clips]


class ClipSampler:
    """Draws labels, clips of them, further clips as examples, and sentences, all as indices.

    Args:
        clips: what there is to draw from.
        sentences: CSV files with wordings for labels, see `read_sentences`.
        label_power: a label with n clips is drawn with probability proportional to n to this power.
        backgrounds: labels that `draw_background` draws from.
        interferers: labels that it alone draws from: these clips are in mixtures, and nothing ever asks for them.

    Attributes:
        labels: all labels, sorted; the clips' labels are indices into it.
        label: label of each clip, shape ``(clips,)``.
        texts: all sentences, those of a label next to each other.
        unasked: the labels that are interferers.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        sentences: Sequence[str | Path],
        *,
        label_power: float = 0.6,
        backgrounds: Sequence[str] = (),
        interferers: Sequence[str] = (),
    ) -> None:
        wordings = read_sentences(sentences, clips)
        self.labels = list(wordings)
        self.texts = [text for label in self.labels for text in wordings[label]]
        self._first = np.concatenate([[0], np.cumsum([len(wordings[label]) for label in self.labels])])
        index = {label: i for i, label in enumerate(self.labels)}
        unknown = sorted({*backgrounds, *interferers} - index.keys())
        if unknown:
            raise ConfigError(f"backgrounds and interferers are labels of training clips; none is '{unknown[0]}'")
        self._backgrounds = [index[label] for label in dict.fromkeys([*backgrounds, *interferers])]
        self.unasked = frozenset(index[label] for label in interferers)
        self.label = np.array([index[clip.label] for clip in clips])
        self._groups = [clip.group for clip in clips]
        self._clips = [np.flatnonzero(self.label == i) for i in range(len(self.labels))]
        power = np.array([len(own) for own in self._clips], float) ** label_power
        power[list(self.unasked)] = 0.0
        self._probability = power / power.sum()

    def draw_labels(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """``count`` different labels."""
        known = len(self.labels) - len(self.unasked)
        if count > known:
            raise ConfigError(f"{count} different labels are needed and the clips have {known}")
        return rng.choice(len(self.labels), count, replace=False, p=self._probability)

    def draw_background(self, taken: Sequence[int], rng: np.random.Generator) -> int | None:
        """A label among the backgrounds that is not ``taken``; None where none is left."""
        left = [label for label in self._backgrounds if label not in taken]
        return int(rng.choice(left)) if left else None

    def draw_clip(self, label: int, rng: np.random.Generator) -> int:
        """A clip of a label."""
        return int(rng.choice(self._clips[label]))

    def draw_example(self, clip: int, rng: np.random.Generator) -> int:
        """Another clip of the same label, of another recording where there is one; itself where it is alone."""
        same = self._clips[self.label[clip]]
        others = [i for i in same if self._groups[i] != self._groups[clip]] or [i for i in same if i != clip]
        return int(rng.choice(others)) if others else clip

    def sentences(self, label: int) -> slice:
        """Where in ``texts`` the wordings of a label are."""
        return slice(int(self._first[label]), int(self._first[label + 1]))

    def draw_sentence(self, label: int, rng: np.random.Generator) -> int:
        """A wording of a label, as an index into ``texts``."""
        return int(rng.integers(self._first[label], self._first[label + 1]))
