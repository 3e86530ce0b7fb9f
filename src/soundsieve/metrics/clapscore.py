"""Does an answer sound like what was asked for? Cosines of embeddings; higher is better.

They need no alignment in time, so they hold for systems that make a sound anew instead of taking it out of the mixture.
"""

from __future__ import annotations

from torch import Tensor

from soundsieve.metrics.ratios import energy, finite


def clap_score(estimate: Tensor, text: Tensor) -> Tensor:
    """CLAPScore: cosine of the embeddings of an answer and of the text that asks for it; higher is better.

    Source: Xiao et al., "A Reference-free Metric for Language-Queried Audio Source Separation using Contrastive
    Language-Audio Pretraining", 2024 (arXiv:2407.04936); reported by FlowSep (arXiv:2409.07614). Scores of different
    CLAPs cannot be compared, and a system that is itself conditioned by the CLAP that judges it is flattered.

    Args:
        estimate: audio embeddings of the answers, shape ``(..., D)``, of any length.
        text: embeddings of the texts in the same space, same shape.

    Returns:
        One value each, shape ``(...)``, float64, -1 to 1; NaN where an embedding is not finite.

    Raises:
        ValueError: shapes differ, or an embedding is zero and points nowhere.

    Example:
        >>> round(clap_score(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 0.0])).item(), 3)
        0.6
    """
    return _cosine(estimate, text)


def clap_score_audio(estimate: Tensor, reference: Tensor) -> Tensor:
    """CLAPScore_A: cosine of the embeddings of an answer and of the clean target; higher is better.

    Source: FlowSep (Yuan et al., 2024, arXiv:2409.07614). What `clap_score` warns of holds here.

    Args:
        estimate: audio embeddings of the answers, shape ``(..., D)``.
        reference: audio embeddings of the targets, same shape.

    Returns:
        One value each, shape ``(...)``, float64, -1 to 1 (1 for a perfect estimate); NaN where an embedding is
        not finite.

    Raises:
        ValueError: shapes differ, or an embedding is zero and points nowhere.
    """
    return _cosine(estimate, reference)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    if a.shape != b.shape:
        raise ValueError(f"embeddings {tuple(a.shape)} and {tuple(b.shape)} differ in shape")
    a, b = finite(a), finite(b)
    norms = (energy(a) * energy(b)).sqrt()
    if not bool(norms.all()):
        raise ValueError("an embedding is zero: it points nowhere and has no cosine")
    return ((a * b).sum(-1) / norms).clamp(-1, 1)
