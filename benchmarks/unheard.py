"""Mixtures of clips that training did not use, asked about: what choices among a Sieve's settings are made by."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from soundsieve import load
from soundsieve.evaluation import pairs as lists
from soundsieve.evaluation.measuring import Row
from soundsieve.evaluation.questions import Question, plan
from soundsieve.evaluation.run import evaluate, of_condition, selectivity
from soundsieve.metrics import roc_auc
from soundsieve.systems.sieve import Sieve

HERE = Path(__file__).resolve().parent
WORDINGS = {
    "validation": HERE.parent / "recipes" / "starter" / "validation_wordings.csv",
    "test": HERE / "paraphrases.csv",
}
"""Words for the labels of a split that are in no training text and in no other split's."""


def parser_of(description: str | None, *, pairs: int) -> argparse.ArgumentParser:
    """The options that all of these measurements have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="list of clips that has a validation split")
    parser.add_argument("--pairs", type=int, default=pairs, help="mixtures")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    return parser


def sieve_named(name: str) -> Sieve:
    """A model that is a Sieve, by name or file."""
    system = load(name).system
    if not isinstance(system, Sieve):
        raise SystemExit(f"'{name}' is a {system.name}: only a sieve has these settings")
    return system


@dataclass(frozen=True)
class Unheard:
    """Mixtures and what is asked about them."""

    pairs: Sequence[lists.Pair]
    questions: Sequence[Question]
    sounds: lists.Sounds
    conditions: tuple[str, ...]

    @classmethod
    def mixed(cls, data: Path, count: int, conditions: tuple[str, ...], *, split: str = "validation") -> Unheard:
        """Mixtures of one split; the condition ``absent`` asks for the presence, ``paraphrase`` in `WORDINGS`."""
        clips = lists.read_clips(data, split=split)
        sounds = lists.decoded(data.parent)
        pairs = lists.make_pairs(clips, sounds, n=count, seed=1)
        words = lists.read_paraphrases(WORDINGS[split]) if "paraphrase" in conditions else None
        by_path = {clip.path: clip for clip in clips}
        questions = plan(pairs, by_path, conditions=conditions, folder=data.parent, paraphrases=words)
        return cls(pairs, questions, sounds, tuple(name for name in conditions if name != "absent"))

    def answers(self, system: Sieve) -> list[Row]:
        """What the system answers, measured, before any gate."""
        config = system.config
        system.config = replace(config, gate_db=0.0)
        rows = list(evaluate(system, self.pairs, self.questions, self.sounds, batch_size=16))
        system.config = config
        return rows

    def figures(self, system: Sieve, labels: set[str] | None = None) -> dict[str, float]:
        """What `summed_up` says of the system's answers."""
        return self.summed_up(self.answers(system), labels)

    def summed_up(self, rows: Sequence[Row], labels: set[str] | None = None) -> dict[str, float]:
        """``sdri_`` and ``median_`` of every condition, ``selectivity`` and ``presence_auc``.

        Args:
            rows: the answers.
            labels: count only the gains of sounds of these.
        """
        found: dict[str, float] = {}
        for name in self.conditions:
            asked = [row for row in of_condition(rows, name) if labels is None or row["label"] in labels]
            found[f"sdri_{name}"] = statistics.mean(row["sdri"] for row in asked)
            found[f"median_{name}"] = statistics.median(row["sdri"] for row in asked)
        for name in {"text", "paraphrase"} & set(self.conditions):
            suffix = "" if name == "text" else f"_{name}"
            found[f"selectivity{suffix}"] = statistics.mean(selectivity(rows, name).values())
        there, absent = ([row["presence"] for row in of_condition(rows, name)] for name in ("text", "absent"))
        if absent:
            is_there = torch.cat([torch.ones(len(there)), torch.zeros(len(absent))]).bool()
            found["presence_auc"] = roc_auc(torch.tensor(there + absent), is_there)
        return found
