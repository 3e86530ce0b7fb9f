"""What ``extract`` and ``split`` do with each recording: questions asked, a file for every part that is wanted."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soundsieve.cli.batch import Advance, Report, Work
from soundsieve.cli.inputs import STDIN, Input
from soundsieve.cli.outputs import Outputs, needs_header, suffix_for
from soundsieve.cli.question import query_about, wants_something
from soundsieve.cli.screen import Screen
from soundsieve.errors import ConfigError

if TYPE_CHECKING:
    from soundsieve.asking import Asked
    from soundsieve.audio import ClipMode, Reader
    from soundsieve.separator import Separator

REST = "rest"


def warn_of_rest(separator: Separator, parts: Collection[str], screen: Screen) -> None:
    """Say once, where everything else is to be written, that it is not what it would be of other systems."""
    warning = separator.system.warning_of_rest
    if REST in parts and warning is not None:
        screen.note(f"soundsieve: {warning}")


@dataclass(frozen=True)
class Job:
    """Questions about every recording of a batch, and what becomes of the answers.

    Attributes:
        separator: what answers.
        questions: part -> what is asked for it.
        phrases: part -> the sound in words, for messages.
        words: part -> its {query}, for every part that is written: of the questions', and `REST`.
        outputs: names.
        subtype: of the files; by default as the recording's.
        clip_mode: of the files.
        engine: segment_s, overlap, batch, threshold and agreement of `Separator.split_stream`.
    """

    separator: Separator
    questions: Mapping[str, Asked]
    phrases: Mapping[str, str]
    words: Mapping[str, str]
    outputs: Outputs
    subtype: str | None
    clip_mode: ClipMode
    engine: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.outputs.to_stdout:
            if len(self.words) > 1:
                raise ConfigError(f"standard output takes one of {' and '.join(self.words)}: name a folder with -o")
            if sys.stdout.isatty():
                raise ConfigError(
                    "standard output is a terminal: send it into a file or a pipe, or name a place with -o"
                )

    def prepare(self, item: Input, report: Report) -> Work | None:
        """Choose the names of the answers; None if all are there already."""
        from soundsieve.audio import Reader, probe

        asks_header = needs_header(item, self.outputs.format)
        once = item.name == STDIN or (asks_header and not os.path.isfile(item.name))  # a pipe can be read only once
        reader = Reader(item.name) if once else None
        try:
            info = reader.info if reader is not None else None
            if info is None and asks_header:
                info = probe(item.name)
            suffix = suffix_for(item, info, self.outputs.format)
            paths, missing = self.outputs.claim(item, suffix, self.words)
        except BaseException:
            if reader is not None:
                reader.close()
            raise
        report.outputs = [] if self.outputs.to_stdout else [str(path) for path in paths.values()]
        if not missing:
            report.skipped = True
            if reader is not None:
                reader.close()
            return None
        if item.suffix not in ("", suffix) and self.outputs.format is None:
            report.notes.append(
                f"{Path(item.name).name}: '{item.suffix}' cannot be written, so the answer is a {suffix} file"
            )

        def work(report: Report, advance: Advance) -> None:
            try:
                with reader or Reader(item.name) as source:
                    self._answer(source, missing, suffix, report, advance)
            except BaseException:
                report.outputs, report.notes = [], []
                raise

        return work

    def _answer(self, source: Reader, paths: Mapping[str, Path], suffix: str, report: Report, advance: Advance) -> None:
        from soundsieve.pouring import pour

        queries = [query_about(asked, source) for asked in self.questions.values()]
        stream = self.separator.split_stream(source, queries, **self.engine)
        places = [paths.get(part) for part in (*self.questions, REST)]
        report.seconds = source.info.seconds
        written = pour(
            stream,
            source.info,
            places,
            suffix=suffix,
            subtype=self.subtype,
            clip_mode=self.clip_mode,
            replace=self.outputs.force,
            advance=lambda done: advance(done / stream.sample_rate, report.seconds),
        )
        for one in written:
            if one is not None and one.note:
                report.notes.append(f"{one.path.name}: {one.note}")
        self._hear(stream.presences, stream.spans, report)

    def _hear(self, presences: Sequence[float], spans: Sequence[Any], report: Report) -> None:
        several = len(self.questions) > 1
        heard: dict[str, tuple[float, Any]] = {}
        for (part, asked), presence, found in zip(self.questions.items(), presences, spans, strict=True):
            if wants_something(asked):
                phrase = self.phrases[part]
                heard[phrase] = (round(presence, 4), found)
                report.heard(phrase, presence, found, called=f"{report.name}, {phrase}" if several else report.name)
        if several:
            report.presence = {phrase: presence for phrase, (presence, _) in heard.items()}
            report.spans = {phrase: found for phrase, (_, found) in heard.items()}
        else:
            report.presence, report.spans = next(iter(heard.values()), (None, None))
