"""``soundsieve listen``: a listening test as a page, and what its raters said."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundsieve.cli.list_options import CORPUS, AudioOption, ListOption, MixOption, SeedOption, in_clone, opened
from soundsieve.cli.screen import columns
from soundsieve.errors import ConfigError

if TYPE_CHECKING:
    from soundsieve.evaluation.benchmarks.example import Example
    from soundsieve.evaluation.benchmarks.mixing import Mixture
    from soundsieve.evaluation.listening.items import Answering, Item


def make(
    system: Annotated[
        list[str],
        typer.Option(
            "--system",
            "-s",
            metavar="NAME=WHERE",
            help="What is rated: a folder of answers, or a model's name or file; repeatable.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page (.html).")],
    benchmark: Annotated[
        str, typer.Argument(help="corpus: the project's own; or a name of docs/benchmarks.md, with --list and --audio.")
    ] = CORPUS,
    key: Annotated[
        Path | None, typer.Option(help="Which sound is whose (.json), not for raters; by default beside the page.")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Mixtures, drawn from the list.")] = 10,
    reference: Annotated[
        bool, typer.Option("--reference", help="Hide the sounds that are asked for among the answers.")
    ] = False,
    mixture: Annotated[
        bool, typer.Option("--mixture", help="Hide the unprocessed mixtures among the answers.")
    ] = False,
    title: Annotated[str, typer.Option(help="Of the page; raters see it.")] = "",
    list_file: ListOption = None,
    audio: AudioOption = None,
    mix: MixOption = None,
    seed: SeedOption = 0,
    device: Annotated[str, typer.Option(help="Where models compute: cpu, cuda, cuda:1, ...")] = "cpu",
    force: Annotated[bool, typer.Option("--force", "--overwrite", help="Replace a test that is there.")] = False,
) -> None:
    """Make a page that plays answers of several systems, without their names, and collects ratings from 1 to 5.

    soundsieve listen make -s ours=starter -s theirs=answers/ --reference --mixture -n 8 -o listen.html

    Give raters the page alone: it holds all it needs, works offline, and saves a file that comes back to you.
    """
    from soundsieve.evaluation.listening import make as making
    from soundsieve.evaluation.report import write_summary, write_text

    key = output.with_suffix(".key.json") if key is None else key
    if output.suffix != ".html":
        raise ConfigError(f"the page is HTML: give -o a name that ends in .html, not '{output.name}'")
    there = [path for path in (output, key) if path.exists()]
    if there and not force:
        raise ConfigError(f"{there[0]} is there, and ratings may be of it: name another, or replace it (--force)")
    places = _named(system)

    about = _items(benchmark, list_file, audio, mix=mix, seed=seed, count=count)
    systems = {name: _answering(where, device) for name, where in places.items()}
    page, secret = making.make(about, systems, reference=reference, mixture=mixture, title=title)
    known = {
        "command": shlex.join(["soundsieve", *sys.argv[1:]]),
        "benchmark": benchmark,
        "systems": places,
        "seed": seed,
    }
    write_summary(key, secret | {"about": known})
    write_text(output, page)
    print(f"{output}: {len(about)} mixtures, {len(secret['stimuli'])} sounds to rate")
    print(f"{key}: which is whose; keep it from the raters")


def score(
    ratings: Annotated[list[Path], typer.Argument(help="Files that the page saved, one a rater.")],
    key: Annotated[Path, typer.Option(help="What `listen make` wrote beside the page.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the scores as JSON too.")] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Tell how the systems were rated: the mean of each, with its 95% interval over raters and items.

    REL is how well a sound matches the words that were asked with, OVL how good it sounds overall.
    """
    from dataclasses import asdict

    from soundsieve.evaluation.listening import score as scoring
    from soundsieve.evaluation.report import write_summary

    if output is not None and output.suffix != ".json":
        raise ConfigError(f"the scores are JSON: give -o a name that ends in .json, not '{output.name}'")
    secret = scoring.read_key(key)
    found = scoring.scores(scoring.read_ratings(ratings, secret), secret, seed=seed)
    for line in columns(scoring.table(found)):
        print(line)
    if output is not None:
        write_summary(output, {"test": secret["test"], "seed": seed, "scores": [asdict(one) for one in found]})


def _items(
    benchmark: str, list_file: Path | None, audio: Path | None, *, mix: str | None, seed: int, count: int
) -> list[Item]:
    from soundsieve.evaluation import corpus
    from soundsieve.evaluation import pairs as lists
    from soundsieve.evaluation.benchmarks import mixing
    from soundsieve.evaluation.listening.items import draw

    if benchmark != CORPUS:
        chosen = opened(benchmark, list_file, audio, mix=mix, seed=seed, limit=None)
        rate = chosen.recordings.sample_rate

        def mixed_of(example: Example) -> Mixture:
            return mixing.mix(example, chosen.mixing, chosen.recordings, sample_rate=rate, seed=seed)

        return draw(chosen.examples, mixed_of, sample_rate=rate, count=count, seed=seed)
    if mix:
        raise ConfigError(f"{CORPUS} is mixed in one way: --mix is for others")
    folder = audio or Path("benchmarks/clips")
    clips = {clip.path: clip for clip in lists.read_clips(in_clone(folder / "clips.csv"))}
    pairs = lists.read_pairs(list_file or Path("benchmarks/pairs.csv"), clips)
    mixer = corpus.mixer(pairs, lists.decoded(folder))
    return draw(corpus.examples_of(pairs, clips), mixer, sample_rate=lists.SAMPLE_RATE, count=count, seed=seed)


def _named(systems: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in systems:
        name, equals, where = one.partition("=")
        if not (name and equals and where):
            raise ConfigError(f"'{one}' names no system: write NAME=WHERE, such as ours=starter or theirs=answers/")
        if name in found:
            raise ConfigError(f"two systems are called '{name}'")
        found[name] = where
    return found


def _answering(where: str, device: str) -> Answering:
    from soundsieve.evaluation.listening.items import of_folder, of_model
    from soundsieve.separator import load

    return of_folder(Path(where)) if Path(where).is_dir() else of_model(load(where, device))


listen: dict[str, tuple[Callable[..., Any], str]] = {
    "make": (make, "Make the page of a listening test."),
    "score": (score, "Tell how its raters rated."),
}
