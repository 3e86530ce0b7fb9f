"""Entries of a foreign state dict, each one accounted for: none missing, none unexpected, none misshapen or broken."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from soundsieve.errors import WeightsError

Rules = Sequence[tuple[str, str]]
"""Regular expressions and what they turn into, applied one after the other."""

CONSTANT = 1e-3
"""How far a stored constant (a window, a filterbank) may be from ours, as a share of the largest value: rounding, no
more. Another window, scale or number of bands is off by far more."""


def rename(name: str, rules: Rules) -> str:
    """One name by all rules."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def listed(names: Iterable[str], shown: int = 8) -> str:
    """The first names in order, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return (", ".join(names[:shown]) + more) or "none"


def check_names(published: Collection[str], *, needed: Collection[str], known: Collection[str], what: str) -> None:
    """Everything needed is there, and nothing that is neither needed nor known.

    Raises:
        WeightsError: it is not so; the message lists both kinds.
    """
    missing = [key for key in needed if key not in published]
    unexpected = [key for key in published if key not in needed and key not in known]
    if missing or unexpected:
        raise WeightsError(f"{what} does not fit: missing {listed(missing)}; unexpected {listed(unexpected)}")


def taken(published: Mapping[str, Tensor], key: str, like: Tensor, what: str) -> Tensor:
    """An entry as ours: floating-point numbers as float32, integers as they are.

    Args:
        published: the state dict.
        key: of the entry.
        like: a tensor of ours, perhaps without data: its shape and kind.
        what: the file, for messages.

    Raises:
        WeightsError: another shape, integers for floating-point numbers or the reverse, or values that are not finite.
    """
    tensor = published[key]
    if tensor.shape != like.shape:
        raise WeightsError(f"{what}: {key} has shape {tuple(tensor.shape)}, not {tuple(like.shape)}")
    if tensor.is_floating_point() != like.is_floating_point() or tensor.is_complex():
        raise WeightsError(f"{what}: {key} has {tensor.dtype} values, not {like.dtype}")
    if not torch.isfinite(tensor).all():
        raise WeightsError(f"{what}: {key} has values that are not finite: the file is damaged")
    return tensor.to(like.dtype)


def check_constants(published: Mapping[str, Tensor], constants: Mapping[str, Tensor], what: str) -> None:
    """Constants that anyone can compute are as we compute them, where the file holds them.

    The sign of an ``imag`` basis is left open: power spectrograms do not see it.

    Raises:
        WeightsError: one differs by more than rounding.
    """
    for key, ours in constants.items():
        if key not in published:
            continue
        theirs = taken(published, key, ours, what)
        if "imag" in key:
            theirs, ours = theirs.abs(), ours.abs()
        if (theirs - ours).abs().max() > CONSTANT * ours.abs().max():
            raise WeightsError(f"{what}: {key} is not what this system computes there, so it is another system's file")


def check_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor], message: str) -> None:
    """Entries that both hold are the same numbers, bit for bit.

    Raises:
        WeightsError: they are not; ``message`` and the first name that differs.
    """
    for name in sorted(one.keys() & other.keys()):
        if not torch.equal(one[name], other[name]):
            raise WeightsError(f"{message}: {name} differs")
