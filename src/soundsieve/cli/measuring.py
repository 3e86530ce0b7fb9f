"""How the rows of ``soundsieve evaluate`` are kept as they come, whatever the benchmark, with progress on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from soundsieve.evaluation.measuring import Row

Done: TypeAlias = Container[tuple[object, ...]]
"""What tells rows that were measured before from others, see `soundsieve.evaluation.rows.key_of`."""


def measured(
    output: Path | None, depends_on: Mapping[str, Any], total: int, rows_of: Callable[[Done], Iterable[Row]]
) -> list[Row]:
    """All rows of a run: those that a run cut short left beside the output, and those that are still to be measured.

    Args:
        output: of the run, whose rows go beside it; None to keep them nowhere.
        depends_on: what has to be the same for a run to go on.
        total: how many rows there will be.
        rows_of: measures all that is not done yet.
    """
    from soundsieve.evaluation import rows

    with rows.kept(None if output is None else output.with_suffix(".jsonl"), depends_on) as kept:
        if kept.rows:
            print(f"going on after {len(kept.rows)} answers that were measured before", file=sys.stderr)
        done = {rows.key_of(row) for row in kept.rows}
        for row in _progress(rows_of(done), total, done=len(done)):
            kept.append(row)
    return kept.rows


def _progress(rows: Iterable[Row], total: int, *, done: int) -> Iterator[Row]:
    """Pass rows on; a run of more than two seconds says on stderr how far it is."""
    from rich.console import Console
    from rich.progress import Progress

    started = time.perf_counter()
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("measuring", total=total, completed=done, visible=False)
        for row in rows:
            progress.update(task, advance=1, visible=time.perf_counter() - started > 2)
            yield row
