"""FlowSep: a sound generated from a mixture and a description (Yuan et al., 2024, arXiv 2409.07614).

    mixture -> log-mel -> VAE -> mixture latent -+
    text -> tokens ------------------------------+-> UNet: velocity of the target's latent, at a time t
    noise -> follow the velocity from t = 0 to 1 -> target latent -> VAE -> log-mel -> vocoder -> target

Nothing of the mixture's waveform is in the answer: it is made anew, with phases of its own. Recordings longer than a
window, and levels, are the matter of `soundsieve.systems.flowsep.windows`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import ClassVar, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from soundsieve.encoders.t5 import T5, T5Config
from soundsieve.encoders.text import SentenceEncoder
from soundsieve.errors import ConfigError, QueryError
from soundsieve.query import Condition, Query
from soundsieve.systems.base import Estimate, System
from soundsieve.systems.flowsep.bigvgan import BigVGAN
from soundsieve.systems.flowsep.config import FlowSepConfig
from soundsieve.systems.flowsep.diffusion import denoise
from soundsieve.systems.flowsep.griffin_lim import GriffinLim, GriffinLimConfig
from soundsieve.systems.flowsep.mel import LogMel
from soundsieve.systems.flowsep.sampling import Sampling, Velocity, sample
from soundsieve.systems.flowsep.unet import FlowUNet
from soundsieve.systems.flowsep.vae import VAE
from soundsieve.systems.flowsep.windows import Windows

__all__ = ["FlowSep", "FlowSepConfig", "pack", "unpack"]

TextEncoder: TypeAlias = T5 | SentenceEncoder

_END = 1
"""The token that ends a text of T5; alone, it is the empty text."""


class FlowSep(System):
    """Generates what a text describes.

    Args:
        config: sizes.
        text: a trained encoder of ``config.text``'s sizes; if not given, a new one, for weights that are loaded later.
        assets: what `assets` returned: the tokenizer of the new one.

    Attributes:
        text: the encoder of captions.
        vae: between spectrograms and latents.
        unet: the network that is asked at every step.
        vocoder: from spectrograms to waveforms.
        scale_factor: what latents are multiplied by so that their variance is about one.
        sampling: how answers are drawn, see `with_settings`.
        projected: whether answers are projected onto the mixture.
    """

    name: ClassVar[str] = "flowsep"
    queries: ClassVar[frozenset[str]] = frozenset({"text"})
    in_order: ClassVar[bool] = True
    takes_int8: ClassVar[bool] = False  # a step's error would be the next one's input, and T5 reads its layers' weights
    aligned = False
    scale_factor: Tensor

    def __init__(
        self, config: FlowSepConfig, *, text: TextEncoder | None = None, assets: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.sample_rate, self.segment_s = config.mel.sample_rate, config.segment_s
        if text is not None and text.config != config.text:
            raise ConfigError("the given text encoder has other sizes than the config's: build the config from its own")
        self.text = text if text is not None else _text_encoder(config, assets or {})
        self.mel = LogMel(config.mel)
        self.vae = VAE(config.vae)
        self.unet = FlowUNet(config.unet)
        self.vocoder = _vocoder(config)
        self.register_buffer("scale_factor", torch.tensor(1.0))
        self.sampling, self.projected = config.sampling, False

    def assets(self) -> dict[str, str]:
        """The files that belong to the weights, as name -> text."""
        return self.text.assets()

    def train(self, mode: bool = True) -> FlowSep:
        """As `torch.nn.Module.train`, but parts that are frozen altogether stay in evaluation mode."""
        super().train(mode)
        for part in (self.text, self.vae, self.vocoder):
            if not any(parameter.requires_grad for parameter in part.parameters()):
                part.eval()
        return self

    # --- how it answers ---

    def with_settings(self, settings: Mapping[str, object]) -> FlowSep:
        """This system, with the same weights in the same memory, answering in another way.

        Args:
            settings: any of `Sampling`'s fields (``steps``, ``sampler``, ``guidance``, ``seed``), and ``project``:
                whether the answer is the part of the mixture that lies where the generated sound is, in place of the
                generated sound itself (`soundsieve.systems.flowsep.project`).

        Raises:
            ConfigError: there is no such setting, a value is out of range, or a diffusion is to be sampled otherwise
                than by DDIM.
        """
        given = dict(settings)
        projected = given.pop("project", self.projected)
        if not isinstance(projected, bool):
            raise ConfigError(f"project is {projected!r}: it is True or False")
        known = [field.name for field in fields(Sampling)]
        unknown = sorted(given.keys() - set(known))
        if unknown:
            raise ConfigError(f"{self.name} has no setting '{unknown[0]}': it has {', '.join(known)} and project")
        other = copy.copy(self)
        other.sampling = replace(self.sampling, **given)  # type: ignore[arg-type]  # Sampling checks them
        self.config.check_sampling(other.sampling)
        other.projected = other.aligned = projected
        return other

    # --- what is asked ---

    def check_query(self, query: Query) -> None:
        """As of every system; and it takes one text, as the tokens of several cannot be averaged."""
        super().check_query(query)
        if len(query.text) > 1:
            raise QueryError(f"{self.name} takes one text, not {len(query.text)}: put them into one sentence")

    @torch.no_grad()
    def encode_query(self, query: Query) -> Condition:
        """The tokens of the text, packed: see `pack`."""
        self.check_query(query)
        wanted = pack(*self.tokens(query.text))
        return Condition(wanted, torch.zeros_like(wanted))

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """What texts are to the UNet: tokens ``(B, L, W)`` and their mask ``(B, L)``.

        L is 1 with a `SentenceEncoder`, whose vectors, of length one, are scaled to a mean square of one.

        Raises:
            QueryError: a text is empty or too long.
        """
        if isinstance(self.text, SentenceEncoder):
            vectors = self.text.encode(texts) * math.sqrt(self.config.text_width)
            return vectors[:, None], torch.ones_like(vectors[:, :1])
        return self.text.encode(texts)

    @torch.no_grad()
    def no_text(self) -> tuple[Tensor, Tensor]:
        """Tokens ``(1, L, W)`` and mask ``(1, L)`` of nothing, which stand for a text that training left out.

        With T5 the empty text, as in the released training; with a `SentenceEncoder` a token of zeros.
        """
        one = torch.ones(1, 1, device=self.scale_factor.device)
        if isinstance(self.text, SentenceEncoder):
            return one.new_zeros(1, 1, self.config.text_width), one
        behind = self.text.config.tokens - 1
        states = self.text(_END * one.long(), one.long())
        return F.pad(states, (0, 0, 0, behind)), F.pad(one, (0, behind))

    # --- the stages ---

    def encode(self, mixture: Tensor, noise: Tensor) -> Tensor:
        """Mixtures ``(B, T)`` to latents ``(B, C, N, F)``: a sample of the VAE's posterior, scaled.

        Args:
            mixture: T a multiple of ``config.grain``, as `soundsieve.systems.flowsep.windows` brings it there: without
                mean, with a peak of 0.5.
            noise: standard normal, of the latents' shape or one for all.
        """
        return self.vae.encode(self.mel(mixture)).sample(noise) * self.scale_factor

    def velocity(self, mixture: Tensor, tokens: Tensor, mask: Tensor, guidance: float = 1.0) -> Velocity:
        """The velocity of a target's latent, as a function of the latent and the time.

        Under a guidance g it is v0 + g (v - v0), v with the text and v0 without (Ho and Salimans, 2022, arXiv
        2207.12598). The text is read once for all steps.

        Args:
            mixture: what `encode` made, ``(B, C, N, F)``.
            tokens: ``(B, L, W)``.
            mask: ``(B, L)``.
            guidance: 1 is none.
        """
        batch = len(mixture)
        text = None if guidance == 0 else self.unet.read(tokens, mask)
        none = None if guidance == 1 else self.unet.read(*self.no_text())  # one for all

        def velocity(x: Tensor, t: float) -> Tensor:
            times = torch.full((batch,), t, device=x.device)
            v = None if text is None else self.unet.velocity(x, mixture, times, text)
            v0 = None if none is None else self.unet.velocity(x, mixture, times, none)
            if v is None or v0 is None:
                found = v if v0 is None else v0
                assert found is not None
                return found
            return v0 + guidance * (v - v0)

        return velocity

    def draw(
        self,
        mixture: Tensor,
        tokens: Tensor,
        mask: Tensor,
        noise: Tensor,
        sampling: Sampling | None = None,
        *,
        goal: Tensor | None = None,
        kept: Tensor | None = None,
    ) -> Tensor:
        """Draw a target's latent ``(B, C, N, F)``.

        Args:
            mixture: what `encode` made, ``(B, C, N, F)``.
            tokens: ``(B, L, W)``.
            mask: ``(B, L)``.
            noise: the initial state, ``(B, C, N, F)``.
            sampling: by default the system's own.
            goal: where the first n frames are to end, ``(B, C, n, F)``: their path is the straight one there, of the
                velocity goal - noise.
            kept: how much of that path is imposed, from 0 to 1, ``(B, 1, n, 1)``.
        """
        sampling = sampling or self.sampling
        self.config.check_sampling(sampling)
        velocity = self.velocity(mixture, tokens, mask, sampling.guidance)
        if self.config.objective == "diffusion":
            return denoise(velocity, noise, sampling.steps, goal=goal, kept=kept)
        if goal is None or kept is None:
            return sample(velocity, noise, sampling)
        straight = goal - noise[:, :, : goal.shape[2]]

        def steered(x: Tensor, t: float) -> Tensor:
            v = velocity(x, t).clone()
            v[:, :, : goal.shape[2]] = torch.lerp(v[:, :, : goal.shape[2]], straight, kept)
            return v

        return sample(steered, noise, sampling)

    def decode(self, latent: Tensor) -> Tensor:
        """Latents ``(B, C, N, F)`` to log-mel spectrograms ``(B, 1, N', n_mels)``."""
        return self.vae.decode(latent / self.scale_factor)

    def vocode(self, mel: Tensor, known: Tensor | None = None) -> Tensor:
        """Log-mel spectrograms ``(B, 1, N, n_mels)`` to waveforms ``(B, T')``: the published vocoder makes 160 N + 32
        samples, of which the last 32 are to be cut.

        A `BigVGAN` makes the same of the same spectrogram; a `GriffinLim`, which is free to choose phases, has to be
        told what is ``known`` of the beginning, ``(B, t)``.
        """
        bands = mel[:, 0].transpose(1, 2)
        if isinstance(self.vocoder, GriffinLim):
            return self.vocoder(bands, known)  # type: ignore[no-any-return]
        return self.vocoder(bands)  # type: ignore[no-any-return]

    def generate(
        self, mixture: Tensor, tokens: Tensor, mask: Tensor, sampling: Sampling, *, noise: tuple[Tensor, Tensor]
    ) -> Tensor:
        """All stages, as published: for one window, and at the level that comes out.

        Args:
            mixture: as in `encode`, ``(B, T)``.
            tokens: ``(B, L, W)``.
            mask: ``(B, L)``.
            sampling: of the latent.
            noise: of the posterior and of the initial state, each ``(B, C, N, F)`` or one for all.

        Returns:
            Waveforms ``(B, T')``, see `vocode`.
        """
        latent = self.encode(mixture, noise[0])
        return self.vocode(self.decode(self.draw(latent, tokens, mask, noise[1].expand_as(latent), sampling)))

    # --- recordings ---

    @torch.no_grad()
    def forward(self, mixture: Tensor, condition: Condition) -> Tensor:
        """Generate targets of mixtures ``(B, T)``, each for its own condition, at their levels in the mixtures."""
        tokens, mask = unpack(condition.expand(len(mixture)).positive, self.config.text_width)
        rows = [(index, index) for index in range(len(mixture))]
        return Windows(self, tokens, mask, rows).answer(0, mixture)

    def answer_in_order(
        self, pieces: Iterable[tuple[int, Tensor]], conditions: Sequence[Condition], *, batch: int
    ) -> Iterator[list[Estimate]]:
        """See `System.answer_in_order`, and `soundsieve.systems.flowsep.windows` for how pieces are made to fit."""
        windows: Windows | None = None
        for start, mixture in pieces:
            if windows is None:
                packed = torch.cat([condition.positive for condition in conditions])
                rows = [(channel, q) for q in range(len(conditions)) for channel in range(len(mixture))]
                windows = Windows(self, *unpack(packed, self.config.text_width), rows, batch=batch)
            target = windows.answer(start, mixture)
            yield [Estimate(part) for part in torch.split(target, len(mixture))]


def pack(tokens: Tensor, mask: Tensor) -> Tensor:
    """Tokens ``(B, L, W)`` and mask ``(B, L)`` as one side of a `Condition`, ``(B, L (W + 1))``."""
    return torch.cat([tokens.flatten(1), mask.to(tokens)], dim=1)


def unpack(packed: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The reverse of `pack`: tokens ``(B, L, W)`` and mask ``(B, L)``.

    Raises:
        QueryError: it is no such condition.
    """
    length, rest = divmod(packed.shape[1], width + 1)
    if rest or not length:
        raise QueryError(f"a condition of FlowSep holds tokens of {width} values each; this one does not")
    tokens, mask = torch.split(packed, [length * width, length], dim=1)
    return tokens.reshape(-1, length, width), mask


def _vocoder(config: FlowSepConfig) -> BigVGAN | GriffinLim:
    if isinstance(config.vocoder, GriffinLimConfig):
        return GriffinLim(config.vocoder, config.mel)
    return BigVGAN(config.vocoder)


def _text_encoder(config: FlowSepConfig, assets: Mapping[str, str]) -> TextEncoder:
    if isinstance(config.text, T5Config):
        return T5(config.text, assets=assets)
    return SentenceEncoder(config.text, assets.get("tokenizer.json"))
