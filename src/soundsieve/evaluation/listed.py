"""Ask a system about every example of a benchmark's list, and measure each answer: one row an answer.

Rows are plain dicts, ready for one line of JSON each:

    example           its name in the list
    condition         how it was asked; one of `CONDITIONS`, or of `soundsieve.evaluation.run.BASELINES`
    target            the recording that is asked for; empty where nobody knows it
    label, query      its class, where the list has one, and what was asked, in words
    shots, like_s     how many example clips it was asked with, and their mean length in seconds; none if by words alone
    snr_db            of the target to all else in the mixture; None where the target is not known
    energy_db, ...    what was measured; see `soundsieve.evaluation.measuring`
    presence          what the system says of the sound being there at all, 0 to 1, or None
    seconds           what the answer took, its share of the batch; None where no system was asked

An example that cannot be mixed is a row too: its condition is `LEFT_OUT`, and it has a ``reason`` instead of the rest.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from soundsieve.errors import AudioError, ConfigError
from soundsieve.evaluation.answers import estimates, evaluating
from soundsieve.evaluation.benchmarks.example import Example
from soundsieve.evaluation.benchmarks.mixing import Mixing, Mixture, mix
from soundsieve.evaluation.benchmarks.recordings import Recordings
from soundsieve.evaluation.encoder import Encoder
from soundsieve.evaluation.judge import Judge
from soundsieve.evaluation.measuring import BASIC, RATIOS, SPEECH, Row, Target, choose, number
from soundsieve.evaluation.oracle import ideal_ratio_mask
from soundsieve.evaluation.rows import key_of
from soundsieve.evaluation.run import BASELINES
from soundsieve.query import Condition, Query
from soundsieve.systems.base import System

CONDITIONS = {
    "text": "the list's words for the target",
    "text+exclude": "these, and the words for the other sound as exclusion",
    "exclude": "nothing but the words for the other sound as exclusion",
    "label": "the target's class",
    "example": "one example clip of the target's class",
    "examples": "several such clips (shots)",
    "text+example": "the words and one such clip",
    "example+unlike": "one such clip, and one of the other sound as exclusion",
}
"""Every way to ask, in the order of the tables."""
LEFT_OUT = "left out"


@dataclass(frozen=True)
class Asking:
    """What of a list is asked, and how it is mixed.

    Attributes:
        mixing: how.
        recordings: the audio.
        conditions: some of `CONDITIONS`; those that a list cannot be asked by, or a system does not understand, are
            left out.
        shots: example clips for ``examples``.
        seed: of what is drawn.
        metrics: what is measured, as `measuring.choose` knows it.

    Raises:
        ConfigError: a condition or metric is not known, or there are no shots.
    """

    mixing: Mixing
    recordings: Recordings
    conditions: tuple[str, ...] = tuple(CONDITIONS)
    shots: int = 5
    seed: int = 0
    metrics: tuple[str, ...] = field(default=BASIC)

    def __post_init__(self) -> None:
        unknown = [name for name in self.conditions if name not in CONDITIONS]
        if unknown:
            raise ConfigError(f"there is no condition '{unknown[0]}' for lists; there are {', '.join(CONDITIONS)}")
        if self.shots < 1:
            raise ConfigError(f"{self.shots} shots are none")
        choose(self.metrics)

    def queries(self, example: Example, understood: frozenset[str]) -> dict[str, Query]:
        """Every way in which an example can be asked for, by its condition.

        Raises:
            AudioError: an example clip is missing.
        """
        text, exclude = example.text, example.exclude
        apart = bool(text and exclude) and text.lower().split() != exclude.lower().split()
        like, unlike = self._clips(example.like), self._clips(example.unlike)
        sides: dict[str, tuple[bool, dict[str, object]]] = {
            "text": (bool(text), {"text": text}),
            "text+exclude": (apart, {"text": text, "exclude": exclude}),
            "exclude": (bool(exclude), {"exclude": exclude}),
            "label": (bool(example.label), {"text": example.label}),
            "example": (bool(like), {"like": like[:1]}),
            "examples": (bool(like), {"like": like}),
            "text+example": (bool(text and like), {"text": text, "like": like[:1]}),
            "example+unlike": (bool(like and unlike), {"like": like[:1], "unlike": unlike[:1]}),
        }
        chosen = {name: side for name, (possible, side) in sides.items() if possible and name in self.conditions}
        asked = {name: Query(**side) for name, side in chosen.items()}  # type: ignore[arg-type]
        return {name: query for name, query in asked.items() if query.kinds <= understood}

    def needs(self, example: Example) -> list[str]:
        """Recordings that an example is made of and asked with.

        Raises:
            ConfigError: the list does not name what the mixing needs.
        """
        names = list(self.mixing.needs(example))
        shots = max(
            (self.shots if name == "examples" else 1 for name in self.conditions if "example" in name), default=0
        )
        names += example.like[:shots]
        return names + list(example.unlike[:1] if "example+unlike" in self.conditions else ())

    def _clips(self, names: Sequence[str]) -> list[str]:
        asks = any("example" in name for name in self.conditions)
        return [str(self.recordings.path(name)) for name in names[: self.shots]] if asks else []


def present(examples: Sequence[Example], asking: Asking) -> tuple[list[Example], list[str]]:
    """Examples whose recordings are all there, and the recordings that are not, each once.

    Raises:
        ConfigError: the list does not name what the mixing needs.
    """
    needed = [(example, asking.needs(example)) for example in examples]
    missing = asking.recordings.missing(name for _, names in needed for name in names)
    gone = set(missing)
    return [example for example, names in needed if not gone.intersection(names)], missing


def measured_for(columns: Sequence[str]) -> tuple[str, ...]:
    """What has to be measured for some columns of a row: ``sdri`` comes with ``sdr``; plain ratios always do."""
    names = [name if name in (*RATIOS, *SPEECH) else name.removesuffix("i") for name in columns]
    return choose([*BASIC, *(name for name in names if name in (*RATIOS, *SPEECH))])


def evaluate(
    system: System,
    examples: Iterable[Example],
    asking: Asking,
    *,
    batch_size: int = 8,
    judge: Judge | None = None,
    leave_out: bool = False,
    done: Container[tuple[object, ...]] = (),
    like_seconds: float | None = None,
) -> Iterator[Row]:
    """Mix, ask and measure, a batch of mixtures of one length at a time; each distinct query is encoded once.

    Args:
        system: what is measured, in evaluation mode while it runs; any sample rate.
        examples: of a list.
        asking: how they are mixed and asked for.
        batch_size: mixtures separated at once.
        judge: what hears the answers too; see `evaluation.judge`.
        leave_out: give a row with the reason for an example that cannot be mixed, instead of stopping there.
        done: rows that are measured already, by `rows.key_of`; they are not measured again.
        like_seconds: to what example clips are cut; see `evaluation.encoder`.

    Yields:
        For every example the rows of `run.BASELINES`, where its target is known, and then those of the answers.

    Raises:
        AudioError: an example cannot be mixed.
        ConfigError: an answer is not a number, or a metric has no value for it.
    """
    metrics = choose(asking.metrics, system)
    encode = Encoder(system, like_seconds)
    batch: list[_Question] = []
    with evaluating(system):
        for example in examples:
            if _key(example, LEFT_OUT) in done:
                continue
            queries = asking.queries(example, system.queries)
            left = {name: query for name, query in queries.items() if _key(example, name) not in done}
            bases = [name for name in BASELINES if _key(example, name) not in done]
            if not left and not (bases and _has_reference(example, asking.mixing)):
                continue
            try:
                mixed = _mixed(example, asking)
            except AudioError as error:
                if not leave_out:
                    raise AudioError(f"{error}; --allow-missing measures the rest without it") from error
                yield {"example": example.example_id, "condition": LEFT_OUT, "reason": str(error)}
                continue
            if mixed.reference is not None:
                target = _target(mixed, asking, choose(asking.metrics), judge)
                yield from _baselines(example, mixed, bases, target)
            if not left:
                continue
            question = _Question(example, mixed, left, _target(mixed, asking, metrics, judge))
            if batch and (len(batch) == batch_size or not batch[0].goes_with(question)):
                yield from _answers(system, batch, encode)
                batch = []
            batch.append(question)
        if batch:
            yield from _answers(system, batch, encode)


@dataclass(frozen=True, eq=False)
class _Question:
    example: Example
    mixed: Mixture
    queries: dict[str, Query]
    target: Target

    def goes_with(self, other: _Question) -> bool:
        """Whether both can be answered at once."""
        return len(self.mixed.mixture) == len(other.mixed.mixture) and self.queries.keys() == other.queries.keys()


def _answers(system: System, batch: Sequence[_Question], encode: Encoder) -> Iterator[Row]:
    with torch.inference_mode():
        conditions = []
        for name in batch[0].queries:
            asked = [encode(question.queries[name]) for question in batch]
            conditions.append(Condition(torch.cat([c.positive for c in asked]), torch.cat([c.negative for c in asked])))
        mixture = torch.stack([question.mixed.mixture for question in batch])
        started = time.perf_counter()
        answers = estimates(system, mixture, conditions, sample_rate=batch[0].target.sample_rate)
    seconds = round((time.perf_counter() - started) / (len(batch) * len(conditions)), 4)
    for index, question in enumerate(batch):
        for (name, query), answer in zip(question.queries.items(), answers, strict=True):
            presence = None if answer.presence is None else number(answer.presence[index])
            row = _head(question.example, name, question.mixed, query) | encode.columns(query)
            try:
                row |= question.target.measure(answer.target[index], text=question.example.text)
            except ConfigError as error:
                raise ConfigError(f"example {question.example.example_id}, asked by {name}: {error}") from error
            yield row | {"presence": presence, "seconds": seconds}


def _target(mixed: Mixture, asking: Asking, metrics: tuple[str, ...], judge: Judge | None) -> Target:
    rate = asking.recordings.sample_rate
    return Target(mixed.mixture, mixed.reference, sample_rate=rate, metrics=metrics, judge=judge)


def _baselines(example: Example, mixed: Mixture, names: Sequence[str], target: Target) -> Iterator[Row]:
    reference, interferer = mixed.reference, mixed.interferer
    if reference is None or interferer is None:
        return
    answers = {
        "mixture": lambda: mixed.mixture,
        "half the mixture": lambda: mixed.mixture / 2,
        "ideal ratio mask": lambda: ideal_ratio_mask(reference, interferer),
    }
    for name in names:
        row = _head(example, name, mixed, None) | target.measure(answers[name](), text=example.text)
        yield row | {"presence": None, "seconds": None}


def _mixed(example: Example, asking: Asking) -> Mixture:
    rate = asking.recordings.sample_rate
    return mix(example, asking.mixing, asking.recordings, sample_rate=rate, seed=asking.seed)


def _has_reference(example: Example, mixing: Mixing) -> bool:
    return not mixing.is_ready(example) or bool(example.reference)


def _key(example: Example, condition: str) -> tuple[object, ...]:
    return key_of({"example": example.example_id, "condition": condition})


def _head(example: Example, condition: str, mixed: Mixture, query: Query | None) -> Row:
    return {
        "example": example.example_id,
        "condition": condition,
        "target": example.target or example.reference,
        "label": example.label,
        "query": None if query is None else query.describe(),
        "snr_db": None if mixed.snr_db is None else number(torch.tensor(mixed.snr_db)),
    }
