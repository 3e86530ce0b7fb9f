"""What embeds captions and clips in one space: the embedded model, a CLAP, or a system that has one inside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from soundsieve.encoders.clap import CLAP
from soundsieve.errors import AudioError, ConfigError, QueryError, WeightsError
from soundsieve.systems.audiosep import AudioSep
from soundsieve.systems.clapsep import CLAPSep
from soundsieve.systems.sieve import Sieve
from soundsieve.weights.catalog import CATALOG, load_model
from soundsieve.weights.checkpoint import pick_device
from soundsieve.weights.clap import TokenizerSource, load_clap, state_digest
from soundsieve.weights.config import to_dict
from soundsieve.weights.foreign import is_safetensors, read_state
from soundsieve.weights.layouts.clap import is_clap
from soundsieve.weights.releases import release_of


class JointEncoder(Protocol):
    """Two towers, one space: what a caption cache is built with and asked with.

    Attributes:
        name: what it was loaded as: a model's name, or a file's.
        width: D, of its vectors.
        digest: SHA-256 over all that computes them; two encoders with the same digest give the same vectors.
        sample_rate: Hz of the waveforms that it takes.
        device: where it computes.
    """

    name: str
    width: int
    digest: str
    sample_rate: int
    device: torch.device

    def check_text(self, texts: Sequence[str]) -> None:
        """Look at texts without embedding them.

        Raises:
            QueryError: one cannot be read: empty, too long, or no word of it is known; or the encoder reads no text.
        """

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors of texts, shape ``(B, D)``, without gradients.

        Raises:
            QueryError: as `check_text`.
        """

    def embed_audio(self, waveforms: Tensor) -> Tensor:
        """Unit vectors of waveforms ``(B, T)`` at ``sample_rate``, shape ``(B, D)``, without gradients."""


class CLAPEncoder:
    """A CLAP as a `JointEncoder`: its two towers as they are."""

    def __init__(self, clap: CLAP, name: str) -> None:
        self.clap = clap.eval()
        self.name = name
        self.width = clap.config.dim
        self.sample_rate = clap.config.audio.sample_rate
        self.device = clap.logit_scale.device
        self.digest = _digest({"clap": to_dict(clap.config), **clap.assets()}, clap.state_dict())

    def check_text(self, texts: Sequence[str]) -> None:
        """See `JointEncoder.check_text`."""
        if self.clap.tokenizer is None:
            raise QueryError(f"{self.name} has no tokenizer and cannot read text: give it one (--tokenizer)")
        self.clap.tokenizer(list(texts))

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors of texts, shape ``(B, D)``."""
        return self.clap.embed_text(list(texts))

    @torch.no_grad()
    def embed_audio(self, waveforms: Tensor) -> Tensor:
        """Unit vectors of waveforms ``(B, T)``, shape ``(B, D)``."""
        return self.clap.embed_audio(waveforms.to(self.device))


class SieveEncoder:
    """A Sieve as a `JointEncoder`: its text tower, and what its network says of a clip.

    The text tower alone, without the pull towards the words of training (``SieveConfig.recall``), which is for
    answering queries: here captions shall stay apart from each other.
    """

    def __init__(self, sieve: Sieve, name: str) -> None:
        self.sieve = sieve.eval()
        self.name = name
        self.width = sieve.config.text.width
        self.sample_rate = sieve.sample_rate
        self.device = sieve.bands.device
        heard = ("sample_rate", "segment_s", "n_fft", "hop_length", "n_bands", "fmin_hz", "fmax_hz", "heads")
        config = {"text": to_dict(sieve.config.text), **{key: getattr(sieve.config, key) for key in heard}}
        state = sieve.state_dict()
        towers = {key: value for key, value in state.items() if key.startswith(("text.", "analysis."))}
        self.digest = _digest({"sieve": config, **sieve.assets()}, towers)

    def check_text(self, texts: Sequence[str]) -> None:
        """See `JointEncoder.check_text`."""
        self.sieve.text.tokenize(texts)

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors of texts, shape ``(B, D)``."""
        return self.sieve.text.encode(texts)

    @torch.no_grad()
    def embed_audio(self, waveforms: Tensor) -> Tensor:
        """Unit vectors of waveforms ``(B, T)``, shape ``(B, D)``: of longer ones, the mean of their segments'.

        Raises:
            AudioError: a waveform is silent, so there is nothing to describe.
        """
        waveforms = waveforms.to(self.device)
        if not (waveforms != 0).any(1).all():
            raise AudioError("a clip is silent: give one in which the sound can be heard")
        total = waveforms.new_zeros(len(waveforms), self.width)
        length = int(self.sieve.segment_s * self.sample_rate)
        for start in range(0, waveforms.shape[1], length):
            piece = waveforms[:, start : start + length]
            vectors = self.sieve.analysis(self.sieve.spectrum(piece)[1]).clip_vector
            total += torch.where((piece != 0).any(1, keepdim=True), vectors, 0)  # a silent segment says nothing
        return F.normalize(total, dim=1)


def load_encoder(
    source: str | Path | None = None, *, tokenizer: TokenizerSource = None, device: str | torch.device = "cpu"
) -> JointEncoder:
    """What embeds captions and clips.

    Args:
        source: ``starter`` (the embedded model, what None stands for) or another model's name; or a file: a CLAP, ours
            or the one that LAION published, or the weights of a Sieve, CLAPSep or AudioSep.
        tokenizer: for a CLAP or published weights, see `soundsieve.weights.clap.find_tokenizer`.
        device: where it computes.

    Raises:
        WeightsError: there is no such model or file, it is damaged, or its tokenizer cannot be had.
        ConfigError: there is no such device, or the model has no space that captions and clips share.
    """
    name = "starter" if source is None else str(source)
    target = pick_device(device)
    if name not in CATALOG and _holds_clap(name):
        return CLAPEncoder(load_clap(name, tokenizer=tokenizer).to(target), Path(name).name)
    system = load_model(name, target, tokenizer=tokenizer)
    if isinstance(system, Sieve):
        return SieveEncoder(system, Path(name).name)
    if isinstance(system, (CLAPSep, AudioSep)):
        return CLAPEncoder(system.clap, Path(name).name)
    raise ConfigError(f"{name} is a {system.name}, in which captions and clips share no space: give a CLAP")


def _holds_clap(path: str) -> bool:
    """Whether a file is a CLAP and nothing else; what is wrong with it is said by whoever reads it."""
    if not is_safetensors(path):
        state = read_state(path)
        return release_of(state) is None and is_clap(state)
    try:
        with safe_open(path, framework="pt") as file:
            return "clap" in (file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is damaged: {' '.join(str(error).split())}") from error


def _digest(settings: Mapping[str, object], state: Mapping[str, Tensor]) -> str:
    """SHA-256 over settings and weights."""
    return hashlib.sha256(f"{json.dumps(settings, sort_keys=True)}\0{state_digest(state)}".encode()).hexdigest()
