"""The log of a training run, as ``soundsieve train`` writes it (``log.csv``)."""

from __future__ import annotations

import csv
from pathlib import Path

from soundsieve.errors import ConfigError, reason

STEP = "step"


def read(path: Path) -> dict[str, list[tuple[float, float]]]:
    """What was logged -> (step, value); cells that are empty are left out, and so are columns without a value.

    Raises:
        ConfigError: it cannot be read, has no steps, or holds something that is not a number.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot read {path}: {reason(error)}") from error
    if not rows or STEP not in rows[0]:
        raise ConfigError(f"{path} is no log of a training run (log.csv): it has no column '{STEP}', or no line")
    found: dict[str, list[tuple[float, float]]] = {}
    for number, row in enumerate(rows, start=2):
        for name, value in row.items():
            if name is None or isinstance(value, list):
                raise ConfigError(f"{path}, line {number}: more values than columns")
            if name != STEP and value:
                found.setdefault(name, []).append(_numbers(path, number, row[STEP], value))
    return found


def _numbers(path: Path, line: int, step: str | None, value: str) -> tuple[float, float]:
    try:
        return float(step or ""), float(value)
    except ValueError as error:
        raise ConfigError(f"{path}, line {line}: {error}") from error
