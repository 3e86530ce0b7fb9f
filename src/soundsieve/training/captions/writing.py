"""Captions from a language model: ask, clean, keep, until there are enough; what was answered is never asked again.

Every answer is kept in a journal beside the output, one line of JSON each, before the next requests are made. The same
command reads it first, so a run that was interrupted goes on with the captions that it would have had. The journal goes
when the captions are written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from soundsieve.errors import ConfigError
from soundsieve.files import replacing
from soundsieve.training.captions.cleaning import Cleaner
from soundsieve.training.captions.language_model import Answer, LanguageModel
from soundsieve.training.captions.prompts import Prompts
from soundsieve.training.captions.texts import write_lines
from soundsieve.training.store import Progress

_FORMAT = "soundsieve-answers-1"
_FRUITLESS = 100
"""Requests in a row without one new caption, after which no more are made."""


@dataclass(frozen=True)
class Written:
    """What became of a run.

    Attributes:
        captions: how many were written.
        asked: requests made, now and before an interruption.
        lines: lines that were answered.
        dropped: of them, by reason.
    """

    captions: int
    asked: int
    lines: int
    dropped: dict[str, int]


def ask_for_captions(
    model: LanguageModel, prompts: Prompts, count: int, output: str | Path, *, progress: Progress | None = None
) -> Written:
    """Have captions written.

    Args:
        model: what writes them.
        prompts: what is asked for.
        count: captions wanted; fewer come where a hundred requests in a row bring nothing new.
        output: text file with one a line, whole or not at all.
        progress: told what is done, how much of it, and of how much.

    Raises:
        ConfigError: a request fails for good, nothing usable was answered, the journal is of other settings, or
            something cannot be written.
    """
    if count < 1:
        raise ConfigError(f"at least one caption is asked for, not {count}")
    output = Path(output)
    journal = output.with_name(f"{output.name}.answers.jsonl")
    cleaner, kept, asked, fruitless = Cleaner(), [], 0, 0
    try:
        with _Journal(journal, {"format": _FORMAT, "model": model.name, "prompts": prompts.digest}) as answers:
            for answer in _answers(answers, model, prompts):
                asked += 1
                new = cleaner(answer.text, cut_off=answer.cut_off)
                kept += new
                fruitless = 0 if new else fruitless + 1
                if progress:
                    progress("captions", min(len(kept), count), count)
                if len(kept) >= count or fruitless >= _FRUITLESS:
                    break
        if not kept:
            raise ConfigError(f"{model.name} answered {asked} requests without one caption: try another model")
        with replacing(output) as temporary:
            write_lines(temporary, kept[:count])
        journal.unlink()
    except OSError as error:
        raise ConfigError(f"cannot write {output}: {error.strerror or error}") from error
    return Written(min(len(kept), count), asked, cleaner.lines, dict(cleaner.dropped.most_common()))


def _answers(journal: _Journal, model: LanguageModel, prompts: Prompts) -> Iterator[Answer]:
    """What was answered before, then what is answered now."""
    yield from journal.read
    first = len(journal.read)
    while True:
        asked = [prompts[first + place] for place in range(model.batch_size)]
        try:
            for answered in model.answer(prompts.system, asked, first):
                journal.write(answered)
                first += len(answered)
                yield from answered
        except ConfigError as error:
            raise ConfigError(f"{error}; {first} answers are kept, and the same command goes on from there") from error


class _Journal:
    """The answers so far, on disk: a line of settings, then one for each answer.

    A last line that was cut off by a crash is dropped.
    """

    def __init__(self, path: Path, settings: dict[str, str]) -> None:
        self.path, self.settings = path, settings
        self.read: list[Answer] = []

    def __enter__(self) -> _Journal:
        end = self._replay() if self.path.is_file() else 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab")
        self._file.truncate(end)
        if not end:
            self._append([self.settings])
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, answers: Sequence[Answer]) -> None:
        """Keep answers, on the disk before this returns."""
        self._append([{"text": answer.text, "cut_off": answer.cut_off} for answer in answers])

    def _append(self, rows: Sequence[dict[str, object]] | Sequence[dict[str, str]]) -> None:
        self._file.write("".join(json.dumps(row) + "\n" for row in rows).encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def _replay(self) -> int:
        """Read the answers; where the last whole line ends, in bytes; 0 where there is none, whatever was asked."""
        data = self.path.read_bytes()
        data = data[: data.rfind(b"\n") + 1]
        try:
            rows = [json.loads(line) for line in data.splitlines()]
            self.read = [Answer(row["text"], row["cut_off"]) for row in rows[1:]]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{self.path} is damaged: remove it to ask for everything again") from error
        if not self.read:
            return 0
        if rows[0] != self.settings:
            raise ConfigError(
                f"{self.path} holds answers to other labels, another seed or model: finish that run, or remove the file"
            )
        return len(data)
