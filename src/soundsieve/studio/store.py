"""Recordings of several people in a private folder: decoded once, kept for a while, and gone in the end."""

from __future__ import annotations

import atexit
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Self

from soundsieve import audio
from soundsieve.audio import AudioInfo
from soundsieve.errors import AudioError, reason
from soundsieve.naming import cut_bytes
from soundsieve.studio.folder import PrivateFolder
from soundsieve.studio.limits import FullError, GoneError, Limits
from soundsieve.studio.question import Question

_BLOCK = 1 << 16
_LONGEST_NAME_BYTES = 120


@dataclass(frozen=True)
class Track:
    """An answer to one question about a recording.

    Attributes:
        id: unguessable.
        recording_id: of the recording it is of.
        description: what was asked, in a phrase.
        question: what was asked.
        target_path: what was wanted, 32-bit float wav of the recording's length, rate and channels.
        rest_path: everything else, likewise; the two add up to the recording as in `Separation`.
        presence: how likely it is that the sound is there at all, 0 to 1; None where nothing in particular was wanted.
        found: whether that is enough to say that it is.
        spans: where it was found, start and end in seconds.
        seconds_taken: from the start of the work to its end, waiting aside.
        command: the command line that does the same.
        python: the lines of Python that do the same.
        warning: what is to be known of "everything else"; None where there is nothing. See `System.warning_of_rest`.
    """

    id: str
    recording_id: str
    description: str
    question: Question
    target_path: Path
    rest_path: Path
    presence: float | None
    found: bool
    spans: tuple[tuple[float, float], ...]
    seconds_taken: float
    command: str
    python: str
    warning: str | None = None


@dataclass(eq=False)
class Recording:
    """A recording in the store.

    Attributes:
        id: unguessable; whoever knows it may use the recording, and nobody is told those of others.
        name: what its owner calls it, without folders and control characters; it is never a path here.
        info: what the header of the file that came in says (its path is the name).
        path: its samples, 32-bit float wav.
        owner: whose it is, as far as that is known.
        tracks: the answers about it so far, by id, in order.
    """

    id: str
    name: str
    info: AudioInfo
    path: Path
    owner: str = ""
    tracks: dict[str, Track] = field(default_factory=dict)
    used: float = field(default_factory=time.monotonic)
    users: int = 0
    gone: bool = False

    @property
    def folder(self) -> Path:
        """Where everything about it lies."""
        return self.path.parent

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.info.sample_rate

    @property
    def channels(self) -> int:
        """How many."""
        return self.info.channels

    @property
    def seconds(self) -> float:
        """Length."""
        return self.info.seconds


class Store:
    """The recordings of a studio, and the folder that they lie in.

    A context manager: in the end, and at the interpreter's, the folder goes with all that is in it. What a studio that
    was killed has left behind goes when the next one starts. Threads may use it together.

    Args:
        limits: how much it takes.
        folder: where the private folder is made; by default where temporary files are.

    Attributes:
        folder: the private folder.
        incoming: a folder in it for what is being received; what stays there is deleted after a while.
        room: reserves disk space while a file is written, see `PrivateFolder.room`.
    """

    def __init__(self, limits: Limits | None = None, folder: Path | None = None) -> None:
        self.limits = limits or Limits()
        self._disk = PrivateFolder(folder, self.limits.max_gigabytes * 1e9)
        self.folder, self.incoming, self.room = self._disk.path, self._disk.incoming, self._disk.room
        self._lock = threading.RLock()
        self._recordings: dict[str, Recording] = {}
        self._closing = threading.Event()
        atexit.register(self.close)
        threading.Thread(target=self._expire, name="studio-expiry", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._recordings)

    def close(self) -> None:
        """Delete everything. There are no recordings after that."""
        self._closing.set()
        with self._lock:
            for recording in self._recordings.values():
                recording.gone = True
            self._recordings.clear()
            self._disk.close()
        atexit.unregister(self.close)

    def add(self, source: str | Path | bytes | BinaryIO, name: str, *, owner: str = "") -> Recording:
        """Decode a recording and keep it. What it was decoded from is left where it is.

        Args:
            source: a path, the bytes of a file, or a binary stream.
            name: what its owner calls it.
            owner: whose it is. Who has `Limits.max_recordings_each` gives up the one that was not used for longest.

        Raises:
            AudioError: it cannot be read, or is too long.
            TooLargeError: it is too large, or has too many channels.
            FullError: there is no room, or the disk refuses.
        """
        called = plain_name(name)
        size = _size(source)
        if size is not None:
            self.limits.check_upload(size)
        self._make_room_for(owner)
        id = secrets.token_urlsafe(18)
        folder = self.folder / id
        folder.mkdir(mode=0o700)
        try:
            recording = self._decoded(source, id, called, owner)
            with self._lock:
                if self._closing.is_set():
                    raise GoneError("the studio is closing")
                if len(self._recordings) >= self.limits.max_recordings:
                    raise self._full()
                self._recordings[id] = recording
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise FullError(f"the recording cannot be stored: {reason(error)}") from error
            raise
        return recording

    def get(self, id: str) -> Recording:
        """A recording by its id; it counts as used now.

        Raises:
            GoneError: there is no such recording (any more).
        """
        with self._lock:
            recording = self._recordings.get(id)
            if recording is None:
                kept = f"{self.limits.keep_minutes:g} minutes"
                raise GoneError(f"this recording is not here (any more): they are kept for {kept} after their last use")
            recording.used = time.monotonic()
            return recording

    @contextmanager
    def using(self, id: str) -> Iterator[Recording]:
        """A recording whose files stay until this ends, even if it is dropped meanwhile (``gone`` tells).

        Raises:
            GoneError: there is no such recording.
        """
        with self._lock:
            recording = self.get(id)
            recording.users += 1
        try:
            yield recording
        finally:
            with self._lock:
                recording.users -= 1
                recording.used = time.monotonic()
                if recording.gone and not recording.users:
                    shutil.rmtree(recording.folder, ignore_errors=True)

    def drop(self, id: str) -> None:
        """Forget a recording and its tracks.

        Raises:
            GoneError: there is no such recording.
        """
        with self._lock:
            recording = self.get(id)
            del self._recordings[id]
            recording.gone = True
            if not recording.users:
                shutil.rmtree(recording.folder, ignore_errors=True)

    def track(self, recording_id: str, track_id: str) -> Track:
        """A track by its id.

        Raises:
            GoneError: there is no such recording, or it has no such track.
        """
        track = self.get(recording_id).tracks.get(track_id)
        if track is None:
            raise GoneError("this track is not here (any more)")
        return track

    def keep(self, track: Track) -> None:
        """Put a track to its recording.

        Raises:
            GoneError: there is no such recording (any more).
        """
        with self._lock:
            self.get(track.recording_id).tracks[track.id] = track

    def drop_track(self, recording_id: str, track_id: str) -> None:
        """Forget a track.

        Raises:
            GoneError: there is no such recording, or it has no such track.
        """
        with self._lock:
            track = self.track(recording_id, track_id)
            del self._recordings[recording_id].tracks[track_id]
        for path in track.target_path.parent.glob(f"{track.id}.*"):
            path.unlink(missing_ok=True)

    def _decoded(self, source: str | Path | bytes | BinaryIO, id: str, called: str, owner: str) -> Recording:
        path = self.folder / id / "recording.wav"
        try:
            with audio.Reader(source, longest_s=60 * self.limits.max_minutes) as reader:
                info = reader.info
                self.limits.check_channels(info.channels)
                made = audio.Writer(path, info.sample_rate, info.channels, subtype="FLOAT")
                samples = 0
                with self.room(4 * info.channels * info.samples), made as writer:
                    for block in reader.blocks(_BLOCK):
                        writer.write(block)
                        samples += block.shape[1]
        except AudioError as error:  # it speaks of the name that its owner knows, not of ours
            said = str(error)
            for ours in (str(source) if isinstance(source, (str, Path)) else "", getattr(source, "name", "")):
                said = said.replace(ours, called) if isinstance(ours, str) and ours else said
            said = said.replace("the recording in memory", called).replace("the stream given", called)
            raise AudioError(said.replace(str(path), called)) from error
        return Recording(id, called, replace(info, path=Path(called), samples=samples), path, owner)

    def _make_room_for(self, owner: str) -> None:
        with self._lock:
            own = [one for one in self._recordings.values() if owner and one.owner == owner]
            if len(own) >= self.limits.max_recordings_each:
                idle = [one for one in own if not one.users]
                if not idle:
                    raise FullError("all of your recordings are being worked on: wait for one of them, or remove it")
                self.drop(min(idle, key=lambda one: one.used).id)
            if len(self._recordings) >= self.limits.max_recordings:
                raise self._full()

    def _full(self) -> FullError:
        most = self.limits.max_recordings
        return FullError(f"the studio holds {most} recordings, as many as it takes: try again in a few minutes")

    def _expire(self) -> None:
        keep_s = 60 * self.limits.keep_minutes
        while not self._closing.wait(min(15.0, keep_s / 4)):
            with self._lock:
                before = time.monotonic() - keep_s
                for one in [one for one in self._recordings.values() if one.used < before and not one.users]:
                    self.drop(one.id)
            self._disk.clear_incoming(keep_s)


def plain_name(name: str) -> str:
    """What somebody calls a file, for showing: without folders, control characters and excess length."""
    shown = re.sub(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", "", name)
    shown = " ".join(re.split(r"[/\\]", shown)[-1].split())
    stem, dot, suffix = shown.rpartition(".")
    if dot and len(suffix) <= 8:
        shown = f"{cut_bytes(stem, _LONGEST_NAME_BYTES)}.{suffix}"
    shown = cut_bytes(shown, _LONGEST_NAME_BYTES + 9)
    return shown if shown.strip(".") else "recording"


def _size(source: object) -> int | None:
    if isinstance(source, bytes):
        return len(source)
    with suppress(OSError):  # what cannot be looked at is for the reader to tell
        if isinstance(source, (str, Path)):
            return os.stat(source).st_size
    return None
