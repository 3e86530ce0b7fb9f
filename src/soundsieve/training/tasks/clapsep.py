"""Train CLAPSep on a trained CLAP, as its paper does (Ma et al., 2024, arXiv 2402.17455).

Every mixture is asked for its first sound (or for its first two, one after the other) by a condition that names what to
extract (0.25), what to suppress (0.25) or both (0.5). What stands for a sound is the objective's choice
(`soundsieve.training.objectives`); the paper's is ``hybrid``: a * audio + (1 - a) * text with one a ~ U(0, 1) a batch
(eq. 3), the audio being another clip of the same label, or the clip itself where the label has no other, varied in
speed and by SpecAugment. Objectives that need no captions hear the very sound of the mixture, and read no word of any
clip. What to suppress is the other of the two sounds. Loss: 0.9 SDR + 0.1 SI-SDR (eq. 14).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from soundsieve.dsp.sinc_resample import sinc_resample
from soundsieve.errors import ConfigError
from soundsieve.evaluation.pairs import SAMPLE_RATE
from soundsieve.losses import clapsep_loss
from soundsieve.nn.htsat import HTSAT
from soundsieve.query import Condition
from soundsieve.systems.base import System
from soundsieve.systems.clapsep import CLAPSep, CLAPSepConfig
from soundsieve.training.captions.cache import CaptionCache
from soundsieve.training.captions.encoders import CLAPEncoder
from soundsieve.training.mixtures import Mixer, Waveform
from soundsieve.training.objectives import Objective, condition, neighbours
from soundsieve.training.store import ClipStore
from soundsieve.training.tasks.asking import AskingConfig, AskingTask, checked_start
from soundsieve.training.tasks.base import Batch
from soundsieve.weights.checkpoint import load_system, save_system
from soundsieve.weights.clap import clap_digest, load_clap
from soundsieve.weights.trained_part import is_trained_part, load_trained_part, save_trained_part, trained_names


@dataclass(frozen=True)
class CLAPSepTaskConfig(AskingConfig):
    """What a CLAPSep is trained on and for."""

    clap: str | None = None
    """The trained CLAP: a file of a clap recipe, or the published ``.pt``. None for an untrained one, drawn by the
    recipe's seed (for tests), or where ``init`` brings one along."""
    tokenizer: str | None = None
    """The tokenizer of ``clap``: a ``tokenizer.json``, its folder, or a repository on the hub; None for the one in the
    file, which the published file lacks: RoBERTa's is fetched for it."""
    init: str | None = None
    """Weights of a CLAPSep to go on from: a whole one, or the trained part of one on ``clap``."""
    positive: float = 0.25
    """Share of queries that name what to extract, alone."""
    negative: float = 0.25
    """Share of queries that name what to suppress, alone; the rest names both."""
    objective: Objective = field(default_factory=lambda: Objective("hybrid"))
    """What stands for a sound; ``supervised`` is CLAPSep-text, which never hears an example clip (a = 0)."""
    cache: str | None = None
    """Folder of captions embedded by ``clap`` (`soundsieve cache build`), for retrieval."""
    example_speeds: tuple[float, ...] = ()
    """Speeds of example clips, one of which is drawn for each; empty: varied as the sounds of mixtures are."""
    spec_masks: int = 2
    """SpecAugment on example clips: how many stretches of time, and how many of mel bands, are put to zero."""
    mask_frames: int = 64
    """The longest such stretch of time, in frames of CLAP's spectrogram."""
    mask_bands: int = 8
    """The widest such stretch of bands."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective.needs_cache and not self.cache:
            raise ConfigError("retrieval looks up captions: name a folder of them in options.cache")
        if min(self.positive, self.negative) < 0 or self.positive + self.negative > 1:
            raise ConfigError("positive and negative are shares that add up to at most 1")
        if min(self.spec_masks, self.mask_frames, self.mask_bands) < 0 or min(self.example_speeds, default=1) <= 0:
            raise ConfigError("spec_masks, mask_frames and mask_bands are at least 0, example_speeds above 0")


def _build(model: CLAPSepConfig, config: CLAPSepTaskConfig) -> CLAPSep:
    """A new CLAPSep on its CLAP, or the one to go on from."""
    if not config.init:
        return CLAPSep(model, clap=load_clap(config.clap, tokenizer=config.tokenizer) if config.clap else None)
    if is_trained_part(config.init):
        if not config.clap:
            raise ConfigError(f"{config.init} holds a trained part alone: name its CLAP in options.clap")
        start: System = load_trained_part(config.init, load_clap(config.clap, tokenizer=config.tokenizer))
    else:
        if config.clap:
            raise ConfigError(f"{config.init} brings its own CLAP along: set options.clap to null")
        start = load_system(config.init)
    return checked_start(config.init, start, CLAPSep, model)


class CLAPSepTask(AskingTask):
    """A `Task` over a CLAPSep; arguments as of `tasks.sieve.SieveTask`.

    Checkpoints and, where ``config.clap`` names a file, products hold the trained part alone: the CLAP is read again,
    and known by its digest.
    """

    def __init__(
        self, model: CLAPSepConfig, config: CLAPSepTaskConfig, train: ClipStore, validation: ClipStore, *, seed: int
    ) -> None:
        super().__init__(config, train, validation, seed=seed)
        self.config = config
        torch.manual_seed(seed)
        system = _build(model, config)
        if system.clap.tokenizer is None:
            raise ConfigError(
                "this CLAP reads no text, and every query has some: name its tokenizer in options.tokenizer"
            )
        self.module: nn.Module = system
        self.frozen_digest = clap_digest(system.clap)
        self.rebuilt = frozenset(system.state_dict()) - frozenset(trained_names(system))
        self._clap_rate = model.clap.audio.sample_rate
        self._cache: CaptionCache | None = None
        if config.objective.needs_cache and config.cache:
            digest = CLAPEncoder(system.clap, config.clap or "an untrained CLAP").digest
            self._cache = CaptionCache.open(config.cache, encoder_digest=digest)
        speeds = [replace(config.mixtures, speed=(s, s), speed_share=1.0) for s in config.example_speeds]
        self._example_mixers = [Mixer(train, varied) for varied in speeds or [config.mixtures]]
        self._image = (model.clap.audio.clip_samples // model.clap.audio.hop_length + 1, model.clap.audio.n_mels)

    def batch(self, step: int) -> Batch:
        """Mixtures, their targets, sentences and example clips for both sides, and which sides are asked."""
        config, rng = self.config, np.random.default_rng([self.seed, step])
        mixtures: list[Waveform] = []
        targets, texts, examples, sides = [], [], [], []
        for asked in self.asked(rng):
            wanted, other = asked.wanted, 1 - asked.wanted
            draw = rng.random()
            side = (draw >= config.negative, draw < config.negative or draw >= config.negative + config.positive)
            mixtures.append(asked.mixture)
            # "All but the other sound" has what is left as its answer.
            targets.append(asked.sources[wanted] if side[0] else asked.mixture - asked.sources[other])
            if config.objective.needs_text:
                texts.append([self.sentence(asked.clips[i], rng) for i in (wanted, other)])
            if config.objective.needs_text and config.objective.needs_audio:
                examples.append([self._example(asked.clips[i], rng) for i in (wanted, other)])
            elif config.objective.needs_audio:  # where nothing is known of labels, the sound itself
                examples.append([asked.sources[i] for i in (wanted, other)])
            sides.append(side)
        batch = {
            "mixture": torch.from_numpy(np.stack(mixtures)),
            "target": torch.from_numpy(np.stack(targets)),
            "asked": torch.tensor(sides, dtype=torch.float32),
            "draw": torch.tensor(rng.integers(2**62)),
        }
        if texts:
            batch["text"] = torch.tensor(texts)
        if examples:
            batch["example"] = torch.from_numpy(np.array(examples))
            batch["time_masks"] = self._stripes(self._image[0], config.mask_frames, rng)
            batch["band_masks"] = self._stripes(self._image[1], config.mask_bands, rng)
        return batch

    def _example(self, clip: int, rng: np.random.Generator) -> Waveform:
        """Another clip of the label, at another speed."""
        mixer = self._example_mixers[int(rng.integers(len(self._example_mixers)))]
        return mixer.mixture([self.sampler.draw_example(clip, rng)], rng)[0]

    def _stripes(self, length: int, widest: int, rng: np.random.Generator) -> Tensor:
        """Where to mask both examples of every query: starts and ends, shape ``(2 B, spec_masks, 2)``."""
        shape = (2 * self.config.batch_size, self.config.spec_masks)
        width = rng.integers(0, min(widest, length) + 1, shape)
        start = rng.integers(0, length - width + 1)
        return torch.from_numpy(np.stack([start, start + width], axis=2))

    def loss(self, module: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """0.9 SDR + 0.1 SI-SDR, negated."""
        assert isinstance(module, CLAPSep)
        text = heard = None
        # Not under no_grad: nothing here has a gradient, and inference may round in ways that depend on the machine.
        if "text" in batch:
            text = self.text_vectors(module.clap.embed_text, batch["mixture"].device)[batch["text"]].flatten(0, 1)
        if "example" in batch:
            with _spec_augment(module.clap.audio, batch["time_masks"], batch["band_masks"]):
                waveform = sinc_resample(batch["example"].flatten(0, 1), module.sample_rate, self._clap_rate)
                heard = module.clap.embed_audio(waveform).float()
        wanted = self._conditions(text, heard, np.random.default_rng(int(batch["draw"])))
        embedding = wanted.view(-1, 2, wanted.shape[1]) * batch["asked"][..., None]
        estimate = module(batch["mixture"], Condition(embedding[:, 0], embedding[:, 1]))
        return {"loss": clapsep_loss(estimate, batch["target"])}

    def _conditions(self, text: Tensor | None, heard: Tensor | None, rng: np.random.Generator) -> Tensor:
        objective, cache = self.config.objective, self._cache
        near = neighbours(heard, cache, objective.k) if heard is not None and cache is not None else None
        return condition(objective, rng, text=text, audio=heard, near=near)

    @torch.no_grad()
    def validate(self, module: nn.Module) -> dict[str, float]:
        """As all tasks of this kind; without words for the clips, the same when asked as in training."""
        if self.config.objective.needs_text:
            return super().validate(module)
        assert isinstance(module, CLAPSep)
        clap, device = module.clap, next(module.parameters()).device

        def condition_of(sources: Tensor, rng: np.random.Generator) -> Condition:
            heard = clap.embed_audio(sinc_resample(sources.to(device), SAMPLE_RATE, self._clap_rate))
            asked = self._conditions(None, heard, rng)
            return Condition(asked, asked.flip(0))

        return self._score_as_trained(module, condition_of)

    def save(self, path: Path, module: nn.Module) -> None:
        """The trained part, to be loaded with the CLAP that ``config.clap`` names.

        The whole system in float16 where it names none: nobody has an untrained CLAP's weights, or those of ``init``.
        """
        assert isinstance(module, CLAPSep)
        if self.config.clap:
            save_trained_part(path, module, self.frozen_digest)
        else:
            save_system(path, module, dtypes={"": "float16"})


@contextmanager
def _spec_augment(tower: HTSAT, time_masks: Tensor, band_masks: Tensor) -> Iterator[None]:
    """Zeros in the tower's normalised spectrogram: stretches of time, and of bands (Park et al., arXiv 1904.08779).

    Args:
        tower: the audio tower; its batch norm's output, ``(B, n_mels, N)``, is masked.
        time_masks: first frame and the one after the last of every stretch, shape ``(B, M, 2)``.
        band_masks: the same in bands.
    """

    def hook(_: nn.Module, __: object, bands: Tensor) -> Tensor:
        kept = _kept(band_masks, bands.shape[1])[:, :, None] & _kept(time_masks, bands.shape[2])[:, None]
        return bands * kept

    handle = tower.bands_norm.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _kept(masks: Tensor, length: int) -> Tensor:
    """What no mask covers, boolean, shape ``(B, length)``."""
    at = torch.arange(length, device=masks.device)
    return ~((at >= masks[..., :1]) & (at < masks[..., 1:])).any(1)
