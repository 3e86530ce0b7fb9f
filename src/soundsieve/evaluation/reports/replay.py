"""Answers of a run made again, to be seen and heard: the same mixture, asked in the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from soundsieve.errors import ConfigError
from soundsieve.evaluation import questions
from soundsieve.evaluation.answers import estimates, evaluating
from soundsieve.evaluation.benchmarks.example import Example
from soundsieve.evaluation.benchmarks.mixing import mix as mix_example
from soundsieve.evaluation.encoder import Encoder
from soundsieve.evaluation.listed import Asking
from soundsieve.evaluation.measuring import RATIOS, Row, Target
from soundsieve.evaluation.pairs import EXAMPLES, SAMPLE_RATE, decoded, mix, read_clips, read_pairs, read_paraphrases
from soundsieve.metrics import METRICS
from soundsieve.query import Condition
from soundsieve.systems.base import System

TOLERANCE_DB = 0.5
"""How far an answer may be from the row that it is of: machines differ in the last digits, models in the first."""


@dataclass(frozen=True)
class Heard:
    """One answer as sound; each of shape ``(T,)``.

    Attributes:
        mixture: what was asked about.
        answer: what the system gave.
        reference: what was asked for; None where nobody knows it.
        sample_rate: Hz.
    """

    mixture: Tensor
    answer: Tensor
    reference: Tensor | None
    sample_rate: int


Replay: TypeAlias = Callable[[Row], Heard]
"""Makes the answer of a row again."""


def of_corpus(
    system: System, clips: Path, pairs: Path, paraphrases: Path, *, like_seconds: float | None = None
) -> Replay:
    """For rows about the project's own mixtures.

    Args:
        system: what is asked.
        clips: list of clips; paths in it start at its folder.
        pairs: list of the mixtures.
        paraphrases: other words for the labels; need not be there.
        like_seconds: to what example clips were cut.

    Raises:
        ConfigError: a list cannot be read; later, when a row is of none of its mixtures.
    """
    by_path = {clip.path: clip for clip in read_clips(clips)}
    by_number = {pair.pair_id: pair for pair in read_pairs(pairs, by_path)}
    words = read_paraphrases(paraphrases) if paraphrases.exists() else None
    sounds, encode = decoded(clips.parent), Encoder(system, like_seconds)

    def again(row: Row) -> Heard:
        pair, direction = by_number.get(row.get("pair", -1)), row.get("direction")
        planned = questions.plan(
            [pair] if pair else [],
            by_path,
            conditions=[row["condition"]],
            queries=system.queries,
            folder=clips.parent,
            paraphrases=words,
            shots=row.get("shots", EXAMPLES),
        )
        question = next((question for question in planned if question.direction == direction), None)
        if question is None or pair is None or direction is None:
            raise ConfigError(f"pair {row.get('pair')} of {pairs} cannot be asked again by {row['condition']}")
        how = question.otherwise or questions.Otherwise()
        mixed = mix(pair, sounds, snr_db=how.snr_db, third=how.third)
        return _asked(system, encode(question.query), mixed.mixture, mixed.sources[direction], SAMPLE_RATE)

    return again


def of_list(
    system: System, examples: Sequence[Example], asking: Asking, *, like_seconds: float | None = None
) -> Replay:
    """For rows about a benchmark's list.

    Args:
        system: what is asked.
        examples: of the list.
        asking: how they are mixed; in which way they are asked, and by how many clips, the row says.
        like_seconds: to what example clips were cut.

    Raises:
        ConfigError: later, when a row is of none of its examples.
    """
    encode = Encoder(system, like_seconds)
    by_name = {example.example_id: example for example in examples}

    def again(row: Row) -> Heard:
        example = by_name.get(str(row.get("example")))
        as_then = replace(asking, conditions=(row["condition"],), shots=row.get("shots", asking.shots))
        query = as_then.queries(example, system.queries).get(row["condition"]) if example else None
        if example is None or query is None:
            raise ConfigError(f"example {row.get('example')} of the list cannot be asked again by {row['condition']}")
        rate = asking.recordings.sample_rate
        mixed = mix_example(example, asking.mixing, asking.recordings, sample_rate=rate, seed=asking.seed)
        return _asked(system, encode(query), mixed.mixture, mixed.reference, rate)

    return again


def _asked(system: System, condition: Condition, mixture: Tensor, reference: Tensor | None, sample_rate: int) -> Heard:
    with evaluating(system), torch.inference_mode():
        answer = estimates(system, mixture[None], [condition], sample_rate=sample_rate)[0].target[0]
    return Heard(mixture, answer, reference, sample_rate)


def check(row: Row, heard: Heard, metric: str) -> None:
    """Make sure that an answer is the one that was measured, where that can be measured again.

    Raises:
        ConfigError: it scores otherwise.
    """
    basic = metric if metric in RATIOS else metric.removesuffix("i")
    if basic not in RATIOS or heard.reference is None:
        return
    target = Target(heard.mixture, heard.reference, sample_rate=heard.sample_rate, metrics=(basic,))
    now = target.measure(heard.answer)[metric]
    if abs(now - row[metric]) > TOLERANCE_DB:
        which = row.get("example", row.get("pair"))
        raise ConfigError(
            f"mixture {which} was measured at {METRICS[metric].title} {row[metric]:.1f} dB and is now {now:.1f} dB: "
            "the model (--model) or the lists are not those of the run"
        )
