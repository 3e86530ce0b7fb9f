"""Which recordings a command line means: files, folders, patterns, standard input; and which argument is the query."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from soundsieve.errors import QueryError

STDIN = "-"
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Input:
    """One recording, or what is wrong with an argument that names none.

    Attributes:
        name: its path as it is told to the user; ``-`` is standard input.
        folder: where it lies below the folder that was searched; its answer goes to the same place.
        problem: why there is no recording.
        searched: whether it was found in a folder or by a pattern, not named.
    """

    name: str
    folder: Path = Path()
    problem: str = ""
    searched: bool = False

    @property
    def stem(self) -> str:
        """The name without folder and suffix."""
        return "stdin" if self.name == STDIN else Path(self.name).stem

    @property
    def suffix(self) -> str:
        """The suffix in lower case; empty for standard input."""
        return "" if self.name == STDIN else Path(self.name).suffix.lower()


def suffixes() -> frozenset[str]:
    """Suffixes of what is taken from folders, and of what is a recording rather than words."""
    from soundsieve.audio import READABLE

    return READABLE - {".ts", ".sf"}  # more often programs than recordings


def names_a_recording(argument: str) -> bool:
    """Whether an argument is a file, standard input, or named like a sound file or a pattern of these."""
    return argument == STDIN or Path(argument).suffix.lower() in suffixes() or os.path.isfile(argument)


def split_arguments(
    arguments: Sequence[str], *, words_optional: bool, recursive: bool = False, command: str = "extract"
) -> tuple[str | None, list[str]]:
    """Tell the query from the recordings.

    The first argument is the query, unless the query is given by options: then a first argument that is a file, or
    is named like one, is a recording; so is a folder where folders are searched.

    Raises:
        QueryError: there is no query, or no recording.
    """
    first, rest = arguments[0], list(arguments[1:])
    if names_a_recording(first) or (words_optional and recursive and os.path.isdir(first)):
        if words_optional:
            return None, [first, *rest]
        example = f'soundsieve {command} "a dog barking" {first}'
        raise QueryError(f"the first argument is what to {command}, and '{first}' is a file; for example: {example}")
    if not rest:
        raise QueryError(f'no recording given: soundsieve {command} "{first}" FILES...')
    return first, rest


def find_inputs(arguments: Sequence[str], *, recursive: bool, output: Path | None = None) -> list[Input]:
    """The recordings that the arguments name, in order, each once.

    A pattern that the shell has left alone is matched here. A folder gives its recordings, sorted, hidden ones and
    those in the ``output`` folder left out.
    """
    found: dict[str, Input] = {}
    for argument in arguments:
        for one in _of(argument, recursive, output):
            key = one.name if one.name == STDIN or one.problem else os.path.abspath(one.name)
            known = found.setdefault(key, one)
            found[key] = replace(known, searched=known.searched and one.searched)
    return list(found.values())


def _of(argument: str, recursive: bool, output: Path | None) -> Iterator[Input]:
    if argument == STDIN or os.path.isfile(argument):
        yield Input(argument)
    elif os.path.isdir(argument):
        yield from _in_folder(Path(argument), recursive, output)
    elif _WILD.search(argument) and not os.path.lexists(argument):
        matches = sorted(glob.glob(argument, recursive=True))
        if not matches:
            yield Input(argument, problem=f"no file matches {argument}")
        for match in matches:
            if not os.path.isdir(match) or recursive:
                yield from (replace(one, searched=True) for one in _of(match, recursive, output))
    else:
        yield Input(argument)


def _in_folder(folder: Path, recursive: bool, output: Path | None) -> Iterator[Input]:
    if not recursive:
        yield Input(str(folder), problem=f"{folder} is a folder: --recursive takes the recordings in it")
        return
    known, left_out = suffixes(), None if output is None else os.path.realpath(output)
    empty = True
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(place, name)) != left_out
        )
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in known:
                empty = False
                yield Input(os.path.join(place, name), Path(place).relative_to(folder), searched=True)
    if empty:
        yield Input(str(folder), problem=f"there are no recordings in {folder}")
