"""Answers in 8-bit integers: Linear layers whose products are made of int8 instead of float32 numbers.

Stub until the products are in place: only float32 is offered.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from torch import nn

from soundsieve.errors import ConfigError

Precision: TypeAlias = Literal["float32", "int8"]


def to_precision(system: nn.Module, precision: str) -> None:
    """Change, in place, what a system computes in.

    Args:
        system: any module, in evaluation mode.
        precision: ``float32`` leaves it as it is; ``int8`` see `quantise_linears`.

    Raises:
        ConfigError: there is no such precision.
    """
    if precision not in get_args(Precision):
        raise ConfigError(f"precision is '{precision}': choose one of {', '.join(get_args(Precision))}")
    if precision == "int8":
        quantise_linears(system)


def quantise_linears(module: nn.Module) -> None:
    """Replace, in place, the Linear layers of ``module``."""
    raise ConfigError("precision int8 is not there yet")
