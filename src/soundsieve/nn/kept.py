"""What inference computes from weights alone, kept until a weight changes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Kept:
    """One tensor made from others, and made again when one of those is written to or replaced.

    torch counts the writes to a tensor (optimiser steps, `load_state_dict`, any in-place operation), and one that is
    moved or replaced lies in another storage: counts, storages and places within them of what it was made from are its
    key. What torch does not count is not seen: writes to ``.data``, those of a fused optimiser, and those of a norm in
    training to its averages. A module that is trained therefore clears what it has kept. Storages are referred to
    weakly: an address may be given out again, a storage that is gone is not mistaken for another, and no old weights
    are held. (Tensors themselves are not referred to: torch.utils.swap_tensors refuses those that are.) Copies, pickles
    and state dicts leave it out.
    """

    def __init__(self) -> None:
        self._entry: tuple[tuple[_Source, ...], Tensor] | None = None

    def get(self, make: Callable[[], Tensor], *sources: Tensor) -> Tensor:
        """The kept tensor, or a new one from ``make``, which reads nothing but ``sources``."""
        if any(source.is_inference() for source in sources):
            return make()  # writes to such tensors are not counted
        entry = self._entry  # one look: another thread may replace it meanwhile
        if entry is None or not _are(entry[0], sources):
            found = tuple(map(_source, sources))  # before they are read: what is written meanwhile makes it stale
            with torch.inference_mode(False), torch.no_grad():  # what is kept must serve everybody
                entry = self._entry = (found, make())
        return entry[1]

    def clear(self) -> None:
        """Let go of what is kept."""
        self._entry = None

    def __deepcopy__(self, memo: Any) -> Kept:
        return Kept()

    def __reduce__(self) -> tuple[type[Kept], tuple[()]]:
        return Kept, ()


class _Source(NamedTuple):
    """A tensor as it was: where it lay, and all that tells whether it is the same now."""

    storage: weakref.ref[torch.UntypedStorage]
    key: tuple[object, ...]


def _key(tensor: Tensor) -> tuple[object, ...]:
    return id(tensor), tensor.data_ptr(), tensor._version, tensor.dtype, tensor.device


def _source(tensor: Tensor) -> _Source:
    return _Source(weakref.ref(tensor.untyped_storage()), _key(tensor))


def _are(kept: Sequence[_Source], tensors: Sequence[Tensor]) -> bool:
    return len(kept) == len(tensors) and all(
        old.key == _key(tensor) and old.storage() is tensor.untyped_storage()
        for old, tensor in zip(kept, tensors, strict=True)
    )
