"""DiffusionSep, FlowSep's ablation: the same network, trained to tell the noise in a latent, sampled by DDIM.

A latent x1 is mixed with more and more noise e over 1000 steps n of a fixed schedule (Ho et al., 2020, arXiv
2006.11239),

    x_n = sqrt(a_n) x1 + sqrt(1 - a_n) e        a_n = (1 - beta_0) (1 - beta_1) ... (1 - beta_n)

and the network says e of x_n and n. DDIM (Song et al., 2021, arXiv 2010.02502, eq. 12 with sigma = 0) goes back over a
few of the steps: with what the network says of e, x1 is (x_n - sqrt(1 - a_n) e) / sqrt(a_n), and mixed anew with the
same e it is the state at the next, lower step; after the last it is the answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

STEPS = 1000
"""Of the schedule."""
_FIRST, _LAST = 0.0015, 0.0195
"""Its betas: their roots lie evenly between the roots of these, as in AudioLDM (arXiv 2301.12503)."""


def betas() -> Tensor:
    """Share of noise that each step adds, float64, shape ``(1000,)``."""
    return torch.linspace(math.sqrt(_FIRST), math.sqrt(_LAST), STEPS, dtype=torch.float64).square()


def alphas_cumprod() -> Tensor:
    """a_n, what is left of the latent's energy after each step, float32, shape ``(1000,)``."""
    return (1 - betas()).cumprod(0).float()


def diffuse(latent: Tensor, noise: Tensor, step: Tensor) -> Tensor:
    """Latents ``(B, ...)`` with the noise that they have at steps ``(B,)``, 0 to 999."""
    left = alphas_cumprod().to(latent.device)[step].view(-1, *[1] * (latent.ndim - 1))
    return left.sqrt() * latent + (1 - left).sqrt() * noise


def grid(steps: int) -> list[int]:
    """The steps of the schedule that DDIM visits: ``steps`` of them, from 999 down, evenly.

    The first is always 999, of noise alone, as what is started from; released code counts from the other end, and its
    first step should still hold some of the latent, the more of it the fewer steps are taken.
    """
    return [math.ceil(STEPS * (steps - i) / steps) - 1 for i in range(steps)]


def denoise(
    predict: Callable[[Tensor, float], Tensor], noise: Tensor, steps: int, *, goal: Tensor | None = None,
    kept: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """From noise to a latent by DDIM.

    Args:
        predict: the noise in states ``(B, C, N, F)`` at a step; called ``steps`` times.
        noise: standard normal, what is started from.
        steps: how many of the schedule's are visited, 1 to 100.
        goal: where the first n frames are to end, ``(B, C, n, F)``; see `FlowSep.draw`.
        kept: how much that counts, from 0 to 1, ``(B, 1, n, 1)``.

    Returns:
        The latent, shape ``(B, C, N, F)``.
    """
    left = alphas_cumprod().double().tolist()
    x, visited = noise, grid(steps)
    for step, after in zip(visited, [*(left[n] for n in visited[1:]), 1.0], strict=True):
        signal, scatter = math.sqrt(left[step]), math.sqrt(1 - left[step])
        found = predict(x, float(step))
        latent = (x - scatter * found) / signal
        if goal is not None and kept is not None:
            n = goal.shape[2]
            latent = torch.cat([torch.lerp(latent[:, :, :n], goal, kept), latent[:, :, n:]], dim=2)
            found = (x - signal * latent) / scatter
        x = math.sqrt(after) * latent + math.sqrt(1 - after) * found
    return x
