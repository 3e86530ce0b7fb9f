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
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from soundsieve.encoders.text import SentenceEncoder
from soundsieve.losses import l1_loss, sdr_loss
from soundsieve.query import Condition
from soundsieve.systems.base import System
from soundsieve.systems.lassnet import LASSNet, LASSNetConfig
from soundsieve.training.store import ClipStore
from soundsieve.training.tasks.asking import AskingConfig, AskingTask
from soundsieve.training.tasks.base import Batch
from soundsieve.weights.checkpoint import save_system
from soundsieve.weights.clap import clap_digest

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": l1_loss, "sdr": sdr_loss}


@dataclass(frozen=True)
class ResUNetTaskConfig(AskingConfig):
    """What a system of the family is trained on and for."""

    loss: Literal["l1", "sdr"] = "l1"
    """What is minimised; see `soundsieve.losses`."""


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
        self._frozen, self._loss = frozen, LOSSES[config.loss]
        self.rebuilt = frozenset(name for name in system.state_dict() if frozen and name.startswith(frozen + "."))
        self.frozen_digest = clap_digest(system.get_submodule(frozen)) if frozen else ""

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


@dataclass(frozen=True)
class LASSNetTaskConfig(ResUNetTaskConfig):
    """What a LASS-Net is trained on and for."""

    text_encoder: str | None = None
    """Weights of the text encoder: a file of the text recipe. None for an untrained one."""
    train_text_encoder: bool = True
    """Train the text encoder along with the network, as published; false keeps it as it is."""


class LASSNetTask(ResUNetTask):
    """A `Task` over a LASS-Net; arguments as of `tasks.sieve.SieveTask`."""

    def __init__(
        self, model: LASSNetConfig, config: LASSNetTaskConfig, train: ClipStore, validation: ClipStore, *, seed: int
    ) -> None:
        torch.manual_seed(seed)
        text = SentenceEncoder.load(config.text_encoder) if config.text_encoder else None
        system = LASSNet(model, text=text)
        if not config.train_text_encoder:
            system.freeze_text()
        self.config = config
        super().__init__(system, "" if config.train_text_encoder else "text", config, train, validation, seed=seed)

    def embedding(self, module: nn.Module, batch: Batch) -> Tensor:
        """The vectors of the captions."""
        assert isinstance(module, LASSNet)
        device = batch["mixture"].device
        if not self.config.train_text_encoder:
            return self.text_vectors(module.text.encode, device)[batch["text"]]
        ids, mask = module.text.tokenize([self.sampler.texts[i] for i in batch["text"].tolist()])
        return module.text(ids.to(device), mask.to(device))  # type: ignore[no-any-return]
