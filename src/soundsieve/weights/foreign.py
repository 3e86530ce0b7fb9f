"""Files that torch wrote, read for their tensors and plain values alone: no code of theirs is run."""

from __future__ import annotations

import errno
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from soundsieve.errors import UnreadableError, WeightsError

_SCALAR: Any = np.float64(0).__reduce__()[0]  # what makes a numpy number again, wherever this numpy keeps it
_ALLOWED: list[Any] = [
    # LAION's training script keeps numpy numbers beside the weights; numpy 1 and 2 name their maker differently.
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64")),
]
"""What a file may name beyond tensors and Python's plain values; Lightning's checkpoints need nothing more."""


def read_torch(path: str | Path) -> dict[str, Any]:
    """What a ``.pt`` or ``.ckpt`` file holds, its tensors memory-mapped: no memory is taken before they are used.

    The checksums that torch keeps of every entry are compared first: the whole file is read once in passing, 0.3 s for
    1 GB from a warm disk cache. Files that were written without them, or before torch 1.6, cannot be checked.

    Raises:
        WeightsError: there is no such file; it is damaged, no checkpoint, or holds more than tensors and plain values;
            or memory does not suffice.
    """
    path = Path(path)
    is_archive = _check_looks(path)
    try:
        with enough_memory(f"reading {path}", path.stat().st_size), torch.serialization.safe_globals(_ALLOWED):
            damaged = _first_damaged(path) if is_archive else None
            if damaged is not None:
                raise WeightsError(f"{path} is damaged, its entry {damaged} is not what was written: fetch it again")
            contents = torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except pickle.UnpicklingError as error:
        named = re.search(r"unsupported (?:global:\s+)?(?:GLOBAL|class) ([\w.]+)", str(error), re.IGNORECASE)
        if named is None:
            raise WeightsError(f"{path} is damaged or not a torch checkpoint: fetch it again") from error
        raise WeightsError(f"{path} holds more than tensors and was not read: it asks for {named[1]}") from error
    except (RuntimeError, ValueError, EOFError, OSError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path} is damaged or not a torch checkpoint: fetch it again ({_short(error)})") from error
    if not isinstance(contents, dict):
        raise WeightsError(f"{path} holds a {type(contents).__name__}, not a table of weights")
    return contents


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a file: all of it, or what it keeps under ``state_dict``, ``model`` or ``generator``.

    Raises:
        WeightsError: as of `read_torch`, or there is no state dict.
    """
    contents = read_torch(path)
    places = ("state_dict", "model", "generator")
    state = next((contents[key] for key in places if isinstance(contents.get(key), Mapping)), contents)
    if not isinstance(state, Mapping) or not state:
        raise WeightsError(f"{path} holds no weights")
    others = [str(key) for key, value in state.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if others:
        raise WeightsError(f"{path} is not a state dict: {', '.join(others[:4])} are no tensors")
    return dict(state)


def _check_looks(path: Path) -> bool:
    """Whether it is an archive, as torch has written since 1.6; WeightsError for what is no checkpoint by its looks."""
    if path.is_dir():
        raise WeightsError(f"{path} is a folder, not a file of weights")
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except FileNotFoundError as error:
        raise WeightsError(f"no weights at {path}") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {_short(error)}") from error
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise WeightsError(f"{path} is a web page, not weights: fetch the file itself")
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path} is a git-lfs pointer, not weights: fetch the file itself (git lfs pull)")
    if is_safetensors(path):
        raise WeightsError(f"{path} is a safetensors file, and not one that torch wrote")
    if head.startswith(b"PK"):
        if not zipfile.is_zipfile(path):
            raise WeightsError(f"{path} is cut short: fetch it again")
        return True
    if not head.startswith(b"\x80"):  # the start of every pickle, which older files are
        raise WeightsError(f"{path} is {'empty' if not head else 'not a torch checkpoint'}: fetch it again")
    return False


def _first_damaged(path: Path) -> str | None:
    """The first entry of an archive whose checksum is not that of its contents, or None."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if not any(entry.CRC for entry in entries):  # torch.serialization.set_crc32_options(False)
            return None
        return archive.testzip()


def is_safetensors(path: str | Path) -> bool:
    """Whether a file starts as safetensors files do: a length of eight bytes, then JSON; False if it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(10)[8:10] == b'{"'
    except OSError:
        return False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory did not suffice, in any of the ways that torch and Python say so."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return bool(re.search(r"can('t|not) allocate memory|out of memory", str(error), re.IGNORECASE))


@contextmanager
def enough_memory(doing: str, needed_bytes: float) -> Iterator[None]:
    """Say how much memory is needed, where it does not suffice.

    Args:
        doing: what is done in the block, such as "reading x.pt".
        needed_bytes: about how much it takes.

    Raises:
        UnreadableError: it did not suffice.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        amount = f"{needed_bytes / 1e9:.1f} GB" if needed_bytes >= 1e8 else f"{max(1, needed_bytes / 1e6):.0f} MB"
        raise UnreadableError(f"too little memory for {doing}: it needs about {amount} free") from error


def _short(error: BaseException) -> str:
    words = " ".join(str(error).split())
    return words if len(words) <= 120 else words[:117] + "..."
