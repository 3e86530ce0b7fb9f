"""Where recordings come from: every source ends up as a regular file that can be sought in."""

from __future__ import annotations

import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

from soundsieve.audio.info import reason
from soundsieve.errors import AudioError

Source: TypeAlias = str | Path | bytes | BinaryIO
"""A recording: a path (``-`` is standard input), the bytes of a file, or a binary stream to read to its end."""

_CHUNK_BYTES = 1 << 20


@contextmanager
def on_disk(source: Source) -> Iterator[tuple[Path, Path]]:
    """Yield the path of a regular file that holds the source, and the path to call it by in messages.

    Streams, pipes and bytes are copied to a temporary file first, piece by piece; it goes in the end. (The folder
    for these is Python's, so the environment's TMPDIR moves it.)

    Raises:
        AudioError: there is no such file, it is a folder, a device, empty or not readable, or the copy fails.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        with _spooled(io.BytesIO(source), Path("the recording in memory")) as path:
            yield path, Path("the recording in memory")
    elif isinstance(source, (str, Path)) and str(source) == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise AudioError("standard input is a terminal: pipe a recording into it, or name a file")
        with _spooled(sys.stdin.buffer, Path("standard input")) as path:
            yield path, Path("standard input")
    elif isinstance(source, (str, Path)):
        path = Path(source)
        if _check_readable(path):
            yield path, path
            return
        try:
            stream = path.open("rb")
        except OSError as error:
            raise AudioError(f"{path} cannot be read: {reason(error)}") from error
        with stream, _spooled(stream, path) as copy:
            yield copy, path
    elif hasattr(source, "read"):
        name = getattr(source, "name", None)
        called = Path(name) if isinstance(name, str) else Path("the stream given")
        with _spooled(source, called) as path:
            yield path, called
    else:
        raise AudioError(f"a recording is a path, bytes or a binary stream; got {type(source).__name__}")


def _check_readable(path: Path) -> bool:
    """Whether a path is a regular file (True) or a pipe (False); anything else is an AudioError."""
    try:
        status = os.stat(path)
    except PermissionError as error:
        raise AudioError(f"{path} cannot be read: permission denied") from error
    except (OSError, ValueError) as error:
        raise AudioError(f"no file at {path}") from error
    if stat.S_ISDIR(status.st_mode):
        raise AudioError(f"{path} is a folder, not a recording")
    if not os.access(path, os.R_OK):
        raise AudioError(f"{path} cannot be read: permission denied")
    if stat.S_ISFIFO(status.st_mode):
        return False
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(f"{path} is a device or a socket, not a recording")
    if status.st_size == 0:
        raise AudioError(f"{path} is empty (0 bytes)")
    return True


@contextmanager
def _spooled(stream: BinaryIO, called: Path) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(prefix="soundsieve-", buffering=0) as copy:
        try:
            shutil.copyfileobj(stream, copy, _CHUNK_BYTES)
        except (OSError, ValueError, TypeError) as error:
            where = Path(copy.name).parent
            raise AudioError(f"cannot copy {called} to the temporary folder {where}: {reason(error)}") from error
        if copy.tell() == 0:
            raise AudioError(f"{called} is empty (0 bytes)")
        yield Path(copy.name)
