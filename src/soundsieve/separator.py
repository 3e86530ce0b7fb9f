"""Load once, separate many: any recording in, the same recording's sound out."""

from __future__ import annotations

import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Unpack, overload

import numpy as np
import torch

from soundsieve import audio
from soundsieve.asking import Asked, How, Options, queries_of, taken
from soundsieve.audio import ClipMode, Samples
from soundsieve.errors import AudioError, ConfigError
from soundsieve.nn.precision import check_precision, to_precision
from soundsieve.pouring import pour
from soundsieve.presence import Span
from soundsieve.query import Clip, ClipLike, Condition, Query, combine
from soundsieve.recordings import Mixture, Moment, Recording, check_samples, opened
from soundsieve.results import Extraction, Separation, Splits
from soundsieve.streaming import Stream, separate_blocks
from soundsieve.systems.base import System
from soundsieve.weights.checkpoint import pick_device, share_twins

__all__ = ["Extraction", "Mixture", "Moment", "Options", "Separation", "Separator", "Splits", "check_samples", "load"]

_CONDITIONS_KEPT = 64
_SAME_COSINE = 0.98


def load(
    name_or_path: str | Path = "starter",
    device: str | torch.device = "cpu",
    *,
    weights: str | Path | None = None,
    clap: str | Path | None = None,
    tokenizer: str | Path | None = None,
    precision: str = "float32",
    settings: Mapping[str, object] | None = None,
) -> Separator:
    """Load a model.

    Args:
        name_or_path: a name that ``soundsieve models`` lists, or the path of a file of weights.
        device: where it computes, such as ``cpu`` or ``cuda``; never replaced by another one in silence.
        weights: for a published model (``clapsep``, ``audiosep``, ``lassnet``, ``uss``), a copy of its file, in place
            of the one that is fetched.
        clap: the CLAP that the weights build on, where they do not hold it: the published ``.pt``, or soundsieve's.
        tokenizer: a ``tokenizer.json``, a folder that holds it or its name on the hub, for published weights:
            RoBERTa's, or for LASS-Net that of BERT, uncased; ``none`` makes a model that is asked by example clips
            alone.
        precision: what it computes in: ``float32``; or, for speed on some CPUs, ``int8``, or ``bf16`` (audiosep,
            lassnet, uss).
        settings: how a system that has settings answers, by name; FlowSep's are told at `FlowSep.with_settings`.

    Raises:
        WeightsError: no such model, or its weights are missing, damaged or cannot be fetched.
        ConfigError: there is no such device, precision or setting, or something is given that the model has no use for.
    """
    from soundsieve.weights.catalog import load_model

    check_precision(precision, pick_device(device))
    system = load_model(name_or_path, device, weights=weights, clap=clap, tokenizer=tokenizer)
    to_precision(system, precision)
    if precision == "float32":  # the others let go of these
        share_twins(system)
    return Separator(system.with_settings(settings or {}), device)


class Separator:
    """A system with what surrounds it: sample rates, channels and length of any recording.

    A recording of several channels is separated by one decision for all of them where the system can
    (``System.shares_channels``), so that the stereo image stays, and channel by channel otherwise. It is resampled to
    the system's rate and its target back, so what lies above half the system's rate is never part of the target: it
    stays in the residual. A silent channel's target is silence.

    Several threads may use one Separator at once: each gets what it would get alone.

    Args:
        system: what answers; it is moved to the device and put in evaluation mode.
        device: where it computes.
    """

    def __init__(self, system: System, device: str | torch.device = "cpu") -> None:
        self.device = pick_device(device)
        self.system = system.to(self.device).eval()
        self._encoded: OrderedDict[object, Condition] = OrderedDict()
        self._encoding = threading.Lock()

    @property
    def presence_threshold(self) -> float:
        """Below this presence the sound counts as not found; the system's own, 0.5 where it has none."""
        return float(getattr(self.system, "presence_threshold", 0.5))

    @overload
    def separate(  # type: ignore[overload-overlap]  # a path is a sequence of its letters; str comes first
        self, mixture: Mixture, text: str | Sequence[str] | None = None, **options: Unpack[Options]
    ) -> Separation: ...

    @overload
    def separate(
        self, mixture: Sequence[Mixture], text: str | Sequence[str] | None = None, **options: Unpack[Options]
    ) -> list[Separation]: ...

    def separate(
        self,
        mixture: Mixture | Sequence[Mixture],
        text: str | Sequence[str] | None = None,
        *,
        sample_rate: int | None = None,
        exclude: str | Sequence[str] | None = None,
        like: ClipLike | Sequence[ClipLike] | None = None,
        unlike: ClipLike | Sequence[ClipLike] | None = None,
        audio_weight: float | None = None,
        query: Query | None = None,
        like_spans: Sequence[Moment] | None = None,
        unlike_spans: Sequence[Moment] | None = None,
        segment_s: float | None = None,
        overlap: float = 0.25,
        batch: int = 4,
        threshold: float | None = None,
        agreement: bool = True,
        settings: Mapping[str, object] | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Separation | list[Separation]:
        """Take one sound out of a recording, in memory.

        Args:
            mixture: a path, a file's bytes, an open binary file, or samples ``(C, T)`` or ``(T,)`` as a numpy array or
                torch tensor; or a list of these, one after the other.
            text: what to extract, in words; several texts are averaged.
            sample_rate: of the samples, in Hz; a file knows its own.
            exclude: what to suppress, in words.
            like: example clips of what to extract: paths or ``(samples, sample_rate)``.
            unlike: example clips of what to suppress.
            audio_weight: share of the example clips, from 0 to 1, on a side that has text too; by default half.
            query: all of the above in one, instead of them.
            like_spans: moments of the recording itself, (start, end) in seconds, as further examples of what to
                extract.
            unlike_spans: likewise of what to suppress.
            segment_s: seconds that go through the system at once; by default what it was trained on.
            overlap: fraction of a segment shared with the next.
            batch: how many segments go through the system at once.
            threshold: from which presence, 0 to 1, the sound counts as found; by default the system's own.
            agreement: whether a presence that is estimated may take the time to compare the answer with the query
                (CLAPSep, AudioSep; `soundsieve.presence`); else its energy tells alone, and less.
            settings: for a system that has some, see `load`: what is given counts in place of what it was loaded with.
            progress: called with the fraction done, now and then.

        Returns:
            Target and residual with the recording's own shape, length and sample rate; a list of these for a list.

        Raises:
            AudioError: a recording or example clip cannot be read or used.
            QueryError: nothing, or nothing this system understands, is asked.
            ConfigError: a setting is out of range.
        """
        asked = Asked(text, exclude, like, unlike, audio_weight, query, like_spans, unlike_spans)
        how = How(segment_s, overlap, batch, threshold, agreement, settings)
        if not isinstance(mixture, (list, tuple)):
            return self._separate(mixture, sample_rate, asked, how, progress)  # type: ignore[arg-type]
        return [
            self._separate(one, sample_rate, asked, how, _share_of(progress, index, len(mixture)))
            for index, one in enumerate(mixture)
        ]

    def _separate(
        self,
        mixture: Mixture,
        sample_rate: int | None,
        asked: Asked,
        how: How,
        progress: Callable[[float], None] | None,
    ) -> Separation:
        stream, query, info = self._stream(mixture, sample_rate, asked, how, progress, later=True)
        with stream:
            blocks = list(stream)
        flat = getattr(mixture, "ndim", 2) == 1
        target = _whole([block.target for block in blocks], flat)
        residual = _whole([block.residual for block in blocks], flat)
        warning = self._system_for(how).warning_of_rest
        return Separation(target, residual, stream.sample_rate, query, stream.finders[0], info, warning)

    def separate_stream(
        self, source: Mixture | audio.Reader, text: str | Sequence[str] | None = None, **options: Unpack[Options]
    ) -> Stream:
        """Take one sound out of a recording of any length, block by block, in memory that does not grow with it.

        The source is read as the blocks are asked for, a segment or two ahead, and closed after the last one; to stop
        before, use the stream as a context manager.

        Args:
            source: as in `separate`, or an `audio.Reader`, which is left open.
            text: as in `separate`, like every other argument.

        Returns:
            An iterator of blocks, each with its stretch of mixture, target and residual; it knows the recording's
            rate and channels beforehand, and what was found afterwards.

        Raises:
            AudioError: here, or while the blocks are read: the recording or an example clip cannot be read or used.
            QueryError: nothing, or nothing this system understands, is asked.
            ConfigError: a setting is out of range.
        """
        asked, how = taken(text, options)
        return self._stream(source, options.get("sample_rate"), asked, how, options.get("progress"))[0]

    def find(
        self, source: Mixture | audio.Reader, text: str | Sequence[str] | None = None, **options: Unpack[Options]
    ) -> list[Span]:
        """Where a sound is in a recording of any length; see `soundsieve.presence`. Takes what `separate_stream` takes.

        Returns:
            The stretches in which it was found, in order, each with its score; none where it was not.
        """
        with self.separate_stream(source, text, **options) as stream:
            for _ in stream:
                pass
        return list(stream.spans[0])

    def extract_file(
        self,
        source: Mixture | audio.Reader,
        text: str | Sequence[str] | None = None,
        *,
        target: audio.Target | None = None,
        residual: audio.Target | None = None,
        subtype: str | None = None,
        clip_mode: ClipMode = "none",
        **options: Unpack[Options],
    ) -> Extraction:
        """Take one sound out of a recording of any length, from disk to disk.

        Args:
            source: as in `separate_stream`, like every other argument that is not told here.
            text: likewise.
            target: where the sound goes; nowhere by default.
            residual: where everything else goes; nowhere by default.
            subtype: of both files; by default that of the recording's file, and 32-bit float for samples from memory,
                as far as the kind of file has it. Then the two add up to the recording, as in `Separation`.
            clip_mode: what becomes of samples past full scale, see `audio.Writer`.

        Returns:
            What was written and found. Files appear whole or not at all, and replace what is there.

        Raises:
            AudioError: the recording cannot be read, or a file cannot be written; or it would replace the recording or
                an example clip.
            QueryError: nothing, or nothing this system understands, is asked.
            ConfigError: a setting is out of range, or target and residual are one place.
        """
        asked, how = taken(text, options)
        done = 0

        def count(samples: int) -> None:
            nonlocal done
            done = samples

        stream, query, info = self._stream(source, options.get("sample_rate"), asked, how, options.get("progress"))
        with stream:
            _check_places(source, query, target, residual)
            warning = self._system_for(how).warning_of_rest
            if residual is not None and warning is not None:
                warnings.warn(warning, stacklevel=2)
            written = pour(
                stream, info, (target, residual), subtype=subtype, clip_mode=clip_mode, replace=True, advance=count
            )
        return Extraction(written[0], written[1], done, stream.sample_rate, stream.presences[0], query, stream.spans[0])

    def split(
        self,
        mixture: Mixture,
        queries: Sequence[str | Query],
        *,
        sample_rate: int | None = None,
        segment_s: float | None = None,
        overlap: float = 0.25,
        batch: int = 4,
        threshold: float | None = None,
        agreement: bool = True,
        settings: Mapping[str, object] | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Splits:
        """Divide a recording among several queries, in memory.

        All queries are answered at once, each with the others as exclusions where the system takes these. Where
        several still claim the same sound it is shared out in proportion to the claims
        (`soundsieve.streaming.share_out`), so the targets and the rest add up to the recording.

        Args:
            mixture: as in `separate`, like every other argument that is not told here.
            queries: what to divide it among, in words or as queries.

        Raises:
            AudioError: the recording or an example clip cannot be read or used.
            QueryError: there is no query, or one that this system does not understand; or there are several, and the
                system makes its answers anew.
            ConfigError: a setting is out of range.
        """
        how = How(segment_s, overlap, batch, threshold, agreement, settings)
        stream, asked = self._split(mixture, queries, sample_rate, how, progress, later=True)
        warning = self._system_for(how).warning_of_rest
        if warning is not None:
            warnings.warn(warning, stacklevel=2)
        with stream:
            blocks = list(stream)
        flat = getattr(mixture, "ndim", 2) == 1
        targets = tuple(_whole([block.targets[q] for block in blocks], flat) for q in range(len(asked)))
        rest = _whole([block.residual for block in blocks], flat)
        return Splits(targets, rest, stream.sample_rate, asked, tuple(stream.finders))

    def split_stream(
        self,
        source: Mixture | audio.Reader,
        queries: Sequence[str | Query],
        *,
        sample_rate: int | None = None,
        segment_s: float | None = None,
        overlap: float = 0.25,
        batch: int = 4,
        threshold: float | None = None,
        agreement: bool = True,
        settings: Mapping[str, object] | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Stream:
        """As `split`, block by block: every block has a target for each query, and the rest as its residual."""
        how = How(segment_s, overlap, batch, threshold, agreement, settings)
        return self._split(source, queries, sample_rate, how, progress)[0]

    def encode(self, query: Query) -> Condition:
        """The condition of a query, on the system's device; asked again for the same query it is not made again.

        Raises:
            QueryError: the system does not understand this kind of query.
            AudioError: an example clip cannot be read.
        """
        self.system.check_query(query)
        key = _key(query)
        with self._encoding:  # one at a time: tokenizers are not made for more
            if key is not None and key in self._encoded:
                self._encoded.move_to_end(key)
                return self._encoded[key]
            decoded = replace(query, like=_decoded(query.like), unlike=_decoded(query.unlike))
            with torch.inference_mode():
                condition = self.system.encode_query(decoded).to(self.device)
            if key is not None:
                self._encoded[key] = condition
                if len(self._encoded) > _CONDITIONS_KEPT:
                    self._encoded.popitem(last=False)
        return condition

    def _stream(
        self,
        source: Mixture | audio.Reader,
        sample_rate: int | None,
        asked: Asked,
        how: How,
        progress: Callable[[float], None] | None,
        *,
        later: bool = False,
    ) -> tuple[Stream, Query, audio.AudioInfo | None]:
        query = None if asked.needs_recording else asked.about(None)
        condition = None if query is None else self.encode(query)  # what cannot be answered is said first
        with ExitStack() as stack:
            recording = stack.enter_context(opened(source, sample_rate))
            if query is None or condition is None:
                query = asked.about(recording)
                condition = self.encode(query)
            return self._blocks(recording, [condition], how, progress, stack, later=later), query, recording.info

    def _split(
        self,
        source: Mixture | audio.Reader,
        queries: Sequence[str | Query],
        sample_rate: int | None,
        how: How,
        progress: Callable[[float], None] | None,
        *,
        later: bool = False,
    ) -> tuple[Stream, tuple[Query, ...]]:
        asked = queries_of(queries)
        self._system_for(how).check_parts(len(asked))
        conditions = [self.encode(query) for query in asked]  # what cannot be answered is said before anything is read
        if "exclude" in self.system.queries:
            conditions = _against_each_other(conditions)
        with ExitStack() as stack:
            recording = stack.enter_context(opened(source, sample_rate))
            return self._blocks(recording, conditions, how, progress, stack, share=True, later=later), asked

    def _system_for(self, how: How) -> System:
        return self.system.with_settings(how.settings) if how.settings else self.system

    def _blocks(
        self,
        recording: Recording,
        conditions: list[Condition],
        how: How,
        progress: Callable[[float], None] | None,
        stack: ExitStack,
        *,
        share: bool = False,
        later: bool = False,
    ) -> Stream:
        blocks = separate_blocks(
            self._system_for(how),
            recording.blocks(),
            recording.sample_rate,
            conditions,
            segment_s=how.segment_s,
            overlap=how.overlap,
            batch=how.batch,
            share=share,
            agreement=how.agreement,
        )
        return Stream(
            blocks,
            recording.sample_rate,
            recording.channels,
            recording.samples,
            [self.presence_threshold if how.threshold is None else how.threshold] * len(conditions),
            later=later,
            progress=progress,
            close=stack.pop_all().close,
        )


def _check_places(
    source: Mixture | audio.Reader, query: Query, target: audio.Target | None, residual: audio.Target | None
) -> None:
    """Raise where an answer would replace what it is made from, or the other answer."""

    def real(place: object) -> object:
        if isinstance(place, audio.Reader):
            place = place.info.path
        elif hasattr(place, "read"):
            place = getattr(place, "name", place)
        return os.path.realpath(place) if isinstance(place, (str, Path)) and str(place) != "-" else place

    places = [place for place in (target, residual) if place is not None]
    if len(places) == 2 and (real(target) == real(residual) or str(target) == str(residual) == "-"):
        raise ConfigError(f"{target} would hold both target and residual: give two places")
    clips = [clip for clip in (*query.like, *query.unlike) if isinstance(clip, (str, Path))]
    kept = {real(one): one for one in (*clips, source) if isinstance(real(one), str)}
    for place in places:
        if not isinstance(place, (str, Path)):
            continue
        if str(place) != "-" and real(place) in kept:
            raise AudioError(f"{place} is what the answer is made from: write it to another place")


def _against_each_other(conditions: Sequence[Condition]) -> list[Condition]:
    """Each condition with what the others want as exclusions, beside its own; the same sound never against itself."""
    found = []
    for one in conditions:
        wanted = torch.nn.functional.normalize(one.positive, dim=1)
        others = [
            other
            for other in (torch.nn.functional.normalize(two.positive, dim=1) for two in conditions)
            if bool(other.any()) and float((wanted * other).sum()) < _SAME_COSINE
        ]
        negatives = [torch.nn.functional.normalize(one.negative, dim=1)] if bool(one.negative.any()) else []
        joined = combine(torch.cat(negatives + others), None) if negatives or others else None
        found.append(one if joined is None or not others else Condition(one.positive, joined))
    return found


def _share_of(progress: Callable[[float], None] | None, index: int, whole: int) -> Callable[[float], None] | None:
    return None if progress is None else lambda done: progress((index + done) / whole)


def _whole(stretches: Sequence[Samples], flat: bool) -> Samples:
    joined = np.concatenate(stretches, axis=1)
    return joined[0] if flat else joined


def _decoded(clips: Sequence[ClipLike]) -> tuple[Clip, ...]:
    return tuple(
        check_samples(*clip, "an example clip") if isinstance(clip, tuple) else audio.decode(clip) for clip in clips
    )


def _key(query: Query) -> object | None:
    """What tells whether a query is the same as before; None if that cannot be told (samples may change in place)."""
    stamps = []
    for clip in (*query.like, *query.unlike):
        if isinstance(clip, tuple) or not os.path.exists(clip):
            return None
        status = Path(clip).stat()
        stamps.append((status.st_mtime_ns, status.st_size))
    return (query, tuple(stamps))
