"""Captions into a cache: each embedded once, whole or not at all, and gone on with after an interruption.

A cache is built beside its place, in a folder whose name ends in .part, and gets its name when it is whole. What was
embedded before an interruption stays there for the next call with the same captions and the same encoder.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from soundsieve.errors import ConfigError, QueryError, WeightsError
from soundsieve.training.captions.cache import (
    EMBEDDINGS,
    FORMAT,
    INDEX,
    MANIFEST,
    OFFSETS,
    TEXTS,
    CacheInfo,
    CaptionCache,
    part_of,
)
from soundsieve.training.captions.encoders import JointEncoder
from soundsieve.training.captions.search import IndexKind, check_kind, make_index, save_index
from soundsieve.training.captions.texts import Lines, distinct, read_lines, write_lines
from soundsieve.training.store import Progress
from soundsieve.weights.config import to_dict
from soundsieve.weights.hub import sha256

_PLAN, _LOCK, _NEW, _REPLACED = "plan.json", "lock", "texts.new", "replaced"  # in the .part folder alone
_OWN = {MANIFEST, TEXTS, OFFSETS, EMBEDDINGS, INDEX, _PLAN, _LOCK, _NEW, _REPLACED}
_CHECKED_AT_ONCE = 1000
_BATCHES_PER_BLOCK = 32


def build_cache(
    captions: Iterable[str] | Path,
    folder: str | Path,
    encoder: JointEncoder,
    *,
    batch_size: int = 256,
    index: IndexKind = "none",
    replace: bool = False,
    progress: Progress | None = None,
) -> CaptionCache:
    """Embed captions into a cache, whole or not at all; the same call goes on with one that was interrupted.

    What comes out is the same, byte for byte, however often it was interrupted (on one machine, with as many threads).
    Captions that came before (see `distinct`) and those that the encoder cannot read are left out, and counted.

    Args:
        captions: texts, or a file with one a line.
        folder: of the cache, which must not exist or be empty.
        encoder: what embeds them.
        batch_size: captions embedded together; those of like length are, so that little is padded.
        index: see `IndexKind`.
        replace: put the new cache in the place of one that is there.
        progress: told what is done, how much of it, and of how much; 0 where that is not known.

    Raises:
        ConfigError: there is no caption, the file cannot be read, the folder holds something else or cannot be written,
            another process is building it, or there is no such index.
        QueryError: the encoder reads no text.
    """
    folder = Path(os.path.realpath(folder))
    check_kind(index)
    if batch_size < 1:
        raise ConfigError(f"batch_size is at least 1, not {batch_size}")
    encoder.check_text(["a dog is barking"])
    part = part_of(folder)
    try:
        _check_place(folder, replace)
        with _alone(part):
            plan = _write_texts(part, captions, encoder, batch_size, progress)
            _embed(part, plan, encoder, progress)
            _finish(part, plan, index, progress)
            _put_in_place(part, folder)
    except OSError as error:
        raise ConfigError(f"cannot write {part}: {error.strerror or error}") from error
    return CaptionCache.open(folder)


@dataclass(frozen=True)
class _Plan:
    """What the vectors follow from: with the same plan, work that was interrupted is gone on with."""

    encoder: str
    digest: str
    width: int
    batch_size: int
    block: int
    captions: int
    repeated: int
    unreadable: int
    texts_sha256: str


def _check_place(folder: Path, replace: bool) -> None:
    if (folder / MANIFEST).is_file():
        if not replace:
            raise ConfigError(f"{folder} holds a caption cache: replace it (--force), or name another folder")
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} holds something else: name a folder that is empty or not there yet")
    part = part_of(folder)
    if part.exists() and (not part.is_dir() or not {path.name for path in part.iterdir()} <= _OWN):
        raise ConfigError(f"{part}, where the cache would be built, holds something else: move it away")


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """The .part folder, which no other process builds in."""
    part.mkdir(parents=True, exist_ok=True)
    with (part / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"another process is building {part}: wait for it, or name another folder") from error
        try:
            yield
        finally:
            if not (part / _PLAN).is_file():  # nothing to go on with
                shutil.rmtree(part, ignore_errors=True)


def _write_texts(
    part: Path, captions: Iterable[str] | Path, encoder: JointEncoder, batch_size: int, progress: Progress | None
) -> _Plan:
    """The captions, and a plan; what an earlier, different plan has left is removed."""
    given, different = 0, 0

    def count() -> Iterator[str]:
        nonlocal given
        for given, text in enumerate(read_lines(captions) if isinstance(captions, Path) else captions, 1):
            if progress and given % _CHECKED_AT_ONCE == 0:
                progress("reading captions", given, 0)
            yield text

    def readable() -> Iterator[str]:
        nonlocal different
        stream = distinct(count())
        while texts := list(islice(stream, _CHECKED_AT_ONCE)):
            different += len(texts)
            yield from _readable(texts, encoder)

    new = part / _NEW
    offsets, sha256 = write_lines(new, readable())
    kept = len(offsets) - 1
    if not kept:
        what = f"none of {different} captions can be read by {encoder.name}" if different else "there is no caption"
        raise ConfigError(f"{what}{f' in {captions}' if isinstance(captions, Path) else ''}: nothing to embed")
    plan = _Plan(
        encoder.name, encoder.digest, encoder.width, batch_size, batch_size * _BATCHES_PER_BLOCK,
        kept, given - different, different - kept, sha256,
    )  # fmt: skip
    stored = json.dumps(to_dict(plan))
    if not (part / _PLAN).is_file() or (part / _PLAN).read_text("utf-8") != stored:
        for name in (_PLAN, EMBEDDINGS, INDEX):
            (part / name).unlink(missing_ok=True)
    os.replace(new, part / TEXTS)
    np.save(part / OFFSETS, offsets)
    (part / _PLAN).write_text(stored, "utf-8")
    return plan


def _readable(texts: list[str], encoder: JointEncoder) -> list[str]:
    """Those that the encoder reads: it refuses a list for any text in it, so halves of the list are asked for."""
    try:
        encoder.check_text(texts)
        return texts
    except QueryError:
        half = len(texts) // 2
        return _readable(texts[:half], encoder) + _readable(texts[half:], encoder) if half else []


def _embed(part: Path, plan: _Plan, encoder: JointEncoder, progress: Progress | None) -> None:
    """Write the vectors block by block, after those that are there."""
    header = io.BytesIO()
    layout = {"descr": "<f2", "fortran_order": False, "shape": (plan.captions, plan.width)}
    np.lib.format.write_array_header_1_0(header, layout)
    texts = Lines(part / TEXTS, np.load(part / OFFSETS))
    block_bytes = 2 * plan.width * plan.block
    with (part / EMBEDDINGS).open("ab") as file:
        # A block is on the disk before the next one is begun, so only the last can be less than it seems.
        whole = max(0, (file.tell() - header.tell()) // block_bytes - 1)
        file.truncate(header.tell() + whole * block_bytes if whole else 0)
        if not whole:
            file.write(header.getvalue())
        for start in range(whole * plan.block, plan.captions, plan.block):
            if progress:
                progress("embedding captions", start, plan.captions)
            file.write(_vectors(texts[start : start + plan.block], encoder, plan.batch_size).tobytes())
            file.flush()
            os.fsync(file.fileno())
    if progress:
        progress("embedding captions", plan.captions, plan.captions)


def _vectors(texts: list[str], encoder: JointEncoder, batch_size: int) -> NDArray[np.float16]:
    """Vectors of a block, in its order; short texts are embedded with short ones."""
    vectors = np.empty((len(texts), encoder.width), np.float16)
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        vectors[chosen] = encoder.embed_text([texts[place] for place in chosen]).half().cpu().numpy()
    if not np.isfinite(vectors).all():
        raise WeightsError(f"{encoder.name} embeds captions as values that are not finite: its weights are broken")
    return vectors


def _finish(part: Path, plan: _Plan, index: IndexKind, progress: Progress | None) -> None:
    if index == "ivf":
        if progress:
            progress("building the index", 0, 1)
        vectors = torch.from_numpy(np.load(part / EMBEDDINGS, mmap_mode="c"))
        save_index(make_index(index, vectors), part / INDEX)
    size = (part / INDEX).stat().st_size if index == "ivf" else 0
    info = CacheInfo(
        plan.encoder, plan.digest, plan.width, plan.captions, plan.repeated, plan.unreadable,
        plan.texts_sha256, sha256(part / EMBEDDINGS), index, size,
    )  # fmt: skip
    (part / MANIFEST).write_text(json.dumps({"format": FORMAT, **to_dict(info)}, indent=2) + "\n", "utf-8")


def _put_in_place(part: Path, folder: Path) -> None:
    """One step where nothing is there, or an empty folder; a cache that is replaced is away for a moment."""
    if (folder / MANIFEST).is_file():
        shutil.rmtree(part / _REPLACED, ignore_errors=True)  # of a replacement that was killed half-way
        os.rename(folder, part / _REPLACED)
    os.rename(part, folder)
    shutil.rmtree(folder / _REPLACED, ignore_errors=True)
    for name in (_LOCK, _PLAN):
        (folder / name).unlink()
