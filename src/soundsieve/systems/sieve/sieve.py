"""Sieve, the small network of our own behind the embedded model.

A U-Net over a coarse grid of band energies describes what is where once per mixture; any number of queries then read
it for a small share of that cost. Read from the bottom up:

    mixture -> STFT -> band energies (64 bands, 50 frames/s)
            -> Analysis: stem (stride 2), residual stages, transformer over 80 ms frames, back up with skips
            -> Scene: a feature map, a unit key for every cell, every frame and the whole clip
    query   -> unit vectors in the key space -> similarities s+, s- of every cell and frame
    Reader: convolutions steered by FiLM from c = [positive, negative] -> mask logits, plus s+ - s-
            -> sigmoid mask on the bands -> bins -> mixture phase -> target
    Named, Recogniser: what an answer holds, and what it leaves, in words -> ask again with that excluded

Text vectors come from `encoders.text.SentenceEncoder`; an example clip is described by the network itself, its pooled
frames mapped into the same space, so text, clips and exclusions are one kind of condition. Whether the queried sound
is there at all is the answer of an output of its own (`presence`), which reads the scene without steering it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from soundsieve import audio
from soundsieve.dsp.bands import band_matrix
from soundsieve.dsp.stft import istft, stft
from soundsieve.encoders.text import SentenceEncoder
from soundsieve.errors import AudioError
from soundsieve.query import ClipLike, Condition, Query, combine
from soundsieve.systems.base import Estimate, System
from soundsieve.systems.sieve.analysis import Analysis, Scene
from soundsieve.systems.sieve.config import SieveConfig
from soundsieve.systems.sieve.naming import Named
from soundsieve.systems.sieve.reader import Reader
from soundsieve.systems.sieve.recogniser import Recogniser

MARGIN = 1.0
"""How much more (in nats) has to speak for what an answer leaves than for the answer before it is held for wrong."""
NAMED = 0.95
"""Cosine to the nearest anchor from which on a query is about a sound that training named, so that it can be told."""


class Sieve(System):
    """The embedded model's network; see the module for how it works.

    Args:
        config: its shape.
        assets: files that travel with the weights, by name: the tokenizer of the text tower.
    """

    name: ClassVar[str] = "sieve"
    queries: ClassVar[frozenset[str]] = frozenset({"text", "audio", "exclude"})
    shares_channels: ClassVar[bool] = True
    kept_float32: ClassVar[tuple[str, ...]] = ("reader.", "recogniser.")
    """What `soundsieve.nn.int8` leaves alone: what the query passes, so that no query is rounded with another."""

    def __init__(self, config: SieveConfig, assets: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.config: SieveConfig = config
        self.sample_rate, self.segment_s = config.sample_rate, config.segment_s
        texts = assets or {}
        self.text = SentenceEncoder(config.text, texts.get("tokenizer.json"), texts.get("words.txt"))
        self.analysis = Analysis(config)
        self.reader = Reader(config)
        self.recogniser = Recogniser(config) if config.recogniser else None
        self.bands: Tensor
        self.anchors: Tensor
        self.sounds: Tensor
        self.register_buffer("anchors", torch.zeros(config.anchors, config.text.width), persistent=config.anchors > 0)
        sounds = torch.zeros(config.anchors if config.heard else 0, config.text.width)
        self.register_buffer("sounds", sounds, persistent=config.heard > 0)
        matrix = band_matrix(config.sample_rate, config.n_fft, config.n_bands, config.fmin_hz, config.fmax_hz)
        self.register_buffer("bands", matrix, persistent=False)

    @property
    def presence_threshold(self) -> float:
        """Presence below this means "not found"."""
        return self.config.presence_threshold

    def assets(self) -> dict[str, str]:
        """Text files to be stored beside the weights."""
        return self.text.assets()

    def spectrum(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        """STFT ``(B, F, N)`` and band energies ``(B, bands, N')``, N' padded with zeros to a multiple of 4."""
        spec = stft(mixture, n_fft=self.config.n_fft, hop_length=self.config.hop_length)
        power = spec.real.square() + spec.imag.square()
        energies = torch.einsum("bfn,fk->bkn", power, self.bands)
        return spec, F.pad(energies, (0, -energies.shape[2] % 4))

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Texts as unit vectors, shape ``(N, D)``, drawn towards what training named and heard; see `recalled`.

        The further its nearest anchor is (``config.heard_range``), the less of the remembered sounds is in it: they may
        be of something else. A text that is near to no anchor stays as it is, see `strange`.
        """
        vectors = self.text.encode(texts)
        if not len(self.anchors):
            return vectors
        far, close = self.config.heard_range
        nearest = (vectors @ self.anchors.T).amax(1, keepdim=True)
        trust = ((nearest - far) / max(close - far, 1e-6)).clamp(0.0, 1.0)
        known = self.recalled(vectors, self.config.recall, self.config.heard * trust)
        return torch.where(self.strange(vectors)[:, None], vectors, known)

    @torch.no_grad()
    def strange(self, vectors: Tensor) -> Tensor:
        """Which of the vectors ``(..., D)`` are further than ``config.known`` from every anchor, shape ``(...)``."""
        if not self.config.known:
            return torch.zeros(vectors.shape[:-1], dtype=torch.bool, device=vectors.device)
        return (vectors @ self.anchors.T).amax(-1) < self.config.known

    @torch.no_grad()
    def recalled(self, vectors: Tensor, share: float, heard: float | Tensor = 0.0) -> Tensor:
        """Unit vectors, shape ``(..., D)``, drawn towards the anchors a_i that are near, by a ``share`` r.

        v' = (1 - r) v + r * sum_i softmax_i(v . a_i / t) a_i: words that training never saw become mostly the words
        that it did see for the nearest sounds, and so do example clips. Conditions retrieved from a cache of text
        embeddings are the idea of parallel-data-free training (Ma et al., 2024, arXiv 2409.09398), here for queries.

        With a share ``heard`` h, v'' = (1 - h) v' + h * sum_i softmax_i(v . a_i / t) s_i, where s_i is the mean of
        the vectors of the training's clips of that sound: a word asks as an example would, e = a * audio + (1 - a) *
        text, with examples from memory. h is a number, or a tensor of shape ``(..., 1)``.
        """
        if not len(self.anchors):
            return vectors
        near = ((vectors @ self.anchors.T) / self.config.recall_temperature).softmax(-1)
        said = F.normalize(torch.lerp(vectors, F.normalize(near @ self.anchors, dim=-1), share), dim=-1)
        if not len(self.sounds):
            return said
        return F.normalize(torch.lerp(said, F.normalize(near @ self.sounds, dim=-1), heard), dim=-1)

    @torch.no_grad()
    def embed_clips(self, clips: Sequence[ClipLike]) -> Tensor:
        """Example clips as unit vectors in the text space, shape ``(M, D)``."""
        vectors = []
        for clip in clips:
            samples, rate = clip if isinstance(clip, tuple) else audio.decode(clip)
            mono = np.atleast_2d(np.asarray(samples, dtype=np.float32)).mean(0)
            mono = audio.resample(mono, rate, self.sample_rate)
            if not mono.size or not np.any(mono):
                name = "" if isinstance(clip, tuple) else f" {clip}"
                raise AudioError(f"the example clip{name} is silent: give one in which the sound can be heard")
            limit = int(self.segment_s * self.sample_rate)
            pieces = (mono[start : start + limit] for start in range(0, len(mono), limit))
            scenes = [self._clip_vector(piece) for piece in pieces if piece.any()]
            vectors.append(F.normalize(torch.cat(scenes).mean(0, keepdim=True), dim=1))
        return self.recalled(torch.cat(vectors), self.config.recall_clips)

    def _clip_vector(self, samples: NDArray[np.float32]) -> Tensor:
        waveform = torch.from_numpy(samples).to(self.bands.device)[None]
        return self.analysis(self.spectrum(waveform)[1]).clip_vector  # type: ignore[no-any-return]

    @torch.no_grad()
    def encode_query(self, query: Query) -> Condition:
        """Text through the text tower, example clips through the network itself; averaged on each side."""
        self.check_query(query)

        def side(texts: Sequence[str], clips: Sequence[ClipLike]) -> Tensor:
            in_words, in_sound = self.embed_texts(texts) if texts else None, self.embed_clips(clips) if clips else None
            joined = combine(in_words, in_sound, query.audio_weight)
            return self.bands.new_zeros(1, self.config.text.width) if joined is None else joined

        return Condition(side(query.text, query.like), side(query.exclude, query.unlike))

    def read(self, scene: Scene, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        """Q queries about each of B scenes, with a second look where the config says ``contrast``.

        Named by the anchors, what the first answer left behind is excluded from the second; see `Named.contrasted`.
        Where the recogniser then holds what is left for what was asked for, and the answer for something else, the
        query is asked once more with the answer excluded, unless the query itself names something to exclude or is
        about a sound that training did not name.

        Returns:
            Mask logits ``(B, Q, bands, N)`` and presence logits ``(B, Q)``.
        """
        named, sides = self.in_words(scene), (positive, negative)
        if self.config.contrast:
            mask = torch.sigmoid(self.reader(scene, positive, negative)[0])
            sides = named.contrasted(mask, positive, negative)
        logits, features = self.reader(scene, *sides)
        if self.recogniser is None:
            return logits, self._presence(named, logits, sides[0], features)
        mask, warmth = torch.sigmoid(logits), self.config.recall_temperature
        answer, left = named.spoken_for(mask, sides[0], warmth)
        named_alone = ((positive @ self.anchors.T).amax(2) > NAMED) & (negative.abs().amax(2) == 0)
        wrong = (left - answer > MARGIN) & named_alone
        if torch.compiler.is_exporting() or wrong.any():  # what is exported has no branches
            instead, others = self.reader(scene, positive, named.without_answer(mask, positive, negative))
            logits = torch.where(wrong[..., None, None], instead, logits)
            features = torch.where(wrong[..., None], others, features)
            answer, left = named.spoken_for(torch.sigmoid(logits), sides[0], warmth)
        plain = self._presence(named, logits, sides[0], features)
        return logits, self.recogniser.presence(torch.stack([plain, answer, left], 2))[..., 0]

    def _presence(self, named: Named, logits: Tensor, positive: Tensor, features: Tensor) -> Tensor:
        return self.reader.doubt(named, logits, positive, features, self.config.recall_temperature)

    def in_words(self, scene: Scene) -> Named:
        """The scene in the words of the anchors."""
        names, heard = self.anchors, self.config.heard
        if heard:
            names = F.normalize(torch.lerp(names, self.sounds, heard), dim=1)
        return Named(
            scene, self.anchors, self.reader.key(self.anchors), self.reader.log_scale.exp(), names, self.recogniser
        )

    def estimate_many(self, mixture: Tensor, conditions: Sequence[Condition]) -> list[Estimate]:
        """Several queries about the same mixtures ``(B, T)``; the mixtures are analysed once."""
        return [
            Estimate(answer.target[:, 0], answer.presence, answer.gain)
            for answer in self.estimate_channels(mixture[:, None], conditions)
        ]

    def estimate_channels(self, mixture: Tensor, conditions: Sequence[Condition]) -> list[Estimate]:
        """Several queries about recordings ``(B, C, T)``, by one mask on all channels: that of their mean power.

        Powers, not waveforms, are averaged, so nothing cancels: what is in opposite phase is heard as well.
        """
        batch, channels, samples = mixture.shape
        spec, energies = self.spectrum(mixture.flatten(0, 1))
        spec = spec.view(batch, channels, *spec.shape[1:])
        energies = energies.view(batch, channels, *energies.shape[1:]).mean(1)
        asked = [condition.expand(batch) for condition in conditions]
        positive = torch.stack([condition.positive for condition in asked], 1)
        negative = torch.stack([condition.negative for condition in asked], 1)
        logits, presence_logits = self.read(self.analysis(energies), positive, negative)
        presence = torch.sigmoid(presence_logits)
        # Where nothing is wanted ("everything but x") there is nothing that could be missing.
        asked_for = positive.abs().amax(2) > 0
        presence = torch.where(self.strange(positive), presence.clamp(max=self.presence_threshold / 2), presence)
        presence = torch.where(asked_for, presence, torch.ones_like(presence))
        gain = self._gate(presence)
        masks = torch.sigmoid(logits)[..., : spec.shape[3]] * gain[..., None, None]
        size = {"n_fft": self.config.n_fft, "hop_length": self.config.hop_length, "length": samples}
        answers = []
        for q in range(len(asked)):
            bins = torch.einsum("bkn,fk->bfn", masks[:, q], self.bands)
            answers.append(Estimate(istft(spec * bins[:, None], **size), presence[:, q], gain[:, q]))
        return answers

    def _gate(self, presence: Tensor) -> Tensor:
        """Gain of the answer: 1 from the threshold up, ``gate_db`` down below half of it, linear in dB between."""
        missing = (2.0 - 2.0 * presence / self.config.presence_threshold).clamp(0.0, 1.0)
        return torch.pow(10.0, -self.config.gate_db * missing / 20.0)

    def estimate(self, mixture: Tensor, condition: Condition) -> Estimate:
        """Target and presence of one condition."""
        return self.estimate_many(mixture, [condition])[0]

    def forward(self, mixture: Tensor, condition: Condition) -> Tensor:
        """The target, shape ``(B, T)`` as the mixture."""
        return self.estimate(mixture, condition).target
