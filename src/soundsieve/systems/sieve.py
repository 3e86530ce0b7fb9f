"""Sieve, the small network of our own behind the embedded model.

A U-Net over a coarse grid of band energies describes what is where once per mixture; any number of queries then read
it for a small share of that cost. Read from the bottom up:

    mixture -> STFT -> band energies (64 bands, 50 frames/s)
            -> Analysis: stem (stride 2), residual stages, transformer over 80 ms frames, back up with skips
            -> Scene: a feature map, a unit key for every cell, every frame and the whole clip
    query   -> unit vectors in the key space -> similarities s+, s- of every cell and frame
    Reader: convolutions steered by FiLM from c = [positive, negative] -> mask logits, plus s+ - s-
            -> sigmoid mask on the bands -> bins -> mixture phase -> target

Text vectors come from `encoders.text.SentenceEncoder`; an example clip is described by the network itself, its pooled
frames mapped into the same space, so text, clips and exclusions are one kind of condition. Whether the queried sound
is there at all is the answer of an output of its own (`presence`), which reads the scene without steering it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from soundsieve import audio
from soundsieve.dsp.bands import band_matrix
from soundsieve.dsp.stft import istft, stft
from soundsieve.encoders.text import SentenceEncoder, SentenceEncoderConfig
from soundsieve.errors import AudioError, ConfigError
from soundsieve.query import ClipLike, Condition, Query, combine
from soundsieve.systems.base import Estimate, System

FLOOR_DB = -90.0
"""Band energies are read down to this far under the mixture's mean power."""


@dataclass(frozen=True)
class SieveConfig:
    """The shape of a Sieve."""

    sample_rate: int = 32000
    """Hz."""
    segment_s: float = 10.0
    """Longest piece that is separated at once, in seconds."""
    n_fft: int = 2048
    """STFT window in samples."""
    hop_length: int = 640
    """STFT hop in samples (50 frames a second)."""
    n_bands: int = 64
    """Bands of the grid; a multiple of 8."""
    fmin_hz: float = 40.0
    """Centre of the lowest band."""
    fmax_hz: float = 15500.0
    """Centre of the highest band."""
    channels: tuple[int, int, int] = (48, 96, 160)
    """Channels on the three scales of the U-Net, fine to coarse."""
    blocks: tuple[int, int, int] = (2, 2, 2)
    """Residual blocks on the way down, on each scale; one each on the way up."""
    width: int = 320
    """Width of the transformer over frames."""
    layers: int = 3
    """Transformer layers."""
    heads: int = 5
    """Attention heads."""
    dropout: float = 0.1
    """In the transformer, while training."""
    key_width: int = 64
    """Width of the space where cells meet queries."""
    film_width: int = 256
    """Hidden width of the query's FiLM generator."""
    reader_channels: int = 32
    """Channels of the convolutions that answer a query."""
    presence_threshold: float = 0.5
    """A sound whose presence is below this is reported as not there (calibrated after training)."""
    gate_db: float = 0.0
    """How far, at most, the answer is turned down when the sound is not there."""
    anchors: int = 0
    """Text vectors that the network knows well, one for each label of its training; 0 for none."""
    recall: float = 0.8
    """Share of a text's vector that is replaced by the anchors near it."""
    recall_temperature: float = 0.03
    """Of the softmax over cosines that says how near."""
    text: SentenceEncoderConfig = field(default_factory=SentenceEncoderConfig.small)
    """The text tower."""

    def __post_init__(self) -> None:
        if self.n_bands % 8:
            raise ConfigError(f"n_bands must be a multiple of 8, got {self.n_bands}")
        if self.width % self.heads:
            raise ConfigError(f"width ({self.width}) must be a multiple of heads ({self.heads})")
        if len(self.channels) != 3 or len(self.blocks) != 3:
            raise ConfigError("channels and blocks take three numbers, one for each scale")
        if not 0 <= self.recall <= 1 or self.recall_temperature <= 0 or self.anchors < 0:
            raise ConfigError("recall lies between 0 and 1, recall_temperature is above 0, anchors at least 0")
        if not 0 < self.presence_threshold < 1 or self.gate_db < 0:
            raise ConfigError("presence_threshold lies between 0 and 1, gate_db is not negative")

    @classmethod
    def small(cls) -> SieveConfig:
        """The embedded model's size."""
        return cls()

    @classmethod
    def debug(cls) -> SieveConfig:
        """A few thousand parameters, for tests."""
        return cls(
            channels=(8, 8, 16), blocks=(1, 1, 1), width=16, layers=1, heads=2, key_width=8, film_width=8,
            reader_channels=8, text=SentenceEncoderConfig.debug(),
        )  # fmt: skip


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
        self.presence = nn.Sequential(nn.Linear(channels + 8, 64), nn.GELU(), nn.Linear(64, 1))

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
            Mask logits ``(B, Q, bands, N)`` and presence logits ``(B, Q)``.
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
        features = self._presence_features(scene, sides[:, :, 0], cell[:, 0], frame[:, 0], x, logits)
        return logits, self.presence(features)[..., 0].float()

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


class Sieve(System):
    """The embedded model's network; see the module for how it works.

    Args:
        config: its shape.
        assets: files that travel with the weights, by name: the tokenizer of the text tower.
    """

    name: ClassVar[str] = "sieve"
    queries: ClassVar[frozenset[str]] = frozenset({"text", "audio", "exclude"})
    shares_channels: ClassVar[bool] = True
    kept_float32: ClassVar[tuple[str, ...]] = ("reader.",)
    """What `soundsieve.nn.int8` leaves alone: what the query passes, so that no query is rounded with another."""

    def __init__(self, config: SieveConfig, assets: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.config: SieveConfig = config
        self.sample_rate, self.segment_s = config.sample_rate, config.segment_s
        self.text = SentenceEncoder(config.text, tokenizer_json=(assets or {}).get("tokenizer.json"))
        self.analysis = Analysis(config)
        self.reader = Reader(config)
        self.bands: Tensor
        self.anchors: Tensor
        self.register_buffer("anchors", torch.zeros(config.anchors, config.text.width), persistent=config.anchors > 0)
        matrix = band_matrix(config.sample_rate, config.n_fft, config.n_bands, config.fmin_hz, config.fmax_hz)
        self.register_buffer("bands", matrix, persistent=False)

    @property
    def presence_threshold(self) -> float:
        """Presence below this means "not found"."""
        return self.config.presence_threshold

    def assets(self) -> dict[str, str]:
        """Text files to be stored beside the weights."""
        return self.text.assets()

    def spectrum(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        """STFT ``(B, F, N)`` and band energies ``(B, bands, N')``, N' padded with zeros to a multiple of 4."""
        spec = stft(mixture, n_fft=self.config.n_fft, hop_length=self.config.hop_length)
        power = spec.real.square() + spec.imag.square()
        energies = torch.einsum("bfn,fk->bkn", power, self.bands)
        return spec, F.pad(energies, (0, -energies.shape[2] % 4))

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Texts as unit vectors, shape ``(N, D)``, drawn towards what training has named.

        v' = (1 - r) v + r * sum_i softmax_i(v . a_i / t) a_i over the anchors a_i: words that training never saw become
        mostly the words that it did see for the nearest sounds. Conditions retrieved from a cache of text embeddings
        are the idea of parallel-data-free training (Ma et al., 2024, arXiv 2409.09398), here for queries.
        """
        vectors = self.text.encode(texts)
        if not len(self.anchors):
            return vectors
        near = ((vectors @ self.anchors.T) / self.config.recall_temperature).softmax(1) @ self.anchors
        return F.normalize(torch.lerp(vectors, F.normalize(near, dim=1), self.config.recall), dim=1)

    @torch.no_grad()
    def embed_clips(self, clips: Sequence[ClipLike]) -> Tensor:
        """Example clips as unit vectors in the text space, shape ``(M, D)``."""
        vectors = []
        for clip in clips:
            samples, rate = clip if isinstance(clip, tuple) else audio.decode(clip)
            mono = np.atleast_2d(np.asarray(samples, dtype=np.float32)).mean(0)
            mono = audio.resample(mono, rate, self.sample_rate)
            if not mono.size or not np.any(mono):
                name = "" if isinstance(clip, tuple) else f" {clip}"
                raise AudioError(f"the example clip{name} is silent: give one in which the sound can be heard")
            limit = int(self.segment_s * self.sample_rate)
            pieces = (mono[start : start + limit] for start in range(0, len(mono), limit))
            scenes = [self._clip_vector(piece) for piece in pieces if piece.any()]
            vectors.append(F.normalize(torch.cat(scenes).mean(0, keepdim=True), dim=1))
        return torch.cat(vectors)

    def _clip_vector(self, samples: NDArray[np.float32]) -> Tensor:
        waveform = torch.from_numpy(samples).to(self.bands.device)[None]
        return self.analysis(self.spectrum(waveform)[1]).clip_vector  # type: ignore[no-any-return]

    @torch.no_grad()
    def encode_query(self, query: Query) -> Condition:
        """Text through the text tower, example clips through the network itself; averaged on each side."""
        self.check_query(query)

        def side(texts: Sequence[str], clips: Sequence[ClipLike]) -> Tensor:
            in_words, in_sound = self.embed_texts(texts) if texts else None, self.embed_clips(clips) if clips else None
            joined = combine(in_words, in_sound, query.audio_weight)
            return self.bands.new_zeros(1, self.config.text.width) if joined is None else joined

        return Condition(side(query.text, query.like), side(query.exclude, query.unlike))

    def estimate_many(self, mixture: Tensor, conditions: Sequence[Condition]) -> list[Estimate]:
        """Several queries about the same mixtures ``(B, T)``; the mixtures are analysed once."""
        return [
            Estimate(answer.target[:, 0], answer.presence, answer.gain)
            for answer in self.estimate_channels(mixture[:, None], conditions)
        ]

    def estimate_channels(self, mixture: Tensor, conditions: Sequence[Condition]) -> list[Estimate]:
        """Several queries about recordings ``(B, C, T)``, by one mask on all channels: that of their mean power.

        Powers, not waveforms, are averaged, so nothing cancels: what is in opposite phase is heard as well.
        """
        batch, channels, samples = mixture.shape
        spec, energies = self.spectrum(mixture.flatten(0, 1))
        spec = spec.view(batch, channels, *spec.shape[1:])
        energies = energies.view(batch, channels, *energies.shape[1:]).mean(1)
        asked = [condition.expand(batch) for condition in conditions]
        positive = torch.stack([condition.positive for condition in asked], 1)
        negative = torch.stack([condition.negative for condition in asked], 1)
        logits, presence_logits = self.reader(self.analysis(energies), positive, negative)
        presence = torch.sigmoid(presence_logits)
        # Where nothing is wanted ("everything but x") there is nothing that could be missing.
        presence = torch.where(positive.abs().amax(2) > 0, presence, torch.ones_like(presence))
        gain = self._gate(presence)
        masks = torch.sigmoid(logits)[..., : spec.shape[3]] * gain[..., None, None]
        size = {"n_fft": self.config.n_fft, "hop_length": self.config.hop_length, "length": samples}
        answers = []
        for q in range(len(asked)):
            bins = torch.einsum("bkn,fk->bfn", masks[:, q], self.bands)
            answers.append(Estimate(istft(spec * bins[:, None], **size), presence[:, q], gain[:, q]))
        return answers

    def _gate(self, presence: Tensor) -> Tensor:
        """Gain of the answer: 1 from the threshold up, ``gate_db`` down below half of it, linear in dB between."""
        missing = (2.0 - 2.0 * presence / self.config.presence_threshold).clamp(0.0, 1.0)
        return torch.pow(10.0, -self.config.gate_db * missing / 20.0)

    def estimate(self, mixture: Tensor, condition: Condition) -> Estimate:
        """Target and presence of one condition."""
        return self.estimate_many(mixture, [condition])[0]

    def forward(self, mixture: Tensor, condition: Condition) -> Tensor:
        """The target, shape ``(B, T)`` as the mixture."""
        return self.estimate(mixture, condition).target
