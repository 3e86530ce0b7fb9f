"""What a system answers when the sound asked for is not there, and how well a score tells the two cases apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from soundsieve.metrics.ratios import energy, finite


def absent_energy_db(estimate: Tensor, *, mixture: Tensor) -> Tensor:
    """Energy of an answer relative to the mixture, in dB: when the queried sound is not there, lower is better.

    Args:
        estimate: what was answered, shape ``(..., T)``.
        mixture: what it was answered about, same shape.

    Returns:
        One value per signal, shape ``(...)``, float64: ``-inf`` for a silent answer, 0 for the mixture itself, NaN
        where a sample is not finite.

    Raises:
        ValueError: shapes differ, or a mixture is silent.

    Example:
        >>> round(absent_energy_db(torch.tensor([0.1, 0.1]), mixture=torch.tensor([1.0, 1.0])).item(), 3)
        -20.0
    """
    if estimate.shape != mixture.shape:
        raise ValueError(f"estimate {tuple(estimate.shape)} and mixture {tuple(mixture.shape)} differ in shape")
    of_mixture = energy(finite(mixture))
    if not bool(of_mixture.all()):
        raise ValueError("a mixture is silent: nothing can be measured relative to it")
    return 10 * (energy(finite(estimate)) / of_mixture).log10()


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
