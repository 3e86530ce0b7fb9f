"""Fréchet distance of two sets of embeddings: do the answers as a whole sound like the references? Lower is better.

Both sets are described by a normal distribution, N(m1, C1) and N(m2, C2), and

    d^2 = |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2).

No square root of a matrix is taken here. With the centred embeddings as rows of X1 and X2, divided by sqrt(n - 1), the
covariances are C1 = X1' X1 and C2 = X2' X2. The eigenvalues of C1 C2 other than zero are those of (X1 X2')(X1 X2')', so

    tr (C1 C2)^(1/2) = sum of the singular values of X1 X2',

which is as exact for fewer samples than dimensions, where C1 C2 is singular and the usual ways add a small diagonal or
drop an imaginary part. A set of more samples than dimensions is first made smaller by a QR decomposition, X = Q R, as
C = R' R.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TypeAlias

import torch
from torch import Tensor

Embed: TypeAlias = Callable[[Tensor], Tensor]
"""Waveforms ``(B, T)``, at the rate that the embedding expects, to ``(B, D)``, or ``(B, N, D)`` for one each frame."""


def frechet_distance(estimates: Tensor, references: Tensor) -> float:
    """Squared Fréchet distance of the normal distributions that two sets of embeddings have; lower is better.

    Source: Dowson and Landau, 1982; as a distance of embeddings, Heusel et al., 2017 (arXiv:1706.08500). Like the
    published implementations it is not rooted, and covariances are over n - 1.

    Args:
        estimates: embeddings, shape ``(N, D)``, N >= 2.
        references: embeddings, shape ``(M, D)``, M >= 2; need not belong to the estimates one by one.

    Returns:
        At least 0, in squared units of the embedding; 0 for the same set. NaN where an embedding is not finite. Few
        samples give too large a distance: compare sets of the same size.

    Raises:
        ValueError: shapes do not fit, or there are fewer than two embeddings, which have no covariance.

    Example (means 0 and 3, variances 2 and 8, so 3^2 + 2 + 8 - 2 sqrt(2 * 8)):
        >>> round(frechet_distance(torch.tensor([[-1.0], [1.0]]), torch.tensor([[1.0], [5.0]])), 6)
        11.0
    """
    if estimates.ndim != 2 or references.ndim != 2 or estimates.shape[1] != references.shape[1]:
        shapes = f"{tuple(estimates.shape)} and {tuple(references.shape)}"
        raise ValueError(f"two sets of embeddings (N, D) of one width are needed, got {shapes}")
    if min(len(estimates), len(references)) < 2:
        raise ValueError("a Fréchet distance needs at least two embeddings on each side")
    estimates, references = estimates.detach().cpu().double(), references.detach().cpu().double()
    if not bool(estimates.isfinite().all() & references.isfinite().all()):
        return float("nan")
    apart = (estimates.mean(0) - references.mean(0)).square().sum()
    first, second = _factor(estimates), _factor(references)
    shared = torch.linalg.svdvals(first @ second.T).sum()
    distance = apart + first.square().sum() + second.square().sum() - 2 * shared
    return max(float(distance), 0.0)  # what rounding leaves of 0 may be below it


def _factor(x: Tensor) -> Tensor:
    """A matrix F with F' F = the covariance of the rows of x, with as few rows as may be."""
    centred = (x - x.mean(0)) / math.sqrt(len(x) - 1)
    return torch.linalg.qr(centred, mode="r")[1] if len(x) > x.shape[1] else centred


def frechet_audio_distance(estimates: Iterable[Tensor], references: Iterable[Tensor], *, embed: Embed) -> float:
    """Fréchet audio distance (FAD): `frechet_distance` of what an embedding makes of two sets of sounds.

    Source: Kilgour et al., "Fréchet Audio Distance", 2019 (arXiv:1812.08466), with VGGish, one embedding each 0.96 s,
    all of them in one pool. FlowSep (arXiv:2409.07614) reports it. The numbers of different embeddings cannot be
    compared, so a report names the embedding.

    Args:
        estimates: batches of waveforms ``(B, T)``, at the rate that ``embed`` expects.
        references: the same of the other set; number and lengths may differ.
        embed: the embedding, such as a CLAP's `embed_audio`.

    Returns:
        As `frechet_distance`.

    Raises:
        ValueError: there are fewer than two embeddings on a side, or ``embed`` gives shapes that do not fit.
    """
    return frechet_distance(_pool(estimates, embed), _pool(references, embed))


def _pool(batches: Iterable[Tensor], embed: Embed) -> Tensor:
    with torch.no_grad():
        found = [embed(batch).detach().cpu() for batch in batches]
    if not found:
        raise ValueError("a Fréchet distance needs at least two embeddings on each side")
    return torch.cat([one.flatten(0, -2) for one in found])
