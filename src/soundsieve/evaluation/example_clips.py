"""What a row says of the example clips that its query was asked with."""

from __future__ import annotations

import functools
from pathlib import Path

from soundsieve import audio
from soundsieve.evaluation.measuring import Row
from soundsieve.query import ClipLike, Query


def columns(query: Query) -> Row:
    """``shots``, how many clips show what to extract, and ``like_s``, their mean length in seconds; none for words.

    The length is None where a clip is not a file (a system may know clips by name).
    """
    if not query.like:
        return {}
    lengths = [_seconds(clip) for clip in query.like]
    known = [length for length in lengths if length is not None]
    mean = round(sum(known) / len(known), 2) if len(known) == len(lengths) else None
    return {"shots": len(lengths), "like_s": mean}


def _seconds(clip: ClipLike) -> float | None:
    if isinstance(clip, (str, Path)):
        return _probed(Path(clip)) if Path(clip).is_file() else None
    samples, sample_rate = clip
    return float(samples.shape[-1]) / sample_rate


@functools.lru_cache(maxsize=4096)
def _probed(path: Path) -> float:
    return float(audio.probe(path).seconds)
