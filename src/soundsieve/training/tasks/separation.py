"""Train a Sieve by separation alone, asked by what a frozen encoder says of the sounds: captions, clips, or a cache.

One network, one loss and the same mixtures for every objective (`soundsieve.training.objectives`); they differ in what
stands for a sound. Mixtures are sums of band energies, both sounds of each are asked for, half of the time with the
other one as exclusion. Loss: -SNR in dB, from energies (see `tasks.sieve`, whose other parts need labels).

Nothing but the recordings says what may be mixed: two clips of different recordings, so that two of one kind can meet.
Captions are read where the objective needs them, and nowhere else. The product is asked in words: its text tower is the
encoder's, its own clip vector and its presence are not trained.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from soundsieve.errors import ConfigError
from soundsieve.systems.sieve import Sieve, SieveConfig
from soundsieve.training.captions.cache import CaptionCache
from soundsieve.training.embeddings import embed_captions, embed_clips, load_sieve_encoder, on_text_tower
from soundsieve.training.energies import EnergyBank, EnergyConfig, snr_db
from soundsieve.training.objectives import Captions, Neighbours, Objective, condition, neighbours
from soundsieve.training.sampling import ClipSampler, by_recording
from soundsieve.training.store import ClipStore
from soundsieve.training.tasks.base import Batch
from soundsieve.weights.checkpoint import save_system

ALWAYS_THERE = 10.0
"""Presence logit of a network that never learnt to doubt."""


@dataclass(frozen=True)
class SeparationTaskConfig:
    """What is asked of a Sieve, and in whose terms."""

    objective: Objective = field(default_factory=Objective)
    """What stands for a sound."""
    encoder: str | None = None
    """The Sieve that embeds captions and clips: a model's name or a file; None for the embedded one."""
    cache: str | None = None
    """Folder of captions embedded by that encoder (`soundsieve cache build`), for retrieval."""
    batch_size: int = 16
    """Mixtures a step, each asked for both of its first two sounds."""
    exclusion: float = 0.5
    """Share of queries that also name the other sound to suppress."""
    mixtures: EnergyConfig = field(default_factory=EnergyConfig)
    """How mixtures are made; ``label_power`` is that of the recordings here."""
    validation_batches: int = 4
    """Batches of validation clips that a checkpoint is judged by."""

    def __post_init__(self) -> None:
        if self.objective.needs_cache and not self.cache:
            raise ConfigError("retrieval looks up captions: name a folder of them in options.cache")
        if self.batch_size < 1 or self.validation_batches < 1 or not 0 <= self.exclusion <= 1:
            raise ConfigError("batch_size and validation_batches are at least 1, exclusion is a share")


@dataclass(frozen=True)
class _Side:
    """A split: what mixtures are made of, and what stands for its clips, row by row of the store."""

    bank: EnergyBank
    sampler: ClipSampler
    text: Tensor | None
    audio: Tensor | None
    near: Neighbours | None


class SeparationTask:
    """A `Task` over a Sieve; arguments as of `tasks.sieve.SieveTask`, the clips with captions where they are needed."""

    def __init__(
        self, model: SieveConfig, config: SeparationTaskConfig, train: ClipStore, validation: ClipStore, *, seed: int
    ) -> None:
        self.config, self.seed = config, seed
        encoder = load_sieve_encoder(config.encoder)
        torch.manual_seed(seed)
        sieve = on_text_tower(model, encoder)
        sieve.analysis.clip_vector.requires_grad_(False)
        sieve.reader.presence.requires_grad_(False)
        last = sieve.reader.presence[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, ALWAYS_THERE)
        self.module: nn.Module = sieve
        cache: Captions | None = None
        if config.objective.needs_cache and config.cache:
            cache = CaptionCache.open(config.cache, encoder_digest=encoder.digest)

        def side(store: ClipStore) -> _Side:
            objective = config.objective
            audio = embed_clips(store, encoder) if objective.needs_audio else None
            near = neighbours(audio, cache, objective.k) if audio is not None and cache is not None else None
            return _Side(
                EnergyBank(store, sieve, config.mixtures),
                ClipSampler(by_recording(store.clips), (), label_power=config.mixtures.label_power),
                embed_captions(store.clips, encoder) if objective.needs_text else None,
                audio,
                near,
            )

        self.train, self.validation = side(train), side(validation)

    def batch(self, step: int) -> Batch:
        """Mixtures, their sources, and what is asked."""
        return self._draw(self.train, [self.seed, step])

    def _draw(self, side: _Side, seed: list[int]) -> Batch:
        """Mixtures are drawn apart from conditions, so that they are the same whatever stands for their sounds."""
        config, rng = self.config, np.random.default_rng(seed)
        frames, bands = side.bank.frames, side.bank.bands
        energies = np.empty((config.batch_size, frames, bands), np.float32)
        sources = np.empty((config.batch_size, 2, frames, bands), np.float32)
        asked = np.empty((config.batch_size, 2), int)
        for b in range(config.batch_size):
            count = 3 if rng.random() < config.mixtures.three_sources else 2
            clips = [side.sampler.draw_clip(group, rng) for group in side.sampler.draw_labels(count, rng)]
            energies[b], parts = side.bank.mixture(clips, rng)
            sources[b], asked[b] = parts[:2], clips[:2]
        excluded = rng.random((config.batch_size, 2)) < config.exclusion
        wanted = self._conditions(side, asked, np.random.default_rng([*seed, 1]))
        return {
            "energies": torch.from_numpy(energies.transpose(0, 2, 1).copy()),
            "sources": torch.from_numpy(sources.transpose(0, 1, 3, 2).copy()),
            "positive": wanted[0],
            "negative": wanted[1].flip(1) * torch.from_numpy(excluded)[..., None],
        }

    def _conditions(self, side: _Side, clips: np.ndarray, rng: np.random.Generator) -> Tensor:
        """What stands for clips ``(B, 2)`` where they are wanted and, drawn anew, where not: ``(2, B, 2, D)``."""
        rows = torch.from_numpy(clips).flatten()

        def of(table: Tensor | None) -> Tensor | None:
            return None if table is None else table[rows]

        near = None if side.near is None else side.near[rows]
        drawn = [
            condition(self.config.objective, rng, text=of(side.text), audio=of(side.audio), near=near) for _ in range(2)
        ]
        return torch.stack(drawn).view(2, *clips.shape, -1)

    def loss(self, module: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """-SNR in dB, mean over both queries of every mixture."""
        return {"loss": -self._snr_db(module, batch).mean()}

    def _snr_db(self, module: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(module, Sieve)
        logits, _ = module.reader(module.analysis(batch["energies"]), batch["positive"], batch["negative"])
        return snr_db(torch.sigmoid(logits), batch["sources"], _rest(batch))

    @torch.no_grad()
    def validate(self, module: nn.Module) -> dict[str, float]:
        """SNR gained in dB, from energies, on mixtures of validation clips that are asked for as in training."""
        device = next(module.parameters()).device
        gains = []
        for number in range(self.config.validation_batches):
            batch = {name: value.to(device) for name, value in self._draw(self.validation, [number]).items()}
            mixed = snr_db(torch.ones_like(batch["sources"]), batch["sources"], _rest(batch))
            gains.append((self._snr_db(module, batch) - mixed).mean())
        gain = float(torch.stack(gains).mean())
        return {"snr_gain": gain, "score": gain}

    def save(self, path: Path, module: nn.Module) -> None:
        """The network in float16, the text tower in int8."""
        assert isinstance(module, Sieve)
        save_system(path, module, dtypes={"": "float16", "text.": "int8"})


def _rest(batch: Batch) -> Tensor:
    """All of a mixture but the sound that is asked for, shape ``(B, 2, bands, N)``."""
    return batch["energies"][:, None] - batch["sources"]
