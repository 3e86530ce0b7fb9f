"""What a FlowSep is made of, and how it answers where nothing else is asked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from soundsieve.encoders.t5 import T5Config
from soundsieve.encoders.text import SentenceEncoderConfig
from soundsieve.errors import ConfigError
from soundsieve.systems.flowsep.bigvgan import BigVGANConfig
from soundsieve.systems.flowsep.griffin_lim import GriffinLimConfig
from soundsieve.systems.flowsep.mel import MelConfig
from soundsieve.systems.flowsep.sampling import Sampling
from soundsieve.systems.flowsep.unet import FlowUNetConfig
from soundsieve.systems.flowsep.vae import VAEConfig

Objective: TypeAlias = Literal["flow", "diffusion"]
Level: TypeAlias = Literal["matched", "kept"]


@dataclass(frozen=True)
class FlowSepConfig:
    """Sizes of a FlowSep; the defaults are the published model.

    Raises:
        ConfigError: the parts do not fit together.
    """

    text: T5Config | SentenceEncoderConfig = field(default_factory=T5Config)
    """The encoder of captions: a `T5`, or a `SentenceEncoder`, whose vector is the only token."""
    mel: MelConfig = field(default_factory=MelConfig)
    """The spectrogram that is generated."""
    vae: VAEConfig = field(default_factory=VAEConfig)
    """Between spectrograms and latents."""
    unet: FlowUNetConfig = field(default_factory=FlowUNetConfig)
    """The network that moves a latent."""
    vocoder: BigVGANConfig | GriffinLimConfig = field(default_factory=BigVGANConfig)
    """From the spectrogram to the waveform: a `BigVGAN`, or a `GriffinLim`, which has no weights."""
    segment_s: float = 10.24
    """Seconds that are generated at once, the length of the training clips; shorter recordings are padded to it."""
    objective: Objective = "flow"
    """What the network was trained to say: the velocity of a rectified flow, or the noise of a diffusion (DiffusionSep,
    the same network with the other objective)."""
    level: Level = "matched"
    """Whether targets in training had the level that they have in their mixtures (``kept``); where they had not, as in
    the released training, the answer's level is ``matched`` to the mixture's."""
    sampling: Sampling = field(default_factory=Sampling)
    """Steps, sampler, guidance and seed where no others are asked for."""

    def __post_init__(self) -> None:
        if self.unet.context_width != self.text_width:
            raise ConfigError(f"FlowSep: the UNet's context_width is as wide as a token of the text, {self.text_width}")
        if self.unet.latent_channels != self.vae.latent_channels:
            raise ConfigError(f"FlowSep: UNet and VAE have the same latent_channels, {self.vae.latent_channels}")
        if self.mel.n_mels % (self.vae.factor * self.unet.factor):
            raise ConfigError(
                f"FlowSep: n_mels {self.mel.n_mels} is a multiple of {self.vae.factor * self.unet.factor}, as the VAE "
                "and the UNet halve it"
            )
        vocoder = self.vocoder
        if isinstance(vocoder, BigVGANConfig) and (
            vocoder.bands != self.mel.n_mels or vocoder.hop_length != self.mel.hop_length
        ):
            raise ConfigError(
                f"FlowSep: the vocoder takes the spectrogram's {self.mel.n_mels} bands, and its rates multiply to the "
                f"hop, {self.mel.hop_length}"
            )
        if not 0 < self.segment_s < float("inf"):
            raise ConfigError(f"FlowSep: segment_s is above 0, not {self.segment_s}")
        if self.objective not in ("flow", "diffusion"):
            raise ConfigError(f"FlowSep: objective is flow or diffusion, not {self.objective!r}")
        if self.level not in ("matched", "kept"):
            raise ConfigError(f"FlowSep: level is matched or kept, not {self.level!r}")
        self.check_sampling(self.sampling)

    def check_sampling(self, sampling: Sampling) -> None:
        """Raise a ConfigError if a network of this objective cannot be sampled so."""
        if self.objective == "diffusion" and sampling.sampler != "euler":
            raise ConfigError(f"a diffusion is sampled by DDIM in place of euler; it has no {sampling.sampler}")

    @property
    def sample_rate(self) -> int:
        """Hz, of what is heard and generated."""
        return self.mel.sample_rate

    @property
    def text_width(self) -> int:
        """Width of a token of the text."""
        return self.text.width

    @property
    def latent_hop(self) -> int:
        """Samples from one frame of a latent to the next."""
        return self.mel.hop_length * self.vae.factor

    @property
    def grain(self) -> int:
        """What the samples of a window are a multiple of, so that VAE and UNet can halve it."""
        return self.latent_hop * self.unet.factor

    @property
    def latent_bands(self) -> int:
        """Height of a latent."""
        return self.mel.n_mels // self.vae.factor

    @classmethod
    def base(cls) -> FlowSepConfig:
        """The published model: 16 kHz, 676 M parameters, half of them the text encoder's."""
        return cls()

    @classmethod
    def small(cls) -> FlowSepConfig:
        """One that a processor trains: windows of 5.12 s, asked by the embedded model's vector of a sentence."""
        return cls(
            SentenceEncoderConfig.small(),
            vae=VAEConfig.small(),
            unet=FlowUNetConfig.small(),
            vocoder=GriffinLimConfig(),
            segment_s=5.12,
            level="kept",
        )

    @classmethod
    def debug(cls) -> FlowSepConfig:
        """A tiny one for tests: windows of 0.64 s."""
        return cls(
            T5Config.debug(),
            MelConfig.debug(),
            VAEConfig.debug(),
            FlowUNetConfig.debug(),
            replace(BigVGANConfig.debug(), bands=MelConfig.debug().n_mels),
            segment_s=0.64,
            level="kept",
            sampling=Sampling(steps=2),
        )
