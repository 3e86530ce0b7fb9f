"""SDR of BSS Eval: what no short filter of the reference can explain counts as distortion, and nothing else does.

Let s_k be the reference delayed by k samples, k = 0 ... L-1. The part of the estimate e that is a filtered reference is
its projection on their span, p = sum_k h_k s_k, and

    SDR = 10 log10(|p|^2 / |e - p|^2).

The filter h solves the normal equations R h = b with R_jk = <s_j, s_k> and b_k = <s_k, e>. As R_jk depends on |j - k|
alone, one autocorrelation gives all of R (a Toeplitz matrix), and one cross-correlation gives b: two products of
spectra.

Unlike `metrics.sdr` this forgives any change of level and of timbre that L taps can make, so its values are higher, and
its improvements differ too: the two must not stand in one table.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from soundsieve.metrics.ratios import checked, energy, improvement

TAPS = 512
"""Length of the filter in BSS Eval."""
FIT_ROUNDING = 1e-16
"""Relative energy that a perfect fit may leave: of a pure tone, whose filter is hardly determined, up to -180 dB."""


def filtered_sdr(estimate: Tensor, reference: Tensor, *, taps: int = TAPS) -> Tensor:
    """Signal-to-distortion ratio after the best filter of ``taps`` samples on the reference, in dB; higher is better.

    Source: Vincent et al., "Performance measurement in blind audio source separation", 2006 (BSS Eval, one source), in
    the fast form of Scheibler, "SDR - medium rare with fast computations", ICASSP 2022 (arXiv:2110.06440). It is what
    torchmetrics calls ``signal_distortion_ratio``, and with that the "SDRi" of CLAPSep's published test code.

    Args:
        estimate: separated waveform, shape ``(..., T)``, at any level.
        reference: clean target, same shape.
        taps: filter length L in samples; 1 gives `si_sdr`. Filters look back only: an estimate that is early is not
            forgiven.

    Returns:
        One value per signal, shape ``(...)``, float64: ``+inf`` for an estimate that is the reference, filtered (from
        160 dB up it is said to be), ``-inf`` for a silent one, NaN where a sample is not finite.

    Raises:
        ValueError: shapes differ, a reference is silent, or there are no taps.

    Example (an echo after one sample is no distortion for two taps):
        >>> reference = torch.tensor([1.0, 0.0, 0.0])
        >>> filtered_sdr(torch.tensor([0.5, 0.5, 0.0]), reference, taps=2).item()
        inf
        >>> filtered_sdr(torch.tensor([0.5, 0.5, 0.0]), reference, taps=1).item()
        0.0
    """
    if taps < 1:
        raise ValueError(f"a filter has at least one tap, not {taps}")
    estimate, reference = checked(estimate, reference)
    shape, length = estimate.shape[:-1], estimate.shape[-1]
    e, s = (_unit(x.reshape(-1, length)) for x in (estimate, reference))

    n_fft = _fft_length(length + taps - 1)  # so long that delays do not wrap around
    e_spectrum, s_spectrum = torch.fft.rfft(e, n=n_fft), torch.fft.rfft(s, n=n_fft)
    r = torch.fft.irfft(s_spectrum.abs().square(), n=n_fft)[:, :taps]
    b = torch.fft.irfft(s_spectrum.conj() * e_spectrum, n=n_fft)[:, :taps]
    projection = s_spectrum * torch.fft.rfft(_solve_toeplitz(r, b), n=n_fft)

    explained, unexplained = _spectral_energy(projection), _spectral_energy(e_spectrum - projection)
    unexplained = torch.where(unexplained <= FIT_ROUNDING * explained, 0.0, unexplained)
    ratio_db = 10 * (explained / unexplained).log10()
    return torch.where(energy(e) == 0, -math.inf, ratio_db).reshape(shape)


def filtered_sdr_improvement(estimate: Tensor, reference: Tensor, *, mixture: Tensor) -> Tensor:
    """By how many dB the estimate's `filtered_sdr` exceeds that of the unprocessed mixture (SDRi of CLAPSep).

    Raises:
        ValueError: as `filtered_sdr`, or a mixture is a filtered reference or silent, so that there is no baseline.
    """
    return improvement(filtered_sdr, estimate, reference, mixture)


def _unit(x: Tensor) -> Tensor:
    """Signals of energy one, so that rounding is relative to one; silence stays."""
    norm = energy(x).sqrt().unsqueeze(-1)
    return x / torch.where(norm == 0, 1.0, norm)


def _fft_length(samples: int) -> int:
    """The least even length of no prime factors but 2, 3 and 5, for which transforms are quick."""
    odd: list[int] = [3**i * 5**j for i in range(12) for j in range(8)]
    return min(2 * size << max(0, math.ceil(math.log2(samples / (2 * size)))) for size in odd)


def _spectral_energy(spectrum: Tensor) -> Tensor:
    """Energy of real signals by Parseval, but for the length of the transform; spectra ``(N, n_fft / 2 + 1)``."""
    power = spectrum.abs().square()
    return 2 * power.sum(-1) - power[..., 0] - power[..., -1]


def _solve_toeplitz(r: Tensor, b: Tensor) -> Tensor:
    """Solve R h = b for symmetric Toeplitz matrices with first rows ``r``; both ``(N, L)``.

    R is positive definite, as no two delays of a finite signal are the same; but where the reference fills a part of
    the spectrum alone, rounding makes it singular. The shortest of the best filters is taken there (a pseudo-inverse).
    """
    taps = r.shape[1]
    delay = (torch.arange(taps)[:, None] - torch.arange(taps)).abs().to(r.device)
    bad = ~(r.isfinite().all(1) & b.isfinite().all(1))
    matrix = torch.where(bad[:, None, None], torch.eye(taps, dtype=r.dtype, device=r.device), r[:, delay])
    factor, info = torch.linalg.cholesky_ex(matrix)
    h = torch.empty_like(b)
    definite = info == 0
    h[definite] = torch.cholesky_solve(b[definite, :, None], factor[definite]).squeeze(-1)
    if not bool(definite.all()):
        inverse = torch.linalg.pinv(matrix[~definite], hermitian=True)
        h[~definite] = (inverse @ b[~definite, :, None]).squeeze(-1)
    return torch.where(bad[:, None], math.nan, h)
