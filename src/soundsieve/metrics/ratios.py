"""Ratios of energies in dB, higher is better. For a reference s and an estimate e:

    SDR    = 10 log10(|s|^2 / |s - e|^2)                        every difference counts, also one of level
    SI-SDR = 10 log10(|a s|^2 / |a s - e|^2), a = <e, s>/|s|^2  the part of e along s, over all the rest
    SI-SNR = SI-SDR of both signals less their means

"SDR" here is the plain energy ratio of AudioSep and of DCASE 2024 Task 9, elsewhere called SNR. The SDR of BSS Eval,
and with it that of CLAPSep, fits a filter first: `soundsieve.metrics.filtered`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

ROUNDING = 1e-24
"""Relative energy below which what is left of a float64 signal is rounding alone (-240 dB)."""


def energy(x: Tensor) -> Tensor:
    """Sum of squares over time, shape ``(..., T)`` to ``(...)``."""
    return x.square().sum(-1)


def checked(estimate: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Both signals in float64, a signal that is not finite as NaN throughout, or a ValueError."""
    if estimate.shape != reference.shape:
        raise ValueError(f"estimate {tuple(estimate.shape)} and reference {tuple(reference.shape)} differ in shape")
    estimate, reference = finite(estimate), finite(reference)
    if not bool(energy(reference).all()):
        raise ValueError("a reference is silent: its ratio is undefined; see absent_energy_db")
    return estimate, reference


def finite(x: Tensor) -> Tensor:
    """Signals ``(..., T)`` in float64; one with a sample that is not finite becomes NaN throughout."""
    x = x.double()
    return torch.where(x.isfinite().all(-1, keepdim=True), x, math.nan)


def sdr(estimate: Tensor, reference: Tensor) -> Tensor:
    """Signal-to-distortion ratio as a plain energy ratio, in dB; higher is better.

    Source: Liu et al., "Separate Anything You Describe" (AudioSep), 2023 (arXiv:2308.05037), and DCASE 2024 Task 9.
    (Their published code keeps both mean powers above 1e-10, which changes nothing above -100 dB re full scale.)

    Args:
        estimate: separated waveform, shape ``(..., T)``.
        reference: clean target, same shape.

    Returns:
        One value per signal, shape ``(...)``, float64: ``+inf`` for a perfect estimate, 0 for a silent one, NaN where
        a sample is not finite.

    Raises:
        ValueError: shapes differ, or a reference is silent.

    Example (energies 2 and 0.02):
        >>> round(sdr(torch.tensor([1.1, 0.9]), torch.tensor([1.0, 1.0])).item(), 3)
        20.0
    """
    estimate, reference = checked(estimate, reference)
    return 10 * (energy(reference) / energy(reference - estimate)).log10()


snr = sdr
"""The same ratio under its older name."""


def si_sdr(estimate: Tensor, reference: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio, in dB; higher is better.

    Energy of the estimate's projection on the reference over the energy of the rest; no mean is removed.
    Source: Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019 (arXiv:1811.02508).

    Args:
        estimate: separated waveform, shape ``(..., T)``, at any level.
        reference: clean target, same shape.

    Returns:
        One value per signal, shape ``(...)``, float64: ``+inf`` for a perfect estimate, ``-inf`` for a silent one or
        one at a right angle to the reference, NaN where a sample is not finite.

    Raises:
        ValueError: shapes differ, or a reference is silent.

    Example (error at a right angle to the reference, energies 2 and 0.02):
        >>> round(si_sdr(torch.tensor([1.1, 0.9]), torch.tensor([1.0, 1.0])).item(), 3)
        20.0
    """
    estimate, reference = checked(estimate, reference)
    scale = (estimate * reference).sum(-1) / energy(reference)
    projection = scale.unsqueeze(-1) * reference
    ratio_db = 10 * (energy(projection) / energy(estimate - projection)).log10()
    return torch.where(energy(estimate) == 0, -math.inf, ratio_db)


def si_snr(estimate: Tensor, reference: Tensor) -> Tensor:
    """Scale-invariant signal-to-noise ratio, in dB; higher is better: `si_sdr` of both signals less their means.

    Source: Luo and Mesgarani, "TasNet", ICASSP 2018 (arXiv:1711.00541). A constant is silence here, and so is a signal
    of one sample.

    Args:
        estimate: separated waveform, shape ``(..., T)``, at any level, with any offset.
        reference: clean target, same shape.

    Returns:
        As `si_sdr`.

    Raises:
        ValueError: shapes differ, or a reference is constant.

    Example (less its mean, 1, the estimate is (1.1, -0.2, -0.9): energies 2 and 0.06):
        >>> round(si_snr(torch.tensor([2.1, 0.8, 0.1]), torch.tensor([1.0, 0.0, -1.0])).item(), 3)
        15.229
    """
    estimate, reference = checked(estimate, reference)
    return si_sdr(_without_mean(estimate), _without_mean(reference))


def _without_mean(x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    constant = energy(centred) <= ROUNDING * energy(x)
    return torch.where(constant.unsqueeze(-1), 0.0, centred)


def improvement(
    metric: Callable[[Tensor, Tensor], Tensor], estimate: Tensor, reference: Tensor, mixture: Tensor
) -> Tensor:
    """By how many dB an estimate's ratio exceeds that of the unprocessed mixture.

    Raises:
        ValueError: as ``metric``, or a mixture is its reference or has nothing of it, so that there is no baseline.
    """
    before = metric(mixture, reference)
    if bool(before.isinf().any()):
        raise ValueError("a mixture equals its reference, or has nothing of it: there is nothing to improve on")
    return metric(estimate, reference) - before


def sdr_improvement(estimate: Tensor, reference: Tensor, *, mixture: Tensor) -> Tensor:
    """By how many dB the estimate's `sdr` exceeds that of the unprocessed mixture (SDRi of AudioSep and DCASE 2024).

    Raises:
        ValueError: as `sdr`, or a mixture equals its reference, so that nothing can be improved.
    """
    return improvement(sdr, estimate, reference, mixture)


snr_improvement = sdr_improvement
"""The same under its older name (SNRi)."""


def si_sdr_improvement(estimate: Tensor, reference: Tensor, *, mixture: Tensor) -> Tensor:
    """By how many dB the estimate's `si_sdr` exceeds that of the unprocessed mixture (SI-SDRi).

    Raises:
        ValueError: as `si_sdr`, or a mixture is its reference or has nothing of it, so that there is no baseline.
    """
    return improvement(si_sdr, estimate, reference, mixture)


def si_snr_improvement(estimate: Tensor, reference: Tensor, *, mixture: Tensor) -> Tensor:
    """By how many dB the estimate's `si_snr` exceeds that of the unprocessed mixture (SI-SNRi).

    Raises:
        ValueError: as `si_snr`, or a mixture is its reference or has nothing of it, so that there is no baseline.
    """
    return improvement(si_snr, estimate, reference, mixture)
