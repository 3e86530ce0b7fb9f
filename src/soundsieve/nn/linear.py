"""Linear layers by the faster of two float32 matrix products, with what follows them in the same pass.

torch's own product of float32 matrices is MKL's on x86. oneDNN, which torch ships too and uses for convolutions, makes
the same product in float32 as well and is twice as fast on some processors (AMD's), level on others. Which one to take
is measured once a process, speed and error, on one small product (a few milliseconds). Nothing is set for the rest of
the program, weights are read where they lie, and while gradients are recorded everything is torch's own.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation: TypeAlias = Literal["none", "relu", "gelu"]
"""What follows the sum: nothing, max(0, x), or x times the normal distribution's share below x (exact, by erf)."""

_AFTER: dict[str, Callable[[Tensor], Tensor]] = {"none": lambda x: x, "relu": F.relu, "gelu": F.gelu}
_ALGORITHM = {"none": "", "relu": "", "gelu": "none"}  # of oneDNN's GELU: "none" is by erf, "tanh" would be the other
_LARGEST_ERROR = 2e-6  # of a product's norm; float32 makes 2e-7 to 4e-7, bfloat16 3e-3
_WORTHWHILE = 0.9  # of torch's time: what is about level stays torch's


class Linear(nn.Linear):
    """``activation(x W^T + b)``; parameters, names and initial values of `torch.nn.Linear`."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True, *, activation: Activation = "none") -> None:
        super().__init__(inputs, outputs, bias)
        self.activation: Activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in)`` to ``(..., out)``."""
        return linear(x, self.weight, self.bias, activation=self.activation)

    def extra_repr(self) -> str:
        """As `torch.nn.Linear`'s, and the activation."""
        return super().extra_repr() + (f", activation={self.activation}" if self.activation != "none" else "")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, activation: Activation = "none") -> Tensor:
    """``activation(x W^T + b)``: ``(..., in)`` to ``(..., out)`` with a weight ``(out, in)``."""
    product = _onednn_product()
    if product is None or not _is_plain(x, weight):
        return _AFTER[activation](F.linear(x, weight, bias))
    out: Tensor = product(x, weight, bias, activation, [], _ALGORITHM[activation])
    return out


def has_fast_products(x: Tensor) -> bool:
    """Whether `linear` takes oneDNN's product for such an input."""
    return _onednn_product() is not None and _is_plain(x, x)


def _is_plain(x: Tensor, weight: Tensor) -> bool:
    """No gradients, no autocast, float32, on the CPU, nothing empty."""
    return (
        not torch.is_grad_enabled()
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and x.ndim >= 2
        and x.numel() > 0
        and not torch.is_autocast_enabled("cpu")
    )


@functools.lru_cache(maxsize=1)
def _onednn_product() -> Callable[..., Any] | None:
    """oneDNN's product where it is there, exact to float32, and faster than torch's own."""
    try:
        product: Callable[..., Any] = torch.ops.mkldnn._linear_pointwise
        generator = torch.Generator().manual_seed(0)
        x, weight, bias = (torch.randn(size, generator=generator) for size in ((256, 512), (512, 512), (512,)))
        with torch.inference_mode(False), torch.no_grad():
            exact = F.linear(x.double(), weight.double(), bias.double())
            found = product(x, weight, bias, "none", [], "")
            if float((found - exact).norm() / exact.norm()) > _LARGEST_ERROR:
                return None
            ours, torchs = shortest_s(
                lambda: product(x, weight, bias, "none", [], ""), lambda: F.linear(x, weight, bias)
            )
    except (AttributeError, RuntimeError, NotImplementedError):  # not in this build of torch
        return None
    return product if ours < _WORTHWHILE * torchs else None


def shortest_s(*runs: Callable[[], object], repeats: int = 9) -> list[float]:
    """The shortest time of each, taken in turns so that whatever else the machine does hits all alike."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(1 + repeats):
        for run, taken in zip(runs, times, strict=True):
            begun = time.perf_counter()
            run()
            taken.append(time.perf_counter() - begun)
    return [min(taken[1:]) for taken in times]
