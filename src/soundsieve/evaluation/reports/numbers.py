"""Numbers behind the figures: rows in groups, and the mean of each group with its interval.

Intervals are 95% percentile bootstraps over what is independent: mixtures, or the targets of a list that mixes one
target several times (`rows.group_of`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from soundsieve.evaluation.judge import frechet_of_rows
from soundsieve.evaluation.measuring import Row
from soundsieve.evaluation.questions import SETTINGS, setting_of
from soundsieve.evaluation.report import mean_with_interval, span
from soundsieve.evaluation.reports.runs import Run
from soundsieve.evaluation.rows import group_of, key_of
from soundsieve.evaluation.run import BASELINES
from soundsieve.metrics import METRICS

EXACT = 8
"""Up to so many different values are groups of their own; more are put into bins."""


@dataclass(frozen=True)
class Point:
    """The mean of a group of rows.

    Attributes:
        x: what the rows have in common: a number, or a name.
        mean: of the metric.
        low: end of its 95% interval.
        high: the other end.
        count: rows in the group.
    """

    x: Any
    mean: float
    low: float
    high: float
    count: int


def point(x: Any, rows: Sequence[Row], metric: str) -> Point:
    """The mean of some rows, all of which have the metric."""
    found = mean_with_interval([row[metric] for row in rows], [str(group_of(row)) for row in rows])
    low, high = found["interval"]
    return Point(x, found["mean"], low, high, found["n"])


def with_metric(rows: Iterable[Row], metric: str) -> list[Row]:
    """Rows about a sound that is there and that have the metric."""
    return [row for row in rows if row.get(metric) is not None and row["condition"] != "absent"]


def conditions(rows: Iterable[Row]) -> list[str]:
    """Ways of asking, setting by setting, in each what needs no system first; else in the order in which they come."""
    order = ["", *SETTINGS]
    return sorted(
        dict.fromkeys(row["condition"] for row in rows),
        key=lambda name: (order.index(setting_of(name)), not is_baseline(name)),
    )


def is_baseline(condition: str) -> bool:
    """Whether no system was asked."""
    return plainly(condition) in BASELINES


def plainly(condition: str) -> str:
    """The way of asking without the setting: ``text at +5 dB`` is ``text``."""
    return condition.removesuffix(setting_of(condition)).rstrip()


def family(condition: str) -> str:
    """The way of asking whatever the setting and the number of example clips: ``examples`` is ``example``."""
    return plainly(condition).replace("examples", "example")


def grouped(rows: Iterable[Row], key: Callable[[Row], Hashable | None]) -> dict[Any, list[Row]]:
    """Rows by what they have in common; those with None are left out."""
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        value = key(row)
        if value is not None:
            groups[value].append(row)
    return dict(groups)


def against(rows: Sequence[Row], column: str, metric: str) -> list[Point]:
    """The mean of a metric at every value of a number, or in bins of it that hold equally many rows.

    Args:
        rows: those without the number or the metric are left out.
        column: the number.
        metric: what is averaged.

    Returns:
        In the order of the number; ``x`` is the value, or the mean of the bin.
    """
    found = [row for row in with_metric(rows, metric) if row.get(column) is not None]
    if not found:
        return []
    values = np.array([float(row[column]) for row in found])
    digits = 2 if len(set(values.round(2))) <= EXACT else 1
    groups = grouped(found, lambda row: round(float(row[column]), digits))
    if len(groups) > EXACT:
        ordered = sorted(found, key=lambda row: float(row[column]))
        parts = np.array_split(np.arange(len(ordered)), EXACT)
        bins = [[ordered[i] for i in part] for part in parts]
        groups = {round(float(np.mean([row[column] for row in part])), 2): part for part in bins}
    return [point(x, groups[x], metric) for x in sorted(groups)]


def by_shots(rows: Iterable[Row], metric: str) -> list[Point]:
    """The mean of a metric for every number of example clips; ``several`` where rows do not tell how many.

    The same questions are behind every point: those that were asked by the numbers of clips that most were asked by,
    where that is more than one. A label of few clips was asked for by fewer, and would put other sounds there.
    """
    found = with_metric(rows, metric)
    asked: dict[object, set[str]] = defaultdict(set)
    for row in found:
        asked[key_of(row)[:-1]].add(_shots(row))
    counts = Counter(frozenset(numbers) for numbers in asked.values())
    usual = max(counts, key=lambda numbers: (len(numbers) > 1, counts[numbers], len(numbers)), default=frozenset())
    groups = grouped((row for row in found if asked[key_of(row)[:-1]] == usual), _shots)
    return [point(shots, groups[shots], metric) for shots in sorted(groups, key=lambda shots: (len(shots), shots))]


def _shots(row: Row) -> str:
    several = "examples" in row["condition"]
    return str(row["shots"]) if "shots" in row else "several" if several else "1"


def by_label(rows: Iterable[Row], metric: str) -> list[Point]:
    """The mean of a metric for every label, worst first."""
    groups = grouped(with_metric(rows, metric), lambda row: row.get("label") or None)
    points = [point(label, of, metric) for label, of in groups.items()]
    better = -1 if METRICS[metric].better == "lower" else 1
    return sorted(points, key=lambda one: (better * one.mean, one.x))


def score_rows(run: Run) -> tuple[list[str], list[list[str]]]:
    """A table: for every way of asking, how many answers, and the mean of every metric that the run has.

    Returns:
        Its head and its lines; a cell is empty where some answers to a way of asking lack the metric.
    """
    columns = [name for name in run.columns if name != "energy_db"]
    distances = {name: frechet_of_rows(of) for name, of in _present(run).items()}
    heard = any(distance is not None for distance in distances.values())
    lines = []
    for name, rows in _present(run).items():
        cells = [_mean(rows, column) for column in columns]
        if heard:
            cells.append("" if distances[name] is None else f"{distances[name]:.4f}")
        lines.append([name, str(len(rows)), *cells])
    return ["query", "n", *map(titled, columns), *["FAD"] * heard], lines


def _mean(rows: Sequence[Row], column: str) -> str:
    if any(row.get(column) is None for row in rows):
        return ""
    found = point(None, rows, column)
    return span({"mean": found.mean, "interval": [found.low, found.high]}, 1 if METRICS[column].unit else 3)


def _present(run: Run) -> dict[str, list[Row]]:
    groups = grouped(run.rows, lambda row: row["condition"])
    return {name: groups[name] for name in conditions(run.rows) if name != "absent"}


def titled(metric: str) -> str:
    """A metric with its unit."""
    return METRICS[metric].title + (f", {METRICS[metric].unit}" if METRICS[metric].unit else "")
