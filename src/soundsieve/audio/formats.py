"""What can be written: containers by suffix, sample formats, and what each of them holds."""

from __future__ import annotations

import soundfile

from soundsieve.audio import ffmpeg
from soundsieve.audio.info import AudioInfo

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

READABLE = (
    frozenset(CONTAINERS)
    | {".aifc", ".snd", ".bwf", ".mp2", ".mpga", ".voc", ".sph", ".nist", ".ircam", ".sf", ".8svx", ".svx"}
    | ffmpeg.SUFFIXES
)
"""Names by which a folder's recordings are known; a file named otherwise is read as well if it is asked for."""

ANY_RANGE = frozenset({"FLOAT", "DOUBLE", "VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III"})
"""Sample formats that store samples past full scale."""

_KEPT = frozenset({"PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"})
_WAVES = frozenset({"WAV", "WAVEX", "RF64"})  # all of these are usual in a file named .wav


def holds(container: str, subtype: str) -> bool:
    """Whether a container can hold a sample format, by libsndfile's names."""
    try:
        return bool(soundfile.check_format(container, subtype))
    except (TypeError, ValueError, AttributeError):  # a name that is none
        return False


def output_subtype(info: AudioInfo, suffix: str) -> str | None:
    """The sample format for a result that comes from a recording: its own where that is linear and the suffix fits.

    Compressed or 8-bit sample formats are not kept, for what is left of a mixture would drown in their noise.
    Returns None for the default of the suffix's container.
    """
    container = CONTAINERS.get(suffix.lower(), ("", ""))[0]
    return info.subtype if info.subtype in _KEPT and holds(container, info.subtype) else None


def output_container(info: AudioInfo, suffix: str) -> str | None:
    """The container for a result that comes from a recording, where the suffix alone does not tell.

    A file named .wav may be a plain, an extensible (WAVEX) or a 64-bit (RF64) one; its answer is of the same kind.
    Returns None for the suffix's own container.
    """
    own = CONTAINERS.get(suffix.lower(), ("", ""))[0]
    return info.format if own in _WAVES and info.format in _WAVES else None
