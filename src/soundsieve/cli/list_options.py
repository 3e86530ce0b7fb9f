"""Options of the commands that take a benchmark's list, and what they come down to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from soundsieve.errors import AudioError, ConfigError

if TYPE_CHECKING:
    from soundsieve.evaluation.benchmarks.benchmark import Benchmark
    from soundsieve.evaluation.benchmarks.example import Example
    from soundsieve.evaluation.benchmarks.mixing import Mixing
    from soundsieve.evaluation.benchmarks.recordings import Recordings
    from soundsieve.evaluation.listed import Asking

CORPUS = "corpus"
"""The benchmark that is part of the project, and has no published list."""
LISTS = "Benchmarks with a list"


def in_clone(path: Path) -> Path:
    """A file of the project's own benchmark; a ConfigError where it is not."""
    if not path.exists():
        raise ConfigError(
            f"there is no {path} here: the test clips are part of the project's repository; "
            "run this in a clone of it, or name a list of your own"
        )
    return path


ListOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--list", metavar="FILE", help="The benchmark's published list.", rich_help_panel=LISTS),
]
AudioOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--audio", metavar="DIR", help="Folder with the recordings it names.", rich_help_panel=LISTS),
]
MixOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--mix",
        metavar="HOW",
        help="Instead of the benchmark's own way: ready, snr:0, snr:-15:15 or lufs:-35:-25.",
        rich_help_panel=LISTS,
    ),
]
AllowMissingOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--allow-missing",
        help="Go on without examples whose recordings are missing or cannot be mixed, and say how many.",
        rich_help_panel=LISTS,
    ),
]
MissingOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--missing",
        metavar="FILE",
        help="Write the names of all missing recordings to a file, one a line.",
        rich_help_panel=LISTS,
    ),
]
SeedOption: TypeAlias = Annotated[int, typer.Option(help="Of what is drawn.")]
LimitOption: TypeAlias = Annotated[int | None, typer.Option(min=1, help="Take the first examples only.")]


def names_in(listed: str) -> list[str]:
    """Names that were given with commas between them; none for an empty text."""
    return [name.strip() for name in listed.split(",") if name.strip()]


@dataclass(frozen=True)
class Opened:
    """A benchmark with its list read and its folder found.

    Attributes:
        benchmark: which.
        source: its list, or its folder where it has none.
        examples: all of the list that are taken.
        mixing: how they are mixed.
        recordings: their audio.
        seed: of what is drawn.
    """

    benchmark: Benchmark
    source: Path
    examples: list[Example]
    mixing: Mixing
    recordings: Recordings
    seed: int

    def asking(self, conditions: Sequence[str] = (), shots: int = 5, metrics: Sequence[str] = ()) -> Asking:
        """What is asked in these ways, and measured: the benchmark's own metrics by default.

        Raises:
            ConfigError: a condition or metric is not known.
        """
        from soundsieve.evaluation.listed import Asking, measured_for

        measured = tuple(metrics) or measured_for(self.benchmark.metrics)
        return Asking(self.mixing, self.recordings, tuple(conditions), shots, self.seed, measured)

    def present(
        self, asking: Asking, *, allow_missing: bool, names_to: Path | None = None
    ) -> tuple[list[Example], list[str]]:
        """Examples whose recordings are all there, and the recordings that are not.

        Args:
            asking: what is asked, which may need example clips.
            allow_missing: go on where some are not.
            names_to: a file for the names of all that are not, one a line.

        Raises:
            AudioError: some are not, and that is not allowed; or there is no example left.
        """
        from soundsieve.evaluation.benchmarks.recordings import tell_missing
        from soundsieve.evaluation.listed import present
        from soundsieve.evaluation.report import write_text

        found, missing = present(self.examples, asking)
        if names_to is not None:
            write_text(names_to, "".join(f"{name}\n" for name in missing))
        if missing and not (found and allow_missing):
            left_out, total = len(self.examples) - len(found), len(self.examples)
            told = tell_missing(missing, self.recordings.folder, left_out=left_out, examples=total)
            raise AudioError(told + ("; --allow-missing goes on without them" if found else ""))
        return found, missing


def opened(
    name: str,
    list_file: Path | None,
    audio: Path | None,
    *,
    mix: str | None,
    seed: int,
    limit: int | None,
    sample_rate: int | None = None,
) -> Opened:
    """Read a benchmark's list and find its folder.

    Raises:
        ConfigError: there is no such benchmark, list, folder or mixing.
    """
    from soundsieve.evaluation.benchmarks.mixing import parse
    from soundsieve.evaluation.benchmarks.recordings import Recordings
    from soundsieve.evaluation.benchmarks.registry import find

    benchmark = find(name)
    if audio is None:
        raise ConfigError(f"{name} needs its recordings: give their folder (--audio); they come {benchmark.audio_at}")
    if benchmark.has_list and list_file is None:
        raise ConfigError(f"{name} needs its list (--list): {benchmark.list_at}")
    if not benchmark.has_list and list_file is not None:
        raise ConfigError(f"{name} has no list: leave --list out")
    recordings = Recordings(audio, sample_rate or benchmark.sample_rate)
    source = audio if list_file is None else list_file
    examples = benchmark.read(source, seed=seed)[:limit]
    mixing = benchmark.mixing if mix is None else parse(mix, benchmark.mixing)
    return Opened(benchmark, source, examples, mixing, recordings, seed)
