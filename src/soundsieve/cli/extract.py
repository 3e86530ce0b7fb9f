"""``soundsieve extract``: files in, the sound that was asked for out, file by file."""

from __future__ import annotations

import os
import re
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soundsieve.cli.model_options import ClapOption, PrecisionOption, TokenizerOption, WeightsOption
from soundsieve.errors import AudioError, QueryError, SoundsieveError

if TYPE_CHECKING:
    from soundsieve.query import Query
    from soundsieve.separator import Separator

_SUFFIX = re.compile(r"\.(wave?|flac|og[ga]|opus|mp3|aiff?|caf|w64|rf64|au|m4a|aac|mp4)$", re.IGNORECASE)
_SLUG_LENGTH = 60
_NAME_BYTES = 200
_PROGRESS_AFTER_S = 2.0


def extract(
    query: Annotated[
        str,
        typer.Argument(
            metavar="QUERY",
            show_default=False,
            help="What to extract, in words. With --like, --unlike or --exclude it may be left out: a first argument "
            "that is a file, or is named like one, is then a recording.",
        ),
    ],
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILES", show_default=False, help="The recordings.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", "-x", metavar="TEXT", help="What to leave out; repeatable.")
    ] = None,
    like: Annotated[
        list[Path] | None, typer.Option(metavar="CLIP", help="Example of what to extract; repeatable.")
    ] = None,
    unlike: Annotated[
        list[Path] | None, typer.Option(metavar="CLIP", help="Example of what to leave out; repeatable.")
    ] = None,
    audio_weight: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Share of the example clips, 0 to 1, beside words for the same thing."),
    ] = 0.5,
    invert: Annotated[bool, typer.Option("--invert", help="Write everything else instead.")] = False,
    residual: Annotated[bool, typer.Option("--residual", help="Write everything else as well.")] = False,
    output_dir: Annotated[
        Path, typer.Option("--output-dir", "-o", metavar="DIR", help="Folder for what is written.")
    ] = Path("sieved"),
    model: Annotated[
        str, typer.Option("--model", "-m", help="Name or file of a model; see `soundsieve models`.")
    ] = "starter",
    weights: WeightsOption = None,
    clap: ClapOption = None,
    tokenizer: TokenizerOption = None,
    precision: PrecisionOption = "float32",
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, ...")] = "cpu",
    force: Annotated[
        bool, typer.Option("--force", "--overwrite", help="Replace files that are there already.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress and no notes; errors are still told.")
    ] = False,
) -> None:
    """Take one sound out of recordings.

    soundsieve extract "a dog barking" street.wav writes sieved/street.a-dog-barking.wav: the same length, sample rate,
    channels and kind of file. Its path is printed on stdout; notes and errors go to stderr.

    Exit code: 0 if every recording was done, 1 if some failed, 2 if the request itself cannot be met.
    """
    text, recordings = split_arguments([query, *(files or [])], words_optional=bool(exclude or like or unlike))
    if invert and residual:
        raise QueryError("--invert already writes everything else; leave --residual out")

    from soundsieve.query import Query
    from soundsieve.separator import load

    asked = Query(() if text is None else (text,), tuple(exclude or ()), _paths(like), _paths(unlike), audio_weight)
    separator = load(model, device, weights=weights, clap=clap, tokenizer=tokenizer, precision=precision)
    separator.encode(asked)  # a query that cannot be answered is an error of the request, not of the first file
    inputs = {Path(recording).resolve() for recording in recordings}
    job = _Job(separator, asked, output_dir, invert, residual, force, quiet, inputs)
    failed = 0
    for recording in recordings:
        try:
            job.run(Path(recording))
        except SoundsieveError as error:
            failed += 1
            print(f"soundsieve: {error}", file=sys.stderr)
    if failed and len(recordings) > 1:
        print(f"soundsieve: {failed} of {len(recordings)} recordings failed", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


def _paths(clips: Sequence[Path] | None) -> tuple[str, ...]:
    return tuple(str(clip) for clip in clips or ())


def split_arguments(arguments: Sequence[str], *, words_optional: bool) -> tuple[str | None, list[str]]:
    """Tell the query from the recordings.

    The first argument is the query, unless the query is given by options: then a first argument that is a file, or
    is named like one, is a recording.

    Raises:
        QueryError: there is no query, or no recording.
    """
    first, rest = arguments[0], list(arguments[1:])
    if _names_a_file(first):
        if words_optional:
            return None, [first, *rest]
        example = f'soundsieve extract "a dog barking" {first}'
        raise QueryError(f"the first argument is what to extract, and '{first}' is a file; for example: {example}")
    if not rest:
        raise QueryError(f'no recording given: soundsieve extract "{first}" FILES...')
    return first, rest


def _names_a_file(argument: str) -> bool:
    return bool(_SUFFIX.search(argument)) or os.path.isfile(argument)


def slug(words: str) -> str:
    """Words as a safe part of a file name: lower-case letters and digits of any script, joined by hyphens."""
    plain = unicodedata.normalize("NFKC", words).casefold()
    joined = re.sub(r"[^\w]+|_+", "-", plain).strip("-")
    if len(joined) > _SLUG_LENGTH:
        joined = joined[:_SLUG_LENGTH].rsplit("-", 1)[0] if "-" in joined[:_SLUG_LENGTH] else joined[:_SLUG_LENGTH]
    return _cut_bytes(joined, _NAME_BYTES // 2).strip("-") or "sound"


def _cut_bytes(text: str, most: int) -> str:
    return text.encode()[:most].decode(errors="ignore")


@dataclass
class _Job:
    """One query over many files."""

    separator: Separator
    query: Query
    output_dir: Path
    invert: bool
    residual: bool
    force: bool
    quiet: bool
    inputs: set[Path]
    written: dict[Path, Path] = field(default_factory=dict)

    def run(self, file: Path) -> None:
        from soundsieve import audio

        info = audio.probe(file)
        suffix = file.suffix.lower()
        if suffix not in audio.CONTAINERS:
            suffix = ".wav"
        outputs = self._outputs(file, suffix)
        for path in outputs.values():
            self._check_free(path, file)
        with _progress(file.name, shown=not self.quiet) as progress:
            separation = self.separator.separate(file, query=self.query, progress=progress)
        if suffix != file.suffix.lower():
            self._note(f"{file.name}: '{file.suffix}' cannot be written, so the answer is a .wav file")
        for part, path in outputs.items():
            samples = separation.target if part == "target" else separation.residual
            written = audio.encode(path, samples, info.sample_rate, subtype=audio.output_subtype(info, suffix))
            self.written[path.resolve()] = file
            print(path, flush=True)
            if written.note:
                self._note(f"{path.name}: {written.note}")
        presence, threshold = separation.presence, self.separator.presence_threshold
        if presence is not None and presence < threshold and (self.query.text or self.query.like):
            self._note(f"presence {presence:.2f}: no '{self.query.describe()}' found in {file.name}")

    def _outputs(self, file: Path, suffix: str) -> dict[str, Path]:
        words = slug(self.query.describe())
        stem = _cut_bytes(file.stem, _NAME_BYTES // 2)
        if self.invert:
            return {"residual": self.output_dir / f"{stem}.not-{words}{suffix}"}
        found = {"target": self.output_dir / f"{stem}.{words}{suffix}"}
        if self.residual:
            found["residual"] = self.output_dir / f"{stem}.{words}.rest{suffix}"
        return found

    def _check_free(self, path: Path, file: Path) -> None:
        if path.resolve() in self.inputs:
            raise AudioError(f"the answer to {file} would replace the recording {path}: choose another --output-dir")
        if path.resolve() in self.written:
            other = self.written[path.resolve()]
            raise AudioError(f"the answer to {file} would replace that to {other} at {path}: do them in two folders")
        if os.path.lexists(path) and not self.force:
            raise AudioError(f"{path} exists: --force replaces it, --output-dir writes elsewhere")

    def _note(self, text: str) -> None:
        if not self.quiet:
            print(text, file=sys.stderr)


@contextmanager
def _progress(name: str, *, shown: bool) -> Iterator[Callable[[float], None] | None]:
    """A bar on stderr for work that takes more than two seconds, where a person is watching."""
    if not (shown and sys.stderr.isatty()):
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    started = time.monotonic()
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=1.0, visible=False)
        yield lambda done: bar.update(task, completed=done, visible=time.monotonic() - started > _PROGRESS_AFTER_S)
