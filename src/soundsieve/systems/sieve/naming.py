"""What a Sieve can say of a mixture in the words that it learnt: which anchor's sound every cell is, and every part.

The anchors are one text vector for each label of the training, and training compares the key of every cell with all of
them. So the shares that they have of what an answer holds, and of what it leaves, cost one product of matrices. A
`Recogniser`, where there is one, looks at what an answer holds as a whole.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from soundsieve.systems.sieve.analysis import Scene
from soundsieve.systems.sieve.recogniser import Recogniser

EVIDENCE = 5
"""Numbers that `Named.evidence` gives for a query."""
SHARE_WEIGHT = 0.5
"""Of the logarithms of shares beside what the recogniser says, in nats."""
UNLIKE = 0.6
"""An anchor further from a query than this (cosine) is another sound."""


class Named:
    """A batch of scenes, cell by cell, in the words of the anchors; nothing here passes gradients on.

    Args:
        scene: of B mixtures.
        anchors: unit text vectors, shape ``(A, D)``; A may be 0.
        keys: the same as keys of cells and clips, shape ``(A, K)``.
        scale: temperatures of cells, frames and clips, shape ``(3,)``.
        names: what stands for the anchors in a question, shape ``(A, D)``.
        recogniser: of the same anchors.
    """

    @torch.no_grad()
    def __init__(
        self,
        scene: Scene,
        anchors: Tensor,
        keys: Tensor,
        scale: Tensor,
        names: Tensor,
        recogniser: Recogniser | None = None,
    ) -> None:
        self.anchors, self.names = anchors, names
        self._scene, self._recogniser = scene, recogniser
        self._power = 10.0 ** (scene.levels_db[:, None] / 10.0)
        cells = scene.cell_keys.flatten(2).transpose(1, 2)
        self._cells = (cells @ (scale[0] * keys).T).softmax(2)  # (B, M, A); along the last axis it is fastest
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
        held, left = self._vector(mask), self._vector(1 - mask)
        return torch.where(asked, positive, held), torch.where(asked, F.normalize(negative + left, dim=2), negative)

    @torch.no_grad()
    def without_answer(self, mask: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """What is not wanted, as ``negative``, if the answer of masks ``(B, Q, bands, N)`` is the wrong sound.

        It holds something: the anchors unlike the query that what it holds sounds most like are excluded.
        """
        unlike = positive @ self.anchors.T < UNLIKE
        return F.normalize(negative + self._vector(mask, unlike), dim=2)

    def _vector(self, mask: Tensor, among: Tensor | None = None) -> Tensor:
        """One unit vector for what masks let through, of the anchors ``among (B, Q, A)``.

        Shares are squared, so that the largest one speaks loudest; the recogniser counts for as much.
        """
        weight = self.shares(mask).square()
        if self._recogniser is not None:
            weight = weight / weight.sum(2, keepdim=True).clamp_min(1e-9)
            weight = weight + self._recogniser(self._scene, mask).softmax(2)
        return F.normalize((weight if among is None else weight * among) @ self.names, dim=2)

    @torch.no_grad()
    def spoken_for(self, mask: Tensor, positive: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """What the recogniser and the shares say for the query, in nats: of the answer, and of what it leaves.

        Args:
            mask: of the answers, shape ``(B, Q, bands, N)``.
            positive: what is wanted, shape ``(B, Q, D)``.
            temperature: see `evidence`.
        """
        assert self._recogniser is not None
        near = (positive @ self.anchors.T / temperature).softmax(2)
        parts = []
        for part in (mask, 1 - mask):
            shares = torch.log(self.shares(part) + 1e-4)
            parts.append(((self._recogniser(self._scene, part) + SHARE_WEIGHT * shares) * near).sum(2))
        return parts[0], parts[1]

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
