"""Train CLAPSep on a trained CLAP, as its paper does (Ma et al., 2024, arXiv 2402.17455).

Every mixture is asked for its first sound (or for its first two, one after the other) by a condition that names what to
extract (0.25), what to suppress (0.25) or both (0.5). Each side is a * audio + (1 - a) * text with one a ~ U(0, 1) a
batch (eq. 3); the audio is another clip of the same label, with SpecAugment; what to suppress is the other of the two
sounds. Loss: 0.9 SDR + 0.1 SI-SDR (eq. 14).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from soundsieve.dsp.sinc_resample import sinc_resample
from soundsieve.encoders.clap import CLAP
from soundsieve.errors import ConfigError
from soundsieve.evaluation.pairs import make_pairs
from soundsieve.evaluation.run import quick_score
from soundsieve.losses import clapsep_loss
from soundsieve.query import Condition
from soundsieve.systems.clapsep import CLAPSep, CLAPSepConfig
from soundsieve.training.mixtures import Mixer, MixtureConfig, Waveform
from soundsieve.training.sampling import ClipSampler
from soundsieve.training.store import ClipStore
from soundsieve.training.tasks.base import Batch
from soundsieve.training.tasks.clap import load_clap
from soundsieve.weights.checkpoint import load_system, save_system


@dataclass(frozen=True)
class CLAPSepTaskConfig:
    """What a CLAPSep is trained on and for."""

    batch_size: int = 8
    """Queries a step."""
    both_directions: bool = False
    """Ask every mixture for both of its first two sounds, one after the other, instead of for the first alone."""
    clap: str | None = None
    """Weights of the trained CLAP (a file of a clap recipe); None for an untrained one."""
    init: str | None = None
    """Weights of a CLAPSep to go on from."""
    positive: float = 0.25
    """Share of queries that name what to extract, alone."""
    negative: float = 0.25
    """Share of queries that name what to suppress, alone; the rest names both. Mixtures of three always name both."""
    text_only: bool = False
    """CLAPSep-text: never use example clips (a = 0)."""
    mask_s: float = 1.0
    """SpecAugment on example clips: longest stretch that is silenced, in seconds."""
    mask_octaves: float = 1.0
    """SpecAugment on example clips: widest band that is removed, in octaves."""
    validation_pairs: int = 50
    """Mixtures of the validation split that a checkpoint is judged by."""
    mixtures: MixtureConfig = field(default_factory=MixtureConfig)
    """How mixtures are made."""
    sentences: tuple[str, ...] = ()
    """CSV files (label, and caption or text) with sentences for the labels."""

    def __post_init__(self) -> None:
        if self.both_directions and self.batch_size % 2:
            raise ConfigError(f"both_directions asks in twos: batch_size must be even, not {self.batch_size}")
        if min(self.positive, self.negative) < 0 or self.positive + self.negative > 1:
            raise ConfigError("positive and negative are shares that add up to at most 1")


class CLAPSepTask:
    """A `Task` over a CLAPSep; arguments as of `tasks.sieve.SieveTask`."""

    def __init__(
        self, model: CLAPSepConfig, config: CLAPSepTaskConfig, train: ClipStore, validation: ClipStore, *, seed: int
    ) -> None:
        self.config, self.seed, self.validation = config, seed, validation
        torch.manual_seed(seed)
        if config.init:
            start = load_system(config.init)
            if not isinstance(start, CLAPSep):
                raise ConfigError(f"{config.init} holds a {start.name}, not a clapsep")
            self.module: nn.Module = start.train()
        else:
            self.module = CLAPSep(model, clap=load_clap(config.clap) if config.clap else None)
        self.mixer = Mixer(train, config.mixtures)
        self.sampler = ClipSampler(train.clips, config.sentences, label_power=config.mixtures.label_power)
        assert isinstance(self.module, CLAPSep)
        clap: CLAP = self.module.clap
        texts = self.sampler.texts
        with torch.no_grad():  # CLAP is frozen, so every sentence is embedded once
            self.vectors = torch.cat([clap.embed_text(texts[i : i + 128]) for i in range(0, len(texts), 128)])
        self._pairs = make_pairs(validation.clips, validation.sounds, n=config.validation_pairs, seed=seed)

    def batch(self, step: int) -> Batch:
        """Mixtures, their targets, sentences and example clips for both sides, and which sides are asked."""
        config, sampler, rng = self.config, self.sampler, np.random.default_rng([self.seed, step])
        mixtures: list[Waveform] = []
        targets, texts, examples, sides = [], [], [], []
        while len(mixtures) < config.batch_size:
            count = 3 if rng.random() < config.mixtures.three_sources else 2
            clips = [sampler.draw_clip(label, rng) for label in sampler.draw_labels(count, rng)]
            mixture, sources = self.mixer.mixture(clips, rng)
            for wanted in (0, 1) if config.both_directions else (0,):
                clip, other = clips[wanted], clips[1 - wanted]
                draw = rng.random()
                asked = (draw >= config.negative, draw < config.negative or draw >= config.negative + config.positive)
                mixtures.append(mixture)
                # "All but the other sound" has what is left as its answer.
                targets.append(sources[wanted] if asked[0] else mixture - sources[1 - wanted])
                texts.append([sampler.draw_sentence(int(sampler.label[i]), rng) for i in (clip, other)])
                examples.append([self._example(i, rng) for i in (clip, other)])
                sides.append(asked)
        batch = {
            "mixture": torch.from_numpy(np.stack(mixtures)),
            "target": torch.from_numpy(np.stack(targets)),
            "text": torch.tensor(texts),
            "asked": torch.tensor(sides, dtype=torch.float32),
            "audio_weight": torch.tensor(0.0 if config.text_only else rng.random(), dtype=torch.float32),
        }
        return batch if config.text_only else batch | {"example": torch.from_numpy(np.array(examples))}

    def _example(self, clip: int, rng: np.random.Generator) -> Waveform:
        """Another clip of the label, with a stretch of time and a band of frequencies taken out (SpecAugment)."""
        if self.config.text_only:
            return np.zeros(0, np.float32)
        sound, _ = self.mixer.mixture([self.sampler.draw_example(clip, rng)], rng)
        low_hz = 100.0 * 2 ** rng.uniform(0, 6)
        high_hz = low_hz * 2 ** rng.uniform(0, self.config.mask_octaves)
        spectrum, bin_hz = np.fft.rfft(sound), self.mixer.store.sample_rate / len(sound)
        spectrum[int(low_hz / bin_hz) : int(high_hz / bin_hz)] = 0
        sound = np.fft.irfft(spectrum, len(sound)).astype(np.float32)
        width = int(rng.uniform(0, self.config.mask_s) * self.mixer.store.sample_rate)
        start = int(rng.integers(0, max(1, len(sound) - width)))
        sound[start : start + width] = 0
        return sound

    def loss(self, module: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """0.9 SDR + 0.1 SI-SDR, negated."""
        assert isinstance(module, CLAPSep)
        self.vectors = self.vectors.to(batch["mixture"].device)
        with torch.no_grad():
            embedding = self.vectors[batch["text"]]
            if "example" in batch:
                rate = module.config.clap.audio.sample_rate
                waveform = sinc_resample(batch["example"].flatten(0, 1), module.sample_rate, rate)
                heard = module.clap.embed_audio(waveform).view_as(embedding)
                embedding = torch.lerp(embedding, heard.to(embedding.dtype), batch["audio_weight"])
            embedding = F.normalize(embedding, dim=2) * batch["asked"][..., None]
        estimate = module(batch["mixture"], Condition(embedding[:, 0], embedding[:, 1]))
        return {"loss": clapsep_loss(estimate, batch["target"])}

    @torch.no_grad()
    def validate(self, module: nn.Module) -> dict[str, float]:
        """SDR improvement by text, by text with exclusion, and selectivity on mixtures of the validation split."""
        assert isinstance(module, CLAPSep)
        scores = quick_score(module, self.validation.sounds, self._pairs, self.validation.clips, batch_size=8)
        return scores | {"score": 0.5 * (scores["sdri_text"] + scores["sdri_both"]) + 5.0 * scores["selectivity"]}

    def save(self, path: Path, module: nn.Module) -> None:
        """The whole system, its CLAP included, in float16."""
        assert isinstance(module, CLAPSep)
        save_system(path, module, dtypes={"": "float16"})
