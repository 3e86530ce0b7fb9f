"""The nearest of many vectors: exactly, by a matrix product, or with faiss (Douze et al., 2024, arXiv 2401.08281).

An inverted file (IVF) divides the vectors among the cells of a k-means and looks only into the cells nearest to a
query: for millions of captions, where the exact product is too slow. It may miss the nearest one.
"""

from __future__ import annotations

import functools
import math
import os
import warnings
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from soundsieve.errors import ConfigError
from soundsieve.files import replacing

IndexKind: TypeAlias = Literal["none", "flat", "ivf"]
"""``none``: the matrix product, exact; ``flat``: the same by faiss, if that is installed; ``ivf``: an inverted file."""

_BLOCK = 16384
_KEPT_BYTES = 1 << 28
_TRAINING_VECTORS_PER_CELL = 48


class Index(Protocol):
    """Answers which vectors are nearest to a query."""

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The ``k`` nearest of each query, best first.

        Args:
            queries: unit vectors, shape ``(B, D)``.
            k: how many, at most as many as there are vectors.

        Returns:
            Their cosines, float32, and their places, int64, both ``(B, k)``.
        """


class Exact:
    """Every vector compared with every query, a block of vectors at a time.

    Args:
        vectors: unit vectors ``(N, D)``, float16 or float32, which may be memory-mapped. Up to 256 MiB of them are kept
            in memory as float32; more are converted block by block at every search.
    """

    def __init__(self, vectors: Tensor) -> None:
        small = vectors.numel() * 4 <= _KEPT_BYTES
        self._vectors = vectors.float() if small else vectors

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """See `Index.search`."""
        queries = queries.detach().float().cpu()
        scores = queries.new_empty(len(queries), 0)
        places = torch.empty(len(queries), 0, dtype=torch.int64)
        for start in range(0, len(self._vectors), _BLOCK):
            block = queries @ self._vectors[start : start + _BLOCK].float().T
            best, where = block.topk(min(k, block.shape[1]), dim=1)
            scores, places = torch.cat([scores, best], 1), torch.cat([places, where + start], 1)
            scores, chosen = scores.topk(min(k, scores.shape[1]), dim=1)
            places = places.gather(1, chosen)
        return scores, places


class Faiss:
    """An index of the faiss library.

    Args:
        index: what faiss made.
        vectors: what it was made of, for queries whose cells hold fewer than ``k``: these are answered exactly.
    """

    def __init__(self, index: Any, vectors: Tensor) -> None:
        self.index = index
        self._vectors = vectors

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """See `Index.search`."""
        queries = queries.detach().float().cpu()
        found, where = self.index.search(np.ascontiguousarray(queries.numpy()), k)
        scores, places = torch.from_numpy(found), torch.from_numpy(where)
        short = (places < 0).any(1)
        if short.any():
            scores[short], places[short] = Exact(self._vectors).search(queries[short], k)
        return scores, places


def has_faiss() -> bool:
    """Whether faiss is installed."""
    try:
        _faiss()
    except ConfigError:
        return False
    return True


def check_kind(kind: str) -> None:
    """Raise a ConfigError where there is no such kind of index, or it needs faiss, which is not installed."""
    if kind not in get_args(IndexKind):
        raise ConfigError(f"an index is {', '.join(get_args(IndexKind))}, not '{kind}'")
    if kind == "ivf":
        _faiss()


def make_index(kind: IndexKind, vectors: Tensor, *, cells: int | None = None, probes: int | None = None) -> Index:
    """An index over vectors.

    Args:
        kind: see `IndexKind`; ``flat`` is the matrix product where faiss is not installed, with the same answers.
        vectors: unit vectors ``(N, D)``.
        cells: of an ``ivf``; about 4 sqrt(N) unless given.
        probes: how many cells of an ``ivf`` are looked into; a sixteenth of them unless given, at least 64.

    Raises:
        ConfigError: there is no such kind, or an ``ivf`` is asked for without faiss.
    """
    check_kind(kind)
    if kind == "none" or (kind == "flat" and not has_faiss()):
        return Exact(vectors)
    faiss = _faiss()
    width = vectors.shape[1]
    if kind == "flat":
        flat = faiss.IndexFlatIP(width)
        _add(flat, vectors)
        return Faiss(flat, vectors)
    cells = min(cells or round(4 * math.sqrt(len(vectors))), len(vectors))
    # The float16 values as they are, not their distance from the cell's centre: scores equal those of the product.
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(width), width, cells, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT, False
    )
    index.cp.min_points_per_centroid = 1  # few captions in a test are no reason for a warning
    chosen = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(0))
    chosen = chosen[: max(cells * _TRAINING_VECTORS_PER_CELL, 1)].sort().values
    index.train(vectors[chosen].float().numpy())
    _add(index, vectors)
    index.nprobe = min(cells, probes or max(64, cells // 16))
    return Faiss(index, vectors)


def save_index(index: Index, path: Path) -> None:
    """Write an inverted file; the other kinds are made anew from the vectors.

    Raises:
        OSError: it cannot be written.
    """
    assert isinstance(index, Faiss)
    try:
        with replacing(path) as temporary:
            _faiss().write_index(index.index, str(temporary))
    except RuntimeError as error:  # how faiss says that the disk is full
        raise OSError(f"faiss cannot write {path.name}") from error


def load_index(path: Path, vectors: Tensor, *, size: int) -> Index:
    """Read what `save_index` wrote, memory-mapped.

    Args:
        path: of the file.
        vectors: that it was made of.
        size: of the file in bytes: in one that was cut short, faiss would read past the end, and the process end there.

    Raises:
        ConfigError: faiss is not installed, or the file is missing, damaged or of other vectors.
    """
    faiss = _faiss()
    try:
        if path.stat().st_size != size:
            raise OSError("another size than when it was written")
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{path} is missing or damaged: build the cache again") from error
    if (index.ntotal, index.d) != tuple(vectors.shape):
        raise ConfigError(f"{path} is an index of other captions: build the cache again")
    return Faiss(index, vectors)


def _add(index: Any, vectors: Tensor) -> None:
    for start in range(0, len(vectors), _BLOCK):
        index.add(vectors[start : start + _BLOCK].float().numpy())


@functools.cache
def _faiss() -> Any:
    try:
        with warnings.catch_warnings():
            # Python 3.12 and later find fault with the types that SWIG, its binding, makes.
            warnings.filterwarnings("ignore", ".*has no __module__ attribute", DeprecationWarning)
            import faiss
    except ImportError as error:
        raise ConfigError("an inverted file needs faiss: install soundsieve with its extra 'cache'") from error
    # A process that is forked from one in which faiss has used threads would wait for them for ever.
    os.register_at_fork(after_in_child=lambda: faiss.omp_set_num_threads(1))
    return faiss
