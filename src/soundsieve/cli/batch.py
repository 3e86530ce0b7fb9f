"""Many recordings: one after the other or several at once; one that fails does not stop the rest."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from soundsieve.cli.inputs import STDIN, Input
from soundsieve.cli.screen import Screen
from soundsieve.errors import AudioError, ConfigError, QueryError, SoundsieveError

if TYPE_CHECKING:
    from soundsieve.presence import Span

_SPANS_TOLD = 8


@dataclass
class Report:
    """What became of one recording.

    Attributes:
        path: its name.
        outputs: the files that were written.
        presence: of the sound, or of each sound by name; None where nothing could be absent.
        spans: likewise.
        seconds: how long the recording is.
        took_s: how long it took.
        notes: what the user should know.
        found: where the sound is, in words.
        error: why there is no answer.
        skipped: whether all answers were there already.
    """

    path: str
    outputs: list[str] = field(default_factory=list)
    presence: Any = None
    spans: Any = None
    seconds: float | None = None
    took_s: float = 0.0
    notes: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    error: str | None = None
    skipped: bool = False

    @property
    def name(self) -> str:
        """Of the recording, in messages."""
        return "standard input" if self.path == STDIN else Path(self.path).name

    def as_json(self) -> str:
        """All of it in one line."""
        values = {**vars(self), "took_s": round(self.took_s, 3)}
        del values["found"]  # in plain words what the spans say
        return json.dumps(values, default=_plain)

    def heard(self, words: str, presence: float, spans: Sequence[Span], *, called: str) -> None:
        """Take down where a sound was found, or that it was not."""
        if spans:
            self.found.append(f"{called}: {spans_in_words(spans)}")
        else:
            self.notes.append(f"no '{words}' found in {self.name} (presence {presence:.2f})")


Advance: TypeAlias = Callable[[float, "float | None"], None]
"""Called with the seconds done and, where that is known, those of the whole."""

Work: TypeAlias = Callable[[Report, Advance], None]
"""Answers about one recording and completes its report."""

Prepare: TypeAlias = Callable[[Input, Report], "Work | None"]
"""What is to be decided in order, before the work that may be done at the same time as other work; None: no work."""


class _StopError(Exception):
    """The command is interrupted; raised in the threads that work for it."""


def run(inputs: Sequence[Input], prepare: Prepare, *, jobs: int, screen: Screen) -> Generator[Report, None, None]:
    """Work on recordings, ``jobs`` of them at the same time, and report in their order.

    Errors of one recording (AudioError, WeightsError, no memory) stand in its report; those of the request
    (ConfigError, QueryError) are raised. Whoever stops before the last report stops the work, too.
    """
    stop = threading.Event()

    def start(item: Input) -> tuple[Report, Work | None]:
        report = Report(item.name)
        found: list[Work | None] = []

        def prepared() -> None:
            if item.problem:
                raise AudioError(item.problem)
            found.append(prepare(item, report))

        _attempt(report, prepared)
        return report, found[0] if found else None

    def finish(report: Report, work: Work | None) -> Report:
        def advance(done_s: float, whole_s: float | None) -> None:
            if stop.is_set():
                raise _StopError
            screen.advance(report.path, done_s, whole_s)

        started = time.monotonic()
        if work is not None:
            _attempt(report, lambda: work(report, advance))
        report.took_s = time.monotonic() - started
        screen.finish_one()
        return report

    if jobs == 1 or len(inputs) == 1:
        for item in inputs:
            yield finish(*start(item))
        return
    waiting: deque[Future[Report]] = deque()
    pool = ThreadPoolExecutor(jobs, "soundsieve")
    try:
        for item in inputs:
            waiting.append(pool.submit(finish, *start(item)))
            while waiting and (waiting[0].done() or len(waiting) > 2 * jobs):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # also where the last report was not waited for
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _attempt(report: Report, action: Callable[[], None]) -> None:
    try:
        action()
    except (ConfigError, QueryError):
        raise
    except SoundsieveError as error:
        pipe = broken_pipe(error)
        if pipe is not None:
            raise pipe from error
        report.error = str(error)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "out of memory" not in str(error).lower():
            raise
        report.error = (
            f"there is not enough memory for {report.path}: a smaller --batch, --segment or --jobs needs less"
        )


def broken_pipe(error: BaseException | None) -> BrokenPipeError | None:
    """The broken pipe that an error comes from, if it comes from one."""
    while error is not None and not isinstance(error, BrokenPipeError):
        error = error.__cause__ or error.__context__
    return error


def tell(reports: Generator[Report, None, None], screen: Screen, *, as_json: bool) -> int:
    """Tell what became of every recording, as soon as it is known.

    Args:
        reports: in order.
        screen: where it is told.
        as_json: as lines of JSON on stdout, instead of notes and paths.

    Returns:
        How many failed.
    """
    whole = failed = skipped = 0
    with closing(reports):  # ends the work, where telling is what fails
        for report in reports:
            whole, failed, skipped = whole + 1, failed + (report.error is not None), skipped + report.skipped
            if report.error is not None:
                screen.error(f"soundsieve: {report.error}")
            if as_json:
                screen.out(report.as_json())
                continue
            for output in () if report.skipped else report.outputs:
                screen.out(output)
            for note in (*report.notes, *report.found):
                screen.note(note)
    if skipped:
        screen.note(f"{skipped} of {whole} recordings left out: their answers are there already")
    if failed and whole > 1:
        screen.error(f"soundsieve: {failed} of {whole} recordings failed")
    return failed


def spans_in_words(spans: Sequence[Span]) -> str:
    """Such as ``3.2-4.1 s, 7.0-7.4 s``."""
    told = ", ".join(f"{span.start_s:.1f}-{span.end_s:.1f} s" for span in spans[:_SPANS_TOLD])
    more = len(spans) - _SPANS_TOLD
    return f"{told} and {more} more" if more > 0 else told


def use_threads(threads: int | None, jobs: int) -> None:
    """Set the CPU threads of each job; by default the cores are shared out among the jobs."""
    import torch

    if threads is None and jobs > 1:
        threads = max(1, min(torch.get_num_threads(), len(os.sched_getaffinity(0)) // jobs))
    if threads is not None:
        torch.set_num_threads(threads)


def _plain(value: object) -> object:
    from soundsieve.presence import Span

    if isinstance(value, Span):
        return {"start": round(value.start_s, 3), "end": round(value.end_s, 3), "score": round(value.score, 4)}
    raise TypeError(f"{type(value).__name__} is not for JSON")
