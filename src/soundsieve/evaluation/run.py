"""Ask a system about every pair in every way, and measure each answer: one row an example.

Both sounds of a pair are asked for (two directions). Rows are plain dicts, ready for one line of JSON each:

    pair, direction   which mixture, and which of its sounds was asked for (0 or 1; None for a sound that is absent)
    condition         how it was asked; see `CONDITIONS`
    label, source     of the sound asked for, and the collection that its clip is from
    query             what was asked, in words
    energy_db         of the answer, relative to the mixture
    sdr, sdri, ...    the metrics that were chosen, against the sound asked for, and what they gain over the mixture:
                      see `soundsieve.metrics.METRICS`. None of them for an absent sound, and only those that apply
                      for a system whose answers do not line up with the mixture
    clap_score, ...   what a judge says of the answer, if there is one; see `soundsieve.evaluation.judge`
    si_sdr_other      of the answer against the other sound, in dB
    presence          what the system says of the sound being there at all, 0 to 1, or None
    seconds           what the answer took, its share of the batch; None where no system was asked
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from soundsieve.errors import ConfigError
from soundsieve.evaluation.answers import estimates, evaluating
from soundsieve.evaluation.judge import Judge
from soundsieve.evaluation.measuring import BASIC, Row, Target, choose, number
from soundsieve.evaluation.oracle import ideal_ratio_mask
from soundsieve.evaluation.pairs import SAMPLE_RATE, SECONDS, ClipLike, Pair, Sounds, draw_examples, mix
from soundsieve.evaluation.rows import key_of
from soundsieve.metrics import si_sdr, why_not
from soundsieve.query import Condition, Query
from soundsieve.systems.base import System

CONDITIONS = {
    "text": "the clip's caption",
    "text+exclude": "the caption, and the other sound's caption as exclusion",
    "exclude": "nothing but the other sound's caption as exclusion",
    "paraphrase": "words for the label that no training text uses",
    "example": "one example clip: another recording of the label, from the test clips",
    "examples": "up to five such clips",
    "text+example": "the caption and one such clip",
    "example-any": "one example clip from any split, training included",
    "examples-any": "up to five such clips",
    "text+example-any": "the caption and one such clip",
    "absent": "a caption of a sound that is not in the mixture",
}
"""Every way to ask, in the order of the tables. All but the last are asked for both sounds of a pair."""

BASELINES = {
    "mixture": "the unprocessed mixture",
    "half the mixture": "the mixture at half its level: what SDRi gives for knowing nothing",
    "ideal ratio mask": "a mask made from the two sounds themselves: a ceiling, not a system",
}
"""What needs no system; measured along with it."""


@dataclass(frozen=True)
class Question:
    """One query about one pair.

    Attributes:
        pair_id: of the pair.
        direction: which of its sounds is asked for, 0 or 1; None for neither.
        condition: one of `CONDITIONS`.
        label: of the sound asked for.
        source: the collection that its clip is from; empty where there is no such clip.
        query: what is asked.
        caption: the words for the sound asked for, whatever it is asked by; empty for one that is absent.
    """

    pair_id: int
    direction: int | None
    condition: str
    label: str
    source: str
    query: Query
    caption: str = ""


def plan(
    pairs: Iterable[Pair],
    clips: Mapping[str, ClipLike],
    *,
    conditions: Sequence[str] | None = None,
    queries: frozenset[str] = frozenset({"text", "audio", "exclude"}),
    folder: str | Path = ".",
    paraphrases: Mapping[str, Sequence[str]] | None = None,
    any_split: Sequence[ClipLike] = (),
    any_folder: str | Path = ".",
    seed: int = 0,
) -> list[Question]:
    """Every question that can be asked; what cannot be asked (no paraphrase, no example, not understood) is left out.

    Args:
        pairs: the mixtures.
        clips: their clips, by path.
        conditions: which of `CONDITIONS`; by default all.
        queries: the kinds of query that the system understands, as `System.queries`.
        folder: where the paths of example clips start.
        paraphrases: other wordings for labels; one is drawn for each direction of a pair.
        any_split: clips for the conditions that end in ``-any``.
        any_folder: where their paths start.
        seed: of the draws.

    Raises:
        ConfigError: a condition is not known.
    """
    chosen = list(CONDITIONS) if conditions is None else list(conditions)
    unknown = [name for name in chosen if name not in CONDITIONS]
    if unknown:
        raise ConfigError(f"there is no condition '{unknown[0]}'; there are {', '.join(CONDITIONS)}")
    by_label: dict[str, list[ClipLike]] = {}
    for clip in any_split:
        by_label.setdefault(clip.label, []).append(clip)

    questions = []
    for pair in pairs:
        for direction in (0, 1):
            clip, other = clips[pair.paths[direction]], clips[pair.paths[1 - direction]]
            rng = random.Random(f"{seed}:{pair.pair_id}:{direction}")
            wordings = sorted((paraphrases or {}).get(clip.label, ()))
            wording = rng.choice(wordings) if wordings else None
            near = [str(Path(folder) / path) for path in pair.examples[direction]]
            of_clip = random.Random(f"{seed}:{clip.path}")  # the same examples wherever the clip is
            drawn = draw_examples(clip, by_label.get(clip.label, []), of_clip)
            far = [str(Path(any_folder) / path) for path in drawn]
            asked = {
                "text": {"text": clip.caption},
                "text+exclude": {"text": clip.caption, "exclude": other.caption},
                "exclude": {"exclude": other.caption},
                "paraphrase": wording and {"text": wording},
                "example": near and {"like": near[:1]},
                "examples": near and {"like": near},
                "text+example": near and {"text": clip.caption, "like": near[:1]},
                "example-any": far and {"like": far[:1]},
                "examples-any": far and {"like": far},
                "text+example-any": far and {"text": clip.caption, "like": far[:1]},
            }
            questions += [
                Question(pair.pair_id, direction, name, clip.label, _source(clip), Query(**sides), clip.caption)
                for name, sides in asked.items()
                if name in chosen and sides
            ]
        if "absent" in chosen:
            query = Query(text=(pair.absent_caption,))
            questions.append(Question(pair.pair_id, None, "absent", pair.absent_label, "", query))
    return [question for question in questions if question.query.kinds <= queries]


def evaluate(
    system: System,
    pairs: Sequence[Pair],
    questions: Sequence[Question],
    sounds: Sounds,
    *,
    batch_size: int = 8,
    seconds: float = SECONDS,
    metrics: Sequence[str] = BASIC,
    judge: Judge | None = None,
    done: Container[tuple[object, ...]] = (),
) -> Iterator[Row]:
    """Ask and measure, a batch of mixtures at a time; each distinct query is encoded once.

    Args:
        system: what is measured, in evaluation mode while it runs; any sample rate.
        pairs: the mixtures.
        questions: what is asked about them, as `plan` makes them.
        sounds: gives the samples of the clips.
        batch_size: mixtures separated at once.
        seconds: length of the mixtures.
        metrics: what is measured, as `measuring.choose` knows it; what does not apply to the system is left out.
        judge: what hears the answers too; see `evaluation.judge`.
        done: rows that are measured already, by `key_of`; they are not measured again.

    Yields:
        The rows of this module, pair by pair; none for a pair without questions.

    Raises:
        ConfigError: a metric is not known, or an answer is not a number.
    """
    metrics = choose(metrics, system)
    by_pair: dict[int, list[Question]] = {}
    for question in questions:
        if key_of(_head(question.pair_id, question.direction, question.condition)) not in done:
            by_pair.setdefault(question.pair_id, []).append(question)
    pairs = [pair for pair in pairs if pair.pair_id in by_pair]
    encoded: dict[Query, Condition] = {}
    with evaluating(system):
        for start in range(0, len(pairs), batch_size):
            batch = pairs[start : start + batch_size]
            mixed = [_Mixture(pair, sounds, seconds, metrics, judge) for pair in batch]
            yield from _ask(system, [by_pair[pair.pair_id] for pair in batch], mixed, encoded)


def baselines(
    pairs: Iterable[Pair],
    clips: Mapping[str, ClipLike],
    sounds: Sounds,
    *,
    seconds: float = SECONDS,
    metrics: Sequence[str] = BASIC,
    judge: Judge | None = None,
    done: Container[tuple[object, ...]] = (),
) -> Iterator[Row]:
    """The rows of `BASELINES`, for both sounds of every pair; arguments as for `evaluate`."""
    metrics = choose(metrics)
    for pair in pairs:
        heads = [_head(pair.pair_id, direction, name) for direction in (0, 1) for name in BASELINES]
        left = [head for head in heads if key_of(head) not in done]
        if not left:
            continue
        mixed = _Mixture(pair, sounds, seconds, metrics, judge)
        for head in left:
            direction = head["direction"]
            clip = clips[pair.paths[direction]]
            answer = _baseline(head["condition"], mixed.sources[direction], mixed.sources[1 - direction])
            about: Row = {"label": clip.label, "source": _source(clip), "query": None}
            row = head | about | mixed.measure(answer, direction, clip.caption)
            yield row | {"presence": None, "seconds": None}


def _baseline(name: str, wanted: Tensor, other: Tensor) -> Tensor:
    if name == "ideal ratio mask":
        return ideal_ratio_mask(wanted, other)
    mixture = torch.stack([wanted, other]).sum(0)
    return mixture / 2 if name == "half the mixture" else mixture


def of_condition(rows: Iterable[Row], condition: str) -> list[Row]:
    """The rows that were asked in one way."""
    return [row for row in rows if row["condition"] == condition]


def selectivity(rows: Sequence[Row], condition: str = "text") -> dict[int, bool]:
    """For each pair: are the answers for both of its sounds closer (SI-SDR) to what was asked than to the other?"""
    answers: dict[int, list[bool]] = defaultdict(list)
    for row in of_condition(rows, condition):
        if "si_sdr" not in row:  # of a system that it does not apply to
            continue
        answers[row["pair"]].append(row["si_sdr"] > row["si_sdr_other"])
    return {pair: all(closer) for pair, closer in answers.items() if len(closer) == 2}


def quick_score(
    system: System,
    sounds: Sounds,
    pairs: Sequence[Pair],
    clips: Iterable[ClipLike],
    *,
    batch_size: int = 16,
    seconds: float = SECONDS,
) -> dict[str, float]:
    """A few numbers for the validation of a training run, measured as the full evaluation measures them.

    Args:
        system: what is measured.
        sounds: gives the samples of the clips.
        pairs: the mixtures, as `make_pairs` draws them.
        clips: at least those that the pairs name.
        batch_size: mixtures separated at once.
        seconds: length of the mixtures, as they were drawn.

    Returns:
        ``sdri_text``, ``sdri_both`` (the other sound excluded; only where the system understands it), both mean dB, and
        ``selectivity``, the share of mixtures whose two sounds are told apart by text.

    Raises:
        ConfigError: the system's answers do not line up with the mixture.
    """
    if not system.aligned:
        raise ConfigError(why_not("sdri", system))
    by_path = {str(clip.path): clip for clip in clips}
    questions = plan(pairs, by_path, conditions=("text", "text+exclude"), queries=system.queries)
    rows = list(evaluate(system, pairs, questions, sounds, batch_size=batch_size, seconds=seconds))
    scores = {}
    for name, condition in (("sdri_text", "text"), ("sdri_both", "text+exclude")):
        gains = [row["sdri"] for row in of_condition(rows, condition)]
        if gains:
            scores[name] = sum(gains) / len(gains)
    told_apart = selectivity(rows)
    return scores | {"selectivity": sum(told_apart.values()) / len(told_apart)}


def _ask(
    system: System, questions: list[list[Question]], mixed: list[_Mixture], encoded: dict[Query, Condition]
) -> Iterator[Row]:
    """Rows for a batch: one list of questions, and one mixture, for each pair."""
    with torch.inference_mode():
        for of_pair in questions:
            for question in of_pair:
                if question.query not in encoded:
                    encoded[question.query] = system.encode_query(question.query)
        # One condition of the batch is one way to ask (condition and direction) about every mixture in it. Where a
        # mixture is not asked in that way, another mixture's query stands in and its answer is dropped.
        ways = list(dict.fromkeys((q.condition, q.direction) for of_pair in questions for q in of_pair))
        tables = [{(q.condition, q.direction): q for q in of_pair} for of_pair in questions]
        conditions = []
        for way in ways:
            stand_in = next(table[way] for table in tables if way in table)
            asked = [encoded[table.get(way, stand_in).query] for table in tables]
            conditions.append(Condition(torch.cat([c.positive for c in asked]), torch.cat([c.negative for c in asked])))
        mixture = torch.stack([one.mixture for one in mixed])
        started = time.perf_counter()
        answers = estimates(system, mixture, conditions, sample_rate=SAMPLE_RATE)
        each_s = (time.perf_counter() - started) / (len(answers) * len(mixed))
    for index, of_pair in enumerate(questions):
        for q in of_pair:
            estimate = answers[ways.index((q.condition, q.direction))]
            row = _head(q.pair_id, q.direction, q.condition)
            row |= {"label": q.label, "source": q.source, "query": q.query.describe()}
            row |= mixed[index].measure(estimate.target[index], q.direction, q.caption)
            row["presence"] = None if estimate.presence is None else number(estimate.presence[index])
            yield row | {"seconds": round(each_s, 5)}


def _head(pair_id: int, direction: int | None, condition: str) -> Row:
    return {"pair": pair_id, "direction": direction, "condition": condition}


def _source(clip: ClipLike) -> str:
    return str(getattr(clip, "source", ""))


class _Mixture:
    """A pair as sound, which measures answers about it."""

    def __init__(self, pair: Pair, sounds: Sounds, seconds: float, metrics: Sequence[str], judge: Judge | None) -> None:
        mixed = mix(pair, sounds, seconds=seconds)
        self.mixture, self.sources = mixed.mixture, mixed.sources
        references = [*self.sources, None]
        self._targets = [
            Target(self.mixture, reference, sample_rate=SAMPLE_RATE, metrics=metrics, judge=judge)
            for reference in references
        ]

    def measure(self, answer: Tensor, direction: int | None, caption: str) -> Row:
        """The columns for an answer to a question about one of the two sounds, or about neither."""
        if direction is None:
            return self._targets[2].measure(answer)
        row = self._targets[direction].measure(answer, text=caption)
        if "si_sdr" in row:
            row["si_sdr_other"] = number(si_sdr(answer, self.sources[1 - direction]))
        return row
