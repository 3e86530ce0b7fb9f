"""Which sounds are mixed, and how: lists of pairs that anyone can mix again to the sample.

Two clips of different labels, 5 s at 32 kHz mono, at 0 dB: both at -26 dB re full scale over the 5 s, turned down
together where their sum would pass full scale. A longer clip is cut to its loudest 5 s (in steps of 0.1 s); a shorter
one is placed among zeros, at an offset drawn once. Everything drawn is in the list, so mixing draws nothing.

A list is a CSV file beside a CSV of clips (path, label, caption, group, and optionally source and split); a pair names
its clips by path. Each pair also names a sound that is in neither clip, to ask for in vain, and up to five example
clips of each label, from other recordings (another group) than the clip that is mixed: the same ones wherever it is.
"""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from soundsieve.dsp.mixing import fit_length, loudest_offset, mix_at_snr, scale_to_rms_db
from soundsieve.errors import AudioError, ConfigError, reason
from soundsieve.evaluation.benchmarks.tables import read_rows
from soundsieve.evaluation.json_list import read_json_list
from soundsieve.files import replacing

SAMPLE_RATE = 32000
SECONDS = 5.0
LEVEL_DB = -26.0
"""Of each of the two sounds, over the whole mixture."""
STEP_S = 0.1
"""Of the search for the loudest crop."""
EXAMPLES = 5
"""Example clips named for each sound, at most."""

Sounds: TypeAlias = Callable[[str], Tensor]
"""What gives the samples of a clip, float32, shape ``(T,)`` at `SAMPLE_RATE`, by the path its list names it with."""


class ClipLike(Protocol):
    """What a clip must say of itself."""

    @property
    def path(self) -> str | Path: ...  # noqa: D102
    @property
    def label(self) -> str: ...  # noqa: D102
    @property
    def caption(self) -> str: ...  # noqa: D102
    @property
    def group(self) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class Clip:
    """One recording of one sound.

    Attributes:
        path: where it is, relative to its list.
        label: what it is, one of a closed set.
        caption: what it is, in a sentence.
        group: which original recording it was cut from; where a list leaves that empty, it is one of its own.
        source: which collection it is from.
        split: ``train``, ``validation`` or ``test``.
    """

    path: str
    label: str
    caption: str
    group: str
    source: str = ""
    split: str = ""


@dataclass(frozen=True)
class Pair:
    """Two sounds to be mixed, and what can be asked about them; see `Mixed` for the mixture itself.

    Attributes:
        pair_id: its number in the list.
        first: path of one clip.
        second: path of the other.
        first_offset: in samples at `SAMPLE_RATE`: where the crop starts, or where a shorter clip is placed.
        second_offset: likewise.
        absent_label: a label that neither clip has.
        absent_caption: a sentence for it.
        first_examples: paths of clips of the first one's label from other recordings; may be none.
        second_examples: likewise.
    """

    pair_id: int
    first: str
    second: str
    first_offset: int
    second_offset: int
    absent_label: str
    absent_caption: str
    first_examples: tuple[str, ...] = ()
    second_examples: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, str]:
        """Of both clips."""
        return self.first, self.second

    @property
    def examples(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Of both labels."""
        return self.first_examples, self.second_examples


def read_clips(path: str | Path, *, split: str | None = None, labelled: bool = True) -> list[Clip]:
    """Read a list of clips.

    Args:
        path: CSV with the columns path, label, caption and group, and optionally source and split; or, where its name
            ends in ``.json``, a list in AudioSep's format (see `soundsieve.evaluation.json_list`).
        split: keep this split alone (all, where the list has no such column).
        labelled: without, the columns label and caption are not read, and need not be there.

    Raises:
        ConfigError: the file cannot be read, lacks a column or key, or holds no clip.
    """
    names = [field.name for field in fields(Clip)]
    unread = {} if labelled else {"label": "", "caption": ""}
    if Path(path).suffix.lower() == ".json":
        rows = read_json_list(path, captions=labelled)
    else:
        rows = read_rows(path, required=[name for name in names[:4] if name not in unread])
        rows = [row | {"group": row["group"] or row["path"]} for row in rows]
    clips = [Clip(**({name: row[name] for name in names if row.get(name) is not None} | unread)) for row in rows]
    if split is not None:
        clips = [clip for clip in clips if clip.split in ("", split)]
    if not clips:
        raise ConfigError(f"{path} lists no clip" + (f" of the split '{split}'" if split else ""))
    return clips


def decoded(folder: str | Path) -> Sounds:
    """Clips read from files under ``folder``, mixed down to mono and resampled to `SAMPLE_RATE`."""
    from soundsieve import audio

    def load(path: str) -> Tensor:
        samples, rate = audio.decode(Path(folder) / path)
        return torch.from_numpy(audio.resample(samples.mean(0), rate, SAMPLE_RATE))

    return load


def make_pairs(
    clips: Iterable[ClipLike], sounds: Sounds, *, n: int | None = None, seed: int = 0, seconds: float = SECONDS
) -> list[Pair]:
    """Draw a list of pairs: the same clips and the same seed give the same list, in whatever order the clips come.

    Clips are taken from shuffled rounds over all of them, so any two are used equally often, or one time apart.

    Args:
        clips: of at least three labels, so that one can be absent; a caption shared by labels keeps them apart.
        sounds: gives their samples.
        n: how many pairs; by default as many as there are clips, so that each clip is in exactly two.
        seed: of everything drawn.
        seconds: length of the mixtures.

    Raises:
        ConfigError: the clips cannot be paired.
        AudioError: a clip is silent.
    """
    ordered = sorted(clips, key=lambda clip: str(clip.path))
    by_label: dict[str, list[ClipLike]] = defaultdict(list)
    for clip in ordered:
        by_label[clip.label].append(clip)
    if len(by_label) < 3:
        raise ConfigError(f"pairs need clips of at least three labels, got {len(by_label)}")
    n = len(ordered) if n is None else n
    if n < 1:
        raise ConfigError(f"a list needs at least one pair, got {n}")
    rng = random.Random(seed)
    length = round(seconds * SAMPLE_RATE)
    examples = {str(clip.path): draw_examples(clip, by_label[clip.label], rng) for clip in ordered}
    pairs = []
    for pair_id, (first, second) in enumerate(_draw(ordered, n, rng)):
        captions = {first.caption.lower(), second.caption.lower()}
        absent = [
            [clip for clip in of_label if clip.caption.lower() not in captions]
            for label, of_label in by_label.items()
            if label not in (first.label, second.label)
        ]
        if not any(absent):
            raise ConfigError(f"no caption is left to ask for in vain beside '{first.label}' and '{second.label}'")
        absent_clip = rng.choice(rng.choice([choices for choices in absent if choices]))
        pairs.append(
            Pair(
                pair_id,
                str(first.path),
                str(second.path),
                _offset(sounds(str(first.path)), length, rng, str(first.path)),
                _offset(sounds(str(second.path)), length, rng, str(second.path)),
                absent_clip.label,
                absent_clip.caption,
                examples[str(first.path)],
                examples[str(second.path)],
            )
        )
    return pairs


def draw_examples(clip: ClipLike, same_label: Sequence[ClipLike], rng: random.Random) -> tuple[str, ...]:
    """Paths of up to `EXAMPLES` clips from other recordings than ``clip``, in random order; as few as there are."""
    others = [str(other.path) for other in same_label if other.group != clip.group]
    return tuple(rng.sample(others, min(EXAMPLES, len(others))))


def _draw(clips: Sequence[ClipLike], n: int, rng: random.Random) -> list[tuple[ClipLike, ClipLike]]:
    """Neighbours in shuffled rounds; one that does not fit changes places with one that mends both pairs."""
    taken: list[ClipLike] = []
    while len(taken) < 2 * n:
        taken += rng.sample(clips, len(clips))
    taken = taken[: 2 * n]

    def fits(a: ClipLike, b: ClipLike) -> bool:
        return a.label != b.label and a.caption.lower() != b.caption.lower() and a.path != b.path

    for i in range(0, 2 * n, 2):
        if fits(taken[i], taken[i + 1]):
            continue
        places = list(range(2 * n))
        rng.shuffle(places)
        for j in places:
            if fits(taken[i], taken[j]) and fits(taken[i + 1], taken[j ^ 1]):  # j ^ 1 is the partner of j
                taken[i + 1], taken[j] = taken[j], taken[i + 1]
                break
        else:
            raise ConfigError(f"too many clips are of '{taken[i].label}' to pair each with another label")
    return [(taken[i], taken[i + 1]) for i in range(0, 2 * n, 2)]


def _offset(x: Tensor, length: int, rng: random.Random, path: str) -> int:
    if not bool(x.any()):
        raise AudioError(f"{path} is silent: it cannot be mixed at a level")
    if len(x) > length:
        return loudest_offset(x, length, step=round(STEP_S * SAMPLE_RATE))
    return rng.randint(0, length - len(x))


@dataclass(frozen=True)
class Mixed:
    """A pair as sound.

    Attributes:
        mixture: shape ``(T,)``, the sum of the sources.
        sources: shape ``(2, T)``, first and second, as they are in the mixture; ``(3, T)`` with a third sound.
    """

    mixture: Tensor
    sources: Tensor


def mix(
    pair: Pair, sounds: Sounds, *, seconds: float = SECONDS, snr_db: float = 0.0, third: str | None = None
) -> Mixed:
    """Mix a pair, at 0 dB, as this module describes, or otherwise.

    Args:
        pair: what to mix.
        sounds: gives the samples of its clips.
        seconds: length of the mixture, as the list was made for.
        snr_db: the first sound over the second, which is turned down or up.
        third: path of a third sound, at the level of the first: its loudest stretch, or from the start if it is short.

    Raises:
        AudioError: a clip is silent where it was cut, or does not have the length that the list was made for.
    """
    length = round(seconds * SAMPLE_RATE)
    try:
        first = fit_length(sounds(pair.first), length, offset=pair.first_offset)
        second = fit_length(sounds(pair.second), length, offset=pair.second_offset)
        _, first, second = mix_at_snr(scale_to_rms_db(first, LEVEL_DB), second, snr_db)
        parts = [first, second]
        if third is not None:
            samples = sounds(third)
            offset = loudest_offset(samples, length, step=round(STEP_S * SAMPLE_RATE))
            parts.append(scale_to_rms_db(fit_length(samples, length, offset=offset), LEVEL_DB))
    except ValueError as error:
        raise AudioError(f"pair {pair.pair_id} ({pair.first}, {pair.second}) cannot be mixed: {error}") from error
    sources = torch.stack(parts)
    sources = sources / max(float(sources.sum(0).abs().max()), 1.0)
    return Mixed(sources.sum(0), sources)


_COLUMNS = [field.name for field in fields(Pair)]


def write_pairs(path: str | Path, pairs: Sequence[Pair]) -> None:
    """Write a list as CSV; example clips are joined by ``|``."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for pair in pairs:
            values = [getattr(pair, name) for name in _COLUMNS]
            writer.writerow(["|".join(value) if isinstance(value, tuple) else value for value in values])


def read_pairs(path: str | Path, clips: Mapping[str, ClipLike]) -> list[Pair]:
    """Read a list as `write_pairs` writes it.

    Args:
        path: the CSV file.
        clips: the clips it draws on, by path.

    Raises:
        ConfigError: the file cannot be read, is not such a list, or names a clip that ``clips`` lacks.
    """
    pairs = []
    for row in read_rows(path, required=_COLUMNS):
        try:
            first_offset, second_offset, pair_id = (
                int(row[name]) for name in ("first_offset", "second_offset", "pair_id")
            )
        except ValueError as error:
            raise ConfigError(f"{path}: pair {row['pair_id']}: {error}") from error
        examples = [tuple(filter(None, row[name].split("|"))) for name in ("first_examples", "second_examples")]
        absent = row["absent_label"], row["absent_caption"]
        pair = Pair(pair_id, row["first"], row["second"], first_offset, second_offset, *absent, *examples)
        for name in (*pair.paths, *examples[0], *examples[1]):
            if name not in clips:
                raise ConfigError(f"{path}: pair {pair_id} names {name}, which the list of clips lacks")
        pairs.append(pair)
    if not pairs:
        raise ConfigError(f"{path} lists no pair")
    return pairs


def read_paraphrases(path: str | Path) -> dict[str, list[str]]:
    """Read other wordings: CSV with the columns label and text, several rows a label.

    Raises:
        ConfigError: the file cannot be read or lacks a column.
    """
    wordings: dict[str, list[str]] = defaultdict(list)
    for row in read_rows(path, required=["label", "text"]):
        wordings[row["label"]].append(row["text"])
    return dict(wordings)


def read_labels(path: str | Path, clips: Iterable[ClipLike] | None = None) -> list[str]:
    """Read some labels, one a line.

    Args:
        path: the file.
        clips: which have to have them; None where that is not known yet.

    Raises:
        ConfigError: the file cannot be read or is empty, or no clip has one of its labels.
    """
    try:
        labels = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {reason(error)}") from error
    if not labels:
        raise ConfigError(f"{path} names no label")
    known = set(labels) if clips is None else {clip.label for clip in clips}
    unknown = [label for label in labels if label not in known]
    if unknown:
        raise ConfigError(f"{path}: no clip is labelled '{unknown[0]}'")
    return labels
