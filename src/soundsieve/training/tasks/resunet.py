"""Train the ResUNet family as published: a sound is asked for, and the L1 distance of waveforms is minimised.

- LASS-Net (Liu et al., 2022, arXiv 2203.15147): by a caption, its encoder trained along or frozen.
- AudioSep (Liu et al., 2023, arXiv 2308.05037): by a frozen CLAP's vector of a caption, or of the target itself.
- USS (Kong et al., 2023, arXiv 2305.07447): by a frozen tagger's probabilities of the target itself.

How they mix, and what the released code does otherwise than the papers say, is in the recipes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from soundsieve import audio
from soundsieve.encoders.bert import CaptionEncoder
from soundsieve.encoders.text import SentenceEncoder, SentenceEncoderConfig
from soundsieve.errors import ConfigError
from soundsieve.evaluation.pairs import SAMPLE_RATE
from soundsieve.losses import l1_loss, magnitude_loss, sdr_loss
from soundsieve.query import Condition
from soundsieve.systems.audiosep import AudioSep, AudioSepConfig
from soundsieve.systems.base import System
from soundsieve.systems.lassnet import LASSNet, LASSNetConfig
from soundsieve.systems.uss import USS, USSConfig
from soundsieve.training.store import ClipStore
from soundsieve.training.tasks.asking import AskingConfig, AskingTask, S, checked_start
from soundsieve.training.tasks.base import Batch
from soundsieve.weights.checkpoint import load_system, save_system
from soundsieve.weights.clap import find_tokenizer, load_clap, state_digest
from soundsieve.weights.hub import BERT_TOKENIZER
from soundsieve.weights.pretrained import load_bert, load_tagger


@dataclass(frozen=True)
class ResUNetTaskConfig(AskingConfig):
    """What a system of the family is trained on and for."""

    loss: Literal["l1", "magnitude", "sdr"] = "l1"
    """What is minimised; see `soundsieve.losses`. ``magnitude`` compares spectra as the system makes them."""
    init: str | None = None
    """Weights of a whole system to go on from; `soundsieve convert` makes such a file of a published one."""


class ResUNetTask(AskingTask, ABC):
    """A `Task` over a system whose network is a ResUNet.

    Args:
        system: what is trained.
        frozen: the name of its part that is not, and is made again from its file when a run is resumed; empty for none.
        config: what is mixed, asked and minimised.
        train: decoded clips to train on.
        validation: decoded clips to judge by.
        seed: of everything drawn.
    """

    def __init__(
        self,
        system: System,
        frozen: str,
        config: ResUNetTaskConfig,
        train: ClipStore,
        validation: ClipStore,
        *,
        seed: int,
    ) -> None:
        super().__init__(config, train, validation, seed=seed)
        self.module: nn.Module = system.train()
        spectrum = {"n_fft": system.config.n_fft, "hop_length": system.config.hop_length}
        losses: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "l1": l1_loss,
            "magnitude": partial(magnitude_loss, **spectrum),
            "sdr": sdr_loss,
        }
        self._frozen, self._loss = frozen, losses[config.loss]
        self.rebuilt = frozenset(name for name in system.state_dict() if frozen and name.startswith(frozen + "."))
        self.frozen_digest = state_digest(system.get_submodule(frozen).state_dict()) if frozen else ""

    def batch(self, step: int) -> Batch:
        """Mixtures, what is asked for in each, and words for it."""
        rng = np.random.default_rng([self.seed, step])
        asked = [(each, self.sentence(each.clips[each.wanted], rng)) for each in self.asked(rng)]
        return {
            "mixture": torch.from_numpy(np.stack([each.mixture for each, _ in asked])),
            "target": torch.from_numpy(np.stack([each.sources[each.wanted] for each, _ in asked])),
            "text": torch.tensor([text for _, text in asked]),
        }

    @abstractmethod
    def embedding(self, module: nn.Module, batch: Batch) -> Tensor:
        """What is asked, as vectors ``(B, D)``."""

    def loss(self, module: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """The distance of the estimates from the targets."""
        embedding = self.embedding(module, batch)
        estimate = module(batch["mixture"], Condition(embedding, torch.zeros_like(embedding)))
        return {"loss": self._loss(estimate, batch["target"])}

    def save(self, path: Path, module: nn.Module) -> None:
        """The whole system: what is frozen in float16, what was trained in float32."""
        assert isinstance(module, System)
        save_system(path, module, dtypes={f"{self._frozen}.": "float16"} if self._frozen else {})


def _built(wanted: type[S], model: object, config: ResUNetTaskConfig, encoder: str | None, make: Callable[[], S]) -> S:
    """A new system, or the one to go on from, which has its encoder of queries with it."""
    if not config.init:
        return make()
    if encoder:
        raise ConfigError(f"{config.init} brings its own encoder along: set the option that names {encoder} to null")
    return checked_start(config.init, load_system(config.init), wanted, model)


@dataclass(frozen=True)
class LASSNetTaskConfig(ResUNetTaskConfig):
    """What a LASS-Net is trained on and for."""

    text_encoder: str | None = None
    """Weights of the text encoder: for a BERT, a file or folder from the Hugging Face hub; for a sentence encoder, a
    file of the text recipe. None for an untrained one."""
    tokenizer: str | None = None
    """The tokenizer of a BERT, a ``tokenizer.json`` or its folder; None for that of BERT, uncased, which is fetched (or
    for the built-in one of letters that BERT has at toy size)."""
    train_text_encoder: bool = True
    """Train the text encoder along with the network, as published; false keeps what came from the file as it is (of a
    ``CaptionEncoder`` the BERT, and not the Linear on top of it)."""


class LASSNetTask(ResUNetTask):
    """A `Task` over a LASS-Net; arguments as of `tasks.sieve.SieveTask`."""

    def __init__(
        self, model: LASSNetConfig, config: LASSNetTaskConfig, train: ClipStore, validation: ClipStore, *, seed: int
    ) -> None:
        torch.manual_seed(seed)
        system = _built(LASSNet, model, config, config.text_encoder, partial(_lassnet, model, config))
        if not config.train_text_encoder:
            system.freeze_text()
        self._same_vectors = not any(parameter.requires_grad for parameter in system.text.parameters())
        self.config = config
        frozen = "" if config.train_text_encoder else system.pretrained
        super().__init__(system, frozen, config, train, validation, seed=seed)

    def embedding(self, module: nn.Module, batch: Batch) -> Tensor:
        """The vectors of the captions."""
        assert isinstance(module, LASSNet)
        device = batch["mixture"].device
        if self._same_vectors:
            return self.text_vectors(module.embed_text, device)[batch["text"]]
        return module.embed_text([self.sampler.texts[i] for i in batch["text"].tolist()])


def _lassnet(model: LASSNetConfig, config: LASSNetTaskConfig) -> LASSNet:
    """A new one on its text encoder."""
    if isinstance(model.text, SentenceEncoderConfig):
        return LASSNet(model, text=SentenceEncoder.load(config.text_encoder) if config.text_encoder else None)
    text = CaptionEncoder(model.text)
    if text.tokenizer is None or config.tokenizer:
        text.tokenizer = find_tokenizer(config.tokenizer, model.text, BERT_TOKENIZER)
    if config.text_encoder:
        load_bert(text.bert, config.text_encoder)
    return LASSNet(model, text=text)


@dataclass(frozen=True)
class AudioSepTaskConfig(ResUNetTaskConfig):
    """What an AudioSep is trained on and for."""

    clap: str | None = None
    """The trained CLAP: a file of a clap recipe, or the published ``.pt``. None for an untrained one, drawn by the
    recipe's seed (for tests)."""
    tokenizer: str | None = None
    """The tokenizer of ``clap``; see `tasks.clapsep.CLAPSepTaskConfig`."""
    text_ratio: float = 1.0
    """Share of steps that are asked in words; the others are asked by the target itself, as CLAP hears it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.text_ratio <= 1:
            raise ConfigError(f"text_ratio is a share, from 0 to 1, not {self.text_ratio}")


class AudioSepTask(ResUNetTask):
    """A `Task` over an AudioSep; arguments as of `tasks.sieve.SieveTask`."""

    def __init__(
        self, model: AudioSepConfig, config: AudioSepTaskConfig, train: ClipStore, validation: ClipStore, *, seed: int
    ) -> None:
        torch.manual_seed(seed)
        system = _built(AudioSep, model, config, config.clap, partial(_audiosep, model, config))
        if system.clap.tokenizer is None:
            raise ConfigError("this CLAP reads no text: name its tokenizer in options.tokenizer")
        self.config = config
        super().__init__(system, "clap", config, train, validation, seed=seed)

    def batch(self, step: int) -> Batch:
        """As of all, and whether this step is asked in words."""
        in_words = np.random.default_rng([self.seed, step, 1]).random() < self.config.text_ratio
        return super().batch(step) | {"in_words": torch.tensor(in_words)}

    def embedding(self, module: nn.Module, batch: Batch) -> Tensor:
        """CLAP's vectors of the captions, or of the targets."""
        assert isinstance(module, AudioSep)
        if bool(batch["in_words"]):
            return self.text_vectors(module.clap.embed_text, batch["mixture"].device)[batch["text"]]
        return module.embed_audio(batch["target"])


def _audiosep(model: AudioSepConfig, config: AudioSepTaskConfig) -> AudioSep:
    """A new one on its CLAP."""
    return AudioSep(model, clap=load_clap(config.clap, tokenizer=config.tokenizer) if config.clap else None)


@dataclass(frozen=True)
class USSTaskConfig(ResUNetTaskConfig):
    """What a USS is trained on and for."""

    tagger: str | None = None
    """The trained tagger: the published ``Cnn14_mAP=0.431.pth``, or a whole USS. None for an untrained one, drawn by
    the recipe's seed (for tests)."""


class USSTask(ResUNetTask):
    """A `Task` over a USS; arguments as of `tasks.sieve.SieveTask`."""

    def __init__(
        self, model: USSConfig, config: USSTaskConfig, train: ClipStore, validation: ClipStore, *, seed: int
    ) -> None:
        torch.manual_seed(seed)
        system = _built(USS, model, config, config.tagger, partial(_uss, model, config))
        super().__init__(system, "tagger", config, train, validation, seed=seed)

    def embedding(self, module: nn.Module, batch: Batch) -> Tensor:
        """The probabilities of the targets, and no class by name."""
        assert isinstance(module, USS)
        probabilities = module.tag(batch["target"])
        return torch.cat([probabilities, torch.zeros_like(probabilities)], dim=1)

    @torch.no_grad()
    def validate(self, module: nn.Module) -> dict[str, float]:
        """SDR improvement and selectivity, asked as in training: by what the tagger hears in the targets."""
        assert isinstance(module, USS)
        device = module.network.bins_norm.weight.device

        def condition_of(sources: Tensor, _: np.random.Generator) -> Condition:
            heard = torch.from_numpy(audio.resample(sources.numpy(), SAMPLE_RATE, module.sample_rate))
            embedding = self.embedding(module, {"target": heard.to(device)})
            return Condition(embedding, torch.zeros_like(embedding))

        return self._score_as_trained(module, condition_of)


def _uss(model: USSConfig, config: USSTaskConfig) -> USS:
    """A new one on its tagger."""
    system = USS(model)
    if config.tagger:
        load_tagger(system.tagger, config.tagger)
    return system
