"""Train what FlowSep's flow stands on, each by itself: the VAE of its spectrograms, and the vocoder.

    VAE       mean |x - x'| + kl_weight KL / size      x a log-mel spectrogram, x' by way of a sampled latent, KL the
                                                       divergence from N(0, 1) in nats, size the numbers of a latent
    vocoder   mel_weight mean |M(y) - M(y')| + mean over r of L_r(y', y)
                                                       y a waveform, y' made of its log-mel spectrogram M(y), L_r the
                                                       distances of magnitudes at resolutions r (`losses.stft_loss`)

The published ones were trained with discriminators as well, and the VAE with distances in a network for pictures
(LPIPS). Both sharpen what distances leave blurred, take most of the time of a step and a second network each, and the
latter a network for which somebody else's pictures were paid for. They are left out here: what is lost is texture, so
that noise comes out smoother than it was, and the vocoder's phases are free, so that its tones are rough.

Both hear what the flow will meet: mixtures and the sounds in them, one as often as the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from soundsieve.errors import ConfigError
from soundsieve.losses import stft_loss
from soundsieve.systems.flowsep.bigvgan import BigVGAN, BigVGANConfig
from soundsieve.systems.flowsep.config import FlowSepConfig
from soundsieve.systems.flowsep.mel import LogMel
from soundsieve.systems.flowsep.vae import VAE
from soundsieve.training.store import ClipStore
from soundsieve.training.tasks.asking import AskingConfig, AskingTask
from soundsieve.training.tasks.base import Batch
from soundsieve.weights.modules import save_module

VAE_KIND, VOCODER_KIND = "flowsep-vae", "flowsep-vocoder"
"""What their files are called; see `weights.modules`."""


class PartTask(AskingTask, ABC):
    """What both tasks share.

    Args:
        module: what is trained.
        model: of whose spectrograms.
        config: what is heard.
        train: decoded clips to train on.
        validation: decoded clips to judge by.
        seed: of everything drawn.
    """

    kind: str

    def __init__(
        self, module: nn.Module, model: FlowSepConfig, config: AskingConfig, train: ClipStore, validation: ClipStore,
        *, seed: int,
    ) -> None:  # fmt: skip
        super().__init__(config, train, validation, seed=seed)
        self.module, self.model = module, model
        self.mel = LogMel(model.mel)
        if self.mixer.samples % model.latent_hop:
            step = model.latent_hop / model.mel.sample_rate
            raise ConfigError(f"mixtures.segment_s must be a multiple of {step:g} s, one frame of a latent")
        sources = self.validation_sources(model.mel.sample_rate, self.mixer.samples)
        self._heard = torch.cat([sources.sum(1), sources.flatten(0, 1)])

    def batch(self, step: int) -> Batch:
        """Mixtures, or one of the sounds in them."""
        rng = np.random.default_rng([self.seed, step])
        sounds = [each.mixture if rng.random() < 0.5 else each.sources[each.wanted] for each in self.asked(rng)]
        return {"sound": torch.from_numpy(np.stack(sounds))}

    def loss(self, module: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """See the module's text."""
        self.mel.to(batch["sound"].device)
        return self.distances(module, batch["sound"])

    @abstractmethod
    def distances(self, module: nn.Module, sound: Tensor) -> dict[str, Tensor]:
        """``loss`` and its parts, of sounds ``(B, T)``."""

    @torch.no_grad()
    def validate(self, module: nn.Module) -> dict[str, float]:
        """The same on validation mixtures; ``score`` is the loss, negated."""
        device = next(module.parameters()).device
        self.mel.to(device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self.seed)
            found = self.distances(module, self._heard.to(device))
        values = {name: float(value) for name, value in found.items()}
        return {**values, "score": -values["loss"]}

    def save(self, path: Path, module: nn.Module) -> None:
        """The trained module with its config; FlowSep's recipe names this file."""
        save_module(path, self.kind, module)


@dataclass(frozen=True)
class FlowSepVAETaskConfig(AskingConfig):
    """What a VAE is trained on and for."""

    kl_weight: float = 0.01
    """Of the divergence, for each number of a latent: more makes latents smoother and pictures coarser."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kl_weight < 0:
            raise ConfigError(f"kl_weight is at least 0, not {self.kl_weight}")


class FlowSepVAETask(PartTask):
    """A `Task` over a FlowSep's VAE; arguments as of `tasks.sieve.SieveTask`."""

    kind = VAE_KIND

    def __init__(
        self, model: FlowSepConfig, config: FlowSepVAETaskConfig, train: ClipStore, validation: ClipStore, *, seed: int
    ) -> None:
        torch.manual_seed(seed)
        vae = VAE(model.vae)
        super().__init__(vae, model, config, train, validation, seed=seed)
        self.config = config
        bias = vae.decoder.out.bias
        assert bias is not None
        nn.init.constant_(bias, float(self.mel(self._heard).mean()))  # steps of a learning rate are a long way to -6

    def distances(self, module: nn.Module, sound: Tensor) -> dict[str, Tensor]:
        """Of spectrograms, and of the posterior from N(0, 1)."""
        assert isinstance(module, VAE)
        mel = self.mel(sound)
        posterior = module.encode(mel)
        again = module.decode(posterior.sample(torch.randn_like(posterior.mean)))
        distance = (again - mel).abs().mean()
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        return {"loss": distance + self.config.kl_weight * divergence, "mel": distance, "kl": divergence}


@dataclass(frozen=True)
class FlowSepVocoderTaskConfig(AskingConfig):
    """What a vocoder is trained on and for."""

    resolutions: tuple[int, ...] = (256, 512, 1024, 2048)
    """Window lengths in samples of the transforms whose magnitudes are compared, a quarter of each apart."""
    mel_weight: float = 1.0
    """Of the distance of log-mel spectrograms."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.resolutions or min(self.resolutions) < 8 or self.mel_weight < 0:
            raise ConfigError("resolutions are windows of at least 8 samples, mel_weight is at least 0")


class FlowSepVocoderTask(PartTask):
    """A `Task` over a FlowSep's vocoder; arguments as of `tasks.sieve.SieveTask`."""

    kind = VOCODER_KIND

    def __init__(
        self, model: FlowSepConfig, config: FlowSepVocoderTaskConfig, train: ClipStore, validation: ClipStore, *,
        seed: int,
    ) -> None:  # fmt: skip
        if not isinstance(model.vocoder, BigVGANConfig):
            raise ConfigError("model.vocoder is a Griffin-Lim, which has no weights to train: give a BigVGAN's sizes")
        torch.manual_seed(seed)
        super().__init__(BigVGAN(model.vocoder), model, config, train, validation, seed=seed)
        self.config = config

    def distances(self, module: nn.Module, sound: Tensor) -> dict[str, Tensor]:
        """Of spectra, mel and plain."""
        mel = self.mel(sound)
        again = module(mel[:, 0].transpose(1, 2))[:, : sound.shape[1]]
        resolutions = self.config.resolutions
        spectra = torch.stack([stft_loss(again, sound, n_fft=n, hop_length=n // 4) for n in resolutions]).mean()
        distance = (self.mel(again) - mel).abs().mean()
        return {"loss": spectra + self.config.mel_weight * distance, "mel": distance, "spectra": spectra}
