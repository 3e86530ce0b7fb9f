"""FlowSep at full size, filled with the weights that its reference vectors were measured with; see reference_weights.

Three parts are drawn smaller, before the rule: the vocoder's last convolution by 1/16, which keeps its tanh out of
saturation, and the queries of T5, whose attention is not scaled, by 1/8. ``scale_factor`` is 1 + 0.1 n. The UNet's are
those of the average (``model_ema``), which is what the published inference uses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from reference_weights import drawn, rng, signal
from torch import Tensor, nn

from soundsieve.encoders.t5 import T5
from soundsieve.systems.flowsep.bigvgan import BigVGAN
from soundsieve.systems.flowsep.flowsep import FlowSep, FlowSepConfig
from soundsieve.systems.flowsep.unet import FlowUNet
from soundsieve.systems.flowsep.vae import VAE
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
    system = _made_up("", FlowSep, FlowSepConfig.base())
    assert isinstance(system, FlowSep)
    return system


def made_up_part(part: str) -> nn.Module:
    """One part of it by itself, by its name there: ``text``, ``vae``, ``unet`` or ``vocoder``."""
    make = {"text": T5, "vae": VAE, "unet": FlowUNet, "vocoder": BigVGAN}[part]
    return _made_up(f"{part}.", make, getattr(FlowSepConfig.base(), part))


def _made_up(prefix: str, make: Callable[[Any], nn.Module], config: object) -> nn.Module:
    with _NoRandomInit(), _no_parameters():
        module = make(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    base = FlowSepConfig.base()
    state = {name: made_up_entry(flowsep_key(prefix + name, base), shape) for name, shape in shapes.items()}
    module.load_state_dict(state, strict=True, assign=True)
    return module.eval().requires_grad_(False)


def made_up_noise(which: str) -> Tensor:
    """One of the draws that the vectors were measured with, as a latent of 10.24 s."""
    return torch.from_numpy(rng(f"0:noise:mix10:{which}").standard_normal((1, 8, 256, 16)).astype("float32"))


def made_up_mixture() -> Tensor:
    """What the vectors were measured on, ``(1, 163840)``: without its mean, at a peak of 0.5."""
    sound = signal("mix10", 163840, 16000)
    sound = sound - sound.mean()
    return 0.5 * sound / (sound.abs().max() + 1e-8)


def made_up_tokens() -> tuple[Tensor, Tensor]:
    """The text that the vectors were measured with: token ids and their mask, both ``(1, 50)``."""
    ids = torch.zeros(1, 50, dtype=torch.long)
    ids[0, :12] = torch.tensor([*rng("0:tokens:mix10").integers(3, 32000, size=11).tolist(), 1])
    return ids, (ids != 0).long()
