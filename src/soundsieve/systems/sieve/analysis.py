"""The half of a Sieve that knows nothing of any query: what is where in a mixture.

band energies -> stem (stride 2), residual stages, transformer over 80 ms frames, back up with skips -> `Scene`
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.systems.sieve.config import SieveConfig

FLOOR_DB = -90.0
"""Band energies are read down to this far under the mixture's mean power."""


class ResidualBlock(nn.Module):
    """ReLU(x + BN(conv(ReLU(BN(conv(x))))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102 (said above)
        y = F.relu_(self.norm1(self.conv1(x)))
        return F.relu_(x + self.norm2(self.conv2(y)))


def _stage(channels: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))


class TransformerLayer(nn.Module):
    """Pre-norm self-attention and feed-forward over frames, ``(B, N, D)``."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102 (said above)
        batch, frames, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, frames, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, frames, width)
        x = x + F.dropout(self.out(attended), self.dropout, self.training)
        y = self.down(F.gelu(self.up(self.norm2(x))))
        return x + F.dropout(y, self.dropout, self.training)


@dataclass(frozen=True)
class Scene:
    """What the analysis knows of a batch of mixtures, before any query.

    Attributes:
        cells: feature map, shape ``(B, C, bands / 2, N / 2)``.
        cell_keys: unit keys of the cells, shape ``(B, K, bands / 2, N / 2)``.
        frame_keys: unit keys of the 80 ms frames, shape ``(B, K, N / 4)``.
        clip_key: unit key of the whole clip, shape ``(B, K)``.
        clip_vector: unit vector of the clip in the text space, shape ``(B, D)``: the clip as a query.
        levels_db: band levels relative to the mixture's mean power, shape ``(B, bands, N)``.
    """

    cells: Tensor
    cell_keys: Tensor
    frame_keys: Tensor
    clip_key: Tensor
    clip_vector: Tensor
    levels_db: Tensor


class Analysis(nn.Module):
    """Band energies to a `Scene`; knows nothing of any query."""

    def __init__(self, config: SieveConfig) -> None:
        super().__init__()
        c1, c2, c3 = config.channels
        folded = c3 * config.n_bands // 8
        self.level_norm = nn.BatchNorm1d(config.n_bands)
        self.stem = nn.Conv2d(3, c1, 4, stride=2, padding=1)
        self.down1 = _stage(c1, config.blocks[0])
        self.pool1 = nn.Conv2d(c1, c2, (2, 1), stride=(2, 1))
        self.down2 = _stage(c2, config.blocks[1])
        self.pool2 = nn.Conv2d(c2, c3, 2, stride=2)
        self.down3 = _stage(c3, config.blocks[2])
        self.fold = nn.Conv1d(folded, config.width, 1)
        self.position = nn.Conv1d(config.width, config.width, 15, padding=7, groups=config.width)
        self.layers = nn.ModuleList(
            TransformerLayer(config.width, config.heads, config.dropout) for _ in range(config.layers)
        )
        self.frame_norm = nn.LayerNorm(config.width)
        self.unfold = nn.Conv1d(config.width, folded, 1)
        self.up2 = nn.ConvTranspose2d(c3, c2, 2, stride=2)
        self.merge2 = _stage(c2, 1)
        self.up1 = nn.ConvTranspose2d(c2, c1, (2, 1), stride=(2, 1))
        self.merge1 = _stage(c1, 1)
        self.cell_key = nn.Conv2d(c1, config.key_width, 1)
        self.frame_key = nn.Conv1d(config.width, config.key_width, 1)
        self.attention = nn.Conv1d(config.width, 1, 1)
        self.clip_key = nn.Linear(config.width, config.key_width)
        self.clip_vector = nn.Sequential(
            nn.Linear(config.width, 2 * config.width), nn.GELU(), nn.Linear(2 * config.width, config.text.width)
        )

    def forward(self, energies: Tensor) -> Scene:
        """Band energies ``(B, bands, N)``, N a multiple of 4."""
        # Levels are relative to the mean power, so the answer does not depend on how loud the recording is.
        mean_power = energies.sum(1).mean(1)[:, None, None]
        ratio = energies / mean_power.clamp_min(1e-20)
        levels_db = 10.0 * torch.log10(ratio + 10.0 ** (FLOOR_DB / 10))
        relative = (levels_db - levels_db.amax((1, 2), keepdim=True)) / 20.0 + 1.5
        place = torch.linspace(-1, 1, energies.shape[1], device=energies.device)[None, :, None].expand_as(energies)
        x = torch.stack([self.level_norm(levels_db), relative, place], 1).contiguous(memory_format=torch.channels_last)

        fine = self.down1(F.relu_(self.stem(x)))
        middle = self.down2(self.pool1(fine))
        coarse = self.down3(self.pool2(middle))
        frames = self.fold(coarse.flatten(1, 2))
        frames = (frames + F.gelu(self.position(frames))).transpose(1, 2)
        for layer in self.layers:
            frames = layer(frames)
        frames = self.frame_norm(frames).transpose(1, 2)  # (B, width, N / 4)
        coarse = coarse + self.unfold(frames).unflatten(1, coarse.shape[1:3])
        middle = self.merge2(middle + self.up2(coarse))
        fine = self.merge1(fine + self.up1(middle))

        weights = self.attention(frames).float().softmax(2)
        pooled = (frames * weights.to(frames.dtype)).sum(2)
        return Scene(
            cells=fine,
            cell_keys=F.normalize(self.cell_key(fine).float(), dim=1),
            frame_keys=F.normalize(self.frame_key(frames).float(), dim=1),
            clip_key=F.normalize(self.clip_key(pooled).float(), dim=1),
            clip_vector=F.normalize(self.clip_vector(pooled).float(), dim=1),
            levels_db=levels_db,
        )
