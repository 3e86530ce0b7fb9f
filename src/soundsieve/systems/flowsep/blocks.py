"""What FlowSep's VAE and its UNet are both made of: residual blocks of group norms and 3 x 3 convolutions.

Maps are ``(B, C, N, F)``, time before frequency, as mel spectrograms and latents are.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ResBlock(nn.Module):
    """Twice group norm, SiLU and a 3 x 3 convolution; the input, or a 1 x 1 convolution of it, leads around.

    Args:
        inputs: channels in.
        outputs: channels out.
        groups: of the norms.
        eps: of the norms.
        time_width: width of an embedding that is added, by a Linear of its own, between the halves; 0 for none.
        dropout: probability, in training only, before the second convolution.
    """

    def __init__(
        self, inputs: int, outputs: int, *, groups: int, eps: float, time_width: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, eps)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(time_width, outputs) if time_width else None
        self.norm2 = nn.GroupNorm(groups, outputs, eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """``(B, inputs, N, F)`` to ``(B, outputs, N, F)``; ``time`` is ``(B, time_width)``, after its SiLU."""
        y = self.conv1(F.silu(self.norm1(x)))
        if self.time is not None:
            y = y + self.time(time)[..., None, None]
        y = self.conv2(self.dropout(F.silu(self.norm2(y))))
        return self.skip(x) + y  # type: ignore[no-any-return]


class Doubling(nn.Conv2d):
    """Every place twice, along both axes, and a 3 x 3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, N, F)`` to ``(B, C, 2 N, 2 F)``."""
        return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def zero(layer: nn.Conv2d) -> None:
    """Let a layer begin by putting out zeros, so that what it is added to passes unchanged."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
