"""What inference computes from weights alone, kept until a weight changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Kept:
    """One tensor made from others, and made again when one of those is written to or replaced.

    torch counts the writes to a tensor (optimiser steps, `load_state_dict`, any in-place operation but those on its
    ``.data``), and a tensor that is moved or replaced lies elsewhere: the counts and places of what it was made from
    are its key. Copies, pickles and state dicts leave it out.
    """

    def __init__(self) -> None:
        self._entry: tuple[object, Tensor] | None = None

    def get(self, make: Callable[[], Tensor], *sources: Tensor) -> Tensor:
        """The kept tensor, or a new one from ``make``, which reads nothing but ``sources``."""
        if any(source.is_inference() for source in sources):
            return make()  # writes to such tensors are not counted
        key = tuple((source.data_ptr(), source._version, source.dtype, source.device) for source in sources)
        entry = self._entry  # one look: another thread may replace it meanwhile
        if entry is None or entry[0] != key:
            with torch.inference_mode(False), torch.no_grad():  # what is kept must serve everybody
                entry = self._entry = (key, make())
        return entry[1]

    def clear(self) -> None:
        """Let go of what is kept."""
        self._entry = None

    def __deepcopy__(self, memo: Any) -> Kept:
        return Kept()

    def __reduce__(self) -> tuple[type[Kept], tuple[()]]:
        return Kept, ()
