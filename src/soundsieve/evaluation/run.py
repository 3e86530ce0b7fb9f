"""Ask a system about every pair in every way, and measure each answer: one row an example.

Both sounds of a pair are asked for (two directions). Rows are plain dicts, ready for one line of JSON each:

    pair, direction   which mixture, and which of its sounds was asked for (0 or 1; None for a sound that is absent)
    condition         how it was asked; see `CONDITIONS`
    label, source     of the sound asked for, and the collection that its clip is from
    query             what was asked, in words
    shots, like_s     how many example clips it was asked with, and their mean length in seconds; none if by words alone
    snr_db            of the sound asked for to all else in the mixture; None where it is absent
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

import time
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from soundsieve.dsp.mixing import energy_db
from soundsieve.errors import ConfigError
from soundsieve.evaluation.answers import estimates, evaluating
from soundsieve.evaluation.encoder import Encoder
from soundsieve.evaluation.judge import Judge
from soundsieve.evaluation.measuring import BASIC, Row, Target, choose, number
from soundsieve.evaluation.oracle import ideal_ratio_mask
from soundsieve.evaluation.pairs import SAMPLE_RATE, SECONDS, ClipLike, Pair, Sounds, mix
from soundsieve.evaluation.questions import CONDITIONS, Otherwise, Question, in_setting, plan, settings_of, source_of
from soundsieve.evaluation.rows import key_of
from soundsieve.metrics import si_sdr, why_not
from soundsieve.query import Condition
from soundsieve.systems.base import System

BASELINES = {
    "mixture": "the unprocessed mixture",
    "half the mixture": "the mixture at half its level: what SDRi gives for knowing nothing",
    "ideal ratio mask": "a mask made from the two sounds themselves: a ceiling, not a system",
}
"""What needs no system; measured along with it."""


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
    like_seconds: float | None = None,
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
        like_seconds: to what example clips are cut; see `evaluation.encoder`.

    Yields:
        The rows of this module, pair by pair, first those at 0 dB; none for a pair without questions.

    Raises:
        ConfigError: a metric is not known, or an answer is not a number.
    """
    metrics = choose(metrics, system)
    by_pair = {pair.pair_id: pair for pair in pairs}
    settings: dict[tuple[bool, ...], dict[tuple[int, Otherwise | None], list[Question]]] = {}
    for question in questions:
        left = key_of(_head(question.pair_id, question.direction, question.condition)) not in done
        if left and question.pair_id in by_pair:
            how = question.otherwise
            of_setting = settings.setdefault((how is not None, how is not None and how.third is not None), {})
            of_setting.setdefault((question.pair_id, how), []).append(question)
    encode = Encoder(system, like_seconds)
    with evaluating(system):
        for _, mixtures in sorted(settings.items()):  # a batch is of mixtures that are asked about in the same ways
            order = list(mixtures)
            for start in range(0, len(order), batch_size):
                batch = order[start : start + batch_size]
                mixed = [_Mixture(by_pair[number], sounds, seconds, metrics, judge, how) for number, how in batch]
                yield from _ask(system, [mixtures[one] for one in batch], mixed, encode)


def baselines(
    pairs: Sequence[Pair],
    clips: Mapping[str, ClipLike],
    sounds: Sounds,
    *,
    conditions: Sequence[str] | None = None,
    seconds: float = SECONDS,
    metrics: Sequence[str] = BASIC,
    judge: Judge | None = None,
    done: Container[tuple[object, ...]] = (),
) -> Iterator[Row]:
    """The rows of `BASELINES`, for both sounds of every pair, at 0 dB and in the settings of the conditions.

    Arguments are as for `plan` and `evaluate`.
    """
    metrics = choose(metrics)
    otherwise = settings_of(pairs, clips, list(CONDITIONS) if conditions is None else conditions)
    for pair in pairs:
        heads: dict[Otherwise | None, list[tuple[str, Row]]] = {}
        for direction, settings in enumerate(otherwise[pair.pair_id]):
            for setting, how in {"": None, **settings}.items():
                for name in BASELINES:
                    head = _head(pair.pair_id, direction, in_setting(name, setting) if setting else name)
                    if key_of(head) not in done:
                        heads.setdefault(how, []).append((name, head))
        for how, left in heads.items():
            mixed = _Mixture(pair, sounds, seconds, metrics, judge, how)
            for name, head in left:
                clip = clips[pair.paths[head["direction"]]]
                answer = _baseline(name, mixed, head["direction"])
                about: Row = {"label": clip.label, "source": source_of(clip), "query": None}
                row = head | about | mixed.measure(answer, head["direction"], clip.caption)
                yield row | {"presence": None, "seconds": None}


def _baseline(name: str, mixed: _Mixture, direction: int) -> Tensor:
    if name == "ideal ratio mask":
        return ideal_ratio_mask(mixed.sources[direction], mixed.rest(direction))
    return mixed.mixture / 2 if name == "half the mixture" else mixed.mixture


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


def _ask(system: System, questions: list[list[Question]], mixed: list[_Mixture], encode: Encoder) -> Iterator[Row]:
    """Rows for a batch: one list of questions, and one mixture, for each pair."""
    with torch.inference_mode():
        # One condition of the batch is one way to ask (condition and direction) about every mixture in it. Where a
        # mixture is not asked in that way, another mixture's query stands in and its answer is dropped.
        ways = list(dict.fromkeys((q.condition, q.direction) for of_pair in questions for q in of_pair))
        tables = [{(q.condition, q.direction): q for q in of_pair} for of_pair in questions]
        conditions = []
        for way in ways:
            stand_in = next(table[way] for table in tables if way in table)
            asked = [encode(table.get(way, stand_in).query) for table in tables]
            conditions.append(Condition(torch.cat([c.positive for c in asked]), torch.cat([c.negative for c in asked])))
        mixture = torch.stack([one.mixture for one in mixed])
        started = time.perf_counter()
        answers = estimates(system, mixture, conditions, sample_rate=SAMPLE_RATE)
        each_s = (time.perf_counter() - started) / (len(answers) * len(mixed))
    for index, of_pair in enumerate(questions):
        for q in of_pair:
            estimate = answers[ways.index((q.condition, q.direction))]
            row = _head(q.pair_id, q.direction, q.condition)
            row |= {"label": q.label, "source": q.source, "query": q.query.describe()} | encode.columns(q.query)
            row |= mixed[index].measure(estimate.target[index], q.direction, q.caption)
            row["presence"] = None if estimate.presence is None else number(estimate.presence[index])
            yield row | {"seconds": round(each_s, 5)}


def _head(pair_id: int, direction: int | None, condition: str) -> Row:
    return {"pair": pair_id, "direction": direction, "condition": condition}


class _Mixture:
    """A pair as sound, which measures answers about it."""

    def __init__(
        self,
        pair: Pair,
        sounds: Sounds,
        seconds: float,
        metrics: Sequence[str],
        judge: Judge | None,
        how: Otherwise | None,
    ) -> None:
        how = how or Otherwise()
        mixed = mix(pair, sounds, seconds=seconds, snr_db=how.snr_db, third=how.third)
        self.mixture, self.sources = mixed.mixture, mixed.sources
        references = [self.sources[0], self.sources[1], None]
        self._targets = [
            Target(self.mixture, reference, sample_rate=SAMPLE_RATE, metrics=metrics, judge=judge)
            for reference in references
        ]

    def rest(self, direction: int) -> Tensor:
        """All but one of the two sounds."""
        return torch.cat([self.sources[:direction], self.sources[direction + 1 :]]).sum(0)

    def measure(self, answer: Tensor, direction: int | None, caption: str) -> Row:
        """The columns for an answer to a question about one of the two sounds, or about neither."""
        if direction is None:
            return {"snr_db": None} | self._targets[2].measure(answer)
        rest = self.rest(direction)
        row: Row = {"snr_db": round(float(energy_db(self.sources[direction]) - energy_db(rest)), 2) + 0.0}
        row |= self._targets[direction].measure(answer, text=caption)
        if "si_sdr" in row:
            row["si_sdr_other"] = number(si_sdr(answer, rest))
        return row
