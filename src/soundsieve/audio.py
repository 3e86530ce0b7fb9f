"""The only code that opens sound files: decode, probe, encode; and resampling.

Samples are float32, shape ``(C, T)``, nominally in [-1, 1]; nothing here changes their level unasked.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from soundsieve.errors import AudioError
from soundsieve.files import replacing

Samples: TypeAlias = npt.NDArray[np.float32]

CONTAINERS: dict[str, tuple[str, str]] = {
    ".wav": ("WAV", "PCM_16"),
    ".wave": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".oga": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".aif": ("AIFF", "PCM_16"),
    ".aiff": ("AIFF", "PCM_16"),
    ".caf": ("CAF", "PCM_16"),
    ".w64": ("W64", "PCM_16"),
    ".rf64": ("RF64", "PCM_16"),
    ".au": ("AU", "PCM_16"),
}
"""Suffix -> (container, default sample format) of what `encode` writes; `decode` reads whatever libsndfile can."""

_KEPT = frozenset({"PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"})
_ANY_RANGE = frozenset({"FLOAT", "DOUBLE", "VORBIS", "OPUS", "MPEG_LAYER_III"})  # store samples past full scale
_SIZE = re.compile(r"(?:data|SSND|Data Size|Riff size|riff)\s*:\s*(\d+) \(should be (\d+)\)")
_UNKNOWN_SIZE = 0x7FFF0000  # sizes from here on are what live streams write when they cannot know the end
_SIZE_SLACK_BYTES = 64
_MPEG_SLACK_SAMPLES = 2 * 1152  # an MP3 length may be off by the encoder's delay and padding
_BLOCK = 1 << 16


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says: rate in Hz, channels, samples per channel, container and sample format."""

    path: Path
    sample_rate: int
    channels: int
    samples: int
    format: str
    subtype: str

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples / self.sample_rate


@dataclass(frozen=True)
class Written:
    """A file that `encode` wrote, and a note where what it holds is not exactly what was given."""

    path: Path
    note: str | None = None


def probe(path: str | Path) -> AudioInfo:
    """Read a recording's header.

    Raises:
        AudioError: as `decode`, for what the header alone can tell.
    """
    path = Path(path)
    with _open(path) as file:
        return _info(file, path)


def decode(path: str | Path) -> tuple[Samples, int]:
    """Read a whole recording: wav, flac, ogg, opus, mp3, aiff, caf, w64 and the rest of what libsndfile reads.

    Integer samples are divided by their full scale, so n bits give multiples of 2^(1-n) in [-1, 1). Lossy files may
    hold peaks past 1; they are kept. A cut-off Ogg stream reads as a shorter recording, for nothing in it tells.

    Returns:
        Samples, float32, shape ``(C, T)``, and the sample rate in Hz.

    Raises:
        AudioError: the file is missing, a folder, empty, not audio, cut short, without samples, or not finite.
    """
    path = Path(path)
    with _open(path) as file:
        info = _info(file, path)
        try:
            samples = file.read(dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise AudioError(f"{path} is damaged or cut short: {_reason(error)}") from error
    slack = _MPEG_SLACK_SAMPLES if info.subtype.startswith("MPEG") else 0
    if len(samples) < info.samples - slack:
        raise _cut_short(path, info.seconds, len(samples) / info.sample_rate)
    if len(samples) == 0:
        raise AudioError(f"{path} holds no samples")
    check_finite(samples, info.sample_rate, str(path), axis=0)
    return np.ascontiguousarray(samples.T), info.sample_rate


def encode(path: str | Path, samples: Samples, sample_rate: int, *, subtype: str | None = None) -> Written:
    """Write a recording, whole or not at all, in the container that the suffix names.

    Samples past full scale are never wrapped or clipped in silence. A format that stores any range (float,
    Vorbis, Opus, MP3) takes them as they are. An integer format becomes 32-bit float in a container that has it
    (wav, aiff, caf, w64, rf64, au); FLAC has none, so there the whole recording is turned down to a peak of 1.
    The note of what is returned says what was done.

    Args:
        path: the file to write; its suffix is one of `CONTAINERS`.
        samples: float32, shape ``(C, T)`` or ``(T,)``.
        sample_rate: Hz.
        subtype: libsndfile's name of the sample format, such as ``PCM_24``; by default 16 bits, or the codec's own.

    Raises:
        AudioError: the suffix or subtype is not known, the samples are empty or not finite, or writing fails.
    """
    path = Path(path)
    if path.suffix.lower() not in CONTAINERS:
        raise AudioError(f"cannot write {path}: '{path.suffix}' is not one of {', '.join(CONTAINERS)}")
    container, default = CONTAINERS[path.suffix.lower()]
    chosen = subtype or default
    frames = np.atleast_2d(np.asarray(samples, dtype=np.float32)).T
    if frames.ndim != 2 or frames.size == 0:
        raise AudioError(f"cannot write {path}: expected samples of shape (C, T), got {np.shape(samples)}")
    check_finite(frames, sample_rate, f"what should be written to {path}", axis=0)
    if not soundfile.check_format(container, chosen):
        raise AudioError(f"cannot write {path}: {container} does not hold {chosen}")
    frames, chosen, note = _fit_range(frames, container, chosen)
    try:
        with (
            replacing(path) as temporary,
            soundfile.SoundFile(temporary, "w", sample_rate, frames.shape[1], chosen, format=container) as file,
        ):
            for start in range(0, len(frames), _BLOCK):
                file.write(_rounded(frames[start : start + _BLOCK], chosen))
    except (soundfile.SoundFileError, RuntimeError, OSError) as error:
        what = f"{container}, {frames.shape[1]} channels at {sample_rate} Hz"
        raise AudioError(f"cannot write {path} ({what}): {_reason(error)}") from error
    return Written(path, note)


def output_subtype(info: AudioInfo, suffix: str) -> str | None:
    """The sample format for a result that comes from a recording: its own where that is linear and the suffix fits.

    Compressed or 8-bit sample formats are not kept, for what is left of a mixture would drown in their noise.
    Returns None for the default of the suffix's container.
    """
    container = CONTAINERS.get(suffix.lower(), ("", ""))[0]
    return info.subtype if info.subtype in _KEPT and soundfile.check_format(container, info.subtype) else None


def resampled_length(samples: int, from_rate: int, to_rate: int) -> int:
    """How many samples a recording has at another rate: T * to / from to the nearest, never less than one."""
    return max(1, round(samples * to_rate / from_rate))


def resample(x: Samples, from_rate: int, to_rate: int, *, length: int | None = None) -> Samples:
    """Change the sample rate (soxr, very high quality, linear phase) with an exact length.

    Args:
        x: float32, shape ``(T,)`` or ``(C, T)``.
        from_rate: Hz.
        to_rate: Hz.
        length: samples in the result; by default `resampled_length`. To come back to a recording of T samples ask for
            T: rounding on the way there is then undone, and the last sample keeps its place.

    Returns:
        The same number of dimensions, contiguous; the input itself when nothing changes.

    Raises:
        AudioError: a rate that is not positive, or no samples.
    """
    if from_rate <= 0 or to_rate <= 0:
        raise AudioError(f"cannot resample from {from_rate} to {to_rate} Hz: sample rates are positive")
    if x.shape[-1] == 0:
        raise AudioError("cannot resample a recording without samples")
    wanted = resampled_length(x.shape[-1], from_rate, to_rate) if length is None else length
    if from_rate == to_rate and wanted == x.shape[-1]:
        return x
    # soxr rounds its length down; zeros after the end, which it assumes there anyway, let its last samples out.
    needed = -(-(wanted + 1) * from_rate // to_rate)
    padding = [(0, 0)] * (x.ndim - 1) + [(0, max(0, needed - x.shape[-1]) + 1)]
    frames = np.ascontiguousarray(np.pad(x, padding).T)
    out: Samples = soxr.resample(frames, from_rate, to_rate, quality="VHQ")[:wanted]
    return np.ascontiguousarray(out.T)


def check_finite(samples: Samples, sample_rate: int, what: str, *, axis: int = -1) -> None:
    """Raise an AudioError that names the first NaN or infinity along the time ``axis``, if there is any."""
    finite = np.isfinite(samples)
    if finite.all():
        return
    bad = ~finite.all(axis=tuple(i for i in range(finite.ndim) if i != axis % finite.ndim))
    where = f"{int(bad.sum())} samples are not finite, the first at {int(bad.argmax()) / sample_rate:.3f} s"
    raise AudioError(f"{what} is broken: {where}")


def _open(path: Path) -> soundfile.SoundFile:
    if not os.path.exists(path):
        raise AudioError(f"no file at {path}")
    if path.is_dir():
        raise AudioError(f"{path} is a folder, not a recording")
    if not os.access(path, os.R_OK):
        raise AudioError(f"{path} cannot be read: permission denied")
    if path.is_file() and path.stat().st_size == 0:
        raise AudioError(f"{path} is empty (0 bytes)")
    try:
        return soundfile.SoundFile(path)
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError) as error:
        known = "wav, flac, ogg, opus, mp3, aiff, caf and the like"
        raise AudioError(f"{path} is damaged or not a recording ({known}): {_reason(error)}") from error


def _info(file: Any, path: Path) -> AudioInfo:
    info = AudioInfo(path, file.samplerate, file.channels, file.frames, file.format, file.subtype)
    for promised, held in _SIZE.findall(file.extra_info):
        if int(held) + _SIZE_SLACK_BYTES < int(promised) < _UNKNOWN_SIZE:
            raise _cut_short(path, info.seconds * int(promised) / max(1, int(held)), info.seconds)
    if info.samples == 0:
        raise AudioError(f"{path} holds no samples")
    return info


def _cut_short(path: Path, promised_s: float, held_s: float) -> AudioError:
    cut = f"its header promises {promised_s:.2f} s, it holds {held_s:.2f} s"
    return AudioError(f"{path} is cut short: {cut}; copy it again, or save what is left under a new name")


def _fit_range(frames: Samples, container: str, subtype: str) -> tuple[Samples, str, str | None]:
    peak = float(np.abs(frames).max())
    if peak <= 1 or subtype in _ANY_RANGE:
        return frames, subtype, None
    if soundfile.check_format(container, "FLOAT"):
        return frames, "FLOAT", f"its peak is {peak:.3f}, so it was written as 32-bit float instead of {subtype}"
    turned = (
        f"its peak is {peak:.3f}, past what {container} holds, so it was turned down by {20 * np.log10(peak):.2f} dB"
    )
    return frames / np.float32(peak), subtype, turned


def _rounded(frames: Samples, subtype: str) -> npt.NDArray[Any]:
    """Samples as the nearest 16- or 24-bit numbers (libsndfile itself would round all of them down).

    Full scale, +1.0, becomes the largest number there is, one step lower.
    """
    if subtype not in ("PCM_16", "PCM_24"):
        return frames
    full = np.float32(2**15 if subtype == "PCM_16" else 2**23)
    numbers = np.clip(np.rint(frames * full), -full, full - 1).astype(np.int32)
    rounded: npt.NDArray[Any] = numbers.astype(np.int16) if subtype == "PCM_16" else np.left_shift(numbers, 8)
    return rounded


def _reason(error: BaseException) -> str:
    text = getattr(error, "error_string", None) or str(error)
    return " ".join(str(text).split()).rstrip(".") or "it cannot be decoded"
