"""AudioSep, LASS-Net and USS computed the plain way: what `audiosep_speed.py` compares with.

The same weights and the same function, each step as its formula says and as the published code is said to take it: the
STFT as a product with the matrix of sines and cosines, every map whole, frequencies last, batch norms and what the
query adds as steps of their own, torch's own matrix products, a text padded to 512 tokens and doubled, all weights read
into memory, and long recordings cut as published.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from plain_clapsep import matrix_istft, matrix_stft, plain_products
from torch import Tensor, nn

from soundsieve.encoders.clap import CLAP
from soundsieve.nn import resunet, resunet30, strips
from soundsieve.query import Condition
from soundsieve.systems import lassnet
from soundsieve.systems.audiosep import AudioSep
from soundsieve.systems.base import System
from soundsieve.systems.uss import USS

_AT_ONCE_S = 10
"""Recordings of up to this length are separated in one piece."""
_WINDOW_S, _STEP_S, _MARGIN_S = 5, 3, 1
"""AudioSep's windows, how far apart they start, and how much of each is not used where another begins or ends."""


def separate_as_published(system: System, mixture: Tensor, condition: Condition) -> Tensor:
    """A recording ``(1, T)`` cut as published; nothing is cross-faded.

    AudioSep: windows of 5 s every 3 s, of which the middle 3 s count. Each step runs the window that follows as well,
    as if it were the last one, and the next step overwrites it: 38 calls for 60 s, of which 20 are needed. USS: pieces
    of 2 s side by side. LASS-Net: in one piece.
    """
    samples, rate = mixture.shape[1], system.sample_rate
    if isinstance(system, USS):
        pieces = torch.split(mixture, system.config.segment_samples, dim=1)
        return torch.cat([system(piece, condition) for piece in pieces], dim=1)
    if not isinstance(system, AudioSep) or samples <= _AT_ONCE_S * rate:
        return system(mixture, condition)  # type: ignore[no-any-return]
    target = torch.zeros_like(mixture)
    window, step, margin = _WINDOW_S * rate, _STEP_S * rate, _MARGIN_S * rate
    start = 0
    while start + window < samples:
        this = system(mixture[:, start : start + window], condition)
        skipped = margin if start else 0
        target[:, start + skipped : start + window - margin] = this[:, skipped : window - margin]
        start += step
        last = system(mixture[:, start : start + window], condition)
        target[:, start + margin : start + window] = last[:, margin:]
    return target


def _padded_and_doubled(self: CLAP, texts: list[str]) -> Tensor:
    """As `CLAP.embed_text`: one text after the other, twice, padded to the longest that the tower takes."""
    assert self.tokenizer is not None
    found = []
    for text in texts:
        ids, mask = self.tokenizer([text, text])
        missing = self.config.text.max_tokens - ids.shape[1]
        found.append(
            self.embed_tokens(F.pad(ids, (0, missing), value=self.config.text.pad_id), F.pad(mask, (0, missing)))
        )
    return torch.cat([embedding[:1] for embedding in found])


def make_plain(system: System) -> None:
    """Everything the plain way, for the rest of this process."""
    plain_products()
    resunet.for_answers = resunet30.for_answers = lambda module, x: False  # type: ignore[attr-defined]
    strips.Conv.forward = nn.Conv2d.forward  # type: ignore[method-assign,assignment]
    resunet30.stft = lassnet.stft = matrix_stft  # type: ignore[attr-defined]
    resunet30.istft = lassnet.istft = matrix_istft  # type: ignore[attr-defined]
    if isinstance(system, AudioSep):
        system.clap.embed_text = functools.partial(_padded_and_doubled, system.clap)  # type: ignore[method-assign]
    for module in system.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(parameter.detach().clone(), requires_grad=False))
