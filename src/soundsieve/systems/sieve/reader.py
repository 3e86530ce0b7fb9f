"""The half of a Sieve that answers: a query and a scene to a mask, and whether the sound is there at all."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.systems.sieve.analysis import Scene
from soundsieve.systems.sieve.config import SieveConfig
from soundsieve.systems.sieve.naming import EVIDENCE, Named


class Reader(nn.Module):
    """Answers queries about scenes: mask logits on the band grid and a presence logit.

    The first convolution is linear, so its part over the feature map is computed once for all queries of a scene.
    """

    def __init__(self, config: SieveConfig) -> None:
        super().__init__()
        channels = config.reader_channels
        self.project = nn.Linear(config.text.width, config.key_width, bias=False)
        self.log_scale = nn.Parameter(torch.full((3,), math.log(10.0)))  # temperatures of cells, frames, clip
        self.film = nn.Sequential(
            nn.Linear(2 * config.text.width, config.film_width), nn.GELU(), nn.Linear(config.film_width, 4 * channels)
        )
        self.conv_cells = nn.Conv2d(config.channels[0], channels, 3, padding=1)
        self.conv_match = nn.Conv2d(4, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, 4, 3, padding=1)
        self.presence = nn.Sequential(nn.Linear(channels + 8 + EVIDENCE, 64), nn.GELU(), nn.Linear(64, 1))

    def key(self, vectors: Tensor) -> Tensor:
        """Text-space vectors ``(..., D)`` as unit keys ``(..., K)``; a zero vector stays zero."""
        return F.normalize(self.project(vectors).float(), dim=-1)

    def forward(self, scene: Scene, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        """Q queries about each of B scenes.

        Args:
            scene: of B mixtures.
            positive: what is wanted, shape ``(B, Q, D)``; zeros where nothing is.
            negative: what is not, same shape.

        Returns:
            Mask logits ``(B, Q, bands, N)``, and what `presence` reads besides the evidence, ``(B, Q, channels + 8)``.
        """
        batch, queries = positive.shape[:2]
        scale = self.log_scale.exp()
        sides = torch.stack([self.key(positive), self.key(negative)], 2)  # (B, Q, 2, K)
        cell = torch.einsum("bkhn,bqsk->bqshn", scene.cell_keys, sides).flatten(0, 1)
        frame = torch.einsum("bkn,bqsk->bqsn", scene.frame_keys, sides).flatten(0, 1)
        height = cell.shape[2]
        frame_map = (scale[1] * frame).repeat_interleave(2, dim=2)[:, :, None].expand(-1, -1, height, -1)
        match = torch.cat([scale[0] * cell, frame_map], 1).to(scene.cells.dtype)
        film = self.film(torch.cat([positive, negative], 2)).flatten(0, 1)[:, :, None, None]
        gamma1, beta1, gamma2, beta2 = film.chunk(4, 1)

        x = self.conv_cells(scene.cells).repeat_interleave(queries, 0) + self.conv_match(match)
        x = F.relu_(torch.addcmul(beta1, self.norm1(x), 1 + gamma1))
        x = F.relu_(torch.addcmul(beta2, self.norm2(self.conv2(x)), 1 + gamma2))
        direct = scale[0] * (cell[:, :1] - cell[:, 1:])
        logits = F.pixel_shuffle(self.conv3(x).float(), 2) + direct.repeat_interleave(2, 2).repeat_interleave(2, 3)
        logits = logits.view(batch, queries, *logits.shape[2:])
        return logits, self._presence_features(scene, sides[:, :, 0], cell[:, 0], frame[:, 0], x, logits)

    @torch.no_grad()
    def _presence_features(
        self, scene: Scene, key: Tensor, cell: Tensor, frame: Tensor, x: Tensor, logits: Tensor
    ) -> Tensor:
        """Is it there at all? Read without gradients, so that learning to doubt never reaches the mask."""
        with torch.autocast(logits.device.type, enabled=False):
            batch, queries = key.shape[:2]
            power = 10.0 ** (scene.levels_db[:, None] / 10.0)
            mask = torch.sigmoid(logits)
            answer_power = mask.square() * power
            kept = answer_power.sum((2, 3)) / power.sum((2, 3)).clamp_min(1e-9)
            # Where the answer holds energy is where its features are read.
            weight = F.avg_pool2d(answer_power, 2).flatten(2)
            weight = weight / weight.sum(2, keepdim=True).clamp_min(1e-9)
            answer = torch.einsum("qcn,qn->qc", x.float().flatten(2), weight.flatten(0, 1)).view(batch, queries, -1)
            cell, frame, mask = cell.reshape(batch, queries, -1), frame.reshape(batch, queries, -1), mask.flatten(2)

            def top(values: Tensor) -> Tensor:
                return values.topk(max(1, values.shape[2] // 20), 2).values.mean(2)

            scalars = [
                torch.log10(kept + 1e-5), top(cell), cell.mean(2), (cell * weight).sum(2), frame.amax(2), frame.mean(2),
                torch.einsum("bk,bqk->bq", scene.clip_key, key), top(mask),
            ]  # fmt: skip
            return torch.cat([torch.stack(scalars, 2), answer], 2)

    def doubt(self, named: Named, logits: Tensor, positive: Tensor, features: Tensor, temperature: float) -> Tensor:
        """Presence logits ``(B, Q)``; gradients go into the presence output alone.

        Args:
            named: the scenes in the words of the anchors.
            logits: mask logits of the answers, shape ``(B, Q, bands, N)``.
            positive: what was wanted, shape ``(B, Q, D)``.
            features: what came with the logits.
            temperature: see `Named.evidence`.
        """
        evidence = named.evidence(torch.sigmoid(logits), positive, temperature)
        with torch.autocast(logits.device.type, enabled=False):
            return self.presence(torch.cat([features, evidence.float()], 2))[..., 0]  # type: ignore[no-any-return]
