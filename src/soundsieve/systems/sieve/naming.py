"""What a Sieve can say of a mixture in the words that it learnt: which anchor's sound every cell is.

The anchors are one text vector for each label of the training, and training compares the key of every cell with all of
them. So the shares that they have of what an answer holds, and of what it leaves, cost one product of matrices.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from soundsieve.systems.sieve.analysis import Scene

EVIDENCE = 5
"""Numbers that `Named.evidence` gives for a query."""


class Named:
    """A batch of scenes, cell by cell, in the words of the anchors; nothing here passes gradients on.

    Args:
        scene: of B mixtures.
        anchors: unit text vectors, shape ``(A, D)``; A may be 0.
        keys: the same as keys of cells and clips, shape ``(A, K)``.
        scale: temperatures of cells, frames and clips, shape ``(3,)``.
        names: what stands for the anchors in a question, shape ``(A, D)``.
    """

    @torch.no_grad()
    def __init__(self, scene: Scene, anchors: Tensor, keys: Tensor, scale: Tensor, names: Tensor) -> None:
        self.anchors, self.names = anchors, names
        self._power = 10.0 ** (scene.levels_db[:, None] / 10.0)
        self._cells = (scale[0] * keys @ scene.cell_keys.flatten(2)).softmax(1).transpose(1, 2)  # (B, M, A)
        self._clip = (scale[2] * scene.clip_key @ keys.T).softmax(1)[:, None]

    @torch.no_grad()
    def shares(self, mask: Tensor) -> Tensor:
        """Each anchor's share of the energy that masks ``(B, Q, bands, N)`` let through, shape ``(B, Q, A)``."""
        weight = F.avg_pool2d(self._power * mask.square(), 2).flatten(2)
        return (weight / weight.sum(2, keepdim=True).clamp_min(1e-9)) @ self._cells

    @torch.no_grad()
    def contrasted(self, mask: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        """The sides of a second question, ``(B, Q, D)`` as those of the first, made of the first one's masks.

        What the first answer left is excluded beside what was excluded already; where nothing but exclusion was asked
        for, what the first answer holds is wanted now.
        """
        asked = positive.abs().amax(2, keepdim=True) > 0
        held, left = self._vector(self.shares(mask)), self._vector(self.shares(1 - mask))
        return torch.where(asked, positive, held), torch.where(asked, F.normalize(negative + left, dim=2), negative)

    def _vector(self, shares: Tensor) -> Tensor:
        """One unit vector for what holds these shares; they are squared, so that the largest one speaks loudest."""
        return F.normalize(shares.square() @ self.names, dim=2)

    @torch.no_grad()
    def evidence(self, mask: Tensor, positive: Tensor, temperature: float) -> Tensor:
        """What speaks for the queried sound being there, shape ``(B, Q, EVIDENCE)``.

        Logs of the share that the anchors near the query have of the answer, of what it leaves, of the whole mixture
        by its cells, and of the mixture by its clip key; and the cosine of the nearest anchor.

        Args:
            mask: of the answers, shape ``(B, Q, bands, N)``.
            positive: what is wanted, shape ``(B, Q, D)``.
            temperature: of the softmax over cosines that says which anchors are near.
        """
        if not len(self.anchors):
            return positive.new_zeros(*positive.shape[:2], EVIDENCE)
        cosine = positive @ self.anchors.T
        near = (cosine / temperature).softmax(2)
        whole = self.shares(torch.ones_like(mask[:, :1]))
        found = [(share * near).sum(2) for share in (self.shares(mask), self.shares(1 - mask), whole, self._clip)]
        return torch.cat([torch.log10(torch.stack(found, 2) + 1e-4), cosine.amax(2, keepdim=True)], 2)
