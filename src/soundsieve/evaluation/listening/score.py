"""What the raters of a listening test said: means for every system, with 95% intervals over raters and items.

Both the raters and the items are a sample of those there could be, so both are drawn anew: a bootstrap draws raters
and, apart from that, items, and takes the mean over all ratings of the raters drawn about the items drawn (2,000
draws, seeded).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from soundsieve.errors import ConfigError, reason
from soundsieve.evaluation.listening.make import KEY_FORMAT

RATINGS_FORMAT = "soundsieve ratings 1"
SCALES = {"rel": "REL", "ovl": "OVL"}
"""Relevance to what was asked, and overall quality, from 1 to 5 (as in FlowSep's table, arXiv 2409.07614)."""
LOWEST, HIGHEST = 1, 5
_DRAWS = 2000


@dataclass(frozen=True)
class Score:
    """One system's mean on one scale.

    Attributes:
        system: which.
        scale: one of `SCALES`.
        mean: over raters and items.
        low: end of its 95% interval.
        high: the other end.
        raters: how many.
        items: how many.
    """

    system: str
    scale: str
    mean: float
    low: float
    high: float
    raters: int
    items: int


def read_key(path: Path) -> dict[str, Any]:
    """Read the key of a test.

    Raises:
        ConfigError: it cannot be read, or is none.
    """
    key = _read(path)
    systems, stimuli = key.get("systems"), key.get("stimuli")
    if key.get("format") != KEY_FORMAT or not isinstance(systems, list) or not isinstance(stimuli, dict) or not stimuli:
        raise ConfigError(f"{path} is not the key of a listening test; `soundsieve listen make` writes one")
    pairs = [(one.get("system"), one.get("item")) if isinstance(one, dict) else one for one in stimuli.values()]
    items = {str(pair[1]) for pair in pairs if isinstance(pair, tuple)}
    if sorted(map(str, pairs)) != sorted(str((system, item)) for system in systems for item in items):
        raise ConfigError(f"{path} is damaged: it does not have one sound for each system and item")
    return key


def read_ratings(paths: Sequence[Path], key: dict[str, Any]) -> dict[str, dict[str, dict[str, int]]]:
    """Read files of ratings.

    Args:
        paths: one file a rater.
        key: of the test.

    Returns:
        Rater -> sound -> scale -> rating; every rater rated every sound on every scale.

    Raises:
        ConfigError: a file cannot be read, is of another test or of a rater who gave another one, or lacks ratings, or
            has some that are none.
    """
    found: dict[str, dict[str, dict[str, int]]] = {}
    where: dict[str, Path] = {}
    for path in paths:
        content = _read(path)
        rater, ratings = content.get("rater"), content.get("ratings")
        if content.get("format") != RATINGS_FORMAT or not isinstance(ratings, dict) or not isinstance(rater, str):
            raise ConfigError(f"{path} is not a file of ratings; the page of a listening test saves one")
        if content.get("test") != key["test"]:
            raise ConfigError(f"{path} is of another test than the key")
        name = " ".join(rater.split()).casefold()
        if name in where:
            raise ConfigError(f"{path} and {where[name]} are of one rater, '{rater}': leave one of them out")
        where[name], found[rater] = path, _checked(path, ratings, key["stimuli"])
    if not found:
        raise ConfigError("there are no ratings to score")
    return found


def _checked(path: Path, ratings: dict[str, Any], stimuli: dict[str, Any]) -> dict[str, dict[str, int]]:
    unknown = [token for token in ratings if token not in stimuli]
    if unknown:
        raise ConfigError(f"{path} rates a sound that the test does not have: {unknown[0]}")
    for of_sound in ratings.values():
        for scale, value in of_sound.items() if isinstance(of_sound, dict) else [("", of_sound)]:
            whole = isinstance(value, int) and not isinstance(value, bool)
            if scale not in SCALES or not whole or not LOWEST <= value <= HIGHEST:
                raise ConfigError(f"{path}: {scale or 'a sound'} is rated {value!r}: rel and ovl are 1, 2, 3, 4 or 5")
    lacking = sum(scale not in ratings.get(token, {}) for token in stimuli for scale in SCALES)
    if lacking:
        raise ConfigError(f"{path} lacks {lacking} of {len(stimuli) * len(SCALES)} ratings: the rater did not finish")
    return ratings


def scores(ratings: dict[str, dict[str, dict[str, int]]], key: dict[str, Any], *, seed: int = 0) -> list[Score]:
    """Means with intervals, for every system and scale, the best overall quality first.

    Args:
        ratings: as `read_ratings` gives them.
        key: of the test.
        seed: of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    items = list(dict.fromkeys(stimulus["item"] for stimulus in key["stimuli"].values()))
    raters = _weights(rng, len(ratings))
    drawn = _weights(rng, len(items))
    found = []
    for system in key["systems"]:
        tokens = {s["item"]: token for token, s in key["stimuli"].items() if s["system"] == system}
        for scale in SCALES:
            table = np.array([[of[tokens[item]][scale] for item in items] for of in ratings.values()], dtype=np.float64)
            means = np.einsum("dr,ri,di->d", raters, table, drawn)
            low, high = np.percentile(means, [2.5, 97.5])
            found.append(Score(system, scale, float(table.mean()), float(low), float(high), len(ratings), len(items)))
    quality = {score.system: score.mean for score in found if score.scale == "ovl"}
    return sorted(found, key=lambda score: (-quality[score.system], score.system))


def _weights(rng: np.random.Generator, count: int) -> np.ndarray:
    """Shares of the ``count`` that are drawn, for each draw: shape ``(draws, count)``."""
    return rng.multinomial(count, np.full(count, 1 / count), size=_DRAWS) / count


def table(found: Sequence[Score]) -> list[list[str]]:
    """Lines for a terminal: the head, and one for each system."""
    lines = [["system", *SCALES.values(), "raters", "items"]]
    for system in dict.fromkeys(score.system for score in found):
        of_system = {score.scale: score for score in found if score.system == system}
        cells = [f"{s.mean:.2f} ({s.low:.2f} to {s.high:.2f})" for s in (of_system[scale] for scale in SCALES)]
        one = next(iter(of_system.values()))
        lines.append([system, *cells, str(one.raters), str(one.items)])
    return lines


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {reason(error)}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is not a file of a listening test")
    return content
