"""What a person sees while recordings are worked on: lines on stdout and stderr, and one that moves."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Sequence

_SHOWN_AFTER_S = 2.0
_EVERY_S = 0.2
_CLEAR = "\r\x1b[K"


def columns(lines: Sequence[Sequence[str]]) -> list[str]:
    """A table as lines of text whose columns stand under each other."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


class Screen:
    """Progress on stderr where that is a terminal: recordings done, seconds of sound, speed.

    Safe to use from several threads. Work of less than two seconds shows nothing.

    Args:
        files: how many recordings there are.
        quiet: show no progress and no notes.
    """

    def __init__(self, files: int, *, quiet: bool) -> None:
        self._files, self._quiet = files, quiet
        self._shown = not quiet and sys.stderr.isatty()
        self._lock = threading.RLock()
        self._started, self._drawn_at, self._drawn = time.monotonic(), 0.0, False
        self._done_files = 0
        self._seconds: dict[str, float] = {}

    def out(self, line: str) -> None:
        """A line on stdout, at once."""
        with self._lock:
            self._clear()
            print(line, flush=True)

    def note(self, line: str) -> None:
        """A line on stderr, unless quiet."""
        if not self._quiet:
            self.error(line)

    def error(self, line: str) -> None:
        """A line on stderr in any case."""
        with self._lock:
            self._clear()
            sys.stderr.write(f"{line}\n")  # in one piece: an interruption is told by another thread
            sys.stderr.flush()

    def advance(self, name: str, done_s: float, whole_s: float | None) -> None:
        """So much of a recording is done."""
        with self._lock:
            self._seconds[name] = done_s
            now = time.monotonic()
            if not self._shown or now - self._started < _SHOWN_AFTER_S or now - self._drawn_at < _EVERY_S:
                return
            self._drawn_at, self._drawn = now, True
            percent = f" {100 * min(1.0, done_s / whole_s):.0f}%" if whole_s else ""
            line = f"{self._done_files} of {self._files} done, {name}{percent}, {self._amount(now)}"
            sys.stderr.write(_CLEAR + line[: shutil.get_terminal_size().columns - 1])
            sys.stderr.flush()

    def finish_one(self) -> None:
        """One more recording is done, or has failed."""
        with self._lock:
            self._done_files += 1

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *error: object) -> None:
        """Leave no moving line behind, and say how much it was."""
        with self._lock:
            self._clear()
            now = time.monotonic()
            if self._shown and now - self._started >= _SHOWN_AFTER_S and self._seconds:
                print(f"{self._done_files} of {self._files} done, {self._amount(now)}", file=sys.stderr)

    def _amount(self, now: float) -> str:
        seconds, took_s = sum(self._seconds.values()), max(1e-3, now - self._started)
        return f"{_clock(seconds)} of sound in {_clock(took_s)} ({seconds / took_s:.1f}x)"

    def _clear(self) -> None:
        if self._drawn:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
            self._drawn = False


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
