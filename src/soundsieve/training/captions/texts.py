"""Captions on disk: one a line, in UTF-8, read and written without holding them all."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from soundsieve.errors import ConfigError

_CONTROL = re.compile(r"[\x01-\x1f\x7f-\x9f]")
"""What a terminal may obey."""


class Lines(Sequence[str]):
    """The lines of a text file, memory-mapped and decoded one by one when asked for.

    Args:
        path: the file, in UTF-8.
        offsets: where each line starts in bytes, and the file's length: int64, shape ``(N + 1,)``.
    """

    def __init__(self, path: Path, offsets: NDArray[np.int64]) -> None:
        self._bytes = np.memmap(path, np.uint8, "r")
        self._offsets = offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return self._bytes[self._offsets[place] : self._offsets[place + 1] - 1].tobytes().decode("utf-8", "replace")


def read_lines(path: str | Path) -> Iterator[str]:
    """Captions out of a text file, one a line; empty lines are left out.

    Raises:
        ConfigError: the file cannot be read, or a line is not UTF-8.
    """
    try:
        with Path(path).open("rb") as file:
            yield from decoded(file, str(path))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def decoded(lines: Iterable[bytes], name: str) -> Iterator[str]:
    """Lines of bytes as captions: single spaces, no control characters, none empty.

    Raises:
        ConfigError: a line is not UTF-8, or holds a null, as UTF-16 and binary files do.
    """
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{name} is not UTF-8 text: see line {number}") from error
        if "\0" in text:
            raise ConfigError(f"{name} is not UTF-8 text: see line {number}")
        if text := " ".join(_CONTROL.sub(" ", text).split()):
            yield text


def distinct(captions: Iterable[str]) -> Iterator[str]:
    """Captions without those that came before: letter case, spaces and a full stop at the end make no difference.

    >>> list(distinct(["A dog barks.", "a dog  barks", "A dog barks!"]))
    ['A dog barks.', 'A dog barks!']
    """
    seen: set[bytes] = set()
    for caption in captions:
        text = " ".join(caption.split())
        plain = unicodedata.normalize("NFC", text).casefold().rstrip(".").rstrip()
        key = hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=16).digest()  # 16 bytes, not a text
        if plain and key not in seen:
            seen.add(key)
            yield text


def write_lines(path: Path, captions: Iterable[str]) -> tuple[NDArray[np.int64], str]:
    """Write captions one a line; returns where they start, as `Lines` takes it, and the file's SHA-256.

    Raises:
        OSError: it cannot be written.
    """
    offsets, digest = [0], hashlib.sha256()
    with path.open("wb") as file:
        for caption in captions:
            line = caption.encode() + b"\n"
            file.write(line)
            digest.update(line)
            offsets.append(offsets[-1] + len(line))
    return np.array(offsets, np.int64), digest.hexdigest()
