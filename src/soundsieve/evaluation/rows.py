"""Files of rows: one line of JSON for each answer that was measured, and a run that is cut short goes on.

While a run goes on, its rows are appended to ``NAME.jsonl.part``, each in one piece, behind a first line that says
which run it is: ``{"run": {"model": ..., "pairs_sha256": ..., ...}}``. When all is measured they become ``NAME.jsonl``,
which holds rows alone. A run that finds a ``.part`` of its own takes its rows as measured and asks only what is left;
one of another model, list or choice of metrics is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from soundsieve.errors import ConfigError
from soundsieve.evaluation.measuring import Row
from soundsieve.files import replacing
from soundsieve.metrics import METRICS

KEY = ("example", "pair", "direction", "condition")
"""Fields that name a row, as far as it has them."""
_NO_NUMBER = 1e300
"""Larger is no measured value, and neither is NaN, which is not below it."""


def key_of(row: Row) -> tuple[object, ...]:
    """What names a row in its file."""
    return tuple(row.get(name) for name in KEY)


def group_of(row: Row) -> object:
    """Which rows are not independent of this one: of a list those with its target, else those of its mixture."""
    return row.get("target") or row.get("example", row.get("pair"))


def read_rows(path: str | Path) -> list[Row]:
    """Read a file of rows, finished or not.

    Raises:
        ConfigError: it cannot be read, or a line is not a row: what it says was measured is not a finite number, say.
    """
    rows = []
    for number, line in enumerate(_lines(path), start=1):
        row = _parse(line)
        if row is None:
            raise ConfigError(f"{path}, line {number}: not a row; `soundsieve evaluate -o` writes one for each answer")
        if not (number == 1 and set(row) == {"run"}):
            rows.append(row)
    return rows


class Kept:
    """The rows of a run so far; see `kept`.

    Attributes:
        rows: all of them, those of an earlier attempt first.
    """

    def __init__(self, rows: list[Row], file: IO[bytes] | None = None) -> None:
        self.rows = rows
        self._file = file

    def append(self, row: Row) -> None:
        """Add one row, and hand it to the system at once if it goes to a file."""
        self.rows.append(row)
        if self._file is not None:
            self._file.write(_line(row))
            self._file.flush()


@contextmanager
def kept(path: str | Path | None, run: Mapping[str, Any]) -> Iterator[Kept]:
    """Keep the rows of a run, in a file too if it has a name, and go on where the same run stopped.

    The file appears whole at the end, or not at all; what is measured until then stays in ``path`` + ``.part``.

    Args:
        path: of the finished file; None for rows that are kept in memory alone.
        run: what the rows depend on, in values that JSON has; the same for the same run.

    Raises:
        ConfigError: the rows that are there are of another run, or cannot be read.
        OSError: the file cannot be written.
    """
    if path is None:
        yield Kept([])
        return
    path = Path(path)
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    rows, whole = _earlier(part, run)
    with part.open("r+b" if whole else "wb") as file:
        file.truncate(whole)
        file.seek(whole)
        if not whole:
            file.write(_line({"run": dict(run)}))
            file.flush()
        yield Kept(rows, file)
    write_rows(path, rows)
    part.unlink()


def write_rows(path: str | Path, rows: Iterable[Row]) -> None:
    """Write a file of rows, whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.writelines(_line(row) for row in rows)


def _earlier(part: Path, run: Mapping[str, Any]) -> tuple[list[Row], int]:
    """Rows of an earlier attempt at a run, and the length of the file that holds them in bytes; none, and 0."""
    if not part.exists():
        return [], 0
    lines = _lines(part)
    if not lines or not lines[0].endswith(b"\n"):
        return [], 0  # cut short before it had begun
    if not lines[-1].endswith(b"\n"):
        lines.pop()  # cut short while a row was written
    head, *rows = (_parse(line) for line in lines)
    wanted = json.loads(json.dumps(run))
    was = None if head is None else head.get("run")
    away = f"delete it to start anew, or give another name (-o) than {part.name.removesuffix('.jsonl.part')}.json"
    if not isinstance(was, dict) or None in rows:
        raise ConfigError(f"{part} does not hold the rows of a run that was cut short: {away}")
    differing = [name for name in {**wanted, **was} if wanted.get(name) != was.get(name)]
    if differing:
        name = differing[0]
        raise ConfigError(
            f"{part} holds rows of another run ({name}: {was.get(name)}, here {wanted.get(name)}): {away}"
        )
    return [row for row in rows if row is not None], sum(map(len, lines))


def _lines(path: str | Path) -> list[bytes]:
    try:
        return Path(path).read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def _parse(line: bytes) -> Row | None:
    """A row; None for anything else: its name is of plain values, and what was measured is a number or nothing."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str | int | None) for name in (*KEY, "target")):
        return None
    measured = [row[name] for name in METRICS if row.get(name) is not None]
    return row if all(isinstance(one, int | float) and abs(one) < _NO_NUMBER for one in measured) else None


def _line(row: Row) -> bytes:
    return (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()
