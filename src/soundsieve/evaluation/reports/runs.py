"""Runs of ``soundsieve evaluate`` as a report takes them: rows, and what is known of where they come from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any

from soundsieve.errors import ConfigError, reason
from soundsieve.evaluation.listed import LEFT_OUT
from soundsieve.evaluation.measuring import Row
from soundsieve.evaluation.rows import read_rows
from soundsieve.metrics import METRICS

GAINS = tuple(name for name, metric in METRICS.items() if metric.unit == "dB" and name.endswith("i"))
"""What was gained over the unprocessed mixture."""

_NUMBERS = ("snr_db", "like_s", "presence")
"""What figures are drawn against; `read_rows` sees to the metrics."""


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        name: what the page calls it; no two have one name.
        rows: an answer each.
        about: what its summary says of it: ``run``, ``not_applicable``; empty where there is no summary.
        left_out: examples that could not be mixed.
    """

    name: str
    rows: list[Row]
    about: dict[str, Any] = field(default_factory=dict)
    left_out: int = 0

    @property
    def benchmark(self) -> str:
        """Which list it was asked about."""
        return str(self.facts.get("benchmark", "corpus" if self.rows and "pair" in self.rows[0] else "a list"))

    @property
    def facts(self) -> dict[str, Any]:
        """How it was made, as far as it is known."""
        return dict(self.about.get("run", {}))

    @property
    def columns(self) -> list[str]:
        """The metrics that some row has and that apply, in the order of the tables."""
        excluded = {gain for name in self.about.get("not_applicable", {}) for gain in (name, f"{name}i")}
        return [
            name for name in METRICS if name not in excluded and any(row.get(name) is not None for row in self.rows)
        ]

    @property
    def not_applicable(self) -> list[str]:
        """Why some metrics say nothing of the system's answers, a sentence each."""
        return [str(why) for why in self.about.get("not_applicable", {}).values()]


def read(paths: Sequence[Path]) -> list[Run]:
    """Read runs; the summary (.json) that ``evaluate`` writes beside the rows is read too, if it is there.

    Raises:
        ConfigError: a file cannot be read, is not of this kind, or is given twice.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError("one file of rows is given twice")
    stems = [path.stem for path in paths]
    runs = []
    for path in paths:
        rows = read_rows(path)
        answers = [row for row in rows if row.get("condition") not in (None, LEFT_OUT)]
        if not answers:
            raise ConfigError(f"{path} holds no answers; `soundsieve evaluate -o` writes one for each line")
        _check(path, answers)
        name = path.stem if stems.count(path.stem) == 1 else str(path)
        runs.append(Run(name, answers, _summary(path.with_suffix(".json")), len(rows) - len(answers)))
    return runs


def _check(path: Path, rows: Sequence[Row]) -> None:
    for row in rows:
        wrong = next((name for name in _NUMBERS if not isinstance(row.get(name), (int, float, NoneType))), None)
        if wrong or not isinstance(row["condition"], str):
            which = wrong or "condition"
            raise ConfigError(
                f"{path}: {which} of an answer is {row[which]!r}; `soundsieve evaluate` writes no such row"
            )


def _summary(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        summary = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}, the summary of the rows beside it: {reason(error)}") from error
    known = isinstance(summary, dict) and all(isinstance(summary.get(k, {}), dict) for k in ("run", "not_applicable"))
    if not known:
        raise ConfigError(f"{path} is not the summary of the rows beside it: move it away, or name the rows otherwise")
    return dict(summary)


def metric_to_show(runs: Sequence[Run], wanted: str | None = None) -> str:
    """The metric of the figures: the one that is wanted, else the first gain that all runs have, else any they share.

    Raises:
        ConfigError: the runs do not have it, or share none.
    """
    if wanted is not None:
        if wanted not in METRICS or not all(wanted in run.columns for run in runs):
            shared = ", ".join(_shared(runs)) or "none"
            raise ConfigError(f"there is no metric '{wanted}' that all runs hold; they share {shared}")
        return wanted
    for name in (*GAINS, *_shared(runs)):
        if name in _shared(runs):
            return name
    raise ConfigError("the runs share no metric: make a report of each")


def _shared(runs: Sequence[Run]) -> list[str]:
    return [name for name in METRICS if all(name in run.columns for run in runs)]
