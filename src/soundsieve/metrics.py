"""How good a separated sound is: pure functions of ``(estimate, reference)``, in dB, higher is better.

All are computed in float64 whatever comes in, one value per signal: shape ``(..., T)`` to ``(...)``. For a reference s
and an estimate e:

    SDR    = 10 log10(|s|^2 / |s - e|^2)                        every difference counts, also one of level
    SI-SDR = 10 log10(|a s|^2 / |a s - e|^2), a = <e, s>/|s|^2  the part of e along s, over all the rest

"SDR" here is the plain energy ratio of separation benchmarks, also called SNR (no filter is fitted as in BSS Eval).
A silent reference has no ratio: what a system answers to a query for a sound that is not there is `absent_energy_db`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def _check(estimate: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    if estimate.shape != reference.shape:
        raise ValueError(f"estimate {tuple(estimate.shape)} and reference {tuple(reference.shape)} differ in shape")
    estimate, reference = estimate.double(), reference.double()
    if not bool(_energy(reference).all()):
        raise ValueError("a reference is silent: its ratio is undefined; see absent_energy_db")
    return estimate, reference


def _energy(x: Tensor) -> Tensor:
    return x.square().sum(-1)


def sdr(estimate: Tensor, reference: Tensor) -> Tensor:
    """Signal-to-distortion ratio as a plain energy ratio, in dB; higher is better.

    Args:
        estimate: separated waveform, shape ``(..., T)``.
        reference: clean target, same shape.

    Returns:
        One value per signal, shape ``(...)``, float64: ``+inf`` for a perfect estimate, 0 for a silent one.

    Raises:
        ValueError: shapes differ, or a reference is silent.

    Example (energies 2 and 0.02):
        >>> round(sdr(torch.tensor([1.1, 0.9]), torch.tensor([1.0, 1.0])).item(), 3)
        20.0
    """
    estimate, reference = _check(estimate, reference)
    return 10 * (_energy(reference) / _energy(reference - estimate)).log10()


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
        one at a right angle to the reference.

    Raises:
        ValueError: shapes differ, or a reference is silent.

    Example (error at a right angle to the reference, energies 2 and 0.02):
        >>> round(si_sdr(torch.tensor([1.1, 0.9]), torch.tensor([1.0, 1.0])).item(), 3)
        20.0
    """
    estimate, reference = _check(estimate, reference)
    scale = (estimate * reference).sum(-1) / _energy(reference)
    projection = scale.unsqueeze(-1) * reference
    ratio_db = 10 * (_energy(projection) / _energy(estimate - projection)).log10()
    return torch.where(_energy(estimate) == 0, -math.inf, ratio_db)


def sdr_improvement(estimate: Tensor, reference: Tensor, *, mixture: Tensor) -> Tensor:
    """By how many dB the estimate's `sdr` exceeds that of the unprocessed mixture (SDRi).

    Raises:
        ValueError: as `sdr`, or a mixture equals its reference, so that nothing can be improved.
    """
    return sdr(estimate, reference) - _baseline(sdr(mixture, reference))


def si_sdr_improvement(estimate: Tensor, reference: Tensor, *, mixture: Tensor) -> Tensor:
    """By how many dB the estimate's `si_sdr` exceeds that of the unprocessed mixture (SI-SDRi).

    Raises:
        ValueError: as `si_sdr`, or a mixture is its reference or has nothing of it, so that there is no baseline.
    """
    return si_sdr(estimate, reference) - _baseline(si_sdr(mixture, reference))


def _baseline(ratio_db: Tensor) -> Tensor:
    if bool(ratio_db.isinf().any()):
        raise ValueError("a mixture equals its reference, or has nothing of it: there is nothing to improve on")
    return ratio_db


def absent_energy_db(estimate: Tensor, *, mixture: Tensor) -> Tensor:
    """Energy of an answer relative to the mixture, in dB: when the queried sound is not there, lower is better.

    Returns:
        One value per signal, shape ``(...)``, float64: ``-inf`` for a silent answer, 0 for the mixture itself.

    Raises:
        ValueError: shapes differ, or a mixture is silent.

    Example:
        >>> round(absent_energy_db(torch.tensor([0.1, 0.1]), mixture=torch.tensor([1.0, 1.0])).item(), 3)
        -20.0
    """
    if estimate.shape != mixture.shape:
        raise ValueError(f"estimate {tuple(estimate.shape)} and mixture {tuple(mixture.shape)} differ in shape")
    energy = _energy(mixture.double())
    if not bool(energy.all()):
        raise ValueError("a mixture is silent: nothing can be measured relative to it")
    return 10 * (_energy(estimate.double()) / energy).log10()


def roc_auc(scores: Tensor | Sequence[float], labels: Tensor | Sequence[bool]) -> float:
    """Area under the receiver operating characteristic: how often a positive scores above a negative; ties count half.

    By the identity of Mann and Whitney, AUC = P(score+ > score-) + P(score+ = score-) / 2.

    Args:
        scores: one for each example, shape ``(N,)``.
        labels: whether each is a positive, shape ``(N,)``.

    Returns:
        Between 0 and 1; 0.5 for scores that say nothing.

    Raises:
        ValueError: shapes differ, a score is not a number, or one of the two classes is missing.

    Example:
        >>> roc_auc([0.9, 0.6, 0.7, 0.1], [True, True, False, False])
        0.75
    """
    values = torch.as_tensor(scores, dtype=torch.float64).cpu()
    positive = torch.as_tensor(labels).to(torch.bool).cpu()
    if values.ndim != 1 or values.shape != positive.shape:
        raise ValueError(f"scores {tuple(values.shape)} and labels {tuple(positive.shape)} must be equal, flat shapes")
    if bool(values.isnan().any()):
        raise ValueError("a score is not a number")
    above, below = values[positive], values[~positive].sort().values
    if not len(above) or not len(below):
        raise ValueError("an area needs both positives and negatives")
    smaller = torch.searchsorted(below, above, right=False)
    smaller_or_equal = torch.searchsorted(below, above, right=True)
    return float((smaller + smaller_or_equal).double().mean() / (2 * len(below)))
