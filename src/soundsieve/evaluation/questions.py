"""What is asked about the pairs, and in which mixtures of them.

Both sounds of a pair are asked for, in every way that the system understands. Most ways are asked of two equally loud
sounds; the ways by words are asked of three other mixtures of the pair too (`SETTINGS`).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soundsieve.errors import ConfigError
from soundsieve.evaluation.pairs import EXAMPLES, ClipLike, Pair, draw_examples
from soundsieve.query import Query

_ASKED = {
    "text": "the clip's caption",
    "text+exclude": "the caption, and the other sound's caption as exclusion",
    "exclude": "nothing but the other sound's caption as exclusion",
    "label": "the label, a word or two",
    "paraphrase": "words for the label that no training text uses",
    "example": "one example clip: another recording of the label, from the test clips",
    "examples": "up to five such clips",
    "text+example": "the caption and one such clip",
    "example-any": "one example clip from any split, training included",
    "examples-any": "up to five such clips",
    "text+example-any": "the caption and one such clip",
    "absent": "a caption of a sound that is not in the mixture",
}
SETTINGS = {
    "at +5 dB": "the sound asked for is 5 dB above the other one",
    "at -5 dB": "the sound asked for is 5 dB below the other one",
    "of three": "a third sound is there, as loud as each of the two",
}
"""In which other mixtures it is asked by words too; elsewhere two sounds are equally loud."""
_BY_WORDS = ("text", "text+exclude", "exclude")
APART_DB = 5.0


def in_setting(name: str, setting: str) -> str:
    """What a way of asking, or a baseline, is called in one of the `SETTINGS`, such as ``text at +5 dB``."""
    return f"{name} {setting}"


def setting_of(name: str) -> str:
    """Which of the `SETTINGS` a way of asking, or a baseline, is in; empty for none of them."""
    return next((setting for setting in SETTINGS if name.endswith(f" {setting}")), "")


CONDITIONS = _ASKED | {
    in_setting(name, setting): f"{_ASKED[name]}, where {what}"
    for setting, what in SETTINGS.items()
    for name in _BY_WORDS
}
"""Every way to ask, in the order of the tables. All but ``absent`` are asked for both sounds of a pair."""


@dataclass(frozen=True)
class Otherwise:
    """A pair mixed in another way than at 0 dB; see `pairs.mix`.

    Attributes:
        snr_db: the first sound over the second.
        third: path of a third sound.
    """

    snr_db: float = 0.0
    third: str | None = None


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
        otherwise: how the pair is mixed, where that is not at 0 dB.
    """

    pair_id: int
    direction: int | None
    condition: str
    label: str
    source: str
    query: Query
    caption: str = ""
    otherwise: Otherwise | None = None


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
    shots: int = EXAMPLES,
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
        shots: example clips for the conditions of several, at most; pairs name up to `EXAMPLES`.

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

    pairs, questions = list(pairs), []
    otherwise = settings_of(pairs, clips, chosen)
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
            asked = _by_words(clip, [other]) | {
                "label": {"text": clip.label},
                "paraphrase": wording and {"text": wording},
                "example": near and {"like": near[:1]},
                "examples": near and {"like": near[:shots]},
                "text+example": near and {"text": clip.caption, "like": near[:1]},
                "example-any": far and {"like": far[:1]},
                "examples-any": far and {"like": far[:shots]},
                "text+example-any": far and {"text": clip.caption, "like": far[:1]},
            }
            how: dict[str, Otherwise] = {}
            for setting, mixed in otherwise[pair.pair_id][direction].items():
                others = [other] if mixed.third is None else [other, clips[mixed.third]]
                words = {in_setting(name, setting): sides for name, sides in _by_words(clip, others).items()}
                asked |= words
                how |= dict.fromkeys(words, mixed)
            questions += [
                Question(
                    pair.pair_id,
                    direction,
                    name,
                    clip.label,
                    source_of(clip),
                    Query(**sides),
                    clip.caption,
                    how.get(name),
                )
                for name, sides in asked.items()
                if name in chosen and sides
            ]
        if "absent" in chosen:
            query = Query(text=(pair.absent_caption,))
            questions.append(Question(pair.pair_id, None, "absent", pair.absent_label, "", query))
    return [question for question in questions if question.query.kinds <= queries]


def _by_words(clip: ClipLike, others: Sequence[ClipLike]) -> dict[str, Any]:
    captions = [other.caption for other in others]
    return {
        "text": {"text": clip.caption},
        "text+exclude": {"text": clip.caption, "exclude": captions},
        "exclude": {"exclude": captions},
    }


def settings_of(
    pairs: Sequence[Pair], clips: Mapping[str, ClipLike], chosen: Sequence[str]
) -> dict[int, tuple[dict[str, Otherwise], dict[str, Otherwise]]]:
    """For each pair and direction, the settings that some of the chosen conditions are about."""
    wanted = {setting_of(name) for name in chosen}
    found = {}
    for pair in pairs:
        third = third_sound(pair, clips) if "of three" in wanted else None
        common = {} if third is None else {"of three": Otherwise(third=third)}
        levels = [{name: Otherwise(APART_DB)} if name in wanted else {} for name in ("at +5 dB", "at -5 dB")]
        found[pair.pair_id] = levels[0] | common, levels[1] | common
    return found


def third_sound(pair: Pair, clips: Mapping[str, ClipLike]) -> str | None:
    """A third sound for a pair, of another label and caption: drawn by the pair's number, the same one in any list.

    Returns:
        The path of a clip that is not of the training or validation split; None where there is none.
    """
    two = [clips[path] for path in pair.paths]
    labels, captions = {clip.label for clip in two}, {clip.caption.lower() for clip in two}
    others = [
        path
        for path, clip in sorted(clips.items())
        if clip.label not in labels
        and clip.caption.lower() not in captions
        and getattr(clip, "split", "") in ("", "test")
    ]
    return random.Random(f"third:{pair.pair_id}").choice(others) if others else None


def source_of(clip: ClipLike) -> str:
    """The collection that a clip is from; empty where it does not say."""
    return str(getattr(clip, "source", ""))
