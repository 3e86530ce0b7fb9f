"""Files appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_UMASK = os.umask(0)
os.umask(_UMASK)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; on success it takes the place of ``path``, on any failure it goes.

    Both names are in the same folder, so the last step is one atomic `os.replace`: a reader sees the old file or
    the new one, never half of it. A link is followed, so that it goes on pointing at the file it points at.
    Missing folders are made. The temporary name keeps the suffix, for writers that choose a format by it.

    Raises:
        OSError: the folder cannot be made or written.
    """
    final = Path(os.path.realpath(path))
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.is_dir():
        raise IsADirectoryError(f"{path} is a folder")
    temporary = final.with_name(f".{secrets.token_hex(6)}.part{final.suffix}")
    try:
        yield temporary
        temporary.chmod(final.stat().st_mode & 0o777 if final.exists() else 0o666 & ~_UMASK)  # some writers are private
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)
