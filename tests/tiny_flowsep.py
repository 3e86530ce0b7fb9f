"""A tiny FlowSep of random weights, none of them the zeros that training starts from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from soundsieve.encoders.text import SentenceEncoderConfig
from soundsieve.systems.flowsep.flowsep import FlowSep, FlowSepConfig

RATE = 16000


def tiny_config(**changes: Any) -> FlowSepConfig:
    """Asked by way of a sentence encoder; the debug preset asks T5."""
    debug = FlowSepConfig.debug()
    text = SentenceEncoderConfig.debug()
    return replace(debug, **{"text": text, "unet": replace(debug.unet, context_width=text.width)} | changes)


def tiny(config: FlowSepConfig | None = None, seed: int = 0) -> FlowSep:
    torch.manual_seed(seed)
    system = FlowSep(config or tiny_config()).eval().requires_grad_(False)
    for parameter in system.parameters():
        if parameter.ndim >= 2:
            parameter.normal_(std=parameter[0].numel() ** -0.5)
    system.scale_factor.fill_(0.9)
    return system


def noise(samples: int, channels: int = 1, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(channels, samples, generator=torch.Generator().manual_seed(seed))
