"""A private folder: bounded in size, and gone in the end, however the studio that it is of has ended."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from soundsieve.studio.limits import FullError

_PREFIX = "soundsieve-studio-"
_LOCK = ".in-use"
_YOUNG_S = 60.0


class PrivateFolder:
    """A folder that nobody else may look into. What a studio that was killed has left goes when the next one is made.

    Args:
        around: where it is made; by default where temporary files are.
        most_bytes: how much may lie in it.

    Attributes:
        path: where it is.
        incoming: a folder in it for what is being received.
    """

    def __init__(self, around: Path | None, most_bytes: float) -> None:
        around = Path(around or tempfile.gettempdir())
        around.mkdir(parents=True, exist_ok=True)
        _sweep(around)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=around))
        self.incoming = self.path / "incoming"
        self.incoming.mkdir(mode=0o700)
        self._mark = (self.path / _LOCK).open("wb")
        fcntl.flock(self._mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._lock = threading.Lock()
        self._most_bytes = most_bytes
        self._reserved = 0

    def close(self) -> None:
        """Delete it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._mark.close()

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Reserve so many bytes while a file of that size is written.

        Raises:
            FullError: there are less.
        """
        with self._lock:
            if _bytes_in(self.path) + self._reserved + size > self._most_bytes:
                raise FullError(
                    "the studio's disk space is used up: remove what you no longer need, or try again later"
                )
            self._reserved += size
        try:
            yield
        finally:
            with self._lock:
                self._reserved -= size

    def clear_incoming(self, older_s: float) -> None:
        """Delete what has lain in `incoming` for longer than so many seconds, and the folders that are left empty."""
        before = time.time() - older_s
        for folder, _, files in os.walk(self.incoming, topdown=False):
            for path in (Path(folder, name) for name in files):
                with suppress(OSError):  # it went meanwhile
                    if path.lstat().st_mtime < before:
                        path.unlink()
            with suppress(OSError):  # it went, or is not empty
                if Path(folder) != self.incoming and os.stat(folder).st_mtime < before:
                    os.rmdir(folder)


def _bytes_in(folder: Path) -> int:
    total = 0
    for place, _, files in os.walk(folder):  # unlike rglob it takes it well when a folder goes meanwhile
        for name in files:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _sweep(around: Path) -> None:
    """Delete the folders of studios that were killed: those of ours that nobody holds the lock of."""
    for folder in around.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            young = time.time() - status.st_mtime < _YOUNG_S  # it may not hold its lock yet
            if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode) or young:
                continue
            with (folder / _LOCK).open("rb") as mark:
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
