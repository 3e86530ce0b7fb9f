"""Where in a file the sound lies: behind a tag, and in several streams where files were joined end to end.

libsndfile gives up on an ID3v2 tag with a larger picture, and of joined files (chained Ogg, as internet radio sends it,
or an MP3 with a Xing header and another one behind it) it reads the first alone, without a word.
"""

from __future__ import annotations

import io
import mmap
from pathlib import Path
from typing import Any, TypeAlias

Link: TypeAlias = tuple[int, int]
"""First byte of a stream, and the one after its last."""

_SEARCHED_BYTES = 1 << 20
_LEAST_BYTES = 4096  # some encoders leave the Xing frame itself out of the size that it tells
_FRAMES_IN_A_ROW = 3
_KBPS = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # MPEG 1, layer III
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # MPEG 2 and 2.5
)
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


class View(io.RawIOBase):
    """A part of a file, as a file.

    Args:
        path: where the file lies.
        link: which bytes of it.
    """

    def __init__(self, path: Path, link: Link) -> None:
        self._file = path.open("rb")
        self._start, self._end = link
        self._at = 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next byte comes from, counted from the part's start."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte, counted from the part's start, from here or from its end."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end - self._start}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as there are bytes; 0 at the end."""
        self._file.seek(self._start + self._at)
        data = self._file.read(min(len(buffer), max(0, self._end - self._start - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def links(path: Path) -> list[Link]:
    """The streams of a file, in order; one, the whole file, for all but tagged and joined ones."""
    with path.open("rb") as file:
        head = file.read(4)
        size = file.seek(0, io.SEEK_END)
        if head != b"OggS" and head[:3] != b"ID3" and not _is_sync(head):
            return [(0, size)]
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            start = _behind_tags(data, 0)
            if start >= size:
                return [(0, size)]
            if data[start : start + 4] == b"OggS":
                starts = _ogg_starts(data, start)
            elif _is_sync(data[start : start + 4]):
                starts = _mp3_starts(data, start)
            else:
                starts = [start]
    return list(zip(starts, [*starts[1:], size], strict=True))


def is_mpeg(path: Path, link: Link) -> bool:
    """Whether a stream begins as MPEG audio does."""
    with path.open("rb") as file:
        file.seek(link[0])
        return _is_sync(file.read(4))


def _is_sync(head: bytes) -> bool:
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0


def _behind_tags(data: mmap.mmap, at: int) -> int:
    """The first byte behind ID3 tags (2 and 1), APE tags and their padding."""
    while True:
        if data[at : at + 3] == b"ID3" and len(head := data[at : at + 10]) == 10 and max(head[6:]) < 128:
            size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
            at += 10 + size + (10 if head[5] & 0x10 else 0)
            piece = data[at : at + _SEARCHED_BYTES]
            at += len(piece) - len(piece.lstrip(b"\0"))
        elif data[at : at + 8] == b"APETAGEX" and len(head := data[at : at + 32]) == 32:
            at += 32 + (int.from_bytes(head[12:16], "little") if head[23] & 0x20 else 0)
        elif data[at : at + 3] == b"TAG" and at > 0:
            at += 128
        else:
            return at


def _ogg_starts(data: mmap.mmap, at: int) -> list[int]:
    """Where the pages begin a stream while another has been going on (streams side by side begin together)."""
    starts, going_on = [at], False
    while at >= 0 and at + 27 <= len(data):
        if data[at : at + 5] != b"OggS\0":
            at = data.find(b"OggS\0", at + 1)
            continue
        begins = bool(data[at + 5] & 2)
        if begins and going_on:
            starts.append(at)
        going_on = not begins
        segments = data[at + 26]
        at += 27 + segments + sum(data[at + 27 : at + 27 + segments])
    return starts


def _mp3_starts(data: mmap.mmap, at: int) -> list[int]:
    """Where streams begin behind one that tells its own size."""
    starts = [at]
    while (told := _told(data, at)) != (0, 0):
        frames, size = told
        if size and len(data) - _behind_tags(data, at + size) < _LEAST_BYTES:
            break
        # There is more, or the size is wrong: where the frames themselves can be followed they know better.
        end = _behind_frames(data, at, frames + 1) if frames else None
        if end is None and not size:
            break
        behind = _behind_tags(data, at + size if end is None else end)
        if len(data) - behind < _LEAST_BYTES:
            break
        found = _next_frames(data, behind)
        if found is None:
            break
        starts.append(found)
        at = found
    return starts


def _told(data: mmap.mmap, at: int) -> tuple[int, int]:
    """How many frames (this one aside) and bytes a stream has by its Xing, Info or VBRI header; 0 for what is open."""
    head = data[at : at + 64]
    if len(head) < 64:
        return 0, 0
    if head[36:40] == b"VBRI":
        return int.from_bytes(head[50:54], "big"), int.from_bytes(head[46:50], "big")
    mono, first = head[3] >> 6 == 3, head[1] >> 3 & 3 == 3
    tag = 4 + ((17 if mono else 32) if first else (9 if mono else 17))
    if head[tag : tag + 4] not in (b"Xing", b"Info"):
        return 0, 0
    flags = head[tag + 7]
    field = tag + 8 + (4 if flags & 1 else 0)
    frames = int.from_bytes(head[tag + 8 : tag + 12], "big") if flags & 1 else 0
    return frames, int.from_bytes(head[field : field + 4], "big") if flags & 2 else 0


def _behind_frames(data: mmap.mmap, at: int, frames: int) -> int | None:
    """The first byte behind so many layer III frames; None if one of them is damaged or not there."""
    for _ in range(frames):
        length = _frame_bytes(data[at : at + 4])
        if not length:
            return None
        at += length
    return at


def _next_frames(data: mmap.mmap, at: int) -> int | None:
    """The first place from here on where several layer III frames follow each other."""
    stop = min(len(data), at + _SEARCHED_BYTES)
    while (at := data.find(b"\xff", at, stop)) >= 0:
        if _behind_frames(data, at, _FRAMES_IN_A_ROW) is not None:
            return at
        at += 1
    return None


def _frame_bytes(head: bytes) -> int:
    """The length of a layer III frame by its header; 0 if it is none."""
    if len(head) < 4 or not _is_sync(head) or head[1] >> 1 & 3 != 1:
        return 0
    version, kbps, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or kbps in (0, 15) or rate == 3:
        return 0
    first = version == 3
    bits = _KBPS[0 if first else 1][kbps] * 1000 * (144 if first else 72)
    return bits // _RATES[version][rate] + (head[2] >> 1 & 1)
