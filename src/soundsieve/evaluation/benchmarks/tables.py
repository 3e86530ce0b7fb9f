"""Reading CSV files that other people wrote: any line ends, a byte order mark, quotes, spaces after commas."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from soundsieve.audio import READABLE
from soundsieve.errors import ConfigError, reason


def read_rows(path: str | Path, *, required: Sequence[str] = (), columns: int | None = None) -> list[dict[str, str]]:
    """Rows of a CSV file with a header, each by its column names, in the file's order.

    Values and names lose the spaces around them. Where a header has a name twice, the second is called ``NAME (2)``, as
    in AudioSep's list for Clotho. Empty lines are passed over.

    Args:
        path: the file, in UTF-8, with or without a byte order mark.
        required: columns that have to be there.
        columns: how many there have to be, for lists that are read by position.

    Raises:
        ConfigError: the file cannot be read, is no CSV, lacks a column, or has a row of another length than the header.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            lines = [(reader.line_num, [value.strip() for value in line]) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot read {path}: {reason(error)}") from error
    lines = [(number, line) for number, line in lines if any(line)]
    if not lines:
        raise ConfigError(f"{path} is empty")
    header = _apart(lines[0][1])
    missing = [name for name in required if name not in header]
    if missing:
        raise ConfigError(
            f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; it has {', '.join(header)}"
        )
    if columns is not None and len(header) != columns:
        raise ConfigError(f"{path} has {len(header)} columns ({', '.join(header)}), not {columns}")
    for number, line in lines[1:]:
        if len(line) != len(header):
            raise ConfigError(f"{path}, line {number}: {len(line)} values for {len(header)} columns")
    return [dict(zip(header, line, strict=True)) for _, line in lines[1:]]


def _apart(header: list[str]) -> list[str]:
    """Names of which no two are the same."""
    count: dict[str, int] = {}
    names = []
    for name in header:
        count[name] = count.get(name, 0) + 1
        names.append(name if count[name] == 1 else f"{name} ({count[name]})")
    return names


def number(value: str, what: str) -> float:
    """A number out of a table.

    Raises:
        ConfigError: it is none; ``what`` says what it was for.
    """
    try:
        return float(value)
    except ValueError:
        raise ConfigError(f"{what} is '{value}': it is a number") from None


def recording(name: str, suffix: str = ".wav") -> str:
    """A recording's path as lists name it: ``/`` between parts, nothing before the first, a suffix if it has none."""
    plain = name.replace("\\", "/").removeprefix("./")
    return plain if Path(plain).suffix.lower() in READABLE else plain + suffix
