"""What people take home: parts of a recording as files, the mix of several tracks, and all of it in one archive."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np

from soundsieve import audio
from soundsieve.audio import Samples, Written
from soundsieve.errors import ConfigError
from soundsieve.naming import slug, slugs
from soundsieve.pouring import kind_for, on_steps
from soundsieve.studio.store import Recording, Store, Track

Part: TypeAlias = Literal["target", "rest", "mixture"]
"""What was wanted, everything else, or the recording itself."""

SUFFIXES = (".wav", ".flac")
"""Kinds of files that are given out."""

_BLOCK = 1 << 16
_QUIETEST_DB, _LOUDEST_DB = -80.0, 24.0
_MAKING = threading.BoundedSemaphore(2)  # files made at once, however many ask for one
_KEPT = 4  # files of a kind that anybody may ask for in many variations


def file_name(recording: Recording, track: Track | None = None, part: Part = "target", suffix: str = ".wav") -> str:
    """What a download is called: ``street.a-dog-barking.wav``, ``street.a-dog-barking.rest.wav``, ``street.wav``."""
    stem = slug(Path(recording.name).stem)
    words = [stem] if track is None or part == "mixture" else [stem, slug(track.description)]
    return ".".join(words + (["rest"] if part == "rest" else [])) + suffix


def sound(
    store: Store, recording: Recording, track: Track | None = None, part: Part = "target", suffix: str = ".wav"
) -> Written:
    """A part of a recording as a file to give out, in the sample format of the file that came in.

    Target and rest of 16 or 24 bits add up to the recording in that format, as those of `Separation.save` do.

    Args:
        store: which the recording is in.
        recording: whose part it is.
        track: the question; None for the recording itself.
        part: which part.
        suffix: of `SUFFIXES`.

    Returns:
        Where the file lies, to be read and left there, and what is to be told about it.

    Raises:
        ConfigError: there is no such part or kind of file.
        GoneError: the recording or the track is gone.
        FullError: there is no room.
    """
    _check(suffix)
    if part not in get_args(Part):
        raise ConfigError(f"part is '{part}': choose {', '.join(get_args(Part))}")
    name = "recording" if track is None else f"{track.id}.{part}"
    container, kind = kind_for(recording.info, suffix)
    return _made(store, recording, f"{name}.out{suffix}", container, kind, _blocks(recording, track, part, kind))


def mix_down(store: Store, recording: Recording, gains: Mapping[str, float], suffix: str = ".wav") -> Written:
    """The sum of what is kept of a recording's tracks.

    Args:
        store: which the recording is in.
        recording: whose tracks they are.
        gains: of each track that is heard, in dB.
        suffix: of `SUFFIXES`.

    Returns:
        Where the file lies, and what is to be told: a sum past full scale is kept as 32-bit float in wav, and turned
        down in flac.

    Raises:
        ConfigError: a gain is out of range, nothing is heard, or there is no such kind of file.
        GoneError: the recording or a track is gone.
        FullError: there is no room.
    """
    _check(suffix)
    if not gains:
        raise ConfigError("every track is muted: keep at least one for the mix")
    for gain in gains.values():
        if not _QUIETEST_DB <= gain <= _LOUDEST_DB:
            raise ConfigError(f"a gain of {gain:g} dB: it lies between {_QUIETEST_DB:g} and {_LOUDEST_DB:g} dB")
    parts = [(store.track(recording.id, id).target_path, np.float32(10 ** (gain / 20))) for id, gain in gains.items()]
    container, kind = kind_for(recording.info, suffix)
    key = _key(sorted(gains.items()))
    written = _made(store, recording, f"mix.{key}{suffix}", container, kind, _sum(parts))
    _prune(recording, "mix.*[!e]")
    return written


def archive(store: Store, recording: Recording, suffix: str = ".wav", gains: Mapping[str, float] | None = None) -> Path:
    """A zip with target and rest of every track, the mix if ``gains`` are given, and what was asked.

    Raises:
        ConfigError: the recording has no tracks yet, or as `mix_down`.
        GoneError: the recording or a track is gone.
        FullError: there is no room.
    """
    _check(suffix)
    tracks = list(recording.tracks.values())
    if not tracks:
        raise ConfigError("there is nothing to pack yet: ask for a sound first")
    stem = slug(Path(recording.name).stem)
    files: dict[str, Path] = {}
    for track, words in zip(tracks, slugs(track.description for track in tracks), strict=True):
        files[f"{stem}.{words}{suffix}"] = sound(store, recording, track, "target", suffix).path
        files[f"{stem}.{words}.rest{suffix}"] = sound(store, recording, track, "rest", suffix).path
    if gains is not None:
        files[f"{stem}.mix{suffix}"] = mix_down(store, recording, gains, suffix).path
    return _packed(store, recording, files, _account(recording, tracks))


def _packed(store: Store, recording: Recording, files: Mapping[str, Path], account: str) -> Path:
    place = recording.folder / f"all.{_key([account, *map(str, files.items())])}.zip"
    temporary = recording.folder / f"{secrets.token_hex(6)}.part"
    with store.using(recording.id), _MAKING, store.room(sum(path.stat().st_size for path in files.values())):
        try:
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as packed:  # sound hardly gets smaller
                for name, path in files.items():
                    packed.write(path, name)
                packed.writestr("questions.txt", account)
            os.replace(temporary, place)
            _prune(recording, "all.*.zip")
        finally:
            temporary.unlink(missing_ok=True)
    return place


def _account(recording: Recording, tracks: Sequence[Track]) -> str:
    """What was asked, and how to do it again."""
    lines = [f"{recording.name}: {recording.seconds:.3f} s, {recording.sample_rate} Hz", ""]
    for track in tracks:
        spans = ", ".join(f"{start:.2f}-{end:.2f} s" for start, end in track.spans)
        told = "" if track.presence is None else f"presence {track.presence:.2f}"
        lines += [track.description, f"  {told}{': ' + spans if spans else ''}".rstrip(), f"  {track.command}"]
        lines += ["" if track.warning is None else f"  {track.warning}\n"]
    return "\n".join(lines)


def _made(
    store: Store,
    recording: Recording,
    name: str,
    container: str | None,
    subtype: str | None,
    blocks: Iterator[Samples],
) -> Written:
    """A file in the recording's folder, made once."""
    place = recording.folder / name
    with store.using(recording.id), _MAKING:
        if place.exists():
            os.utime(place)
            return Written(place, _note(place).read_text("utf-8") if _note(place).exists() else None)
        with store.room(recording.path.stat().st_size):
            writer = audio.Writer(
                place, recording.sample_rate, recording.channels, subtype=subtype, container=container
            )
            with writer:
                for block in blocks:
                    writer.write(block)
        if writer.written.note:
            _note(place).write_text(writer.written.note, "utf-8")
    return writer.written


def _blocks(recording: Recording, track: Track | None, part: Part, kind: str | None) -> Iterator[Samples]:
    with ExitStack() as stack:
        mixture = stack.enter_context(audio.Reader(recording.path)).blocks(_BLOCK)
        if track is None or part == "mixture":
            yield from mixture
            return
        target = stack.enter_context(audio.Reader(track.target_path)).blocks(_BLOCK)
        for whole, wanted in zip(mixture, target, strict=True):
            rounded = on_steps(wanted, kind)
            yield rounded if part == "target" else whole - rounded


def _sum(parts: Sequence[tuple[Path, np.float32]]) -> Iterator[Samples]:
    with ExitStack() as stack:
        streams = [stack.enter_context(audio.Reader(path)).blocks(_BLOCK) for path, _ in parts]
        for blocks in zip(*streams, strict=True):
            yield np.sum([block * gain for block, (_, gain) in zip(blocks, parts, strict=True)], axis=0)


def _key(what: object) -> str:
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def _prune(recording: Recording, pattern: str) -> None:
    """Delete all but the last few files that were made for one purpose."""
    files = sorted(recording.folder.glob(pattern), key=lambda path: path.stat().st_mtime_ns)
    for old in files[:-_KEPT]:
        old.unlink(missing_ok=True)
        _note(old).unlink(missing_ok=True)


def _note(place: Path) -> Path:
    """Where it is written what is to be told about a file."""
    return place.with_suffix(f"{place.suffix}.note")


def _check(suffix: str) -> None:
    if suffix not in SUFFIXES:
        raise ConfigError(f"no downloads as '{suffix}': there are {' and '.join(SUFFIXES)}")
