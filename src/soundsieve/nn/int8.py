"""Answers in 8-bit integers: Linear layers whose products are made of int8 numbers, for processors without a GPU.

Weights are rounded once, each row w to the 255 steps of its own scale s = max|w| / 127. What comes in is rounded anew
every time, each item x of a batch to 256 steps of one scale a = (max x - min x) / 255, with 0 among the steps:

    y = a s (round(x / a) . round(w / s)) + b,

the product in whole numbers, the rest in float32. An item (the first dimension of what comes in) is rounded alone, so
that its answer does not depend on what else is in the batch. Where a rounding error is spread evenly over its step,
each step q adds noise of variance q^2 / 12: about 1% of a layer's output for the usual bell-shaped values, which a
network's sums average out. Everything but the Linear layers stays in float32, and so do the layers that a system names
in ``kept_float32``, those whose output is heard without anything behind them that would average.

The product is oneDNN's, as torch ships it: fast where the processor multiplies bytes (VNNI, AMX). Older ones add pairs
of products in 16 bits, which overflow; that is tried once, and there x is rounded to 128 steps, whose sums fit.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from soundsieve.errors import ConfigError
from soundsieve.nn.linear import Activation, Linear
from soundsieve.nn.lora import merge_lora
from soundsieve.nn.masknet import SelfAttention

_ALGORITHM = {"none": "", "relu": "", "gelu": "none"}
_SMALLEST = 64  # fewer inputs or outputs than this are not worth the rounding


def quantise_linears(module: nn.Module, *, keep: tuple[str, ...] = ()) -> None:
    """Replace, in place, the Linear layers of ``module`` by `Int8Linear` layers that share their weights.

    LoRA is merged first. Layers inside `torch.nn.MultiheadAttention` and `torch.nn.TransformerEncoderLayer`, which read
    their weights past the layer, stay as they are, and so do those of fewer than 64 inputs or outputs.

    Args:
        module: for inference on the CPU; it can be neither trained nor saved afterwards.
        keep: parts of names of layers that stay in float32.

    Raises:
        ConfigError: this build of torch has no such product, or the module is not on the CPU.
    """
    if any(parameter.device.type != "cpu" for parameter in module.parameters()):
        raise ConfigError("precision int8 is for the CPU: move the module there first")
    steps()
    merge_lora(module)
    module.requires_grad_(False)
    for path, parent in list(module.named_modules()):
        if isinstance(parent, (nn.MultiheadAttention, nn.TransformerEncoderLayer)):
            continue
        for name, child in list(parent.named_children()):
            full = f"{path}.{name}" if path else name
            if any(part in full for part in keep):
                continue
            if isinstance(child, nn.Linear) and min(child.weight.shape) >= _SMALLEST:
                activation = child.activation if isinstance(child, Linear) else "none"
                setattr(parent, name, Int8Linear(child.weight, child.bias, activation=activation))
            elif isinstance(child, SelfAttention) and min(child.in_proj_weight.shape) >= _SMALLEST:
                child.in_proj = Int8Linear(child.in_proj_weight, child.in_proj_bias)
                del child.in_proj_weight, child.in_proj_bias


class Int8Linear(nn.Module):
    """``activation(x W^T + b)`` by a product of 8-bit integers.

    The weight is rounded when the layer first answers, and the float32 one let go of then: a layer that is never asked
    never reads its weight. Copies and pickles of a layer that has answered hold the rounded weight.

    Args:
        weight: shape ``(out, in)``, float32, on the CPU.
        bias: shape ``(out,)``, or None.
        activation: what follows the sum.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, activation: Activation = "none") -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.activation = activation
        self._weight: Tensor | None = weight.detach()
        self._bias = None if bias is None else bias.detach()
        self._rounded: tuple[Tensor, Tensor] | None = None
        self._packed: tuple[Tensor, Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in)`` to ``(..., out)``, float32; no gradients. The first dimension of several is the batch."""
        packed = self._packed or self._pack()
        items = x.unbind() if x.ndim > 1 and len(x) > 1 else (x,)
        answers = [self._answer(item, packed) for item in items]
        y = torch.stack(answers) if len(answers) > 1 else answers[0]
        return y.view(*x.shape[:-1], self.out_features)

    def _answer(self, x: Tensor, packed: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        codes, scale, zero = quantise_activations(x)
        return _product(codes.reshape(-1, self.in_features), scale, zero, *packed, self._bias, self.activation)

    def _pack(self) -> tuple[Tensor, Tensor, Tensor]:
        weight, rounded = self._weight, self._rounded
        if self._packed is not None:  # another thread was quicker, and lets go of them after it has set this
            return self._packed
        with torch.inference_mode(False), torch.no_grad():
            if rounded is None:
                assert weight is not None
                rounded = quantise_rows(weight)
            packed = self._packed = _packed(*rounded)
        self._weight = self._rounded = None
        return packed

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles hold: a rounded weight in place of oneDNN's own layout, which only it can read."""
        state, packed = self.__dict__.copy(), self._packed
        if packed is not None:
            state |= {"_packed": None, "_weight": None, "_rounded": _unpacked(packed, self.in_features)}
        return state

    def extra_repr(self) -> str:
        """Sizes, as `torch.nn.Linear` shows them."""
        return f"in_features={self.in_features}, out_features={self.out_features}, activation={self.activation}"


def quantise_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight ``(out, in)`` to int8 codes and one scale a row, ``(out,)``: weight = codes * scale[:, None]."""
    scale = weight.abs().amax(1) / 127
    scale = torch.where(scale > 0, scale, 1.0)  # a row of zeros: any scale will do
    return (weight / scale[:, None]).round_().to(torch.int8), scale


def quantise_activations(x: Tensor, n_steps: int | None = None) -> tuple[Tensor, float, int]:
    """Any tensor to uint8 codes, their scale and the code of zero: x = (codes - zero) * scale.

    Args:
        x: float32.
        n_steps: how many codes are used; by default what the processor's product bears.
    """
    largest = (n_steps or steps()) - 1
    usable = largest - 0.05  # what zero gains by being rounded must not push the largest value past its code
    low, high = (float(end) for end in torch.aminmax(x))
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / usable
    if not 1e-30 < scale < 1e30:  # silence; or not finite, which shows in what is made of the scale
        scale = 1.0 if scale <= 1e-30 else scale
    zero = min(round(-low / scale), largest) if scale < 1e30 else 0
    # Cut off to a whole number after adding a half: rounded, and two passes over x instead of three.
    return torch.add(x.new_tensor(zero + 0.5), x, alpha=1 / scale).to(torch.uint8), scale, zero


@functools.lru_cache(maxsize=1)
def steps() -> int:
    """How many steps a value may have so that the processor's sums of products do not overflow: 256 or 128.

    Raises:
        ConfigError: this build of torch has no product of 8-bit integers.
    """
    try:
        with torch.inference_mode(False), torch.no_grad():
            weight = torch.full((64, 64), 127, dtype=torch.int8)
            packed = _packed(weight, torch.ones(64))
            for n_steps in (256, 128):
                x = torch.full((64, 64), n_steps - 1, dtype=torch.uint8)
                if torch.equal(
                    _product(x, 1.0, 0, *packed, None, "none"), torch.full((64, 64), (n_steps - 1) * 8128.0)
                ):
                    return n_steps
    except (AttributeError, RuntimeError, NotImplementedError, TypeError) as error:
        raise ConfigError("precision int8: this build of torch has no 8-bit products; use float32") from error
    raise ConfigError("precision int8: this processor's 8-bit products are not exact; use precision float32")


def _packed(codes: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A quantised weight in oneDNN's own layout, its scales and its zero points (all zero)."""
    layout = torch.ops.onednn.qlinear_prepack(codes.contiguous(), None)
    return layout, scale, torch.zeros(len(scale), dtype=torch.int32)


def _unpacked(packed: tuple[Tensor, Tensor, Tensor], inputs: int) -> tuple[Tensor, Tensor]:
    """The inverse of `_packed`, by a product with the unit matrix: whole numbers come back exactly."""
    layout, scale, zeros = packed
    with torch.inference_mode(False), torch.no_grad():
        unit = torch.eye(inputs, dtype=torch.uint8)
        codes = _product(unit, 1.0, 0, layout, torch.ones_like(scale), zeros, None, "none")
        return codes.t().round().to(torch.int8).contiguous(), scale


def _product(
    x: Tensor,
    scale: float,
    zero: int,
    weight: Tensor,
    scales: Tensor,
    zeros: Tensor,
    bias: Tensor | None,
    activation: Activation,
) -> Tensor:
    """Codes ``(N, in)`` times a packed weight, as float32 ``(N, out)``."""
    out: Tensor = torch.ops.onednn.qlinear_pointwise(
        x,
        scale,
        zero,
        weight,
        scales,
        zeros,
        bias,
        1.0,
        0,
        torch.float32,
        activation,
        [],
        _ALGORITHM[activation],
    )
    return out
