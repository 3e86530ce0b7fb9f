"""A map of what a judge heard: t-SNE of mixtures and of what was extracted from them (as in CLAPSep's Fig. 8).

t-SNE (van der Maaten and Hinton, 2008) is scikit-learn's, from the extra ``eval``: its approximations and stopping
rules are work of years, and it comes on top of the SciPy that the extra has anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from soundsieve.errors import ConfigError
from soundsieve.evaluation.judge import unpack
from soundsieve.evaluation.measuring import Row

MOST = 400
"""Points of a panel; more are thinned out evenly."""
FEWEST = 10
"""In all; fewer make no map."""
_PERPLEXITY = 30.0
_REFERENCE = "reference_embedding"


def panels(rows: Sequence[Row], condition: str) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """Points of the mixtures, of the answers to one way of asking, and of the sounds that were asked for, on one map.

    Args:
        rows: those that a judge heard (``embedding``, ``reference_embedding``) are used.
        condition: a way of asking.

    Returns:
        Title -> points ``(N, 2)``, and title -> N labels; both empty where too little was heard.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    heard = [row for row in rows if "embedding" in row]
    answers = [row for row in heard if row["condition"] == condition]
    asked = {_which(row) for row in answers}
    mixtures = [row for row in heard if row["condition"] == "mixture" and _which(row) in asked]
    chosen = {
        "mixtures": [(row, "embedding") for row in _thinned(mixtures)],
        f"answers, asked by {condition}": [(row, "embedding") for row in _thinned(answers)],
        "what was asked for": [(row, _REFERENCE) for row in _thinned(answers) if _REFERENCE in row],
    }
    chosen = {title: of for title, of in chosen.items() if of}
    embeddings = [unpack(row[column]).mean(0).numpy() for of in chosen.values() for row, column in of]
    if len(embeddings) < FEWEST or len({len(one) for one in embeddings}) != 1:
        return {}, {}
    points = np.split(_tsne(np.stack(embeddings)), np.cumsum([len(of) for of in chosen.values()])[:-1])
    labels = {title: [str(row.get("label") or "") for row, _ in of] for title, of in chosen.items()}
    return dict(zip(chosen, points, strict=True)), labels


def _which(row: Row) -> tuple[object, ...]:
    return row.get("example"), row.get("pair"), row.get("direction")


def _thinned(rows: Sequence[Row]) -> list[Row]:
    return [rows[i] for i in np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST)).astype(int))]


def _tsne(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings ``(N, D)`` to points ``(N, 2)``, by their cosines; the same ones every time."""
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ConfigError('the map of embeddings needs scikit-learn: pip install "soundsieve[eval]"') from error
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    tsne = TSNE(
        perplexity=min(_PERPLEXITY, (len(embeddings) - 1) / 3), init="pca", learning_rate="auto", random_state=0
    )
    points: np.ndarray = tsne.fit_transform(embeddings / np.maximum(lengths, 1e-12))
    return points
