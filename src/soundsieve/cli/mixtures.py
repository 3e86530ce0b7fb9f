"""``soundsieve mixtures``: the mixtures of a benchmark as files, and a check that they are what they should be."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundsieve.cli.list_options import (
    CORPUS,
    AllowMissingOption,
    AudioOption,
    LimitOption,
    ListOption,
    MissingOption,
    MixOption,
    Opened,
    SeedOption,
    in_clone,
    opened,
)
from soundsieve.errors import ConfigError

if TYPE_CHECKING:
    from soundsieve.evaluation.benchmarks.example import Example
    from soundsieve.evaluation.benchmarks.mixing import Mixture


def make(
    benchmark: Annotated[str, typer.Argument(help="Whose list it is: a name of docs/benchmarks.md, list or corpus.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the mixtures.")],
    list_file: ListOption = None,
    audio: AudioOption = None,
    mix: MixOption = None,
    sample_rate: Annotated[int | None, typer.Option(min=8000, help="Hz; by default the benchmark's.")] = None,
    seed: SeedOption = 0,
    limit: LimitOption = None,
    allow_missing: AllowMissingOption = False,
    missing: MissingOption = None,
    force: Annotated[bool, typer.Option("--force", "--overwrite", help="Replace the mixtures that are there.")] = False,
) -> None:
    """Write the mixtures of a list and the targets in them as WAV files of 24 bits, with a list and its checksums.

    soundsieve mixtures make clapsep-esc50 --list esc_eval.csv --audio ESC-50/audio -o esc50-mixtures

    corpus, the project's own benchmark, needs neither --list nor --audio; each of its mixtures is written for both of
    its sounds. The same list, recordings and seed give the same bytes.
    """
    from soundsieve.evaluation import made

    if (output / made.LIST).exists() and not force:
        raise ConfigError(f"{output} holds mixtures: replace them (--force), or name another folder")
    if benchmark == CORPUS:
        if mix or sample_rate or allow_missing or missing:
            raise ConfigError(
                f"{CORPUS} is whole, and mixed in one way: --mix, --sample-rate, --missing are for others"
            )
        work = _of_corpus(list_file or Path("benchmarks/pairs.csv"), audio or Path("benchmarks/clips"), limit)
    else:
        chosen = opened(benchmark, list_file, audio, mix=mix, seed=seed, limit=limit, sample_rate=sample_rate)
        work = _of_list(chosen, allow_missing=allow_missing, names_to=missing)
    making = made.make(
        work.examples, work.mixed_of, output, sample_rate=work.sample_rate, peak=work.peak, leave_out=allow_missing
    )
    written = 0
    for _, problem in _progress(making, len(work.examples)):
        written += not problem
        if problem:
            print(f"soundsieve: {problem}", file=sys.stderr)
    left_out = work.listed - written
    told = f"; left out {left_out} of {work.listed} ({work.missing} recordings missing)" if left_out else ""
    print(f"{output}: {written} mixtures, {work.mixing}, {work.sample_rate} Hz{told}")


@dataclass(frozen=True)
class _Work:
    """What is to be mixed: the examples with their places in the list, and how; of how many, and what is missing."""

    examples: list[tuple[int, Example]]
    mixed_of: Callable[[Example], Mixture]
    mixing: str
    sample_rate: int
    listed: int
    peak: float = 0.9
    missing: int = 0


def _of_list(chosen: Opened, *, allow_missing: bool, names_to: Path | None) -> _Work:
    from soundsieve.evaluation.benchmarks.mixing import mix

    rate = chosen.recordings.sample_rate

    def mixed_of(example: Example) -> Mixture:
        return mix(example, chosen.mixing, chosen.recordings, sample_rate=rate, seed=chosen.seed)

    present, missing = chosen.present(chosen.asking(), allow_missing=allow_missing, names_to=names_to)
    names = {example.example_id for example in present}
    examples = [(place, example) for place, example in enumerate(chosen.examples) if example.example_id in names]
    described = chosen.mixing.describe()
    return _Work(examples, mixed_of, described, rate, len(chosen.examples), chosen.mixing.peak, len(missing))


def _of_corpus(pairs: Path, folder: Path, limit: int | None) -> _Work:
    from soundsieve.evaluation import corpus
    from soundsieve.evaluation import pairs as lists

    clips = {clip.path: clip for clip in lists.read_clips(in_clone(folder / "clips.csv"))}
    chosen = lists.read_pairs(pairs, clips)[:limit]
    examples = list(enumerate(corpus.examples_of(chosen, clips)))
    mixed_of = corpus.mixer(chosen, lists.decoded(folder))
    return _Work(examples, mixed_of, "0 dB", lists.SAMPLE_RATE, len(examples), peak=1.0)


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
