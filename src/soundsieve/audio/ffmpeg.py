"""What libsndfile cannot read (m4a, mp4, webm, ...), by way of ffmpeg where it is installed.

ffmpeg decodes the first sound track to 32-bit float in an AU file, the one simple container that may leave its length
open, so that it can be written to a pipe. The result goes to a temporary file: the length is then known, any part can
be sought, and a recording that breaks off in its middle is found out before anything is made of it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from soundsieve.errors import AudioError

SUFFIXES = frozenset(
    {".m4a", ".m4b", ".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".webm", ".mkv", ".mka", ".aac", ".adts", ".wma", ".wmv"}
    | {".asf", ".avi", ".flv", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".amr", ".ac3", ".eac3", ".ape", ".wv", ".tta"}
)
"""Names of files that ffmpeg is asked to read; they are read, not written."""

_DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,asf,avi,flv,mpegts,mpeg,mpegvideo,amr,ac3,eac3,ape,wv,tta,"
    "caf,wav,w64,aiff,ogg,mp3,flac,au"
)
"""No playlists among these: a recording must not make ffmpeg open other files."""

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", "MP4"),
    (4, b"moov", "MOV"),
    (4, b"mdat", "MOV"),
    (4, b"wide", "MOV"),
    (0, b"\x1a\x45\xdf\xa3", "WEBM"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "ASF"),
    (8, b"AVI ", "AVI"),
    (0, b"FLV\x01", "FLV"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (0, b"#!AMR", "AMR"),
    (0, b"\x0b\x77", "AC3"),
    (0, b"MAC ", "APE"),
    (0, b"wvpk", "WV"),
    (0, b"TTA1", "TTA"),
)
_CUT = re.compile(r"partial file|truncat|invalid data|error while decoding|corrupt|ended prematurely", re.IGNORECASE)
_UNKNOWN_ENCODING = re.compile(r"unsupported encoding|unimplemented", re.IGNORECASE)
_MANY_ENCODINGS = (b"RIFF", b"caff", b"OggS", b"FORM")  # containers of which libsndfile reads some encodings only
_STALL_S = 60.0
_TICK_S = 0.02
_WORDS_BYTES = 1 << 16
_AU_HEADER_BYTES = 24


def container_of(path: Path, suffix: str, complaint: str) -> str | None:
    """What kind of file only ffmpeg can read this is, by its first bytes or else its name; None if it is none.

    Args:
        path: where it lies.
        suffix: of the name that the user knows.
        complaint: what libsndfile said about it; a file whose frame it knows, but not the encoding, is ffmpeg's too.
    """
    with path.open("rb") as file:
        head = file.read(16)
    for at, magic, name in _MAGIC:
        if head[at : at + len(magic)] == magic:
            return name
    if suffix.lower() in SUFFIXES or (head[:4] in _MANY_ENCODINGS and _UNKNOWN_ENCODING.search(complaint)):
        return suffix.lower().lstrip(".").upper() or "UNKNOWN"
    return None


@contextmanager
def decoded(path: Path, called: Path, longest_s: float | None = None) -> Iterator[Path]:
    """Yield a temporary AU file with the first sound track of ``path``, 32-bit float.

    Args:
        path: where it lies.
        called: its name in messages.
        longest_s: decode about a second more than this and then stop.

    Raises:
        AudioError: ffmpeg is not installed, cannot read the file, finds damage in it, or stands still.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        install = "install ffmpeg (apt install ffmpeg, brew install ffmpeg, ...), or convert it to wav or flac"
        raise AudioError(f"{called} needs ffmpeg to be read, and there is none on the PATH: {install}")
    command = [program, "-nostdin", "-hide_banner", "-loglevel", "error"]
    command += ["-protocol_whitelist", "file,pipe", "-format_whitelist", _DEMUXERS]
    command += ["-i", f"file:{path.absolute()}", "-map", "0:a:0", "-c:a", "pcm_f32be"]
    command += ["-t", f"{longest_s + 1:.3f}"] if longest_s is not None else []
    command += ["-f", "au", "pipe:1"]
    with tempfile.NamedTemporaryFile(prefix="soundsieve-", suffix=".au") as out, tempfile.TemporaryFile() as words:
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=words)
        except OSError as error:
            raise AudioError(f"{called} needs ffmpeg, and {program} does not start: {error.strerror}") from error
        try:
            _wait(process, out, called)
        finally:
            process.kill()
            process.wait()
        said = _complaint(words, path)
        if process.returncode != 0:
            why = said or f"status {process.returncode}"
            raise AudioError(f"{called} is damaged or not a recording, says ffmpeg: {why}")
        if _CUT.search(said):
            raise AudioError(f"{called} is damaged or cut short, says ffmpeg: {said}")
        if os.fstat(out.fileno()).st_size <= _AU_HEADER_BYTES:
            raise AudioError(f"{called} holds no samples, says ffmpeg")
        yield Path(out.name)


def _wait(process: subprocess.Popen[bytes], out: IO[bytes], called: Path) -> None:
    """Until ffmpeg ends, or has written nothing for a minute."""
    size, since = 0, time.monotonic()
    while True:
        try:
            process.wait(_TICK_S)
            return
        except subprocess.TimeoutExpired:
            now = os.fstat(out.fileno()).st_size
            if now != size:
                size, since = now, time.monotonic()
            elif time.monotonic() - since > _STALL_S:
                raise AudioError(f"{called} cannot be read: ffmpeg wrote nothing for {_STALL_S:.0f} s") from None


def _complaint(words: IO[bytes], path: Path) -> str:
    """The first thing that ffmpeg complained about, damage before the rest, without our temporary names in it."""
    words.seek(0)
    lines = [line.strip() for line in words.read(_WORDS_BYTES).decode("utf-8", "replace").splitlines() if line.strip()]
    telling = [line for line in lines if _CUT.search(line)] or lines
    if not telling:
        return ""
    line = re.sub(r"^(\[[^\]]*\]\s*)+", "", telling[0]).replace(f"file:{path.absolute()}", "the file")
    return " ".join(line.split())[:200].rstrip(".")
