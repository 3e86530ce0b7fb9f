"""What training minimises: pure functions of ``(estimate, reference)``, averaged over the batch, in float32.

The ratios are those of `soundsieve.metrics`, negated and kept finite: mean powers instead of energies, with a floor
added above and below, so that a silent estimate or reference, or a perfect answer, gives a finite loss and finite
gradients. The floor of 1e-10 (-100 dB re full scale) changes nothing that can be heard.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from soundsieve.dsp.stft import stft

FLOOR = 1e-10
"""Mean power added to both sides of every ratio."""


def _power(x: Tensor) -> Tensor:
    return x.square().mean(-1)


def _check(estimate: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    if estimate.shape != reference.shape:
        raise ValueError(f"estimate {tuple(estimate.shape)} and reference {tuple(reference.shape)} differ in shape")
    return estimate.float(), reference.float()  # sums of squares need more than the 8 bits of bfloat16


def l1_loss(estimate: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute difference of samples, over all signals of shape ``(..., T)``; a scalar, in units of full scale.

    The objective of LASS-Net's successors, AudioSep and USS, on waveforms. It follows the level: a mixture twice as
    loud counts twice.
    """
    estimate, reference = _check(estimate, reference)
    return (estimate - reference).abs().mean()


def magnitude_loss(estimate: Tensor, reference: Tensor, *, n_fft: int, hop_length: int) -> Tensor:
    """Mean absolute difference of spectral magnitudes, over all cells of signals of shape ``(..., T)``; a scalar.

    The objective that the paper of LASS-Net states (Liu et al., 2022, arXiv 2203.15147).
    """
    estimate, reference = _check(estimate, reference)
    ours, theirs = (stft(x, n_fft=n_fft, hop_length=hop_length) for x in (estimate, reference))
    return (_magnitude(ours) - _magnitude(theirs)).abs().mean()


def _magnitude(spectrum: Tensor) -> Tensor:
    # The root of nothing has no gradient: a floor of -200 dB gives an empty cell one of zero.
    return (torch.view_as_real(spectrum).square().sum(-1) + 1e-20).sqrt()


def stft_loss(estimate: Tensor, reference: Tensor, *, n_fft: int, hop_length: int, floor: float = 1e-5) -> Tensor:
    """How far spectral magnitudes are apart, loud cells and soft ones alike; a scalar, 0 for the same magnitudes.

    ``|S - E|_F / |S|_F + mean |ln S - ln E|``: spectral convergence, over all signals ``(..., T)`` together, and the
    distance of log magnitudes, none of which lies below ``ln floor``. Phases do not matter to it.
    Source: Yamamoto et al., "Parallel WaveGAN", 2020 (arXiv 1910.11480), eq. 4 to 6.
    """
    estimate, reference = _check(estimate, reference)
    ours, theirs = (_magnitude(stft(x, n_fft=n_fft, hop_length=hop_length)) for x in (estimate, reference))
    convergence: Tensor = (theirs - ours).norm() / theirs.norm().clamp(min=floor)
    return convergence + (theirs.clamp(min=floor).log() - ours.clamp(min=floor).log()).abs().mean()


def sdr_loss(estimate: Tensor, reference: Tensor, *, floor: float = FLOOR) -> Tensor:
    """Negated `metrics.sdr`, in dB, mean over all signals of shape ``(..., T)``; a scalar.

    With P the mean power and f the floor: -10 log10((P_s + f) / (P_{s - e} + f)).
    """
    estimate, reference = _check(estimate, reference)
    return -10 * ((_power(reference) + floor) / (_power(reference - estimate) + floor)).log10().mean()


def si_sdr_loss(estimate: Tensor, reference: Tensor, *, floor: float = FLOOR) -> Tensor:
    """Negated `metrics.si_sdr`, in dB, mean over all signals of shape ``(..., T)``; a scalar.

    A silent estimate gives 0 with a gradient of zero: alone, this loss does not lead out of silence (`sdr_loss` does).
    """
    estimate, reference = _check(estimate, reference)
    scale = (estimate * reference).mean(-1) / (_power(reference) + floor)
    projection = scale.unsqueeze(-1) * reference
    return -10 * ((_power(projection) + floor) / (_power(estimate - projection) + floor)).log10().mean()


def clapsep_loss(estimate: Tensor, reference: Tensor, *, sdr_weight: float = 0.9, floor: float = FLOOR) -> Tensor:
    """The objective of CLAPSep: 0.9 `sdr_loss` + 0.1 `si_sdr_loss` (Ma et al., 2024, arXiv 2402.17455, eq. 14)."""
    return sdr_weight * sdr_loss(estimate, reference, floor=floor) + (1 - sdr_weight) * si_sdr_loss(
        estimate, reference, floor=floor
    )


def contrastive_loss(audio_embeddings: Tensor, text_embeddings: Tensor, logit_scale: Tensor | float) -> Tensor:
    """Symmetric InfoNCE: in a batch, each clip should find its own text, and each text its own clip; a scalar, in nats.

    The mean of the two cross-entropies of z = logit_scale * A T', whose i-th row and column belong to pair i.
    Source: Radford et al., 2021 (arXiv 2103.00020), as in CLAP (Wu et al., 2023, arXiv 2211.06687).

    Args:
        audio_embeddings: shape ``(B, D)``; normalised here.
        text_embeddings: shape ``(B, D)``, row by row what belongs to the audio; normalised here.
        logit_scale: the factor itself, one over the temperature (models usually learn its logarithm).
    """
    if audio_embeddings.ndim != 2 or audio_embeddings.shape != text_embeddings.shape:
        raise ValueError(
            f"two (B, D) embeddings are needed, got {tuple(audio_embeddings.shape)} and {tuple(text_embeddings.shape)}"
        )
    device = audio_embeddings.device
    with torch.autocast(device.type, enabled=False):  # a product in bfloat16 would blur scaled logits by whole units
        audio, text = F.normalize(audio_embeddings.float(), dim=1), F.normalize(text_embeddings.float(), dim=1)
        logits = logit_scale * (audio @ text.T)
        own = torch.arange(len(logits), device=device)
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
