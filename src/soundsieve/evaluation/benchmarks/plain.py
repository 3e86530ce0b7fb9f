"""This project's own list: a CSV file with the fields of `Example` as its columns, for mixtures of your own.

``example_id``, and ``text`` or example clips, are needed; of the rest, columns that are not there are empty. Several
recordings in one cell are joined by ``|``. `soundsieve mixtures make` writes such lists, with checksums.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from soundsieve.errors import ConfigError
from soundsieve.evaluation.benchmarks.example import Example, check_names
from soundsieve.evaluation.benchmarks.tables import number, read_rows
from soundsieve.files import replacing

COLUMNS = tuple(field.name for field in fields(Example))
CHECKS = ("sample_rate", "seconds", "mixture_sha256", "reference_sha256")
"""Further columns, about ready-made mixtures."""
_SEVERAL = ("interferers", "like", "unlike")
_NUMBERS = ("snr_db", "start_s")


def read(path: str | Path) -> list[Example]:
    """Read a list.

    Raises:
        ConfigError: it cannot be read, has a column that is not known, or an example is not one.
    """
    rows = read_rows(path, required=("example_id",))
    unknown = [name for name in (rows[0] if rows else ()) if name not in (*COLUMNS, *CHECKS)]
    if unknown:
        raise ConfigError(f"{path} has a column '{unknown[0]}'; there are {', '.join((*COLUMNS, *CHECKS))}")
    examples = []
    for row in rows:
        values: dict[str, object] = {}
        for name in COLUMNS:
            value = row.get(name, "")
            if name in _SEVERAL:
                values[name] = tuple(part.strip() for part in value.split("|") if part.strip())
            elif name not in _NUMBERS:
                values[name] = value
            elif value:
                values[name] = number(value, f"{path}: {name} of {row['example_id']}")
        examples.append(Example(**values))  # type: ignore[arg-type]
    return check_names(examples, path)


def write(path: str | Path, examples: Sequence[Example], checks: Mapping[str, Mapping[str, str]]) -> None:
    """Write a list, whole or not at all.

    Args:
        path: the file.
        examples: its rows.
        checks: for every example, by name, the further columns; those of `CHECKS`.
    """
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*COLUMNS, *CHECKS))
        for example in examples:
            cells = [_cell(getattr(example, name)) for name in COLUMNS]
            writer.writerow([*cells, *(checks[example.example_id][name] for name in CHECKS)])


def _cell(value: object) -> str:
    return "" if value is None else "|".join(value) if isinstance(value, tuple) else str(value)
