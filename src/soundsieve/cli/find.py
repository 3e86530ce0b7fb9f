"""``soundsieve find``: where a sound is, told like grep does."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated, Any

import typer

from soundsieve.cli import options
from soundsieve.cli.batch import Advance, Report, run, use_threads
from soundsieve.cli.generation import GuidanceOption, ProjectOption, SamplerOption, SeedOption, StepsOption, chosen
from soundsieve.cli.inputs import find_inputs, split_arguments
from soundsieve.cli.model_options import ClapOption, PrecisionOption, TokenizerOption, WeightsOption
from soundsieve.cli.question import ask, check, describe, query_about, wants_something
from soundsieve.cli.screen import Screen
from soundsieve.errors import ConfigError, QueryError


def find(
    query: Annotated[
        str,
        typer.Argument(
            metavar="QUERY",
            show_default=False,
            help="What to find, in words. With --like or --like-span it may be left out.",
        ),
    ],
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILES",
            show_default=False,
            help="The recordings: files, patterns, folders (with --recursive), or - for standard input.",
        ),
    ] = None,
    exclude: options.ExcludeOption = None,
    like: options.LikeOption = None,
    unlike: options.UnlikeOption = None,
    like_span: options.LikeSpanOption = None,
    unlike_span: options.UnlikeSpanOption = None,
    audio_weight: options.AudioWeightOption = 0.5,
    threshold: options.ThresholdOption = None,
    recursive: options.RecursiveOption = False,
    names_only: Annotated[
        bool, typer.Option("--files-with-matches", "-l", help="Print the names of the recordings that have it.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing, and end at the first that has it: for the exit code.")
    ] = False,
    json: options.JsonOption = False,
    model: options.ModelOption = "starter",
    weights: WeightsOption = None,
    clap: ClapOption = None,
    tokenizer: TokenizerOption = None,
    precision: PrecisionOption = "float32",
    steps: StepsOption = None,
    sampler: SamplerOption = None,
    guidance: GuidanceOption = None,
    seed: SeedOption = None,
    project: ProjectOption = False,
    device: options.DeviceOption = "cpu",
    segment: options.SegmentOption = None,
    overlap: options.OverlapOption = 0.25,
    batch: options.BatchOption = 4,
    jobs: options.JobsOption = 1,
    threads: options.ThreadsOption = None,
) -> None:
    """Tell where a sound is in recordings; nothing is written.

    soundsieve find "a dog barking" street.wav prints a line such as street.wav:3.20-4.12  0.93 for every stretch with
    the sound: from and to in seconds, and the presence that the model gives it, 0 to 1.

    Exit code: 0 if it was found, 1 if it was not, 2 if there was an error.
    """
    words_optional = any((exclude, like, unlike, like_span, unlike_span))
    text, names = split_arguments(
        [query, *(files or [])], words_optional=words_optional, recursive=recursive, command="find"
    )
    if json and names_only:
        raise ConfigError("--json tells more than names: leave --files-with-matches out")
    inputs = find_inputs(names, recursive=recursive)
    asked = ask(
        text,
        exclude=exclude,
        like=like,
        unlike=unlike,
        like_span=like_span,
        unlike_span=unlike_span,
        audio_weight=audio_weight,
    )
    describe(asked)  # finds what is wrong with the words
    if not wants_something(asked):
        raise QueryError("nothing is to be found: say what, in words or by an example (--like, --like-span)")

    from soundsieve.separator import load

    use_threads(threads, jobs)
    settings = chosen(steps, sampler, guidance, seed, project)
    separator = load(
        model, device, weights=weights, clap=clap, tokenizer=tokenizer, precision=precision, settings=settings
    )
    check(separator, asked)
    engine: dict[str, Any] = {"segment_s": segment, "overlap": overlap, "batch": batch, "threshold": threshold}
    soon = names_only or quiet
    least = separator.presence_threshold if threshold is None else threshold

    def look(report: Report, advance: Advance) -> None:
        from soundsieve.audio import Reader

        with Reader(report.path) as source:
            report.seconds = source.info.seconds
            with separator.split_stream(source, [query_about(asked, source)], **engine) as stream:
                for block in stream:
                    advance((block.start + block.mixture.shape[1]) / stream.sample_rate, report.seconds)
                    if soon and stream.presences[0] >= least and stream.spans[0]:
                        break
                report.presence, report.spans = round(stream.presences[0], 4), stream.spans[0]

    screen = Screen(len(inputs), quiet=quiet)
    found = failed = 0
    with screen, closing(run(inputs, lambda *_: look, jobs=jobs, screen=screen)) as reports:
        for report in reports:
            found, failed = found + bool(report.spans), failed + (report.error is not None)
            if report.error is not None:
                screen.error(f"soundsieve: {report.error}")
            if quiet:
                if report.spans:
                    return
            elif json:
                screen.out(report.as_json())
            elif names_only and report.spans:
                screen.out(report.path)
            else:
                for span in () if names_only else report.spans or ():
                    screen.out(f"{report.path}:{span.start_s:.2f}-{span.end_s:.2f}  {span.score:.2f}")
    if failed:
        raise typer.Exit(2)
    if not found:
        raise typer.Exit(1)
