"""Recordings of any length and level through a FlowSep, window after window, so that nobody hears where one ends.

Two answers about the same sound, drawn on their own, are two sounds: cross-faded they would be heard as such. So a
window goes on from the one before it. Where n frames of latents are in both:

    noise         belongs to a place in the recording, not to a window: both start from the same
    latent        first 85%: that of the window before, z, imposed by its own straight path: the velocity is z - noise;
                  the velocity of this window takes over on the rest, and knows by then what it has to go on from
    spectrogram   first 75%: that of the window before; this window's own takes over on the next 10%
    waveform      made of that spectrogram by convolutions that reach 0.36 s, so both windows have the same one where
                  they are cross-faded, between 40% and 60% of what they share (`soundsieve.segments`); a vocoder that
                  is free to choose phases is told the waveform of the first 75%

The last window ends with the recording, so it may share more. It is cross-faded in the last quarter of a window that it
shares as others are, and everything before that is as in the window before: the percentages are of that quarter.

What comes first does not wait for what comes later: memory does not grow with the recording, and it does not matter how
many windows, channels or questions are worked on together.

As published, a window has its mean taken out and is brought to a peak of 0.5 before the network hears it. The gain of
the window before is kept as long as that leaves the peak between 0.2 and 0.8; where it changes, what is imposed is
brought to the new gain. What comes out is divided by the gain again, and then by what `matching_gain` finds, unless
training kept levels (``FlowSepConfig.level``); that one glides over the last 40% of what two windows share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from soundsieve.systems.flowsep.level import matching_gain
from soundsieve.systems.flowsep.project import project

if TYPE_CHECKING:
    from soundsieve.systems.flowsep.flowsep import FlowSep

_PEAK, _LEAST_PEAK, _MOST_PEAK = 0.5, 0.2, 0.8
_SILENT = 1e-8
"""A peak that counts as silence."""
_LATENT_KEPT = (0.85, 1.0)
_MEL_KEPT = (0.75, 0.85)
_LEVEL_KEPT = (0.6, 1.0)
"""Of what two windows share, the last quarter of a window at most: up to where all is as in the one before, and from
where on nothing is."""
_FADING = 0.25
"""That quarter."""
_BLOCK = 64
"""Frames of noise that are drawn together."""
_POSTERIOR, _START = 0, 1


@dataclass(frozen=True)
class Window:
    """What a window leaves to the next; C channels, and R answers about them.

    Attributes:
        first: its first sample in the recording.
        sound: the recording in it, ``(C, T)``.
        audible: which channels are not silent, ``(C,)``.
        gain: what each channel was multiplied by, ``(C,)``.
        latent: of each answer, ``(R, c, N, F)``.
        mel: of each answer, at the window's gain, ``(R, 1, N', n_mels)``.
        wave: of each answer, at the window's gain, ``(R, T)``.
        level: what each answer was multiplied by in the end, ``(R,)``.
    """

    first: int
    sound: Tensor
    audible: Tensor
    gain: Tensor
    latent: Tensor
    mel: Tensor
    wave: Tensor
    level: Tensor

    @property
    def stop(self) -> int:
        """The sample after its last."""
        return self.first + self.sound.shape[1]


class Windows:
    """Answers about consecutive pieces of one recording.

    Args:
        system: what answers.
        tokens: of the questions, ``(Q, L, W)``.
        mask: of these, ``(Q, L)``.
        rows: of each answer, which channel it is about and which question it is to.
        batch: how many answers are drawn together, where that is faster.
    """

    def __init__(
        self, system: FlowSep, tokens: Tensor, mask: Tensor, rows: Sequence[tuple[int, int]], *, batch: int = 1 << 30
    ) -> None:
        self._system, self._tokens, self._mask = system, tokens, mask
        # A processor is as fast one at a time, and then an answer is the same to the last bit whatever is beside it.
        self._batch = 1 if tokens.device.type == "cpu" else batch
        self._channels = torch.tensor([channel for channel, _ in rows])
        self._questions = torch.tensor([question for _, question in rows])
        self._before: Window | None = None

    @torch.no_grad()
    def answer(self, start: int, mixture: Tensor) -> Tensor:
        """Answers ``(R, T)`` about the next piece ``(C, T)``, whose first sample is ``start`` of the recording.

        The first starts at 0, and each no later than the one before it ends.
        """
        window, answers = self._window(start, mixture)
        self._before = window
        return answers[:, start - window.first :]

    def _window(self, start: int, mixture: Tensor) -> tuple[Window, Tensor]:
        system, config, before = self._system, self._system.config, self._before
        first = start // config.latent_hop * config.latent_hop  # noise belongs to frames of latents
        sound = mixture
        if before is not None and first < start:
            sound = torch.cat([before.sound[:, first - before.first : start - before.first], mixture], dim=1)
        steady = sound - sound.mean(dim=1, keepdim=True)
        peak = steady.abs().amax(dim=1)
        audible = peak > _SILENT
        gain = self._gain(peak, audible)
        size = max(round(config.segment_s * system.sample_rate), sound.shape[1])
        size = math.ceil(size / config.grain) * config.grain
        heard = F.pad(steady * gain[:, None], (0, size - sound.shape[1]))

        at, frames = first // config.latent_hop, size // config.latent_hop
        shape = (config.vae.latent_channels, frames, config.latent_bands)
        seed = system.sampling.seed
        noises = [noise_at(at, shape, seed=seed, kind=kind).to(sound.device) for kind in (_POSTERIOR, _START)]
        rows = len(self._channels)
        window = Window(
            first,
            sound,
            audible,
            gain,
            sound.new_zeros(rows, *shape),
            sound.new_zeros(rows, 1, size // config.mel.hop_length, config.mel.n_mels),
            sound.new_zeros(rows, sound.shape[1]),
            sound.new_ones(rows),
        )
        answers = torch.zeros_like(sound[self._channels])
        heard_latents: dict[int, Tensor] = {}
        both = audible if before is None else audible & before.audible
        groups = [group.cpu()[self._channels].nonzero()[:, 0] for group in (both, audible & ~both)]
        for some in (some for group in groups if len(group) for some in torch.split(group, self._batch)):
            for channel in set(self._channels[some].tolist()) - heard_latents.keys():
                heard_latents[channel] = system.encode(heard[channel][None], noises[0])
            mixtures = torch.cat([heard_latents[int(channel)] for channel in self._channels[some]])
            answers[some] = self._answers(some, window, mixtures, noises[1])
        return window, answers

    def _gain(self, peak: Tensor, audible: Tensor) -> Tensor:
        """What channels are multiplied by."""
        gain = torch.where(audible, _PEAK / peak.clamp_min(_SILENT), 1.0)
        if self._before is None:
            return gain
        kept = self._before.gain * peak
        fits = self._before.audible & (kept >= _LEAST_PEAK) & (kept <= _MOST_PEAK)
        return torch.where(fits, self._before.gain, gain)

    def _answers(self, some: Tensor, window: Window, mixtures: Tensor, noise: Tensor) -> Tensor:
        """Answers of some rows, ``(r, T)``; completes what the window leaves of them."""
        system, config = self._system, self._system.config
        channels, questions = self._channels[some], self._questions[some]
        tokens, mask = self._tokens[questions], self._mask[questions]
        shared = self._shared(some, window)
        goal, kept, known = None, None, None
        if shared is not None:
            goal, kept = self._imposed(some, window, shared)
        start = noise.expand_as(mixtures)
        latent = system.draw(mixtures, tokens, mask, start, goal=goal, kept=kept)
        mel = system.decode(latent)
        if shared is not None:
            fade = self._fade(some, window, shared * config.vae.factor, config.mel.hop_length, _MEL_KEPT)[:, None]
            length = fade.shape[2]
            mel[:, :, :length] = torch.lerp(mel[:, :, :length], self._mel_before(some, window, length), fade)
            known = self._wave_before(some, window)
        sound, gain = window.sound[channels], window.gain[channels][:, None]
        wave = system.vocode(mel, known)[:, : sound.shape[1]]
        answer = wave / gain
        if config.level == "matched":
            level = matching_gain(answer, sound, system.sample_rate)
            window.level[some] = level
            answer = answer * self._glide(some, window, level, sound.shape[1])
        window.latent[some], window.mel[some], window.wave[some] = latent, mel, wave
        return project(sound, answer) if system.projected else answer

    # --- what this window shares with the one before ---

    def _shared(self, some: Tensor, window: Window) -> int | None:
        """How many frames of latents are in both; None if there are none, or no channel sounds in both."""
        before = self._before
        if before is None or not (before.audible & window.audible)[self._channels[some]].any():
            return None
        return max(0, (before.stop - window.first) // self._system.config.latent_hop) or None

    def _fade(self, some: Tensor, window: Window, length: int, hop: int, kept: tuple[float, float]) -> Tensor:
        """How much is as in the window before: one up to ``kept[0]`` of what fades, none from ``kept[1]`` on.

        Shape ``(r, length, 1)``, ``hop`` samples from one place to the next; nothing for channels that are silent in
        one of both.
        """
        before = self._before
        assert before is not None
        fading = min(length, _FADING * before.sound.shape[1] / hop)
        first, last = (length - (1 - share) * fading for share in kept)
        place = torch.arange(length, device=window.sound.device) + 1
        ramp = ((last - place) / max(1.0, last - first)).clamp(0, 1)
        both = (before.audible & window.audible)[self._channels[some]]
        return both[:, None, None] * ramp[:, None]

    def _imposed(self, some: Tensor, window: Window, shared: int) -> tuple[Tensor, Tensor]:
        """Latents ``(r, c, shared, F)`` of the window before, at this one's gain, and how much of them is imposed."""
        system, before = self._system, self._before
        assert before is not None
        place = (window.first - before.first) // system.config.latent_hop
        goal = before.latent[some, :, place : place + shared]
        channels = self._channels[some]
        changed = (before.gain != window.gain)[channels] & (before.audible & window.audible)[channels]
        if changed.any():
            mel = self._mel_before(some, window, shared * system.config.vae.factor)[changed]
            goal[changed] = system.vae.encode(mel).mean * system.scale_factor
        return goal, self._fade(some, window, shared, system.config.latent_hop, _LATENT_KEPT)[:, None]

    def _mel_before(self, some: Tensor, window: Window, length: int) -> Tensor:
        """The first frames ``(r, 1, length, n_mels)`` as the window before has them, at this one's gain."""
        config, before = self._system.config, self._before
        assert before is not None
        place = (window.first - before.first) // config.mel.hop_length
        change = (window.gain / before.gain).log()[self._channels[some]]
        mel = before.mel[some, :, place : place + length] + change[:, None, None, None]
        return mel.clamp_min(math.log(config.mel.floor)) if bool((change != 0).any()) else mel

    def _wave_before(self, some: Tensor, window: Window) -> Tensor:
        """What the window before made of the spectrogram that is as it was there, ``(r, t)``, at this one's gain."""
        before = self._before
        assert before is not None
        length = before.stop - window.first
        length -= round((1 - _MEL_KEPT[0]) * min(length, _FADING * before.sound.shape[1]))
        place = window.first - before.first
        change = (window.gain / before.gain)[self._channels[some]]
        return before.wave[some, place : place + length] * change[:, None]

    def _glide(self, some: Tensor, window: Window, level: Tensor, samples: int) -> Tensor:
        """The level ``(r, samples)``: that of the window before, then on to this one's."""
        gains = level[:, None].expand(-1, samples).clone()
        before = self._before
        if before is not None and before.stop > window.first:
            length = min(samples, before.stop - window.first)
            fade = self._fade(some, window, length, 1, _LEVEL_KEPT)[:, :, 0]
            gains[:, :length] = torch.lerp(gains[:, :length], before.level[some][:, None].expand(-1, length), fade)
        return gains


def noise_at(first: int, shape: tuple[int, int, int], *, seed: int, kind: int) -> Tensor:
    """Standard normal noise ``(1, C, N, F)`` that belongs to frames ``first`` to ``first + N`` of a recording.

    Whatever window asks for a frame gets the same; drawn on the CPU, so that every device does.

    Args:
        first: frame of a latent.
        shape: C, N and F.
        seed: not negative.
        kind: which of the noises of that seed.
    """
    channels, frames, bands = shape
    blocks = [
        np.random.Generator(np.random.PCG64((seed, kind, block))).standard_normal((channels, _BLOCK, bands), np.float32)
        for block in range(first // _BLOCK, -(-(first + frames) // _BLOCK))
    ]
    skipped = first % _BLOCK
    return torch.from_numpy(np.concatenate(blocks, axis=1)[None, :, skipped : skipped + frames])
