"""Standard error kept clean of what C libraries print there themselves."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2
_lock = threading.Lock()
_inside = 0
_kept: int | None = None


@contextmanager
def no_chatter() -> Iterator[None]:
    """Send what is written to file descriptor 2 nowhere, for as short as possible; threads may be in it together.

    The first in turns it away and the last out restores it. What is written there from elsewhere meanwhile is lost
    as well, so nothing but the call into the library belongs inside.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _kept
    with _lock:
        _inside += 1
        if _inside > 1:
            return
        try:
            _kept = os.dup(_STDERR)
        except OSError:  # it is closed: nothing can be printed there
            return
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
        except OSError:  # no descriptor left: better some chatter than no recording
            os.close(_kept)
            _kept = None
            return
        os.dup2(nowhere, _STDERR)
        os.close(nowhere)


def _leave() -> None:
    global _inside, _kept
    with _lock:
        _inside -= 1
        if _inside == 0 and _kept is not None:
            os.dup2(_kept, _STDERR)
            os.close(_kept)
            _kept = None
