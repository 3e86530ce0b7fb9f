"""From noise to a latent, along the velocities that a network tells: dx/dt = v(x, t) from t = 0 to t = 1.

A rectified flow (Liu et al., 2023, arXiv 2209.03003; Lipman et al., 2023, arXiv 2210.02747) has been trained so that
these paths are nearly straight: few steps will do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from soundsieve.errors import ConfigError

Sampler: TypeAlias = Literal["euler", "heun", "midpoint"]

Velocity: TypeAlias = Callable[[Tensor, float], Tensor]
"""State ``(B, C, N, F)`` and time to the velocity, same shape."""

_MOST_STEPS = 100
_LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn.

    Raises:
        ConfigError: a value is out of range.
    """

    steps: int = 20
    """Steps from noise to the answer, 1 to 100."""
    sampler: Sampler = "euler"
    """How a step is made: ``euler`` asks the network once; ``heun`` and ``midpoint`` twice, and follow a bent path more
    closely."""
    guidance: float = 1.0
    """How much the text counts: 1 as the network was trained, as published; above, further away from what it would
    answer without a text, which costs every evaluation twice; 0 leaves the text out."""
    seed: int = 0
    """Of the noise; the same seed gives the same answer."""

    def __post_init__(self) -> None:
        if not _is_whole(self.steps) or not 1 <= self.steps <= _MOST_STEPS:
            raise ConfigError(f"steps is {self.steps!r}: choose a whole number from 1 to {_MOST_STEPS}")
        if self.sampler not in get_args(Sampler):
            raise ConfigError(f"sampler is {self.sampler!r}: choose one of {', '.join(get_args(Sampler))}")
        if isinstance(self.guidance, bool) or not isinstance(self.guidance, Real) or not 0 <= self.guidance <= 100:
            raise ConfigError(f"guidance is {self.guidance!r}: it is a number from 0 to 100, and 1 is none")
        if not _is_whole(self.seed) or not 0 <= self.seed <= _LARGEST_SEED:
            raise ConfigError(f"seed is {self.seed!r}: it is a whole number from 0 to 2^63 - 1")

    @property
    def evaluations(self) -> int:
        """How often the network is asked: once a step (euler) or twice, and both with and without text under guidance.

        A guidance of 1 needs no answer without text, one of 0 none with it.
        """
        return self.steps * (1 if self.sampler == "euler" else 2) * (1 if self.guidance in (0, 1) else 2)


def sample(velocity: Velocity, noise: Tensor, sampling: Sampling) -> Tensor:
    """Follow the velocities from noise to an answer.

    The grid is the published one: times 0 to 1 in equal parts, in float32; a step goes from where the sum of the steps
    before it has come to, to the next point of the grid.

    - ``euler``: x' = x + dt v(x, t)
    - ``heun``: x' = x + dt/2 (v(x, t) + v(x + dt v(x, t), t + dt))
    - ``midpoint``: x' = x + dt v(x + dt/2 v(x, t), t + dt/2)

    Args:
        velocity: asked for the state ``(B, C, N, F)`` at a time; called `Sampling.evaluations` times, or half as often
            under guidance, which is for the caller to apply.
        noise: standard normal, the state at time 0.
        sampling: steps and sampler.

    Returns:
        The state at time 1.
    """
    grid = torch.linspace(0, 1, sampling.steps + 1)
    t, dt = grid[0], grid[1] - grid[0]
    x = noise
    for step in range(1, sampling.steps + 1):
        now, ahead = float(t), float(dt)
        v = velocity(x, now)
        if sampling.sampler == "heun":
            v = (v + velocity(x + ahead * v, now + ahead)) / 2
        elif sampling.sampler == "midpoint":
            v = velocity(x + ahead / 2 * v, now + ahead / 2)
        x = x + ahead * v
        t = t + dt
        if step < sampling.steps:
            dt = grid[step + 1] - t
    return x


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
