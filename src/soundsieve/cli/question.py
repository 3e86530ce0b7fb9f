"""What is asked, from the command line's words: examples, exclusions, and moments of the recording itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from soundsieve.errors import QueryError

if TYPE_CHECKING:
    from soundsieve.asking import Asked
    from soundsieve.audio import Reader
    from soundsieve.query import Query
    from soundsieve.recordings import Moment
    from soundsieve.separator import Separator

_TIME = r"((?:\d+:){0,2}(?:\d+\.?\d*|\.\d+))"
_SPAN = re.compile(rf"\s*{_TIME}\s*-\s*{_TIME}\s*", re.ASCII)


def moment(words: str) -> Moment:
    """``6.3-7.0``, ``1:02.5-1:04`` or ``1:00:00-1:00:02`` as (start, end) in seconds.

    Raises:
        QueryError: it is none of these, or ends before it starts.
    """
    match = _SPAN.fullmatch(words)
    if match is None:
        raise QueryError(
            f"'{words}' is no moment: write START-END in seconds or minutes, such as 6.3-7.0 or 1:02.5-1:04"
        )
    start_s, end_s = (sum(float(part) * 60**i for i, part in enumerate(reversed(t.split(":")))) for t in match.groups())
    if not start_s < end_s:
        raise QueryError(f"the moment '{words}' ends before it starts")
    return start_s, end_s


def ask(
    text: str | None,
    *,
    exclude: Sequence[str] | None = None,
    like: Sequence[Path] | None = None,
    unlike: Sequence[Path] | None = None,
    like_span: Sequence[str] | None = None,
    unlike_span: Sequence[str] | None = None,
    audio_weight: float = 0.5,
) -> Asked:
    """The question that a command's arguments and options make."""
    from soundsieve.asking import Asked

    return Asked(
        text,
        exclude,
        [str(clip) for clip in like] if like else None,
        [str(clip) for clip in unlike] if unlike else None,
        audio_weight,
        None,
        [moment(words) for words in like_span or ()],
        [moment(words) for words in unlike_span or ()],
    )


def query_about(asked: Asked, reader: Reader) -> Query:
    """The query, where moments of the open recording may be part of it.

    Raises:
        AudioError: the recording does not last that long.
    """
    from soundsieve.recordings import opened

    if not asked.needs_recording:
        return asked.about(None)
    with opened(reader) as recording:
        return asked.about(recording)


def check(separator: Separator, asked: Asked) -> None:
    """Raise what makes the question one that cannot be answered about any recording.

    Raises:
        QueryError: nothing is asked, or nothing that the system understands.
        AudioError: an example clip cannot be read.
    """
    separator.system.check_query(_in_names(asked))
    if not asked.needs_recording:
        separator.encode(asked.about(None))
    elif asked.text or asked.exclude or asked.like or asked.unlike:
        from dataclasses import replace

        separator.encode(replace(asked, like_spans=(), unlike_spans=()).about(None))


def wants_something(asked: Asked) -> bool:
    """Whether there is a sound that could be absent; "everything but x" has none."""
    return bool(asked.text or asked.like or asked.like_spans)


def describe(asked: Asked) -> str:
    """A short plain phrase for names and messages, such as ``a dog barking without like 6.3-7``."""
    return _in_names(asked).describe()


def _in_names(asked: Asked) -> Query:
    """The query with every moment as a clip of that name, for what looks at no samples."""
    from dataclasses import replace

    def named(clips: object, moments: Sequence[Moment] | None) -> list[str] | None:
        names = [*(clips or ()), *(f"{start:g}-{end:g}.wav" for start, end in moments or ())]  # type: ignore[misc]
        return names or None

    like, unlike = named(asked.like, asked.like_spans), named(asked.unlike, asked.unlike_spans)
    return replace(asked, like=like, unlike=unlike, like_spans=(), unlike_spans=()).about(None)
