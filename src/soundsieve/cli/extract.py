"""``soundsieve extract``: recordings in, the sound that was asked for out."""

from __future__ import annotations

from typing import Annotated

import typer

from soundsieve.cli import options
from soundsieve.cli.batch import run, tell, use_threads
from soundsieve.cli.generation import GuidanceOption, ProjectOption, SamplerOption, SeedOption, StepsOption, chosen
from soundsieve.cli.inputs import STDIN, find_inputs, split_arguments
from soundsieve.cli.job import REST, Job, warn_of_rest
from soundsieve.cli.model_options import ClapOption, PrecisionOption, TokenizerOption, WeightsOption
from soundsieve.cli.outputs import DEFAULT_FOLDER, DEFAULT_TEMPLATE, STDOUT, Outputs, model_slug, subtype_named
from soundsieve.cli.question import ask, check, describe
from soundsieve.cli.screen import Screen
from soundsieve.errors import ConfigError, QueryError
from soundsieve.naming import slug


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
    invert: Annotated[bool, typer.Option("--invert", help="Write everything else instead.")] = False,
    residual: Annotated[bool, typer.Option("--residual", help="Write everything else as well.")] = False,
    recursive: options.RecursiveOption = False,
    output: options.OutputOption = None,
    template: options.TemplateOption = DEFAULT_TEMPLATE,
    force: options.ForceOption = False,
    skip_existing: options.SkipOption = False,
    format: options.FormatOption = None,
    subtype: options.SubtypeOption = None,
    clip_mode: options.ClipModeOption = "none",
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
    json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Take one sound out of recordings.

    soundsieve extract "a dog barking" street.wav writes sieved/street.a-dog-barking.wav: the same length, sample rate,
    channels and kind of file. Its path is printed on stdout; where the sound was found, notes and errors on stderr.

    Exit code: 0 if every recording was done, 1 if some failed, 2 if the request itself cannot be met.
    """
    words_optional = any((exclude, like, unlike, like_span, unlike_span))
    text, names = split_arguments([query, *(files or [])], words_optional=words_optional, recursive=recursive)
    if invert and residual:
        raise QueryError("--invert already writes everything else; leave --residual out")
    place = output or (STDOUT if names == [STDIN] else DEFAULT_FOLDER)
    if place == STDOUT and json:
        raise ConfigError("--json and the sound itself cannot share standard output: name a place with -o")
    inputs = find_inputs(names, recursive=recursive, output=place)
    outputs = Outputs(
        place, template, model_slug(model), format, force, skip_existing, inputs, [*(like or ()), *(unlike or ())]
    )
    kind = subtype_named(subtype)
    asked = ask(
        text,
        exclude=exclude,
        like=like,
        unlike=unlike,
        like_span=like_span,
        unlike_span=unlike_span,
        audio_weight=audio_weight,
    )
    phrase = describe(asked)
    rest = slug(phrase) if outputs.tells_parts else f"{slug(phrase)}.rest"
    words = {REST: f"not-{slug(phrase)}"} if invert else {"target": slug(phrase), REST: rest}
    if not (invert or residual):
        del words[REST]

    from soundsieve.separator import load

    use_threads(threads, jobs)
    settings = chosen(steps, sampler, guidance, seed, project)
    separator = load(
        model, device, weights=weights, clap=clap, tokenizer=tokenizer, precision=precision, settings=settings
    )
    check(separator, asked)  # a question that cannot be answered is an error of the request, not of the first file
    engine = {"segment_s": segment, "overlap": overlap, "batch": batch, "threshold": threshold}
    engine["agreement"] = json or not quiet  # otherwise nobody is told whether it is there
    job = Job(separator, {"target": asked}, {"target": phrase}, words, outputs, kind, clip_mode, engine)
    inputs = outputs.recordings(words)
    screen = Screen(len(inputs), quiet=quiet)
    warn_of_rest(separator, words, screen)
    with screen:
        failed = tell(run(inputs, job.prepare, jobs=jobs, screen=screen), screen, as_json=json)
    if failed:
        raise typer.Exit(1)
