"""An embedding that hears answers: CLAPScores of each, and the Fréchet distance of all of them.

A judge is a CLAP, which reads words as well, or a VGGish, which gives the Fréchet distance alone. What it heard is kept
in the rows, so that a distance can be taken of any of them afterwards, and a run that was cut short goes on:

    embedding              of the answer, as `pack` writes it
    reference_embedding    of the sound that was asked for
    clap_score             of the answer and the words for what is asked, if the judge reads words
    clap_score_audio       of the answer and the sound that was asked for, likewise
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from soundsieve import audio
from soundsieve.encoders.clap import CLAP
from soundsieve.encoders.vggish import SAMPLE_RATE, VGGish
from soundsieve.errors import WeightsError
from soundsieve.evaluation.measuring import Row, number
from soundsieve.metrics import clap_score, clap_score_audio, frechet_distance
from soundsieve.weights.checkpoint import pick_device
from soundsieve.weights.clap import TokenizerSource, load_clap
from soundsieve.weights.foreign import is_safetensors, read_state
from soundsieve.weights.hub import sha256

_HIDDEN = "embeddings.0.weight"
"""A name that VGGish's weights have, and CLAP's have not."""


class Judge:
    """An embedding of sounds, and of words if it reads them.

    Args:
        embed: waveforms ``(B, T)`` at ``sample_rate`` to ``(B, D)`` or ``(B, N, D)``.
        sample_rate: Hz.
        read: texts to ``(B, D)`` in the same space; None for a judge that reads none.
        name: what rows and reports call it.
    """

    def __init__(
        self,
        embed: Callable[[Tensor], Tensor],
        sample_rate: int,
        *,
        read: Callable[[list[str]], Tensor] | None = None,
        name: str = "",
    ) -> None:
        self.sample_rate, self.name = sample_rate, name
        self._embed, self._read = embed, read
        self._known: dict[str, Tensor] = {}

    def hear(self, waveform: Tensor, *, sample_rate: int) -> Tensor:
        """Embeddings of one waveform ``(T,)``, shape ``(N, D)``."""
        if sample_rate != self.sample_rate:
            waveform = torch.from_numpy(audio.resample(waveform.numpy(), sample_rate, self.sample_rate))
        with torch.inference_mode():
            return self._embed(waveform[None]).flatten(0, -2).cpu()

    def judge(self, heard: Tensor, *, reference: Tensor | None, text: str) -> Row:
        """The columns for an answer.

        Args:
            heard: what `hear` made of it.
            reference: what `hear` made of the sound that was asked for; None if there is none.
            text: the words for it; may be empty.
        """
        row: Row = {"embedding": pack(heard)}
        if reference is not None:
            row["reference_embedding"] = pack(reference)
        if self._read is not None:
            if text:
                row["clap_score"] = number(clap_score(heard[0], self._words(text)))
            if reference is not None:
                row["clap_score_audio"] = number(clap_score_audio(heard[0], reference[0]))
        return row

    def _words(self, text: str) -> Tensor:
        if text not in self._known:
            assert self._read is not None
            with torch.inference_mode():
                self._known[text] = self._read([text])[0].cpu()
        return self._known[text]


def load_judge(path: str | Path, *, tokenizer: TokenizerSource = None, device: str = "cpu") -> Judge:
    """Read a judge from a file.

    Args:
        path: a CLAP, as `weights.clap.save_clap` writes it or as LAION published it, or VGGish's weights in their
            PyTorch form; the contents tell which.
        tokenizer: for a CLAP, in place of its own.
        device: where it computes.

    Raises:
        WeightsError: there is no such file, it is damaged, or holds neither.
    """
    where = pick_device(device)
    name = f"{Path(path).name} ({_short_sha256(path)})"
    if not is_safetensors(path) and _HIDDEN in (state := read_state(path)):
        vggish = VGGish(hidden=len(state[_HIDDEN]))
        try:
            vggish.load_state_dict(state)
        except RuntimeError as error:
            raise WeightsError(f"{path} does not fit VGGish: {' '.join(str(error).split())[:200]}") from error
        return _of_module(vggish.eval().to(where), name, where)
    return _of_module(load_clap(path, tokenizer=tokenizer).eval().to(where), name, where)


def _of_module(module: CLAP | VGGish, name: str, device: torch.device) -> Judge:
    def embed(waveform: Tensor) -> Tensor:
        return module.embed_audio(waveform.to(device))

    if isinstance(module, VGGish):
        return Judge(embed, SAMPLE_RATE, name=name)
    return Judge(embed, module.config.audio.sample_rate, read=module.embed_text, name=name)


def _short_sha256(path: str | Path) -> str:
    try:
        return f"sha256 {sha256(path)[:16]}"
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from error


def frechet_of_rows(rows: Sequence[Row]) -> float | None:
    """Fréchet distance of answers to the sounds that were asked for; None if a judge heard fewer than two of them."""
    both = [row for row in rows if "embedding" in row and "reference_embedding" in row]
    if len(both) < 2:
        return None
    answers, references = (
        torch.cat([unpack(row[column]) for row in both]) for column in ("embedding", "reference_embedding")
    )
    return frechet_distance(answers, references)


def pack(embeddings: Tensor) -> str:
    """Embeddings ``(N, D)`` as text: ``NxD:`` and their float16 values in base64."""
    values = embeddings.numpy().astype("<f2")
    return f"{values.shape[0]}x{values.shape[1]}:{base64.b64encode(values.tobytes()).decode()}"


def unpack(text: str) -> Tensor:
    """What `pack` was given, to 11 bits."""
    shape, _, values = text.partition(":")
    rows, width = (int(size) for size in shape.split("x"))
    flat = np.frombuffer(base64.b64decode(values), dtype="<f2").astype(np.float32)
    return torch.from_numpy(flat.reshape(rows, width))
