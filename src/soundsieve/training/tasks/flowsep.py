"""Train FlowSep's network to move noise to the latent of the sound that is asked for, or, as DiffusionSep, to tell it.

With x1 the target's latent, z standard normal noise of its shape and t in [0, 1], the flow (Yuan et al., 2024, arXiv
2409.07614; Lipman et al., 2023, arXiv 2210.02747) is trained on

    x_t = (1 - (1 - s) t) z + t x1        velocity v = x1 - (1 - s) z        loss = mean |v(x_t, t) - v|^2

with s = 1e-4 and the mean over all numbers of a latent; the diffusion on the noise in x_n, see
`soundsieve.systems.flowsep.diffusion`. Either is given the mixture's latent and, nine times of ten, the text: what
is answered without a text is what guidance leads away from.

Latents are samples of the VAE's posterior, multiplied by one over their standard deviation in the first batch. VAE,
vocoder and text encoder stay as they are. Mixtures are mixed as waveforms: spectrograms of sums are no sums.

A mixture is brought to a peak of 0.5, as `soundsieve.systems.flowsep.windows` does with what is asked about. Its
target goes along (``model.level: kept``), so that it has the level that it has in the mixture; the released training
scales the mixture alone (``matched``), and its answers have a level of their own.

With a ``teacher`` the flow is made straighter (reflow; Liu et al., 2023, arXiv 2209.03003): x1 is what the teacher
makes of the same z, so that paths do not cross, and few steps follow them. With times drawn at 0 alone that is a
distillation to one step.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from soundsieve.encoders.t5 import T5, T5Config, t5_tokenizer
from soundsieve.encoders.tokens import tokenizer_json
from soundsieve.errors import ConfigError
from soundsieve.systems.flowsep.bigvgan import BigVGAN, BigVGANConfig
from soundsieve.systems.flowsep.config import FlowSepConfig
from soundsieve.systems.flowsep.diffusion import STEPS, diffuse
from soundsieve.systems.flowsep.flowsep import FlowSep
from soundsieve.systems.flowsep.sampling import Sampling
from soundsieve.systems.flowsep.vae import VAE, VAEConfig
from soundsieve.training.embeddings import load_sieve_encoder
from soundsieve.training.mixtures import Waveform
from soundsieve.training.store import ClipStore
from soundsieve.training.tasks.asking import AskingConfig, AskingTask, checked_start
from soundsieve.training.tasks.base import Batch
from soundsieve.training.tasks.flowsep_parts import VAE_KIND, VOCODER_KIND
from soundsieve.weights.checkpoint import load_system, save_system
from soundsieve.weights.clap import state_digest
from soundsieve.weights.modules import load_module
from soundsieve.weights.pretrained import load_t5

FROZEN = ("text", "vae", "vocoder")
"""Parts of a FlowSep that this task leaves as they are."""
PEAK = 0.5
"""Of every mixture."""


@dataclass(frozen=True)
class FlowSepTaskConfig(AskingConfig):
    """What the network is trained on and for."""

    vae: str | None = None
    """The trained VAE: a file of a flowsep_vae recipe, or at the published size the authors' ``vae.ckpt``. None for an
    untrained one, drawn by the recipe's seed (for tests)."""
    vocoder: str | None = None
    """The trained vocoder: a file of a flowsep_vocoder recipe, or the authors' ``g_01000000``; None likewise. Training
    does not use it."""
    text: str | None = None
    """The trained text encoder: of a sentence encoder, the Sieve that it is taken from, a model's name or a file, None
    for the embedded one; of a T5, a folder from the Hugging Face hub, or a file in it beside ``tokenizer.json``, None
    for an untrained one."""
    init: str | None = None
    """A whole FlowSep to go on from, in place of the three; `soundsieve convert` makes such a file of the published
    one."""
    teacher: str | None = None
    """A FlowSep on the same VAE, whose answers are learnt in place of the targets."""
    teacher_sampling: Sampling = field(default_factory=lambda: Sampling(steps=10))
    """How the teacher answers."""
    condition_dropout: float = 0.1
    """Share of queries without their text."""
    times: Literal["uniform", "log-normal", "early", "start"] = "uniform"
    """How times are drawn: evenly, as the released training does; t = 1 / (1 + exp(-g)) with g standard normal, so that
    the middle comes more often (Esser et al., 2024, arXiv 2403.03206, who call it logit-normal); t = u^3 with u even,
    so that the beginning does, where the state does not tell yet which of the sounds it is going to be; or t = 0 alone,
    for distillation."""
    sigma: float = 1e-4
    """s above: what is left of the noise at t = 1."""
    draws: int = 1
    """Times and noises drawn for each query: more use of what the encoders were asked for."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.condition_dropout <= 1 or not 0 <= self.sigma < 1:
            raise ConfigError("condition_dropout is a share, from 0 to 1, and sigma lies between 0 and 1")
        if self.draws < 1:
            raise ConfigError(f"draws is at least 1, not {self.draws}")
        if self.init and (self.vae or self.vocoder or self.text):
            raise ConfigError("options.init brings its own parts along: set vae, vocoder and text to null")


def flow_pair(target: Tensor, noise: Tensor, t: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """A state on the straight path from noise to target, and the velocity along it.

    Args:
        target: latents x1, shape ``(B, ...)``.
        noise: z, same shape.
        t: times, shape ``(B,)``.
        sigma: what is left of the noise at the end.

    Returns:
        x_t and v, each of the latents' shape.
    """
    t = t.view(-1, *[1] * (target.ndim - 1))
    return (1 - (1 - sigma) * t) * noise + t * target, target - (1 - sigma) * noise


class FlowSepTask(AskingTask):
    """A `Task` over a FlowSep, whichever its objective; arguments as of `tasks.sieve.SieveTask`."""

    def __init__(
        self, model: FlowSepConfig, config: FlowSepTaskConfig, train: ClipStore, validation: ClipStore, *, seed: int
    ) -> None:
        super().__init__(config, train, validation, seed=seed)
        if config.mixtures.level_db is not None or config.mixtures.peak is not None:
            raise ConfigError("a FlowSep's mixtures get their level later: set level_db to null and leave peak out")
        self.config = config
        torch.manual_seed(seed)
        system = build_system(model, config)
        for part in FROZEN:
            system.get_submodule(part).requires_grad_(False)
        self.module: nn.Module = system.train()
        grain = system.config.grain
        if self.mixer.samples % grain:
            raise ConfigError(f"mixtures.segment_s must be a multiple of {grain / system.sample_rate:g} s")
        self.rebuilt = frozenset(name for name in system.state_dict() if name.partition(".")[0] in FROZEN)
        self.frozen_digest = state_digest({name: system.state_dict()[name] for name in sorted(self.rebuilt)})
        self._teacher = _teacher(config, system) if config.teacher else None
        if self._teacher is not None:
            system.scale_factor.copy_(self._teacher.scale_factor)
        elif not config.init:
            with torch.random.fork_rng(), torch.no_grad():
                latents = system.encode(self.batch(0)["target"], torch.randn(1))
            system.scale_factor.fill_(1 / latents.std())
        self._judged = self._validation_batch(system)

    # --- what is heard ---

    def batch(self, step: int) -> Batch:
        """Mixtures, what is asked for in each, words for it, and whether they are said."""
        rng = np.random.default_rng([self.seed, step])
        mixtures, targets, texts = [], [], []
        for each in self.asked(rng):
            mixture, target = self._levelled(each.mixture, each.sources[each.wanted])
            mixtures.append(mixture)
            targets.append(target)
            texts.append(self.sentence(each.clips[each.wanted], rng))
        told = rng.random(len(texts)) >= self.config.condition_dropout
        ways = 2 if self.config.both_directions else 1
        return {
            "mixture": torch.from_numpy(np.stack(mixtures[::ways])),
            "target": torch.from_numpy(np.stack(targets)),
            "text": torch.tensor(texts),
            "told": torch.from_numpy(told),
        }

    def _levelled(self, mixture: Waveform, target: Waveform) -> tuple[Waveform, Waveform]:
        """The mixture without its mean and at its peak, and the target at the same gain, or as it was."""
        assert isinstance(self.module, FlowSep)
        steady = mixture - mixture.mean()
        gain = np.float32(PEAK / max(float(np.abs(steady).max()), 1e-8))
        return steady * gain, target * gain if self.module.config.level == "kept" else target

    def _validation_batch(self, system: FlowSep) -> Batch:
        """Both sounds of all validation mixtures, asked for in their captions."""
        heard = self.validation_sources(system.sample_rate, self.mixer.samples)
        by_path = {clip.path: clip for clip in self.validation.clips}
        self.captions = [by_path[path].caption for pair in self._pairs for path in pair.paths]
        levelled = [self._levelled(pair.sum(0), target) for pair in heard.numpy() for target in pair]
        return {
            "mixture": torch.from_numpy(np.stack([mixture for mixture, _ in levelled])),
            "target": torch.from_numpy(np.stack([target for _, target in levelled])),
        }

    # --- what is minimised ---

    def loss(self, module: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """Mean square of what the network says of velocity, or noise, less what it is."""
        assert isinstance(module, FlowSep)
        texts = [self.sampler.texts[i] for i in batch["text"].tolist()]
        parts = self._latents(module, batch["mixture"], batch["target"], texts, batch["told"])
        mixture, target, tokens, mask = (part.repeat_interleave(self.config.draws, 0) for part in parts)
        times = self.draw_times(len(target), target.device)
        return {"loss": self._distance(module, mixture, target, tokens, mask, times)}

    @torch.no_grad()
    def _latents(
        self, module: FlowSep, mixture: Tensor, target: Tensor, texts: list[str], told: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Latents of mixtures and targets, and the tokens of the texts with their mask, all in float32."""
        with torch.autocast(target.device.type, enabled=False):
            tokens, mask = module.tokens(texts)
            nothing, there = module.no_text()
            tokens = torch.where(told[:, None, None], tokens, nothing)
            mask = torch.where(told[:, None], mask, there)
            found = []
            for sound in (mixture, target):
                posterior = module.vae.encode(module.mel(sound))
                noise = torch.randn(posterior.mean.shape, device=sound.device)
                found.append((posterior.sample(noise) * module.scale_factor).contiguous())
            return found[0].repeat_interleave(len(target) // len(mixture), 0), found[1], tokens, mask

    def draw_times(self, count: int, device: torch.device) -> Tensor:
        """Times in [0, 1], shape ``(count,)``, as ``config.times`` says."""
        if self.config.times == "start":
            return torch.zeros(count, device=device)
        if self.config.times == "early":
            return torch.rand(count, device=device).pow(3)
        if self.config.times == "log-normal":
            return torch.randn(count, device=device).sigmoid()
        return torch.rand(count, device=device)

    def _distance(
        self, module: FlowSep, mixture: Tensor, target: Tensor, tokens: Tensor, mask: Tensor, times: Tensor
    ) -> Tensor:
        noise = torch.randn_like(target)
        if self._teacher is not None:
            with torch.no_grad(), torch.autocast(target.device.type, enabled=False):
                teacher = self._teacher.to(target.device)
                target = teacher.draw(mixture, tokens, mask, noise, self.config.teacher_sampling)
        if module.config.objective == "flow":
            state, wanted = flow_pair(target, noise, times, self.config.sigma)
        else:  # time runs from the latent to noise, in whole steps
            times = (times * STEPS).long().clamp(max=STEPS - 1)
            state, wanted = diffuse(target, noise, times), noise
        found: Tensor = module.unet(state, mixture, times.float(), tokens, mask)
        return (found.float() - wanted).square().mean()

    @torch.no_grad()
    def validate(self, module: nn.Module) -> dict[str, float]:
        """The loss on validation mixtures, at evenly spread times and always the same noise; ``score`` is negated."""
        assert isinstance(module, FlowSep)
        device = module.scale_factor.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self.seed)
            loss = self.judged_loss(module, self.captions)
        return {"loss": loss, "score": -loss}

    @torch.no_grad()
    def judged_loss(
        self, module: FlowSep, texts: list[str], *, told: bool = True, times: Tensor | None = None
    ) -> float:
        """The loss on both sounds of all validation mixtures, one after the other.

        Args:
            module: what answers.
            texts: for each sound.
            told: whether they are said.
            times: for each sound, shape ``(sounds,)``; evenly spread over every 16 of them if not given.
        """
        device, losses = module.scale_factor.device, []
        for start in range(0, len(texts), 16):
            part = slice(start, start + 16)
            some = texts[part]
            said = torch.full((len(some),), told, device=device)
            mixture, target = (self._judged[name][part].to(device) for name in ("mixture", "target"))
            parts = self._latents(module, mixture, target, some, said)
            drawn = (torch.arange(len(some)) + 0.5) / len(some) if times is None else times[part]
            losses.append(float(self._distance(module, *parts, drawn.to(device))) * len(some))
        return sum(losses) / len(texts)

    def save(self, path: Path, module: nn.Module) -> None:
        """The whole system: the text encoder in float16, all else in float32."""
        assert isinstance(module, FlowSep)
        save_system(path, module, dtypes={"text.": "float16"})


def build_system(model: FlowSepConfig, config: FlowSepTaskConfig) -> FlowSep:
    """A new FlowSep on its trained parts, or the one to go on from.

    Raises:
        ConfigError: a part is of another shape than the recipe's.
        WeightsError: a file is missing or damaged.
    """
    if config.init:
        return checked_start(config.init, load_system(config.init), FlowSep, model)
    if isinstance(model.text, T5Config):
        system = FlowSep(model, text=_t5(model.text, config.text))
    else:
        tower = load_sieve_encoder(config.text).sieve.text
        system = FlowSep(replace(model, text=tower.config), text=tower)
    if config.vae:
        _take(system, "vae", load_module(config.vae, VAE_KIND, VAE, VAEConfig), config.vae)
    if config.vocoder:
        _take(system, "vocoder", load_module(config.vocoder, VOCODER_KIND, BigVGAN, BigVGANConfig), config.vocoder)
    return system


def _t5(sizes: T5Config, source: str | None) -> T5:
    if not source:
        return T5(sizes)
    folder = Path(source) if Path(source).is_dir() else Path(source).parent
    t5 = T5(sizes, tokenizer=t5_tokenizer(tokenizer_json(folder), sizes))
    load_t5(t5, source)
    return t5


def _take(system: FlowSep, name: str, part: VAE | BigVGAN, path: str) -> None:
    if part.config != getattr(system.config, name):
        raise ConfigError(f"{path} holds a {name} of another shape than this recipe's")
    setattr(system, name, part)


def _digest(part: nn.Module) -> str:
    return state_digest(part.state_dict())


def _teacher(config: FlowSepTaskConfig, student: FlowSep) -> FlowSep:
    """The network whose answers are learnt; it hears and reads as the student does."""
    assert config.teacher
    teacher = load_system(config.teacher)
    same = isinstance(teacher, FlowSep) and _digest(teacher.vae) == _digest(student.vae)
    if not isinstance(teacher, FlowSep) or not same:
        raise ConfigError(f"{config.teacher} is no FlowSep with this recipe's VAE")
    if teacher.config.text_width != student.config.text_width:
        raise ConfigError(f"{config.teacher} reads tokens of another width than this recipe's text encoder makes")
    teacher.config.check_sampling(config.teacher_sampling)
    return teacher.requires_grad_(False)
