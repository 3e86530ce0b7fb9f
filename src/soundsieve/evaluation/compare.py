"""Two runs on the same mixtures: by how much does one beat the other, and could that be chance?

Only rows that both files have are compared, answer by answer, so how hard a mixture is cancels out. The differences
of one mixture (its two directions), and in a list those of one target, are not independent: they are drawn, and
flipped, together.

- The interval is a 95% percentile bootstrap of the mean difference over mixtures, as in `evaluation.report`.
- p is from a sign-flip permutation test: were the two runs equally good, the difference of every mixture could as well
  have had the other sign. p is the share of all sign patterns (of 10,000 drawn ones, where there are more) that give a
  mean at least as far from zero.

Neither assumes a distribution. p holds for one metric and one way of asking; who looks at twenty finds one below 0.05.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from soundsieve.errors import ConfigError
from soundsieve.evaluation.measuring import Row
from soundsieve.evaluation.report import mean_with_interval
from soundsieve.evaluation.rows import group_of, key_of
from soundsieve.metrics import METRICS

FLIPS = 10_000
CHANCE = 0.05
"""Up to which p a run may be called better."""
DEFAULT = ("sdri", "si_sdri", "filtered_sdri", "clap_score", "clap_score_audio")
"""What is compared if nothing is named, as far as both runs have it; of answers about absent sounds, their energy."""
_SAME = ("label", "target", "query")
"""Fields that tell that two rows of one name are about the same question, as far as both have them."""


@dataclass(frozen=True)
class Comparison:
    """One metric of answers to one way of asking, in both runs.

    Attributes:
        condition: the way.
        metric: a name in `METRICS`.
        first: mean of the first run.
        second: mean of the second run, over the same answers.
        difference: second less first.
        interval: of the difference, 95%.
        p: of a difference as large by chance, between 0 and 1.
        n: answers.
        mixtures: that they are about (in a list, targets).
    """

    condition: str
    metric: str
    first: float
    second: float
    difference: float
    interval: tuple[float, float]
    p: float
    n: int
    mixtures: int

    @property
    def better(self) -> Literal["first", "second", "neither"]:
        """Which run is the better one, where the interval of the difference leaves out zero and p is at most 0.05.

        Of a few mixtures alone the interval is too short: of one it has no length, while p is 1. The energy of an
        answer judges nothing unless the sound is absent.
        """
        low, high = self.interval
        if low <= 0 <= high or self.p > CHANCE or (self.metric == "energy_db" and self.condition != "absent"):
            return "neither"
        return "second" if (low > 0) == (METRICS[self.metric].better == "higher") else "first"


def compare(
    first: Sequence[Row],
    second: Sequence[Row],
    *,
    metrics: Sequence[str] | None = None,
    conditions: Sequence[str] | None = None,
    seed: int = 0,
) -> list[Comparison]:
    """Compare two runs, for every way of asking and every metric that both have.

    Args:
        first: rows, as `rows.read_rows` gives them.
        second: rows on the same list of mixtures.
        metrics: columns to be compared; by default those of `DEFAULT`.
        conditions: ways of asking; by default all in which a system was asked, so not the unprocessed mixture.
        seed: of the bootstrap and the signs.

    Raises:
        ConfigError: the runs share no answer with such a metric, are about different mixtures, a name is not known or
            has no numbers to compare, or a file has the same row twice.
    """
    for name in metrics or ():
        if name not in METRICS:
            raise ConfigError(f"there is no metric '{name}'; there are {', '.join(METRICS)}")
    pairs = _matched(first, second)
    found = list(dict.fromkeys(str(a["condition"]) for a, _ in pairs))
    unknown = [name for name in conditions or () if name not in found]
    if unknown:
        raise ConfigError(f"the runs do not share the condition '{unknown[0]}'; they share {', '.join(found)}")
    compared = []
    asked = {str(a["condition"]) for a, _ in pairs if a.get("query", "") is not None}
    for condition in conditions or [name for name in found if name in asked]:
        of_condition = [(a, b) for a, b in pairs if a["condition"] == condition]
        for metric in metrics or (("energy_db",) if condition == "absent" else DEFAULT):
            both = [(a, b) for a, b in of_condition if a.get(metric) is not None and b.get(metric) is not None]
            if both:
                compared.append(_compare(condition, metric, both, seed))
    if not compared:
        raise ConfigError(f"the runs share no answer that both measured by {' or '.join(metrics or DEFAULT)}")
    return compared


def sign_flip_p(differences: Sequence[float], groups: Sequence[object], *, seed: int = 0) -> float:
    """Probability of a mean at least as far from zero if the sign of every group's differences were a coin toss.

    All 2^G patterns are counted where there are no more than `FLIPS`; else that many are drawn, and the observed one is
    counted with them, so that p is never 0.

    Args:
        differences: one for each answer.
        groups: which group each belongs to; those of one group have their signs flipped together.
        seed: of the draws.
    """
    _, index = np.unique([str(group) for group in groups], return_inverse=True)
    sums = np.bincount(index, weights=np.asarray(differences, dtype=np.float64))
    observed = abs(sums.sum())
    enough = observed - 1e-9 * np.abs(sums).sum()  # sums in another order differ by rounding
    if 2 ** len(sums) <= FLIPS:
        bits = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1
        return float(np.mean(np.abs((1 - 2 * bits) @ sums) >= enough))
    rng = np.random.default_rng(seed)
    hits = sum(int((np.abs(_signs(rng, len(sums)) @ sums) >= enough).sum()) for _ in range(FLIPS // 100))
    return (1 + hits) / (1 + FLIPS)


def _signs(rng: np.random.Generator, count: int) -> np.ndarray:
    return 1.0 - 2.0 * rng.integers(2, size=(100, count))


def _compare(condition: str, metric: str, both: Sequence[tuple[Row, Row]], seed: int) -> Comparison:
    mixtures = [str(group_of(a)) for a, _ in both]
    before, after = (np.array([row[metric] for row in rows], dtype=np.float64) for rows in zip(*both, strict=True))
    difference = mean_with_interval(list(after - before), mixtures, seed=seed)
    low, high = difference["interval"]
    return Comparison(
        condition,
        metric,
        round(float(before.mean()), 4),
        round(float(after.mean()), 4),
        difference["mean"],
        (low, high),
        sign_flip_p(list(after - before), mixtures, seed=seed),
        difference["n"],
        difference["pairs"],
    )


def _matched(first: Sequence[Row], second: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Rows of the same name in both runs, in the order of the first."""
    known = _by_name(second)
    pairs = [(row, known[key]) for key, row in _by_name(first).items() if key in known]
    if not pairs:
        raise ConfigError("the two runs share no answer: they are about different mixtures, or asked in different ways")
    for a, b in pairs:
        differing = [name for name in _SAME if name in a and name in b and a[name] != b[name]]
        if differing:
            name = differing[0]
            raise ConfigError(
                f"the two runs are on different lists: {_called(a)} has the {name} '{a[name]}' in one and '{b[name]}' "
                "in the other"
            )
    return pairs


def _by_name(rows: Sequence[Row]) -> dict[tuple[object, ...], Row]:
    named: dict[tuple[object, ...], Row] = {}
    for row in rows:
        if "condition" not in row:
            continue  # an example that was left out
        if key_of(row) in named:
            raise ConfigError(f"a run has the row of {_called(row)} twice")
        named[key_of(row)] = row
    return named


def _called(row: Row) -> str:
    return f"mixture {row.get('example', row.get('pair'))}, '{row.get('condition')}'"


def table(compared: Sequence[Comparison], names: tuple[str, str] = ("first", "second")) -> list[list[str]]:
    """Header and rows of a table for people, as text."""
    shown = [["query", "metric", "n", *names, "difference (95%)", "p", "better"]]
    for one in compared:
        metric = METRICS[one.metric]
        digits = 2 if metric.unit else 3
        low, high = one.interval
        better = dict(zip(("first", "second"), names, strict=True)).get(one.better, "")
        shown.append(
            [
                one.condition,
                f"{metric.title}{', dB' * (metric.unit == 'dB')}",
                str(one.n),
                f"{one.first:.{digits}f}",
                f"{one.second:.{digits}f}",
                f"{one.difference:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})",
                _p(one.p),
                better,
            ]
        )
    return shown


def _p(p: float) -> str:
    return f"{p:.4f}" if p > 2 / FLIPS else f"< {2 / FLIPS:.4f}"


def summary(compared: Sequence[Comparison], about: Mapping[str, Any]) -> dict[str, Any]:
    """The same as plain values for a JSON file."""
    return {**about, "comparisons": [vars(one) | {"better": one.better} for one in compared]}
