"""From a stream of blocks into files: each part where it belongs, and all parts adding up to the recording."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace as changed
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from soundsieve import audio
from soundsieve.audio import CONTAINERS, AudioInfo, ClipMode, Samples, Target, Writer, Written
from soundsieve.audio.formats import holds
from soundsieve.errors import AudioError

if TYPE_CHECKING:
    from soundsieve.streaming import Stream

_STEPS = {"PCM_16": np.float32(2**15), "PCM_24": np.float32(2**23)}
_FINER = frozenset({"PCM_24", "PCM_32", "FLOAT", "DOUBLE"})  # than 16 bits


def kind_for(info: AudioInfo | None, suffix: str, subtype: str | None = None) -> tuple[str | None, str | None]:
    """The container and the sample format of an answer's file, by libsndfile's names; None where a `Writer` decides.

    The sample format is that of the recording's file where it is linear and has 16 bits or more; where the answer's
    kind of file lacks it, 24 bits. Compressed recordings give 16 bits. Samples from memory give 32-bit float, or 24
    bits where there is no float (flac).

    Args:
        info: what the recording's header says; None for samples from memory.
        suffix: of the answer's file.
        subtype: the sample format, where it is asked for.
    """
    container, default = CONTAINERS.get(suffix.lower(), (None, None))
    if container is None:
        return None, subtype
    own = "FLOAT" if info is None else info.subtype
    if subtype is None:
        subtype = audio.output_subtype(info, suffix) if info is not None else None
        for fine in (own, "PCM_24") if own in _FINER else ():
            subtype = subtype or (fine if holds(container, fine) else None)
    return (None if info is None else audio.output_container(info, suffix)) or container, subtype or default


def on_steps(samples: Samples, subtype: str | None) -> Samples:
    """Samples as a file of 16 or 24 bits will hold them; what is left of a mixture is then what its own file lacks."""
    full_scale = _STEPS.get(subtype or "")
    return samples if full_scale is None else np.rint(samples * full_scale) / full_scale


def pour(
    stream: Stream,
    info: AudioInfo | None,
    places: Sequence[Target | None],
    *,
    suffix: str = ".wav",
    subtype: str | None = None,
    clip_mode: ClipMode = "none",
    replace: bool,
    advance: Callable[[int], None] = lambda done: None,
) -> list[Written | None]:
    """Write the targets of a stream, and the rest.

    Targets are rounded to the steps of the files before the rest is taken, so that what the files hold adds up to what
    the recording's file holds.

    Args:
        stream: of the recording; it is closed in the end.
        info: what the recording's header says; None for samples from memory.
        places: for each target a path, ``-``, a binary stream, or None for one that is not wanted; then for the rest.
        suffix: the kind of file where there is no path to tell it.
        subtype: of all files; by default see `kind_for`.
        clip_mode: see `Writer`.
        replace: whether files that are there are replaced; otherwise it is an error, also for one that appears while
            the answers are made.
        advance: called with how many samples of each channel are done.

    Raises:
        AudioError: the recording cannot be read, or a file cannot be written. Then none is: all are complete before
            the first gets its name.
    """
    with ExitStack() as stack:
        stack.enter_context(stream)
        landings = [None if _is_stream(place) else stack.enter_context(_beside(Path(str(place)))) for place in places]
        kinds = [kind_for(info, _suffix(place, suffix), subtype) for place in places]
        with _called_by_their_places(places, landings):
            writers = _filled(stream, places, landings, kinds, clip_mode, advance)
        _take_places(
            [(wait, Path(str(at))) for wait, at in zip(landings, places, strict=True) if wait is not None], replace
        )
    return [
        None if one is None else one.written if wait is None else changed(one.written, path=Path(str(place)))
        for one, wait, place in zip(writers, landings, places, strict=True)
    ]


def _filled(
    stream: Stream,
    places: Sequence[Target | None],
    landings: Sequence[Path | None],
    kinds: Sequence[tuple[str | None, str | None]],
    clip_mode: ClipMode,
    advance: Callable[[int], None],
) -> list[Writer | None]:
    with ExitStack() as stack:
        writers: list[Writer | None] = []
        for place, landing, (container, kind) in zip(places, landings, kinds, strict=True):
            if place is None:
                writers.append(None)
                continue
            to = landing or (str(place) if isinstance(place, Path) else place)
            made = Writer(
                to, stream.sample_rate, stream.channels, subtype=kind, container=container, clip_mode=clip_mode
            )
            writers.append(stack.enter_context(made))
        # What is not written is on the steps of the rest, so that this is on them.
        steps = [(kinds[-1] if place is None else kind)[1] for place, kind in zip(places, kinds, strict=True)][:-1]
        for block in stream:
            targets = (on_steps(target, kind) for target, kind in zip(block.targets, steps, strict=True))
            rounded = changed(block, targets=tuple(targets))
            for writer, samples in zip(writers, (*rounded.targets, rounded.residual), strict=True):
                if writer is not None:
                    writer.write(samples)
            advance(block.start + block.mixture.shape[1])
    return writers


def _is_stream(place: Target | None) -> bool:
    return place is None or not isinstance(place, (str, Path)) or str(place) == "-"


def _suffix(place: Target | None, otherwise: str) -> str:
    return otherwise if _is_stream(place) else Path(str(place)).suffix


@contextmanager
def _beside(place: Path) -> Iterator[Path]:
    """A hidden name in the same folder, where a whole file waits for the others."""
    final = Path(os.path.realpath(place))
    if os.path.isdir(final):
        raise AudioError(f"cannot write {place}: it is a folder")
    waiting = final.with_name(f".{secrets.token_hex(6)}.whole{final.suffix}")
    try:
        yield waiting
    finally:
        with suppress(OSError):  # it is gone, or never was
            waiting.unlink()


@contextmanager
def _called_by_their_places(places: Sequence[Target | None], landings: Sequence[Path | None]) -> Iterator[None]:
    """Errors speak of the names that the user knows."""
    try:
        yield
    except AudioError as error:
        said = str(error)
        for place, landing in zip(places, landings, strict=True):
            said = said if landing is None else said.replace(str(landing), str(place))
        if said == str(error):
            raise
        raise AudioError(said) from error


def _take_places(waiting: Sequence[tuple[Path, Path]], replace: bool) -> None:
    """Give whole files their names: all of them, or none where nothing may be replaced."""
    made: list[Path] = []
    for one, place in waiting:
        final = Path(os.path.realpath(place))
        try:
            if replace:
                if final.exists():
                    one.chmod(final.stat().st_mode & 0o777)
                os.replace(one, final)
            else:
                _put_where_nothing_is(one, final)
                made.append(final)
        except OSError as error:
            for other in made:
                other.unlink(missing_ok=True)
            if isinstance(error, FileExistsError):
                raise AudioError(f"{place} exists by now: it was made while the answer was") from error
            raise AudioError(f"cannot write {place}: {error.strerror}") from error


def _put_where_nothing_is(waiting: Path, final: Path) -> None:
    try:
        os.link(waiting, final)  # unlike a renaming it never replaces
    except FileExistsError:
        raise
    except OSError:  # the file system has no links
        if os.path.lexists(final):
            raise FileExistsError from None
        os.replace(waiting, final)
