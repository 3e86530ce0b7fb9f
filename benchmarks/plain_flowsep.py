"""FlowSep computed the plain way: what `flowsep_speed.py` compares with.

The same weights and the same function, each step as its formula says and as the published script is said to take it:
three spectrograms encoded of which one is used, the text's keys and values made anew at every step, attention as a
product, a softmax and a product, every map whole and in torch's own layout, torch's own convolutions and matrix
products, the vocoder's activations at twice the rate of everything at once, all weights read into memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from plain_clapsep import plain_products
from torch import Tensor, nn

from soundsieve.systems.flowsep import blocks, snake
from soundsieve.systems.flowsep.flowsep import FlowSep
from soundsieve.systems.flowsep.sampling import sample


def answer_as_published(system: FlowSep, sound: Tensor, tokens: Tensor, mask: Tensor, noises: list[Tensor]) -> Tensor:
    """A window ``(1, T)`` at its level for the network to a waveform; the text's tokens are given.

    Args:
        noises: four latents, in the order of the published draws: of three posteriors, of which the last is used, and
            of the initial state.
    """
    encoded = [system.encode(sound, noise) for noise in noises[:3]]
    mixture = encoded[2]

    def velocity(x: Tensor, t: float) -> Tensor:
        return system.unet(x, mixture, torch.full((1,), t), tokens, mask)  # type: ignore[no-any-return]

    return system.vocode(system.decode(sample(velocity, noises[3], system.sampling)))


def _attend(
    q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, *, scale: float | None = None, **_: object
) -> Tensor:
    """As torch's, of which T5 makes use too: with a bias that is added, or a mask of what is attended to."""
    scores = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.transpose(-2, -1)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.finfo(scores.dtype).max)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1) @ v


def make_plain(system: FlowSep) -> None:
    """Everything the plain way, for the rest of this process."""
    plain_products()
    F.scaled_dot_product_attention = _attend
    torch.channels_last = torch.contiguous_format
    blocks.is_large = lambda layer, x: False
    blocks.Conv.forward = nn.Conv2d.forward  # type: ignore[method-assign,assignment]
    snake.SmoothSnake.forward = snake.SmoothSnake._plain  # type: ignore[method-assign]
    for module in system.modules():
        for name, parameter in module.named_parameters(recurse=False):
            whole = parameter.detach().clone(memory_format=torch.contiguous_format)
            setattr(module, name, nn.Parameter(whole, requires_grad=False))
