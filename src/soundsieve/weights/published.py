"""Published models by name: fetched once, converted once, and read from soundsieve's cache afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from soundsieve.errors import UnreadableError, WeightsError
from soundsieve.weights.hub import cache_folder, cached, fetch, identity

if TYPE_CHECKING:
    from soundsieve.systems.base import System
    from soundsieve.weights.catalog import Entry
    from soundsieve.weights.clap import TokenizerSource

_VERSION = 1
"""Of what is made of published files; another one makes them again."""


def from_hub(entry: Entry, tokenizer: TokenizerSource = None) -> System:
    """A model as it is published, fetched and converted once, LoRA merged.

    Args:
        entry: the model; its sources are its weights and, where these need one beside them, the CLAP.
        tokenizer: see `soundsieve.weights.clap.find_tokenizer`.

    Raises:
        WeightsError: a file cannot be had or is not what it should be.
    """
    from soundsieve.weights.checkpoint import load_system
    from soundsieve.weights.convert import read_system, write_system

    ready = converted(entry, tokenizer)
    if ready is not None:
        try:
            return load_system(ready)
        except UnreadableError:
            raise
        except WeightsError:
            ready.unlink(missing_ok=True)  # damaged: it can be made again
    files = [fetch(source) for source in entry.sources]
    weights, clap = files[0], files[1] if len(files) > 1 else None
    system = read_system(weights, clap, tokenizer, expected=entry.system)
    target = _converted_path(entry, files, tokenizer)
    write_system(target, system)
    for older in target.parent.glob(_pattern(entry, tokenizer)):
        if older != target:
            older.unlink(missing_ok=True)
    del system  # its memory, before the file's is mapped
    return load_system(target)


def converted(entry: Entry, tokenizer: TokenizerSource = None) -> Path | None:
    """The file that an earlier `from_hub` made of the sources, if it is there; the network is not asked.

    Where the client still has the sources, it must have been made of these very files.
    """
    there = [cached(source) for source in entry.sources]
    paths = [path for path in there if path is not None]
    if len(paths) == len(there):
        exact = _converted_path(entry, paths, tokenizer)
        return exact if exact.is_file() else None
    return max(_folder().glob(_pattern(entry, tokenizer)), key=lambda path: path.stat().st_mtime, default=None)


def at_hand(entry: Entry) -> bool:
    """Whether `from_hub` needs no network: it was converted, or everything is in the client's cache."""
    if converted(entry) is not None:
        return True
    needed = (*entry.sources, *([] if entry.tokenizer is None else [entry.tokenizer]))
    return all(cached(source) is not None for source in needed)


def _folder() -> Path:
    return cache_folder() / "weights"


def _family(entry: Entry, tokenizer: TokenizerSource) -> str:
    """What is asked for: the places of the sources, and the tokenizer."""
    asked = [f"{source.kind} {source.repository} {source.file} {source.sha256}" for source in entry.sources]
    if tokenizer is not None:
        path = Path(tokenizer) / "tokenizer.json" if Path(tokenizer).is_dir() else Path(tokenizer)
        asked += [str(tokenizer), identity(path) if path.is_file() else ""]
    return _hash(str(_VERSION), *asked)


def _pattern(entry: Entry, tokenizer: TokenizerSource) -> str:
    return f"{entry.name}-{_family(entry, tokenizer)}-*.safetensors"


def _converted_path(entry: Entry, paths: Sequence[Path], tokenizer: TokenizerSource) -> Path:
    return _folder() / _pattern(entry, tokenizer).replace("*", _hash(*map(identity, paths)))


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]
