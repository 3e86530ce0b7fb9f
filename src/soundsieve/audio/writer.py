"""Recordings out: block by block, whole or not at all, with no sample past full scale lost in silence."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import soundfile

from soundsieve.audio.formats import ANY_RANGE, CONTAINERS, holds
from soundsieve.audio.info import Samples, check_finite, reason
from soundsieve.audio.tracks import Track
from soundsieve.errors import AudioError
from soundsieve.files import replacing

ClipMode: TypeAlias = Literal["none", "rescale", "clamp"]
"""What becomes of samples past full scale; see `Writer`."""

Target: TypeAlias = str | Path | BinaryIO
"""Where a recording goes: a path (``-`` is standard output) or a binary stream."""

_BLOCK = 1 << 16
_HELD_IN_MEMORY_BYTES = 1 << 24
_MPEG_SLACK_SAMPLES = 2 * 1152
_SIZE_LIMITS_BYTES = {"WAV": 2**32, "WAVEX": 2**32, "AIFF": 2**32, "AU": 2**32}  # their sizes are 32-bit numbers
_HEADER_BYTES = 1 << 16
_SAMPLE_BYTES = {"PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "DOUBLE": 8}  # all others: 4 or less
_FULL_SCALES = {"PCM_16": 2**15, "PCM_24": 2**23}  # what is rounded here; libsndfile does the others
_ROOM_BYTES = 1 << 12
_TROUBLE = (soundfile.SoundFileError, RuntimeError, OSError, TypeError, ValueError, AssertionError)


@dataclass(frozen=True)
class Written:
    """A file that was written, and a note where what it holds is not exactly what was given.

    The container and the sample format, what the whole was turned down by (0 dB or less), and how many samples were
    clamped are there on their own, too.
    """

    path: Path
    note: str | None = None
    container: str = ""
    subtype: str = ""
    gain_db: float = 0.0
    clamped: int = 0


class Writer:
    """Writes a recording block by block; it appears whole or not at all.

    A context manager. Until its end nothing is seen under the name; an exception, Ctrl-C among them, leaves what was
    there before. Afterwards ``written`` says what was done.

    Samples past full scale are never wrapped, nor clipped in silence. ``clip_mode`` says what becomes of them:

    - ``none``: they keep their values. What stores any range (float, Vorbis, Opus, MP3) takes them as they are. An
      integer format becomes 32-bit float in a container that has it (wav, aiff, caf, w64, rf64, au); FLAC has none,
      so there the whole recording is turned down to a peak of 1.
    - ``rescale``: the whole recording is turned down to a peak of 1, whatever the format.
    - ``clamp``: they become full scale, whatever the format, and are counted.

    A recording without such samples is written the same in all three. In 16 and 24 bits the last step is just below
    +1.0; samples of +1.0 (or nearer to it than to that step) are stored as the last step, and counted as clamped.

    Since the peak is known only at the end, samples wait in an unnamed temporary file in the same folder (32-bit
    float) where it matters.

    A file named .wav that grows past 4 GiB, which WAV cannot hold, becomes an RF64 one; the note says so.

    Args:
        target: the file to write, its suffix one of `CONTAINERS`; ``-`` or a binary stream gets the finished file.
        sample_rate: Hz.
        channels: rows of every block.
        subtype: libsndfile's name of the sample format, such as ``PCM_24``; by default 16 bits, or the codec's own.
        container: libsndfile's name, such as ``RF64``; by default what the suffix names, WAV for a stream.
        clip_mode: as above.

    Raises:
        AudioError: the suffix, container, subtype or mode is not known; they do not go together or with the rate and
            the channels; or writing fails.

    Example:
        >>> with Writer("quiet.flac", 48000, 2) as out:  # doctest: +SKIP
        ...     for block in recording.blocks(65536):
        ...         out.write(0.1 * block)
    """

    def __init__(
        self,
        target: Target,
        sample_rate: int,
        channels: int,
        *,
        subtype: str | None = None,
        container: str | None = None,
        clip_mode: ClipMode = "none",
    ) -> None:
        self._stream = _stream_of(target)
        if self._stream is None:
            self.path = Path(target)  # type: ignore[arg-type]
        else:
            self.path = Path("standard output" if self._stream is _stdout() else "the stream given")
        own, default = CONTAINERS.get(".wav" if self._stream is not None else self.path.suffix.lower(), ("", ""))
        if not own:
            raise AudioError(f"cannot write {self.path}: '{self.path.suffix}' is not one of {', '.join(CONTAINERS)}")
        if clip_mode not in get_args(ClipMode):
            raise AudioError(f"no clip mode '{clip_mode}': there are {', '.join(get_args(ClipMode))}")
        self.sample_rate, self.channels, self.clip_mode = sample_rate, channels, clip_mode
        self.container = container or own
        if subtype is None and self.container != own:
            named = [entry[1] for entry in CONTAINERS.values() if entry[0] == self.container]
            default = default if holds(self.container, default) or not named else named[0]
        self.subtype = subtype or default
        if not holds(self.container, self.subtype):
            raise AudioError(f"cannot write {self.path}: {self.container} does not hold {self.subtype}")
        self._written: Written | None = None
        self._temporary: Any = None

    @property
    def written(self) -> Written:
        """What was written, once the writer is closed.

        Raises:
            AudioError: it is not closed yet, or failed.
        """
        if self._written is None:
            raise AudioError(f"{self.path} is not written yet")
        return self._written

    def __enter__(self) -> Self:
        self._samples, self._peak, self._clamped, self._bytes = 0, 0.0, 0, 0
        self._at_one = 0  # not past full scale, but past the last step
        self._note: list[str] = []
        self._held: Any = None
        with self._explained(), ExitStack() as stack:
            landing = replacing(self.path) if self._stream is None else _into(self._stream, f".{self.container}")
            self._temporary = stack.enter_context(landing)
            with self._explained():
                self._file = self._create(self.subtype)  # first of all: it tells what the container cannot hold
            stack.callback(self._drop)
            if self.clip_mode == "rescale" or (self.clip_mode == "none" and self.subtype not in ANY_RANGE):
                folder = str(self._temporary.parent)
                self._held = stack.enter_context(tempfile.SpooledTemporaryFile(_HELD_IN_MEMORY_BYTES, dir=folder))
            self._stack = stack.pop_all()
        return self

    def write(self, samples: Samples) -> None:
        """Append a block, float32 ``(C, n)``, or ``(n,)`` for one channel.

        Raises:
            AudioError: the shape is another, a sample is not finite, or writing fails.
        """
        frames = np.atleast_2d(np.asarray(samples, dtype=np.float32)).T
        if frames.ndim != 2 or frames.shape[1] != self.channels:
            shape = np.shape(samples)
            raise AudioError(f"cannot write {self.path}: expected samples of shape ({self.channels}, n), got {shape}")
        if len(frames) == 0:
            return
        check_finite(frames, self.sample_rate, f"what should be written to {self.path}", axis=0, start=self._samples)
        self._samples += len(frames)
        with self._explained():
            for start in range(0, len(frames), _BLOCK):
                self._put(frames[start : start + _BLOCK])

    def _put(self, frames: Samples) -> None:
        level = np.abs(frames)
        self._peak = max(self._peak, float(level.max()))
        if self.subtype in _FULL_SCALES:
            last = np.float32(1 - 0.5 / _FULL_SCALES[self.subtype])
            self._at_one += int(((frames >= last) & (frames <= 1)).sum())
        if self.clip_mode == "clamp":
            self._clamped += int((level > 1).sum())
            frames = np.clip(frames, -1, 1)
        if self._held is None:
            self._encode(frames, self.subtype)
        else:
            self._held.write(np.ascontiguousarray(frames).tobytes())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, at)
            return
        with self._explained(), self._stack, self._explained():
            written = self._finish()
        self._written = written  # it has taken its place

    def _finish(self) -> Written:
        if self._samples == 0:
            raise AudioError(f"cannot write {self.path}: it would hold no samples")
        subtype, gain_db, divisor = self.subtype, 0.0, np.float32(1)
        said = f"its peak is {self._peak:.3f}"
        if self._clamped:
            self._note.append(f"{said}, so {self._clamped} samples past full scale were clamped")
        elif self._held is not None and self._peak > 1:
            if self.clip_mode == "none" and holds(self.container, "FLOAT"):
                self._note.append(f"{said}, so it was written as 32-bit float instead of {subtype}")
                subtype = "FLOAT"
                self._drop()
                self._file = self._create(subtype)
            else:
                gain_db, divisor = -20 * float(np.log10(self._peak)), np.float32(self._peak)
                past = f", past what {self.container} holds" if self.clip_mode == "none" else ""
                self._note.append(f"{said}{past}, so it was turned down by {-gain_db:.2f} dB")
        at_one = self._at_one if subtype == self.subtype and divisor == 1 else 0
        if at_one:
            samples = f"{at_one} samples of +1.0 were" if at_one > 1 else "1 sample of +1.0 was"
            self._note.append(f"{samples} stored one step lower, the last that {subtype} has")
        if self._held is not None:
            for frames in self._held_frames():
                self._encode(frames if divisor == 1 else frames / divisor, subtype)
        self._file.close()
        self._ask_for_room()
        self._verify()
        note = "; ".join(self._note) or None
        return Written(self.path, note, self.container, subtype, gain_db, self._clamped + at_one)

    def _held_frames(self) -> Iterator[Samples]:
        self._held.seek(0)
        while piece := self._held.read(4 * self.channels * _BLOCK):
            yield np.frombuffer(piece, np.float32).reshape(-1, self.channels)

    def _create(self, subtype: str) -> soundfile.SoundFile:
        self._temporary.touch()  # says why, where libsndfile would speak of a system error
        name = os.fsencode(self._temporary)
        return soundfile.SoundFile(name, "w", self.sample_rate, self.channels, subtype, format=self.container)

    def _drop(self) -> None:
        with suppress(*_TROUBLE):
            self._file.close()

    def _encode(self, frames: Samples, subtype: str) -> None:
        self._bytes += frames.size * _SAMPLE_BYTES.get(subtype, 4)
        limit = _SIZE_LIMITS_BYTES.get(self.container)
        if limit is not None and self._bytes + _HEADER_BYTES > limit:
            self._widen(subtype)
        self._file.write(_rounded(frames, subtype))

    def _widen(self, subtype: str) -> None:
        """Go on in RF64, a WAV with 64-bit sizes."""
        if self.container not in ("WAV", "WAVEX"):
            raise OSError(f"{self.container} holds at most 4 GiB: write .w64, .caf, .flac or .wav")
        self._file.close()
        small = self._temporary.with_name(f"{self._temporary.name}.small")
        with ExitStack() as stack:
            stack.callback(small.unlink, missing_ok=True)
            os.replace(self._temporary, small)
            self.container = "RF64"
            self._note.append("it is larger than 4 GiB, so it was written as RF64")
            self._file = self._create(subtype)
            track = Track(small)
            stack.callback(track.close)
            while (block := track.take(_BLOCK)).shape[1]:
                self._file.write(_rounded(block.T, subtype))

    def _verify(self) -> None:
        """Open what was written: encoders do not tell when their last bytes are lost."""
        slack = _MPEG_SLACK_SAMPLES if self.container == "MP3" else 0
        with soundfile.SoundFile(os.fsencode(self._temporary)) as file:
            if abs(file.frames - self._samples) > slack:
                raise OSError(f"not all of the {self._samples} samples were stored")

    def _ask_for_room(self) -> None:
        """Raise the system's own error if the disk is full: libsndfile drops it, or calls it a system error."""
        with self._temporary.open("ab", buffering=0) as file:
            size = file.tell()
            try:
                if file.write(bytes(_ROOM_BYTES)) < _ROOM_BYTES:
                    file.write(bytes(_ROOM_BYTES))
            finally:
                file.truncate(size)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except _TROUBLE as error:
            cause: BaseException = error
            if not isinstance(error, OSError) and self._temporary is not None and self._temporary.exists():
                try:
                    self._ask_for_room()
                except OSError as full:
                    cause = full
            what = f"{self.container}, {self.channels} channels at {self.sample_rate} Hz"
            raise AudioError(f"cannot write {self.path} ({what}): {reason(cause)}") from error


def _rounded(frames: Samples, subtype: str) -> npt.NDArray[Any]:
    """Samples as the nearest 16- or 24-bit numbers (libsndfile itself would round all of them down).

    Full scale, +1.0, becomes the largest number there is, one step lower.
    """
    if subtype not in _FULL_SCALES:
        return frames
    full = np.float32(_FULL_SCALES[subtype])
    numbers = np.clip(np.rint(frames * full), -full, full - 1).astype(np.int32)
    rounded: npt.NDArray[Any] = numbers.astype(np.int16) if subtype == "PCM_16" else np.left_shift(numbers, 8)
    return rounded


def _stdout() -> BinaryIO | None:
    return getattr(sys.stdout, "buffer", None)


def _stream_of(target: Target) -> BinaryIO | None:
    if not isinstance(target, (str, Path)):
        return target
    if str(target) != "-":
        return None
    stream = _stdout()
    if stream is None:
        raise AudioError("standard output takes no bytes here")
    return stream


@contextmanager
def _into(stream: BinaryIO, suffix: str) -> Iterator[Path]:
    """Yield a temporary path; on success what is there goes to the stream, and in any case it goes away."""
    with tempfile.TemporaryDirectory(prefix="soundsieve-") as folder:
        path = Path(folder) / f"whole{suffix.lower()}"
        yield path
        with path.open("rb") as finished:
            shutil.copyfileobj(finished, stream, 1 << 20)
        stream.flush()
