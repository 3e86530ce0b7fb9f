"""Decoded clips and their band energies, kept in memory-mapped files so that no step waits for a decoder.

A store is named after what it holds (paths, sizes, times of change, settings), so it is made once, found again by
later runs, and made anew when a clip changes. The files are whole or not there at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from soundsieve import audio
from soundsieve.errors import AudioError, ConfigError
from soundsieve.evaluation.pairs import SAMPLE_RATE, Clip
from soundsieve.files import replacing

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many are done, and how many there are."""


def default_cache() -> Path:
    """Where decoded clips are kept unless told otherwise: ``$SOUNDSIEVE_CACHE`` or ``~/.cache/soundsieve``."""
    return Path(os.environ.get("SOUNDSIEVE_CACHE") or Path.home() / ".cache" / "soundsieve")


class Ragged:
    """Arrays of different lengths in one memory-mapped file: ``store[i]`` is a read-only view, shape ``(n_i, ...)``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offsets: NDArray[np.int64] = np.load(path.with_suffix(".offsets.npy"))
        self._data = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[np.generic]:
        view: NDArray[np.generic] = self._data[self.offsets[index] : self.offsets[index + 1]]
        return view

    @classmethod
    def make(cls, path: Path, arrays: Iterator[NDArray[np.generic]]) -> Ragged:
        """Write arrays as they come, without holding them all; the offsets come last and mark the store as whole."""
        lengths, header = [], None
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent) as raw:  # has no name, so two runs can make the same store at once
            for array in arrays:
                header = (array.dtype, array.shape[1:])
                lengths.append(len(array))
                raw.write(np.ascontiguousarray(array).tobytes())
            if header is None:
                raise ConfigError("a store needs at least one clip")
            raw.flush()
            flat = np.memmap(raw, dtype=header[0], mode="r", shape=(sum(lengths), *header[1]))
            with replacing(path) as temporary:
                np.save(temporary, flat)
            del flat
        with replacing(path.with_suffix(".offsets.npy")) as temporary:
            np.save(temporary, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
        return cls(path)


def _store(
    kind: str, folder: Path, clips: Sequence[Clip], settings: object, cache: Path | None,
    arrays: Callable[[], Iterator[NDArray[np.generic]]],
) -> Ragged:  # fmt: skip
    found = []
    for clip in clips:
        try:
            stat = (folder / clip.path).stat()
        except (OSError, ValueError) as error:  # the latter for what no name can hold
            raise AudioError(f"the list names {clip.path!r}, which is not in {folder}") from error
        found.append((clip.path, stat.st_size, stat.st_mtime_ns))
    name = hashlib.sha256(json.dumps([str(folder.resolve()), found, settings]).encode()).hexdigest()[:16]
    path = (cache or default_cache()) / f"{kind}-{name}.npy"
    if path.with_suffix(".offsets.npy").is_file() and path.is_file():
        return Ragged(path)
    return Ragged.make(path, arrays())


class ClipStore:
    """Clips decoded to mono at one rate, as int16 in a memory-mapped file.

    Args:
        folder: what the clips' paths are relative to.
        clips: which.
        sample_rate: Hz, of what is stored.
        cache: folder for the file; see `default_cache`.
        progress: told how far the decoding is.
    """

    def __init__(
        self, folder: str | Path, clips: Sequence[Clip], *, sample_rate: int = 32000, cache: Path | None = None,
        progress: Progress | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.clips, self.sample_rate, self.cache = Path(folder), list(clips), sample_rate, cache
        self.progress = progress

        def decode() -> Iterator[NDArray[np.generic]]:
            for done, clip in enumerate(self.clips):
                if progress:
                    progress("decoding clips", done, len(self.clips))
                samples, rate = audio.decode(self.folder / clip.path)
                mono = audio.resample(samples.mean(0), rate, sample_rate)
                # A peak beyond full scale would wrap around in int16.
                peak = max(1.0, float(np.abs(mono).max(initial=0.0)))
                yield np.round(mono / peak * 32767).astype(np.int16)

        self._samples = _store("clips", self.folder, self.clips, [sample_rate], cache, decode)
        self._index = {clip.path: i for i, clip in enumerate(self.clips)}

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        """Samples of a clip, float32, shape ``(T,)``."""
        return self._samples[index].astype(np.float32) / np.float32(32767)

    def sounds(self, path: str) -> torch.Tensor:
        """Samples by path at the evaluation's rate, as its lists name them."""
        samples = self[self._index[path]]
        return torch.from_numpy(audio.resample(samples, self.sample_rate, SAMPLE_RATE))

    def derive(self, kind: str, settings: object, make: Callable[[NDArray[np.float32]], NDArray[np.generic]]) -> Ragged:
        """A further store with one array for each clip, made from its samples.

        Raises:
            AudioError: ``make`` refuses a clip, which is named.
        """

        def arrays() -> Iterator[NDArray[np.generic]]:
            for i in range(len(self)):
                if self.progress:
                    self.progress(f"computing {kind}", i, len(self))
                try:
                    array = make(self[i])
                except AudioError as error:
                    raise AudioError(f"{self.clips[i].path}: {error}") from error
                yield array

        return _store(kind, self.folder, self.clips, [self.sample_rate, settings], self.cache, arrays)
