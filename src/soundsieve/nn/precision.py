"""What a system computes in: float32, or something shorter, for answers alone, where the processor is faster at it.

``int8`` rounds Linear layers (`soundsieve.nn.int8`), ``bf16`` the convolutions of a `soundsieve.nn.resunet.ResUNet`.
"""

from __future__ import annotations

import functools
from typing import Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import nn

from soundsieve.errors import ConfigError
from soundsieve.nn.int8 import Int8Linear, quantise_linears, steps
from soundsieve.nn.linear import shortest_s
from soundsieve.nn.resunet import ResUNet

Precision: TypeAlias = Literal["float32", "int8", "bf16"]

_WORTHWHILE = 0.8  # of float32's time


def to_precision(system: nn.Module, precision: str) -> None:
    """Change, in place and for good, what a system computes in.

    Args:
        system: any module, for inference on the CPU.
        precision: ``float32`` leaves it as it is; ``int8`` see `soundsieve.nn.int8.quantise_linears`, if
            the system's ``takes_int8`` is not false; ``bf16`` see `soundsieve.nn.resunet.ResUNet.to_bfloat16`.

    Raises:
        ConfigError: there is no such precision, or not for this system on this machine.
    """
    check_precision(precision)
    if precision == "int8" and not getattr(system, "takes_int8", True):
        raise ConfigError(f"precision int8 is not for {getattr(system, 'name', type(system).__name__)}: use float32")
    if precision == "int8":
        quantise_linears(system, keep=tuple(getattr(system, "kept_float32", ())))
    elif precision == "bf16":
        networks = [module for module in system.modules() if isinstance(module, ResUNet)]
        if not networks:
            name = getattr(system, "name", type(system).__name__)
            raise ConfigError(f"precision bf16 is for audiosep, lassnet and uss, not for {name}: use float32 or int8")
        system.requires_grad_(False)
        for network in networks:
            network.to_bfloat16()


def check_precision(precision: str, device: str | torch.device = "cpu") -> None:
    """Raise what `to_precision` would, before there is a system.

    Raises:
        ConfigError: there is no such precision, or not on this device or machine.
    """
    if precision not in get_args(Precision):
        raise ConfigError(f"precision is '{precision}': choose one of {', '.join(get_args(Precision))}")
    if precision == "float32":
        return
    if torch.device(device).type != "cpu":
        raise ConfigError(f"precision {precision} is for the CPU: load with device cpu, or use precision float32")
    if precision == "int8":
        steps()  # fails here, not at the first answer, where there is no such product
    elif not multiplies_bf16():
        raise ConfigError("precision bf16: this processor is no faster in bfloat16; use precision float32")


def is_rounded(module: nn.Module) -> bool:
    """Whether weights were rounded for good: such a module can be neither trained nor saved."""
    return any(isinstance(child, Int8Linear) for child in module.modules()) or any(
        parameter.dtype == torch.bfloat16 for parameter in module.parameters()
    )


@functools.lru_cache(maxsize=1)
def multiplies_bf16() -> bool:
    """Whether the processor says that it multiplies bfloat16, or convolutions are faster in it (a few milliseconds)."""
    said: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # newer than the oldest torch that will do
    return any(said.get(name) for name in ("avx512_bf16", "amx_bf16")) or _convolves_faster()


def _convolves_faster() -> bool:
    with torch.inference_mode():
        x, weight = torch.randn(1, 64, 32, 64).contiguous(memory_format=torch.channels_last), torch.randn(64, 64, 3, 3)
        short_x, short_weight = x.bfloat16(), weight.bfloat16()
        try:
            short, full = shortest_s(
                lambda: F.conv2d(short_x, short_weight, padding=1), lambda: F.conv2d(x, weight, padding=1)
            )
        except (RuntimeError, NotImplementedError):
            return False
    return short < _WORTHWHILE * full
