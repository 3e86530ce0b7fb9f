"""The audio of a benchmark: a folder in which the recordings of its list are found, and read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from soundsieve import audio
from soundsieve.errors import AudioError, ConfigError

Sounds: TypeAlias = Callable[[str], Tensor]
"""What gives the samples of a recording, float32, shape ``(T,)``, by the path that its list names it with."""

_OTHER_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".WAV")
_KEPT = 32
_SHOWN = 10


class Recordings:
    """Recordings below a folder, mixed down to mono (the mean of the channels) and brought to one sample rate.

    A recording that is not there by its own name is looked for under other suffixes, for lists say .wav of what people
    keep as .flac or .ogg. The last few that were read are kept in memory: lists name the same target several times in a
    row.

    Args:
        folder: where the paths of the list start.
        sample_rate: Hz.

    Raises:
        ConfigError: there is no such folder.
    """

    def __init__(self, folder: str | Path, sample_rate: int) -> None:
        self.folder, self.sample_rate = Path(folder), sample_rate
        if not self.folder.is_dir():
            raise ConfigError(f"there is no folder {folder} with the benchmark's audio (--audio)")
        self._found: dict[str, Path | None] = {}
        self._read = functools.lru_cache(maxsize=_KEPT)(self._decode)

    def find(self, name: str) -> Path | None:
        """Where a recording is; None if it is not there."""
        if name not in self._found:
            path = self.folder / name
            places = (path, *(path.with_suffix(suffix) for suffix in _OTHER_SUFFIXES))
            self._found[name] = next((place for place in places if place.is_file()), None)
        return self._found[name]

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those that are not there, each once, in the order of the list."""
        return [name for name in dict.fromkeys(names) if self.find(name) is None]

    def path(self, name: str) -> Path:
        """Where a recording is.

        Raises:
            AudioError: it is not there.
        """
        found = self.find(name)
        if found is None:
            raise AudioError(f"{self.folder / name} is missing")
        return found

    def __call__(self, name: str) -> Tensor:
        """Samples of a recording, shape ``(T,)``; not to be changed in place.

        Raises:
            AudioError: it is missing, or cannot be read.
        """
        return self._read(name)

    def _decode(self, name: str) -> Tensor:
        samples, rate = audio.decode(self.path(name))
        return torch.from_numpy(audio.resample(samples.mean(0), rate, self.sample_rate))


def tell_missing(missing: Sequence[str], folder: Path, *, left_out: int, examples: int) -> str:
    """One line about recordings that are not there: how many, the first ten, and what that costs."""
    names = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
    plural = "" if len(missing) == 1 else "s"
    return (
        f"{len(missing)} recording{plural} of the list {'is' if not plural else 'are'} not in {folder}, which "
        f"{left_out} of {examples} examples need: {names}"
    )
