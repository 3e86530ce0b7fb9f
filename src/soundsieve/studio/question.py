"""What is asked of a recording in the studio, and the same question as a command line and in Python."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soundsieve.errors import QueryError
from soundsieve.naming import slug

if TYPE_CHECKING:
    from soundsieve.query import Query

_LONGEST_WORDS = 300
_MOST_OF_A_KIND = 8
_NAMELESS = "clip.wav"


@dataclass(frozen=True)
class Question:
    """One question to a recording.

    Args:
        text: what to extract, in words.
        exclude: what to leave out, in words; one text or several.
        like: ids of recordings in the store that sound like it: example clips.
        unlike: ids of recordings that sound like what to leave out.
        invert: whether everything but that is wanted.
        region: a stretch of the recording itself as one more example, start and end in seconds.

    Raises:
        QueryError: nothing is asked, or too much; words are too long; the region is none. `Query` says the rest.
    """

    text: str = ""
    exclude: tuple[str, ...] | str = ()
    like: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    invert: bool = False
    region: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", " ".join((self.text or "").split()))
        excluded = (self.exclude,) if isinstance(self.exclude, str) else self.exclude or ()
        object.__setattr__(self, "exclude", tuple(text for text in (" ".join(one.split()) for one in excluded) if text))
        for side in ("like", "unlike"):
            object.__setattr__(self, side, tuple(getattr(self, side) or ()))
        for words in (self.text, *self.exclude):
            if len(words) > _LONGEST_WORDS:
                raise QueryError(f"that is {len(words)} letters long: a few words will do, at most {_LONGEST_WORDS}")
        for name, what in (("exclude", "texts to leave out"), ("like", "example clips"), ("unlike", "example clips")):
            if len(getattr(self, name)) > _MOST_OF_A_KIND:
                raise QueryError(f"{len(getattr(self, name))} {what} are too many: give at most {_MOST_OF_A_KIND}")
        if self.region is not None:
            object.__setattr__(self, "region", _stretch(self.region))
        if not (self.text or self.exclude or self.like or self.unlike or self.region):
            raise QueryError("nothing was asked: say which sound you want, or give an example of it")
        self.query()  # refuses what no model could answer

    @property
    def wants_something(self) -> bool:
        """Whether there is a sound that could be absent; "everything but x" has none."""
        return bool(self.text or self.like or self.region)

    def options(self, clips: Mapping[str, Path]) -> dict[str, Any]:
        """The question as arguments of `Separator.separate` and its like; ``clips``: where the examples lie, by id."""
        options: dict[str, Any] = {}
        if self.text:
            options["text"] = self.text
        if self.exclude:
            options["exclude"] = list(self.exclude)
        for side in ("like", "unlike"):
            if ids := getattr(self, side):
                options[side] = [str(clips[id]) for id in ids]
        if self.region is not None:
            options["like_spans"] = [self.region]
        return options

    def describe(self, names: Mapping[str, str] | None = None) -> str:
        """A short plain phrase, such as ``a dog barking without rain``; ``names``: of the example clips, by id."""
        phrase = self.query(names).describe()
        return f"everything but {phrase}" if self.invert else phrase

    def command(self, recording: str, names: Mapping[str, str] | None = None, model: str = "starter") -> str:
        """The command line that writes the same sound; ``recording``, ``names``: the files' names at the user's."""
        what = [*([self.text] if self.text else []), _no_option(recording)]
        how: list[str] = []
        for side in ("like", "unlike"):
            clips = [_no_option((names or {}).get(id, _NAMELESS)) for id in getattr(self, side)]
            how += [word for clip in clips for word in (f"--{side}", clip)]
        if self.region is not None:
            how += ["--like-span", _moment(self.region)]
        how += [word for text in self.exclude for word in ("--exclude", text)]
        how += ["--invert"] if self.invert else []
        how += ["--model", model] if model != "starter" else []
        words = [*how, "--", *what] if self.text.startswith("-") else [*what, *how]
        return shlex.join(["soundsieve", "extract", *words])

    def python(self, recording: str, names: Mapping[str, str] | None = None, model: str = "starter") -> str:
        """The lines of Python that write the same sound."""
        clips = {id: Path((names or {}).get(id, _NAMELESS)) for id in (*self.like, *self.unlike)}
        arguments = [repr(recording)]
        for name, value in self.options(clips).items():
            plain = value[0] if isinstance(value, list) and len(value) == 1 and name != "like_spans" else value
            arguments.append(repr(plain) if name == "text" else f"{name}={plain!r}")
        place = f"{Path(recording).stem}.{slug(self.describe(names))}.wav"
        part = ', part="residual"' if self.invert else ""
        lines = [
            "import soundsieve",
            "",
            f"sieve = soundsieve.load({'' if model == 'starter' else repr(model)})",
            f"out = sieve.separate({', '.join(arguments)})",
            f"out.save({place!r}{part})",
        ]
        return "\n".join(lines)

    def query(self, names: Mapping[str, str] | None = None) -> Query:
        """As a query with names in place of clips, for what looks at no samples."""
        from soundsieve.query import Query  # and with it torch, for which the first page does not wait

        called = names or {}
        like, unlike = ([called.get(id, _NAMELESS) for id in ids] for ids in (self.like, self.unlike))
        if self.region is not None:
            like.append(f"{_moment(self.region)}.wav")
        return Query((self.text,) if self.text else (), tuple(self.exclude), tuple(like), tuple(unlike))


def _stretch(region: object) -> tuple[float, float]:
    try:
        start_s, end_s = (float(value) for value in region)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise QueryError(f"a region is its start and end in seconds, such as 6.3 and 7; got {region!r}") from None
    if not (isfinite(end_s) and 0 <= start_s < end_s):
        raise QueryError(f"the region from {start_s:g} to {end_s:g} s: it starts at 0 or later and ends after that")
    return start_s, end_s


def _moment(region: tuple[float, float]) -> str:
    """As the command line has it, to the millisecond."""
    start, end = (f"{value:.3f}".rstrip("0").rstrip(".") for value in region)
    return f"{start}-{end}"


def _no_option(name: str) -> str:
    return f"./{name}" if name.startswith("-") else name
