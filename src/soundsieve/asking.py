"""What a Separator is asked, and how it should go about it: keyword arguments made into a query and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any, TypedDict

from soundsieve.errors import ConfigError, QueryError
from soundsieve.query import ClipLike, Query
from soundsieve.recordings import Moment, Recording


class Options(TypedDict, total=False):
    """The keyword arguments of `Separator.separate`, which says what they mean; its other methods take them too."""

    sample_rate: int | None
    exclude: str | Sequence[str] | None
    like: ClipLike | Sequence[ClipLike] | None
    unlike: ClipLike | Sequence[ClipLike] | None
    audio_weight: float | None
    query: Query | None
    like_spans: Sequence[Moment]
    unlike_spans: Sequence[Moment]
    segment_s: float | None
    overlap: float
    batch: int
    threshold: float | None
    agreement: bool
    settings: Mapping[str, object] | None
    progress: Callable[[float], None] | None


@dataclass(frozen=True)
class How:
    """Settings of the engine."""

    segment_s: float | None = None
    overlap: float = 0.25
    batch: int = 4
    threshold: float | None = None
    agreement: bool = True
    settings: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        for name in ("segment_s", "overlap", "threshold"):
            value = getattr(self, name)
            if not isinstance(value, Real) and not (value is None and name != "overlap"):
                raise ConfigError(f"{name} is {value!r}: it is a number")
        if not isinstance(self.batch, Integral):
            raise ConfigError(f"batch is {self.batch!r}: it is a whole number of segments")
        if not isinstance(self.agreement, bool):
            raise ConfigError(f"agreement is {self.agreement!r}: it is True or False")
        if self.settings is not None and not isinstance(self.settings, Mapping):
            raise ConfigError("settings is a dict of what the system is to do otherwise, such as {'steps': 10}")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigError(f"threshold is {self.threshold}: a presence lies between 0 and 1")


@dataclass(frozen=True)
class Asked:
    """A query before it is one: moments of the recording become example clips when the recording is open."""

    text: str | Sequence[str] | None = None
    exclude: str | Sequence[str] | None = None
    like: ClipLike | Sequence[ClipLike] | None = None
    unlike: ClipLike | Sequence[ClipLike] | None = None
    audio_weight: float | None = None
    query: Query | None = None
    like_spans: Sequence[Moment] | None = None
    unlike_spans: Sequence[Moment] | None = None

    @property
    def needs_recording(self) -> bool:
        """Whether a moment of the recording is part of the question."""
        return bool(self.like_spans or self.unlike_spans)

    def about(self, recording: Recording | None) -> Query:
        """The query, to a recording that is open where moments of it are asked for.

        Raises:
            QueryError: nothing is asked, or twice.
            AudioError: a moment does not lie within the recording.
        """
        sides = (self.text, self.exclude, self.like, self.unlike)
        if self.query is not None and any(asked is not None for asked in (*sides, self.audio_weight)):
            raise QueryError("give either a query, or text, exclude, like, unlike and audio_weight, not both")
        like = () if recording is None else tuple(recording.excerpt(moment) for moment in self.like_spans or ())
        unlike = () if recording is None else tuple(recording.excerpt(moment) for moment in self.unlike_spans or ())
        if self.query is not None:
            if not self.needs_recording:
                return self.query
            return replace(self.query, like=self.query.like + like, unlike=self.query.unlike + unlike)
        weight = Query.audio_weight if self.audio_weight is None else self.audio_weight
        return Query(
            self.text,  # type: ignore[arg-type]  # Query makes tuples of all four
            self.exclude,  # type: ignore[arg-type]
            like if self.like is None else Query(like=self.like).like + like,  # type: ignore[arg-type]
            unlike if self.unlike is None else Query(unlike=self.unlike).unlike + unlike,  # type: ignore[arg-type]
            weight,
        )


def taken(text: str | Sequence[str] | None, options: Options) -> tuple[Asked, How]:
    """What of a method's options is the question, and what is how to answer it."""
    unknown = options.keys() - Options.__annotations__.keys()
    if unknown:
        raise TypeError(f"unexpected keyword argument '{sorted(unknown)[0]}'")

    def those_of(kind: type[Any]) -> dict[str, Any]:
        return {field.name: options[field.name] for field in fields(kind) if field.name in options}  # type: ignore[literal-required]

    return Asked(text, **those_of(Asked)), How(**those_of(How))


def queries_of(queries: Sequence[str | Query]) -> tuple[Query, ...]:
    """Several questions, in words or as queries.

    Raises:
        QueryError: there is none.
    """
    if isinstance(queries, (str, Query)):
        queries = [queries]
    asked = tuple(one if isinstance(one, Query) else Query(one) for one in queries)  # type: ignore[arg-type]
    if not asked:
        raise QueryError("nothing was asked: give the sounds to split the recording into")
    return asked
