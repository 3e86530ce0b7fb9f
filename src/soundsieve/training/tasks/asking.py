"""What all systems that are asked in words are trained on: mixtures of clips, and questions about their sounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from soundsieve import audio
from soundsieve.errors import ConfigError
from soundsieve.evaluation.answers import estimates, evaluating
from soundsieve.evaluation.pairs import SAMPLE_RATE, make_pairs, mix
from soundsieve.evaluation.run import quick_score
from soundsieve.metrics import sdr_improvement, si_sdr
from soundsieve.query import Condition
from soundsieve.systems.base import System
from soundsieve.training.mixtures import Mixer, MixtureConfig, Waveform
from soundsieve.training.sampling import ClipSampler
from soundsieve.training.store import ClipStore

S = TypeVar("S", bound=System)

_ATTEMPTS = 10_000
"""At drawing clips of different files, before the list is blamed."""


@dataclass(frozen=True)
class AskingConfig:
    """What is mixed and asked."""

    batch_size: int = 8
    """Queries a step, on each device."""
    both_directions: bool = False
    """Ask every mixture for both of its first two sounds, one after the other, instead of for the first alone."""
    validation_pairs: int = 50
    """Mixtures of the validation split that a checkpoint is judged by."""
    mixtures: MixtureConfig = field(default_factory=MixtureConfig)
    """How mixtures are made."""
    sentences: tuple[str, ...] = ()
    """CSV files (label, and caption or text) with sentences for the labels."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is at least 1, not {self.batch_size}")
        if self.both_directions and self.batch_size % 2:
            raise ConfigError(f"both_directions asks in twos: batch_size must be even, not {self.batch_size}")


@dataclass(frozen=True)
class Asked:
    """A sound of a mixture that is asked for.

    Attributes:
        mixture: shape ``(T,)``.
        sources: shape ``(S, T)``, S two or three; they add up to the mixture.
        clips: the clip of each, as an index into the store.
        wanted: which of the first two is asked for, 0 or 1.
    """

    mixture: Waveform
    sources: Waveform
    clips: Sequence[int]
    wanted: int


def checked_start(path: str, system: System, wanted: type[S], config: object) -> S:
    """A system to go on from, in training mode.

    Args:
        path: where it is from, for messages.
        system: what was found there.
        wanted: the class that the recipe trains.
        config: the shape that the recipe states.

    Raises:
        ConfigError: it is another system, or of another shape.
    """
    if not isinstance(system, wanted):
        raise ConfigError(f"{path} holds a {system.name}, not a {wanted.name}")
    if system.config != config:
        raise ConfigError(f"{path} holds a {system.name} of another shape than this recipe's")
    return system.train()


class AskingTask:
    """What tasks of this kind share.

    Args:
        config: what is mixed and asked.
        train: decoded clips to train on.
        validation: decoded clips to judge by.
        seed: of everything drawn.
    """

    def __init__(self, config: AskingConfig, train: ClipStore, validation: ClipStore, *, seed: int) -> None:
        self.seed, self.validation = seed, validation
        self.mixer = Mixer(train, config.mixtures)
        self.sampler = ClipSampler(train.clips, config.sentences, label_power=config.mixtures.label_power)
        self._asking = config
        self._vectors: Tensor | None = None
        sources = 3 if config.mixtures.three_sources else 2
        if len({clip.path for clip in train.clips}) < sources:
            raise ConfigError(f"mixtures of {sources} sounds need that many files, and there are {len(train.clips)}")
        self._pairs = make_pairs(validation.clips, validation.sounds, n=config.validation_pairs, seed=seed)

    def asked(self, rng: np.random.Generator) -> Iterator[Asked]:
        """The questions of a batch; the mixtures are drawn as they are asked for."""
        config = self._asking
        directions = (0, 1) if config.both_directions else (0,)
        for _ in range(config.batch_size // len(directions)):
            clips = self._meeting(rng)
            mixture, sources = self.mixer.mixture(clips, rng)
            for wanted in directions:
                yield Asked(mixture, sources, clips, wanted)

    def _meeting(self, rng: np.random.Generator) -> list[int]:
        """Clips of different labels and files; a list may hold a file under several captions."""
        sampler, mixtures = self.sampler, self._asking.mixtures
        for _ in range(_ATTEMPTS):
            count = 3 if rng.random() < mixtures.three_sources else 2
            clips = [sampler.draw_clip(label, rng) for label in sampler.draw_labels(count, rng)]
            if len({self.mixer.store.clips[clip].path for clip in clips}) == count:
                return clips
        raise ConfigError(
            f"{_ATTEMPTS} times the clips drawn for a mixture were of one file: the list needs more files, or fewer "
            "captions of the same"
        )

    def sentence(self, clip: int, rng: np.random.Generator) -> int:
        """Words for a clip, as an index into the sampler's texts."""
        return self.sampler.draw_sentence(int(self.sampler.label[clip]), rng)

    def text_vectors(self, embed: Callable[[list[str]], Tensor], device: torch.device) -> Tensor:
        """Embeddings of all texts, shape ``(texts, D)``, made once, by a frozen encoder where it is."""
        if self._vectors is None:
            texts = self.sampler.texts
            with torch.autocast(device.type, enabled=False):
                parts = [embed(texts[i : i + 128]) for i in range(0, len(texts), 128)]
            self._vectors = torch.cat(parts).detach()
        return self._vectors.to(device)

    def validation_sources(self, sample_rate: int, samples: int) -> Tensor:
        """The middles of both sounds of every validation mixture, shape ``(pairs, 2, samples)``."""
        found = torch.zeros(len(self._pairs), 2, samples)
        for sources, pair in zip(found, self._pairs, strict=True):
            whole = audio.resample(mix(pair, self.validation.sounds).sources.numpy(), SAMPLE_RATE, sample_rate)
            start = max(0, (whole.shape[1] - samples) // 2)
            middle = torch.from_numpy(whole[:, start : start + samples])
            sources[:, : middle.shape[1]] = middle
        return found

    @torch.no_grad()
    def validate(self, module: nn.Module) -> dict[str, float]:
        """SDR improvement by text and, where the system takes it, by text with exclusion, and selectivity.

        ``score`` adds what text alone gains, what exclusion adds, and never answering with the wrong sound.
        """
        assert isinstance(module, System)
        scores = quick_score(module, self.validation.sounds, self._pairs, self.validation.clips, batch_size=8)
        gain = 0.5 * (scores["sdri_text"] + scores.get("sdri_both", scores["sdri_text"]))
        return scores | {"score": gain + 5.0 * scores["selectivity"]}

    def _score_as_trained(
        self, system: System, condition_of: Callable[[Tensor, np.random.Generator], Condition]
    ) -> dict[str, float]:
        """The same where there are no words: SDR improvement and selectivity when asked by the sounds themselves.

        Args:
            system: what is judged.
            condition_of: makes the conditions of both sounds ``(2, T)`` of a mixture, at `SAMPLE_RATE`.
        """
        gains, told_apart = [], []
        with evaluating(system):
            for number, pair in enumerate(self._pairs):
                mixed = mix(pair, self.validation.sounds)
                sources, mixture = mixed.sources, mixed.mixture.expand_as(mixed.sources)
                asked = condition_of(sources, np.random.default_rng(number))
                estimate = estimates(system, mixture, [asked], sample_rate=SAMPLE_RATE)[0].target
                gains.append(float(sdr_improvement(estimate, sources, mixture=mixture).mean()))
                told_apart.append(bool((si_sdr(estimate, sources) > si_sdr(estimate, sources.flip(0))).all()))
        scores = {"sdri_as_trained": float(np.mean(gains)), "selectivity": float(np.mean(told_apart))}
        return scores | {"score": scores["sdri_as_trained"] + 5.0 * scores["selectivity"]}
