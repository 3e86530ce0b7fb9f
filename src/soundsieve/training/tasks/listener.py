"""Train a Sieve to name what it hears, and nothing else: a small CLAP on band energies.

One clip each of many labels is heard alone; its vector (``Scene.clip_vector``) shall be nearest to a sentence of its
own label, of all labels, in the space of a text tower that stays as it is. Loss: cross-entropy of the scaled cosines,
and one minus the cosine to the clip's own sentence. `captions.encoders.load_encoder` reads the product.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.errors import ConfigError
from soundsieve.systems.sieve import Sieve, SieveConfig
from soundsieve.training.embeddings import on_text_tower
from soundsieve.training.energies import EnergyBank, EnergyConfig
from soundsieve.training.sampling import ClipSampler
from soundsieve.training.store import ClipStore
from soundsieve.training.tasks.base import Batch
from soundsieve.weights.checkpoint import save_system


@dataclass(frozen=True)
class ListenerTaskConfig:
    """What a listener is trained on."""

    batch_size: int = 64
    """Clips a step, each of another label as far as there are so many."""
    encoder: str | None = None
    """The Sieve whose text tower is used: a model's name or a file; None for the embedded one."""
    scale: float = 15.0
    """Of the cosines in the cross-entropy."""
    mixtures: EnergyConfig = field(default_factory=EnergyConfig)
    """How clips are cropped and varied."""
    sentences: tuple[str, ...] = ()
    """CSV files (label, and caption or text) with sentences for the labels."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.scale <= 0:
            raise ConfigError("batch_size is at least 1, scale above 0")


class ListenerTask:
    """A `Task` over a Sieve; arguments as of `tasks.sieve.SieveTask`."""

    def __init__(
        self, model: SieveConfig, config: ListenerTaskConfig, train: ClipStore, validation: ClipStore, *, seed: int
    ) -> None:
        self.config, self.seed = config, seed
        torch.manual_seed(seed)
        sieve = on_text_tower(model, config.encoder)
        sieve.reader.requires_grad_(False)  # it answers no query here
        self.module: nn.Module = sieve
        self.bank = EnergyBank(train, sieve, config.mixtures)
        self.heard = EnergyBank(validation, sieve, config.mixtures)
        self.sampler = ClipSampler(train.clips, config.sentences, label_power=config.mixtures.label_power)
        texts = self.sampler.texts
        self.vectors = torch.cat([sieve.text.encode(texts[i : i + 256]) for i in range(0, len(texts), 256)])
        known = {label: i for i, label in enumerate(self.sampler.labels)}
        self._asked = [(i, known[clip.label]) for i, clip in enumerate(validation.clips) if clip.label in known]
        if not self._asked:
            raise ConfigError("no validation clip has a label of the training clips")

    def batch(self, step: int) -> Batch:
        """Lone clips, their labels, and one sentence of every label."""
        sampler, rng = self.sampler, np.random.default_rng([self.seed, step])
        labels = sampler.draw_labels(min(self.config.batch_size, len(sampler.labels)), rng)
        energies = np.stack([self.bank.crop(sampler.draw_clip(label, rng), rng) for label in labels])
        sentences = [sampler.draw_sentence(label, rng) for label in range(len(sampler.labels))]
        return {
            "energies": torch.from_numpy(energies.transpose(0, 2, 1).copy()),
            "label": torch.from_numpy(labels),
            "text": torch.tensor(sentences),
        }

    def loss(self, module: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """Cross-entropy and distance to the own sentence."""
        assert isinstance(module, Sieve)
        heard = module.analysis(batch["energies"]).clip_vector
        self.vectors = self.vectors.to(heard.device)
        cosine = heard @ self.vectors[batch["text"]].T
        near = cosine.gather(1, batch["label"][:, None]).mean()
        named = F.cross_entropy(self.config.scale * cosine, batch["label"])
        return {"loss": named + 1 - near, "named": named, "near": near.detach()}

    @torch.no_grad()
    def validate(self, module: nn.Module) -> dict[str, float]:
        """How often the label nearest to a validation clip, of all labels of the training clips, is its own."""
        assert isinstance(module, Sieve)
        labels = module.text.encode(self.sampler.labels)
        right = []
        for index, label in self._asked:
            crop = self.heard.crop(index, np.random.default_rng([self.seed, index]))
            vector = module.analysis(torch.from_numpy(crop.T[None].copy()).to(labels.device)).clip_vector
            right.append(float((vector @ labels.T).argmax() == label))
        return {"accuracy": float(np.mean(right)), "score": float(np.mean(right))}

    def save(self, path: Path, module: nn.Module) -> None:
        """A Sieve that knows sounds and words, and cannot separate."""
        assert isinstance(module, Sieve)
        save_system(path, module, dtypes={"": "float16", "text.": "int8"})
