"""Queries of a run as conditions, and what a row says of the example clips that it was asked with."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import torch

from soundsieve import audio
from soundsieve.dsp.mixing import loudest_offset
from soundsieve.evaluation.measuring import Row
from soundsieve.evaluation.pairs import STEP_S
from soundsieve.query import ClipLike, Condition, Query
from soundsieve.systems.base import System


class Encoder:
    """Encodes every distinct query once.

    Args:
        system: encodes them.
        like_seconds: longer example clips are cut to their loudest stretch of so many seconds; None leaves them whole.
    """

    def __init__(self, system: System, like_seconds: float | None = None) -> None:
        self._system, self._like_seconds = system, like_seconds
        self._known: dict[Query, Condition] = {}

    def __call__(self, query: Query) -> Condition:
        """The condition of one query, both sides of shape ``(1, D)``.

        Raises:
            AudioError: an example clip cannot be read.
        """
        if query not in self._known:
            with torch.inference_mode():
                self._known[query] = self._system.encode_query(self._shortened(query))
        return self._known[query]

    def columns(self, query: Query) -> Row:
        """``shots``, how many clips show what to extract, and ``like_s``, their mean length in seconds; none for words.

        The length is None where a clip is not a file (a system may know clips by name).
        """
        if not query.like:
            return {}
        lengths = [_seconds(clip) for clip in query.like]
        known = [min(length, self._like_seconds or length) for length in lengths if length is not None]
        mean = round(sum(known) / len(known), 2) if len(known) == len(lengths) else None
        return {"shots": len(lengths), "like_s": mean}

    def _shortened(self, query: Query) -> Query:
        if self._like_seconds is None or not (query.like or query.unlike):
            return query
        like, unlike = (
            tuple(_loudest(clip, self._like_seconds) for clip in side) for side in (query.like, query.unlike)
        )
        return replace(query, like=like, unlike=unlike)


def _loudest(clip: ClipLike, seconds: float) -> ClipLike:
    samples, rate = audio.decode(clip) if isinstance(clip, (str, Path)) else clip
    length = max(1, round(seconds * rate))
    power = torch.from_numpy(samples).double().reshape(-1, samples.shape[-1]).square().mean(0)
    offset = loudest_offset(power.sqrt(), length, step=round(STEP_S * rate))
    return samples[..., offset : offset + length], rate


def _seconds(clip: ClipLike) -> float | None:
    if isinstance(clip, (str, Path)):
        return _probed(Path(clip)) if Path(clip).is_file() else None
    samples, sample_rate = clip
    return float(samples.shape[-1]) / sample_rate


@functools.lru_cache(maxsize=4096)
def _probed(path: Path) -> float:
    return float(audio.probe(path).seconds)
