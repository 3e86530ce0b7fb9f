"""``soundsieve mixtures``: the mixtures of a benchmark as files, and a check that they are what they should be."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundsieve.cli.list_options import (
    AllowMissingOption,
    AudioOption,
    LimitOption,
    ListOption,
    MixOption,
    SeedOption,
    opened,
)
from soundsieve.errors import ConfigError

if TYPE_CHECKING:
    from soundsieve.evaluation.benchmarks.example import Example


def make(
    benchmark: Annotated[str, typer.Argument(help="Whose list it is: a name of docs/benchmarks.md, or list.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the mixtures.")],
    list_file: ListOption = None,
    audio: AudioOption = None,
    mix: MixOption = None,
    sample_rate: Annotated[int | None, typer.Option(min=8000, help="Hz; by default the benchmark's.")] = None,
    seed: SeedOption = 0,
    limit: LimitOption = None,
    allow_missing: AllowMissingOption = False,
    force: Annotated[bool, typer.Option("--force", "--overwrite", help="Replace the mixtures that are there.")] = False,
) -> None:
    """Write the mixtures of a list and the targets in them as WAV files of 24 bits, with a list and its checksums.

    soundsieve mixtures make clapsep-esc50 --list esc_eval.csv --audio ESC-50/audio -o esc50-mixtures

    The same list, recordings and seed give the same bytes.
    """
    from soundsieve.evaluation import made

    if (output / made.LIST).exists() and not force:
        raise ConfigError(f"{output} holds mixtures: replace them (--force), or name another folder")
    chosen = opened(benchmark, list_file, audio, mix=mix, seed=seed, limit=limit, sample_rate=sample_rate)
    examples, missing = chosen.present(chosen.asking(), allow_missing=allow_missing)
    names, written = {example.example_id for example in examples}, 0
    numbered = ((place, example) for place, example in enumerate(chosen.examples) if example.example_id in names)
    making = made.make(numbered, chosen.mixing, chosen.recordings, output, seed=seed, leave_out=allow_missing)
    for _, problem in _progress(making, len(examples)):
        written += not problem
        if problem:
            print(f"soundsieve: {problem}", file=sys.stderr)
    left_out = len(chosen.examples) - written
    told = f"; left out {left_out} of {len(chosen.examples)} ({len(missing)} recordings missing)" if left_out else ""
    print(f"{output}: {written} mixtures, {chosen.mixing.describe()}, {chosen.recordings.sample_rate} Hz{told}")


def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that `soundsieve mixtures make` wrote.")],
) -> None:
    """Compare every file of a folder of mixtures with the checksums of its list.

    Exit code: 0 if all are what they should be, 1 if not, 2 if there is no such list.
    """
    from soundsieve.evaluation import made

    count, wrong = made.check(folder)
    for line in wrong:
        print(f"soundsieve: {line}", file=sys.stderr)
    print(f"{folder}: {count - len(wrong)} of {count} files are what the list says")
    if wrong:
        raise typer.Exit(1)


def _progress(making: Iterable[tuple[Example, str]], total: int) -> Iterable[tuple[Example, str]]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(making, "mixing", total=total, console=console, transient=True, disable=not sys.stderr.isatty())


mixtures: dict[str, tuple[Callable[..., Any], str]] = {
    "make": (make, "Write the mixtures of a list."),
    "check": (check, "Compare mixtures with their checksums."),
}
