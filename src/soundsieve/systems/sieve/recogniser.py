"""What a part of a mixture is, told by the part as a whole: its cells' features, its spectrum and its course in time.

The keys of cells say of every cell by itself which label it sounds like (`soundsieve.systems.sieve.naming`). A small
network that sees all cells of a part at once errs in other places, so both together err less. It is trained after all
else, on parts of mixtures, for two things: which label a part is of, and which traits it has. The traits of every label
(tonal, struck, ringing, of an engine, ...) were written down, not learnt: so what a label with few clips sounds like is
learnt from other labels' clips too (direct attribute prediction: Lampert et al., 2009).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from soundsieve.systems.sieve.analysis import Scene
    from soundsieve.systems.sieve.config import SieveConfig

GROUPS = 4
"""Parts of the frequency axis whose features are averaged apart."""
_QUANTILES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
"""Of the frames, loudest first, whose levels tell how a part's energy is spread in time."""
_STEEPNESS = 4
SOFTNESS = 0.35
"""Cells are weighted by their energy to this power, as in training's losses."""
TRAIT_WEIGHT = 0.2
"""Of the traits' log-odds beside the labels' log-probabilities: traits are not independent of each other."""
_CLEAR = 0.02
"""No trait is held for less likely than this, or for likelier than all but this."""


def statistics(scene: Scene, mask: Tensor) -> Tensor:
    """What the parts that masks ``(B, Q, bands, N)`` let through look like, shape ``(B, Q, D)``, D by `width_of`."""
    power = 10.0 ** (scene.levels_db[:, None] / 10.0) * mask.square()
    energy = F.avg_pool2d(power, 2)
    energy = energy / energy.sum((2, 3), keepdim=True).clamp_min(1e-9)
    soft = (energy + 1e-12).pow(SOFTNESS) - 1e-12**SOFTNESS
    soft = soft / soft.sum((2, 3), keepdim=True).clamp_min(1e-9)
    cells = scene.cells.float()

    def mean(values: Tensor, weight: Tensor) -> Tensor:
        return torch.einsum("bcn,bqn->bqc", values.flatten(2), weight.flatten(2))

    centre = mean(cells, soft)
    spread = (mean(cells.square(), soft) - centre.square()).clamp_min(0).sqrt()
    by_group = []
    for values, weight in zip(cells.chunk(GROUPS, 2), soft.chunk(GROUPS, 2), strict=True):
        held = weight.sum((2, 3))[..., None]
        by_group.append(mean(values, weight) / held.clamp_min(1e-4) * (held > 1e-4))
    profile = torch.log10(energy.sum(3) + 1e-4)
    course = energy.sum(2)
    course = course / course.amax(2, keepdim=True).clamp_min(1e-9)
    ranked = course.sort(2, descending=True).values
    places = [int(course.shape[2] * quantile) for quantile in _QUANTILES]
    steps = torch.log10(course + 1e-3).diff(dim=2)
    steepness = [
        steps.clamp_min(0).mean(2),
        (-steps).clamp_min(0).mean(2),
        steps.abs().amax(2),
        steps.square().mean(2).sqrt(),
    ]
    told = [centre, spread, mean(cells, energy), *by_group, profile, torch.log10(ranked[..., places] + 1e-4)]
    return torch.cat([*told, torch.stack(steepness, 2)], 2)


def width_of(config: SieveConfig) -> int:
    """How many numbers `statistics` gives of a part."""
    return (3 + GROUPS) * config.channels[0] + config.n_bands // 2 + len(_QUANTILES) + _STEEPNESS


class Recogniser(nn.Module):
    """Which label a part of a mixture is of, and whether an answer is what was asked for.

    Args:
        config: of the Sieve that it belongs to; ``anchors`` labels, ``traits`` traits, ``recogniser`` hidden units.
    """

    def __init__(self, config: SieveConfig) -> None:
        super().__init__()
        width = width_of(config)
        self.centre: Tensor
        self.spread: Tensor
        self.traits_of: Tensor
        self.common: Tensor
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.register_buffer("traits_of", torch.zeros(config.anchors, config.traits))  # of every label, 0 to 1
        self.register_buffer("common", torch.full((config.traits,), 0.5))  # how common each is among what was heard
        self.hidden = nn.Linear(width, config.recogniser)
        self.labels = nn.Linear(config.recogniser, config.anchors)
        self.traits = nn.Linear(config.recogniser, config.traits)
        self.presence = nn.Linear(3, 1)
        with torch.no_grad():  # until it is trained, it changes no presence
            self.presence.weight.copy_(torch.tensor([[1.0, 0.0, 0.0]]))
            self.presence.bias.zero_()

    def normalised(self, told: Tensor) -> Tensor:
        """`statistics` on the scale that the network reads."""
        return ((told - self.centre) / self.spread).clamp(-6.0, 6.0)

    def logits(self, normalised: Tensor) -> tuple[Tensor, Tensor]:
        """Of the labels ``(..., A)`` and of the traits ``(..., K)``."""
        hidden = F.relu(self.hidden(normalised))
        return self.labels(hidden), self.traits(hidden)

    @torch.no_grad()
    def forward(self, scene: Scene, mask: Tensor) -> Tensor:
        """How much speaks for every label in the parts that masks let through, in nats, shape ``(B, Q, A)``.

        The labels' log-probabilities, and `TRAIT_WEIGHT` times the log-odds of their traits against common ones.
        """
        with torch.autocast(mask.device.type, enabled=False):
            labels, traits = self.logits(self.normalised(statistics(scene, mask.float())))
            return labels.log_softmax(-1) + TRAIT_WEIGHT * self._by_traits(traits)

    def _by_traits(self, logits: Tensor) -> Tensor:
        likely, common = (p.clamp(_CLEAR, 1 - _CLEAR) for p in (logits.sigmoid(), self.common))
        with_it, without = (likely / common).log(), ((1 - likely) / (1 - common)).log()
        return with_it @ self.traits_of.T + without @ (1 - self.traits_of).T
