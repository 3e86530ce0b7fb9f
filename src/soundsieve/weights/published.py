"""Published models by name: fetched once, converted once, and read from soundsieve's cache afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from soundsieve.errors import WeightsError
from soundsieve.weights.hub import TOKENIZER, Source, cache_folder, cached, fetch, identity

if TYPE_CHECKING:
    from soundsieve.systems.base import System
    from soundsieve.weights.clap import TokenizerSource

_VERSION = 1
"""Of what is made of published files; another one makes them again."""


def from_hub(sources: Sequence[Source], tokenizer: TokenizerSource = None) -> System:
    """CLAPSep as it is published, fetched and converted once, LoRA merged.

    Args:
        sources: where its weights and the CLAP are.
        tokenizer: see `find_tokenizer`.

    Raises:
        WeightsError: a file cannot be had or is not what it should be.
    """
    from soundsieve.weights.checkpoint import load_system
    from soundsieve.weights.convert import read_system, write_system

    ready = converted(sources, tokenizer)
    if ready is not None:
        try:
            return load_system(ready)
        except WeightsError:
            ready.unlink(missing_ok=True)  # damaged: it can be made again
    weights, clap = (fetch(source) for source in sources)
    system = read_system(weights, clap, tokenizer)
    target = _converted_path(sources, [weights, clap], tokenizer)
    write_system(target, system)
    for older in target.parent.glob(_pattern(sources, tokenizer)):
        if older != target:
            older.unlink(missing_ok=True)
    del system  # its memory, before the file's is mapped
    return load_system(target)


def converted(sources: Sequence[Source], tokenizer: TokenizerSource = None) -> Path | None:
    """The file that an earlier `from_hub` made of these sources, if it is there; the network is not asked.

    Where the client still has the sources, it must have been made of these very files.
    """
    there = [cached(source) for source in sources]
    paths = [path for path in there if path is not None]
    if len(paths) == len(there):
        exact = _converted_path(sources, paths, tokenizer)
        return exact if exact.is_file() else None
    return max(_folder().glob(_pattern(sources, tokenizer)), key=lambda path: path.stat().st_mtime, default=None)


def at_hand(sources: Sequence[Source]) -> bool:
    """Whether `from_hub` needs no network: it was converted, or everything is in the client's cache."""
    if converted(sources) is not None:
        return True
    return all(cached(source) is not None for source in (*sources, TOKENIZER))


def _folder() -> Path:
    return cache_folder() / "weights"


def _family(sources: Sequence[Source], tokenizer: TokenizerSource) -> str:
    """What is asked for: the places of the sources, and the tokenizer."""
    asked = [f"{source.kind} {source.repository} {source.file} {source.sha256}" for source in sources]
    if tokenizer is not None:
        path = Path(tokenizer) / "tokenizer.json" if Path(tokenizer).is_dir() else Path(tokenizer)
        asked += [str(tokenizer), identity(path) if path.is_file() else ""]
    return _hash(str(_VERSION), *asked)


def _pattern(sources: Sequence[Source], tokenizer: TokenizerSource) -> str:
    return f"clapsep-{_family(sources, tokenizer)}-*.safetensors"


def _converted_path(sources: Sequence[Source], paths: Sequence[Path], tokenizer: TokenizerSource) -> Path:
    return _folder() / _pattern(sources, tokenizer).replace("*", _hash(*map(identity, paths)))


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]
