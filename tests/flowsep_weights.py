"""FlowSep at full size, filled with the weights that its reference vectors were measured with; see reference_weights.

Three parts are drawn smaller, before the rule: the vocoder's last convolution by 1/16, which keeps its tanh out of
saturation, and the queries of T5, whose attention is not scaled, by 1/8. ``scale_factor`` is 1 + 0.1 n. The UNet's are
those of the average (``model_ema``), which is what the published inference uses.
"""

from __future__ import annotations

import torch
from reference_weights import drawn, rng
from torch import Tensor, nn

from soundsieve.systems.flowsep.flowsep import FlowSep, FlowSepConfig
from soundsieve.weights.checkpoint import _no_parameters, _NoRandomInit
from soundsieve.weights.layouts.flowsep import flowsep_key


def made_up_entry(key: str, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """An entry of the published file."""
    if key == "scale_factor":
        return 1 + drawn(key, shape, seed)
    smaller = 0.0625 if ".vocoder.conv_post." in key else 0.125 if key.endswith("SelfAttention.q.weight") else 1.0
    return drawn(key, shape, seed).mul_(smaller)


def made_up_flowsep() -> FlowSep:
    """In evaluation mode, without gradients; takes some ten seconds, and 2.7 GB."""
    config = FlowSepConfig.base()
    with _NoRandomInit(), _no_parameters():
        system = FlowSep(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in system.state_dict().items()}
    state = {name: made_up_entry(flowsep_key(name, config), shape) for name, shape in shapes.items()}
    system.load_state_dict(state, strict=True, assign=True)
    return system.eval().requires_grad_(False)


def made_up_part(part: str, module: nn.Module) -> None:
    """Fill one part of it, by its name in a `FlowSep`, with the weights that it has there."""
    config = FlowSepConfig.base()
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    state = {name: made_up_entry(flowsep_key(f"{part}.{name}", config), shape) for name, shape in shapes.items()}
    module.load_state_dict(state, strict=True, assign=True)
    module.eval().requires_grad_(False)


def made_up_noise(which: str) -> Tensor:
    """One of the draws that the vectors were measured with, as a latent of 10.24 s."""
    return torch.from_numpy(rng(f"0:noise:mix10:{which}").standard_normal((1, 8, 256, 16)).astype("float32"))
