"""What speech enhancement reports, as for VoiceBank-DEMAND: PESQ and the segmental SNR; higher is better."""

from __future__ import annotations

import torch
from torch import Tensor

from soundsieve.errors import ConfigError
from soundsieve.metrics.ratios import checked, energy

FRAME_S = 0.03
MIN_DB, MAX_DB = -10.0, 35.0
"""Between which the ratio of a frame is kept."""
WORST = 1.0
"""The lowest rating of a mean opinion score."""
SILENT = 1e-15
"""A peak (-300 dB re full scale) below which PESQ's float32 sums have nothing left."""


def segmental_snr(estimate: Tensor, reference: Tensor, *, sample_rate: int) -> Tensor:
    """Segmental signal-to-noise ratio (SSNR), in dB between -10 and 35; higher is better.

    The mean over frames of 30 ms, a quarter of a frame apart, each under a Hann window w, of

        10 log10(|w s|^2 / |w (s - e)|^2), kept within -10 and 35 dB.

    Source: Hansen and Pellom, ICSLP 1998, as in the evaluation code of Loizou, "Speech Enhancement", that
    VoiceBank-DEMAND is measured with. Two details are that code's: the last frame or so that would fit is left out
    (there are floor(T/hop - frame/hop) of them), and a frame without any sound in the reference counts as -10 dB
    whatever the estimate has there, so a perfect estimate of speech with true silences has less than 35 dB.

    Args:
        estimate: enhanced speech, shape ``(..., T)``.
        reference: clean speech, same shape.
        sample_rate: Hz (16000 for VoiceBank-DEMAND).

    Returns:
        One value per signal, shape ``(...)``, float64; 0 for a silent estimate of speech without silences; NaN where a
        sample is not finite.

    Raises:
        ValueError: shapes differ, a reference is silent, or the signals are too short for a frame.
    """
    estimate, reference = checked(estimate, reference)
    frame = round(FRAME_S * sample_rate)
    hop = frame // 4
    count = int(reference.shape[-1] / hop - frame / hop) if hop else 0
    if count < 1:
        raise ValueError(f"{reference.shape[-1]} samples at {sample_rate} Hz are too short for a frame of 30 ms")
    # MATLAB's hanning(N): the N inner points of a symmetric window of N + 2, whose ends are zero
    window = torch.hann_window(frame + 2, periodic=False, dtype=torch.float64, device=reference.device)[1:-1]
    clean, error = (x.unfold(-1, frame, hop)[..., :count, :] * window for x in (reference, reference - estimate))
    nothing = (energy(clean) == 0) & (energy(error) == 0)
    ratio = torch.where(nothing, 0.0, energy(clean) / energy(error))
    return (10 * ratio.log10()).clamp(MIN_DB, MAX_DB).mean(-1)


def pesq(estimate: Tensor, reference: Tensor, *, sample_rate: int = 16000, wide_band: bool = True) -> Tensor:
    """Perceptual evaluation of speech quality as a mean opinion score, 1 to 4.64; higher is better.

    Source: ITU-T P.862.2 (wide band) and P.862.1 (narrow band), by the ITU's own code in the package ``pesq``, which is
    not part of a plain installation. It aligns level and delay of the two signals itself.

    Args:
        estimate: enhanced speech, shape ``(..., T)``.
        reference: clean speech, same shape.
        sample_rate: 16000 Hz; for narrow band 8000 as well.
        wide_band: VoiceBank-DEMAND is measured so.

    Returns:
        One value per signal, shape ``(...)``, float64: 4.64 for a perfect estimate, 1 for a silent one; NaN where a
        sample is not finite.

    Raises:
        ConfigError: the package is not installed.
        ValueError: shapes differ, a reference is silent or has no speech that PESQ finds, the signals are shorter than
            a quarter of a second, or the rate is not one of PESQ's.
    """
    if sample_rate not in ((16000,) if wide_band else (8000, 16000)):
        kind, rates = ("wide band", "16000") if wide_band else ("narrow band", "8000 or 16000")
        raise ValueError(f"PESQ, {kind}, is defined at {rates} Hz, not at {sample_rate}: resample both signals")
    estimate, reference = checked(estimate, reference)
    try:
        import pesq as package
    except ModuleNotFoundError as error:
        raise ConfigError("PESQ needs the package pesq: pip install 'soundsieve[eval]'") from error
    length, mode = reference.shape[-1], "wb" if wide_band else "nb"
    scores = []
    for answer, clean in zip(estimate.reshape(-1, length).cpu(), reference.reshape(-1, length).cpu(), strict=True):
        if bool(answer.isnan().any() | clean.isnan().any()):
            scores.append(float("nan"))
        elif float(answer.abs().max()) < SILENT:
            scores.append(WORST)
        else:
            try:
                scores.append(package.pesq(sample_rate, clean.numpy(), answer.numpy(), mode))
            except package.BufferTooShortError as error:
                raise ValueError(f"{length} samples at {sample_rate} Hz are too short: PESQ needs 0.25 s") from error
            except package.NoUtterancesError as error:
                raise ValueError("PESQ finds no speech in a signal: it is for speech alone") from error
    return torch.tensor(scores, dtype=torch.float64, device=reference.device).reshape(reference.shape[:-1])
