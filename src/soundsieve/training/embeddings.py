"""What a frozen encoder says of the clips of a store and of their captions, made once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from soundsieve import audio
from soundsieve.errors import ConfigError
from soundsieve.evaluation.pairs import Clip
from soundsieve.systems.sieve import Sieve, SieveConfig
from soundsieve.training.captions.encoders import JointEncoder, SieveEncoder, load_encoder
from soundsieve.training.store import ClipStore


def embed_clips(store: ClipStore, encoder: JointEncoder) -> Tensor:
    """Unit vectors of whole clips, shape ``(clips, D)``; kept beside the store, under the encoder's digest."""

    def embed(samples: NDArray[np.float32]) -> NDArray[np.generic]:
        waveform = torch.from_numpy(audio.resample(samples, store.sample_rate, encoder.sample_rate))
        return encoder.embed_audio(waveform[None]).cpu().numpy()

    kept = store.derive("embeddings", [encoder.digest], embed)
    return torch.from_numpy(np.concatenate([kept[i] for i in range(len(kept))]).astype(np.float32))


def embed_captions(clips: Sequence[Clip], encoder: JointEncoder, *, batch_size: int = 256) -> Tensor:
    """Unit vectors of the clips' captions (of labels, where a clip has no caption), shape ``(clips, D)``.

    Raises:
        ConfigError: a clip has neither.
    """
    texts = [clip.caption or clip.label for clip in clips]
    if "" in texts:
        raise ConfigError(f"this objective asks in captions, and {clips[texts.index('')].path} has none")
    distinct = sorted(set(texts))
    parts = [encoder.embed_text(distinct[i : i + batch_size]) for i in range(0, len(distinct), batch_size)]
    place = {text: i for i, text in enumerate(distinct)}
    return torch.cat(parts).cpu()[[place[text] for text in texts]]


def load_sieve_encoder(source: str | None) -> SieveEncoder:
    """The encoder of a Sieve, whose text tower another Sieve can take over.

    Raises:
        ConfigError: the source holds another kind of encoder.
    """
    encoder = load_encoder(source)
    if not isinstance(encoder, SieveEncoder):
        raise ConfigError(f"options.encoder: {encoder.name} has no text tower for a Sieve; name a Sieve, or none")
    return encoder


def on_text_tower(model: SieveConfig, source: str | SieveEncoder | None) -> Sieve:
    """A new Sieve of a given shape with the text tower of another, which stays as it is."""
    encoder = source if isinstance(source, SieveEncoder) else load_sieve_encoder(source)
    tower = encoder.sieve.text
    sieve = Sieve(replace(model, text=tower.config, anchors=0), assets=tower.assets())
    sieve.text.load_state_dict(tower.state_dict())
    sieve.text.requires_grad_(False)
    return sieve.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
