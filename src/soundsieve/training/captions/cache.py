"""Captions embedded once and found by what they sound like: the cache of retrieval-augmented training.

A cache is a folder, which `soundsieve.training.captions.building` makes:

    cache.json       what is in it: encoder, sizes, checksums
    texts.txt        the captions, one a line, UTF-8
    offsets.npy      where each of them starts in texts.txt, in bytes, and its length: int64 (N + 1,)
    embeddings.npy   their unit vectors, float16 (N, D)
    index.faiss      an inverted file over them, if one was asked for
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from soundsieve.errors import ConfigError
from soundsieve.training.captions.search import Exact, Index, IndexKind, has_faiss, load_index, make_index
from soundsieve.training.captions.texts import Lines
from soundsieve.weights.config import from_dict
from soundsieve.weights.hub import sha256

FORMAT = "soundsieve-captions-1"

MANIFEST, TEXTS, OFFSETS, EMBEDDINGS, INDEX = (
    "cache.json", "texts.txt", "offsets.npy", "embeddings.npy", "index.faiss",
)  # fmt: skip
"""The files of a cache."""


@dataclass(frozen=True)
class CacheInfo:
    """What a cache says of itself."""

    encoder: str
    """name of what embedded the captions"""
    digest: str
    """SHA-256 of that, see `JointEncoder`"""
    width: int
    """of the vectors"""
    captions: int
    """how many, each once"""
    repeated: int
    """captions that were left out as they came before"""
    unreadable: int
    """captions that were left out as the encoder cannot read them: too long, or no word of them known"""
    texts_sha256: str
    """of texts.txt"""
    embeddings_sha256: str
    """of embeddings.npy"""
    index: IndexKind
    """how it is searched"""
    index_bytes: int = 0
    """of index.faiss; 0 where there is none"""


class CaptionCache:
    """Captions and their vectors, memory-mapped; which `open` opens.

    Attributes:
        folder: where it is.
        info: what it says of itself.
        texts: the captions.
        embeddings: their unit vectors as stored: float16, shape ``(N, D)``.
    """

    def __init__(self, folder: Path, info: CacheInfo, texts: Lines, embeddings: Tensor) -> None:
        self.folder, self.info, self.texts, self.embeddings = folder, info, texts, embeddings

    @classmethod
    def open(cls, folder: str | Path, *, encoder_digest: str | None = None) -> CaptionCache:
        """Open a cache; nothing is read before it is used.

        Args:
            folder: of the cache.
            encoder_digest: of the encoder that it is to be asked with, if that shall be checked.

        Raises:
            ConfigError: there is no cache, it is damaged, or another encoder built it.
        """
        folder = Path(folder)
        info = _read_info(folder)
        try:
            offsets = np.load(folder / OFFSETS, mmap_mode="r")
            vectors = np.load(folder / EMBEDDINGS, mmap_mode="c")  # torch warns of arrays that cannot be written
            texts = Lines(folder / TEXTS, offsets)
            size = (folder / TEXTS).stat().st_size
        except (OSError, ValueError, EOFError) as error:
            raise ConfigError(f"{folder} is damaged, build it again: {' '.join(str(error).split())[:120]}") from error
        if vectors.shape != (info.captions, info.width) or vectors.dtype != np.float16:
            raise ConfigError(f"{folder} is damaged, build it again: {EMBEDDINGS} is not what {MANIFEST} says")
        if offsets.shape != (info.captions + 1,) or offsets.dtype != np.int64 or offsets[-1] != size:
            raise ConfigError(f"{folder} is damaged, build it again: {TEXTS} and {OFFSETS} do not fit")
        cache = cls(folder, info, texts, torch.from_numpy(vectors))
        if encoder_digest is not None:
            cache.check_encoder(encoder_digest)
        return cache

    def check_encoder(self, digest: str) -> None:
        """Raise a ConfigError unless the encoder of this digest built the cache: others' vectors mean nothing here."""
        if digest != self.info.digest:
            raise ConfigError(
                f"{self.folder} was built with {self.info.encoder} ({self.info.digest[:12]}), and this is another "
                f"encoder ({digest[:12]}): use that one (--encoder), or build a cache with this one"
            )

    def __len__(self) -> int:
        return self.info.captions

    def __reduce__(self) -> tuple[object, ...]:
        """To another process goes the name of the folder, not what is in it."""
        return CaptionCache.open, (self.folder,)

    @cached_property
    def index(self) -> Index:
        """What searches: an inverted file where one was built and faiss is installed, else all are compared."""
        if self.info.index == "ivf":
            if not has_faiss():
                return Exact(self.embeddings)
            return load_index(self.folder / INDEX, self.embeddings, size=self.info.index_bytes)
        return make_index(self.info.index, self.embeddings)

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The captions nearest to each query, best first.

        Args:
            queries: unit vectors of the cache's encoder, shape ``(B, D)``, of text or sound.
            k: how many of each.

        Returns:
            Cosines, float32, and places in `texts`, int64, both ``(B, k)``.

        Raises:
            ConfigError: there are fewer than ``k`` captions, or the queries have another width.
        """
        if not 1 <= k <= len(self):
            raise ConfigError(f"{k} captions of each are asked for, and there are {len(self)} in {self.folder}")
        if queries.ndim != 2 or queries.shape[1] != self.info.width:
            raise ConfigError(f"queries have shape (B, {self.info.width}), not {tuple(queries.shape)}")
        return self.index.search(queries, k)

    def vectors(self, places: Tensor) -> Tensor:
        """Unit vectors of captions, float32, shape ``(..., D)``, by their places ``(...)``."""
        return F.normalize(self.embeddings[places].float(), dim=-1)

    def verify(self) -> None:
        """Read all of it once and compare it with its checksums.

        Raises:
            ConfigError: it is not what was written.
        """
        for name, wanted in ((TEXTS, self.info.texts_sha256), (EMBEDDINGS, self.info.embeddings_sha256)):
            if sha256(self.folder / name) != wanted:
                raise ConfigError(f"{self.folder} is damaged, build it again: {name} does not match its checksum")
        ends = np.flatnonzero(np.memmap(self.folder / TEXTS, np.uint8, "r") == ord("\n")) + 1
        if not np.array_equal(np.load(self.folder / OFFSETS, mmap_mode="r"), np.concatenate([[0], ends])):
            raise ConfigError(f"{self.folder} is damaged, build it again: {OFFSETS} is not where the captions start")


def _read_info(folder: Path) -> CacheInfo:
    path = folder / MANIFEST
    if not os.path.isfile(path):  # False for a path that no file can have, too
        left = " (one that was interrupted: build it again to go on)" if os.path.isdir(part_of(folder)) else ""
        raise ConfigError(f"there is no caption cache at {folder}{left}")
    try:
        stored = json.loads(path.read_text("utf-8"))
        if (found := stored.pop("format", None)) != FORMAT:
            raise ConfigError(f"{folder} has format '{found}', this version reads '{FORMAT}': build it again")
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"{path} is damaged: build the cache again") from error
    try:
        return from_dict(CacheInfo, stored)
    except ConfigError as error:
        raise ConfigError(f"{path} is damaged: build the cache again ({error})") from error


def part_of(folder: Path) -> Path:
    """Where a cache is built before it gets its name."""
    return folder.with_name(f"{folder.name}.part")
