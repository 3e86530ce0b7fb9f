"""Train CLAP: sounds and sentences into one space, by the symmetric contrastive loss.

A batch holds one clip of each of B different labels, so that what is not a pair really is none. The text tower may
start from a trained `SentenceEncoder`, and stay frozen (its projection is trained).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from soundsieve.encoders.clap import CLAP, CLAPConfig
from soundsieve.encoders.text import SentenceEncoder
from soundsieve.errors import ConfigError
from soundsieve.losses import contrastive_loss
from soundsieve.training.mixtures import Mixer, MixtureConfig
from soundsieve.training.sampling import ClipSampler
from soundsieve.training.store import ClipStore
from soundsieve.training.tasks.base import Batch
from soundsieve.weights.clap import save_clap

LARGEST_SCALE = 100.0
"""Of the logits (Radford et al., 2021)."""


@dataclass(frozen=True)
class CLAPTaskConfig:
    """What a CLAP is trained on."""

    batch_size: int = 32
    """Clips a step, each of another label."""
    freeze_text: bool = True
    """Keep the text tower as it is; its projection is trained."""
    text_tower: str | None = None
    """Weights of a trained text tower (a file of the text recipe)."""
    mixtures: MixtureConfig = field(default_factory=MixtureConfig)
    """How clips are cropped and varied."""
    sentences: tuple[str, ...] = ()
    """CSV files (label, and caption or text) with sentences for the labels."""


class CLAPTask:
    """A `Task` over a CLAP; arguments as of `tasks.sieve.SieveTask`."""

    def __init__(
        self, model: CLAPConfig, config: CLAPTaskConfig, train: ClipStore, validation: ClipStore, *, seed: int
    ) -> None:
        self.config, self.seed, self.validation = config, seed, validation
        torch.manual_seed(seed)
        clap = CLAP(model)
        if config.text_tower:
            clap.take_text_tower(SentenceEncoder.load(config.text_tower))
        if config.freeze_text:
            clap.freeze_text_tower()
        self.module: nn.Module = clap
        self.mixer = Mixer(train, config.mixtures)
        self.sampler = ClipSampler(train.clips, config.sentences, label_power=config.mixtures.label_power)
        if clap.tokenizer is None:
            raise ConfigError("this CLAP has no tokenizer: name a trained text tower in options.text_tower")
        self.tokens, self.token_mask = clap.tokenizer(self.sampler.texts)

    def batch(self, step: int) -> Batch:
        """Waveforms and a sentence for each."""
        sampler, rng = self.sampler, np.random.default_rng([self.seed, step])
        labels = sampler.draw_labels(min(self.config.batch_size, len(sampler.labels)), rng)
        sounds = [self.mixer.mixture([sampler.draw_clip(label, rng)], rng)[0] for label in labels]
        texts = [sampler.draw_sentence(label, rng) for label in labels]
        return {"waveform": torch.from_numpy(np.stack(sounds)), "text": torch.tensor(texts)}

    def loss(self, module: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """The contrastive loss."""
        assert isinstance(module, CLAP)
        mask = self.token_mask[batch["text"].cpu()]
        longest = int(mask.sum(1).max())
        device = batch["waveform"].device
        tokens = self.tokens[batch["text"].cpu(), :longest].to(device)
        text = module.embed_tokens(tokens, mask[:, :longest].to(device))
        sound = module.embed_audio(batch["waveform"])
        return {"loss": contrastive_loss(sound, text, module.logit_scale.exp().clamp(max=LARGEST_SCALE))}

    @torch.no_grad()
    def validate(self, module: nn.Module) -> dict[str, float]:
        """How often a validation clip's nearest label is its own, of all labels of the training clips."""
        assert isinstance(module, CLAP)
        labels = {label: i for i, label in enumerate(self.sampler.labels)}
        text = torch.cat([module.embed_text(self.sampler.labels[i : i + 64]) for i in range(0, len(labels), 64)])
        right = []
        for i, clip in enumerate(self.validation.clips):
            if clip.label in labels:
                sound = module.embed_audio(torch.from_numpy(self.validation[i])[None].to(text.device))
                right.append(float((sound @ text.T).argmax() == labels[clip.label]))
        if not right:
            raise ConfigError("no validation clip has a label of the training clips")
        return {"accuracy": float(np.mean(right)), "score": float(np.mean(right))}

    def save(self, path: Path, module: nn.Module) -> None:
        """State and config, for `soundsieve.weights.clap.load_clap`."""
        assert isinstance(module, CLAP)
        save_clap(path, module)
