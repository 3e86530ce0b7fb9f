"""``soundsieve split``: a recording divided among several sounds, and the rest."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from soundsieve.cli import options
from soundsieve.cli.batch import run, tell, use_threads
from soundsieve.cli.generation import GuidanceOption, ProjectOption, SamplerOption, SeedOption, StepsOption, chosen
from soundsieve.cli.inputs import find_inputs, names_a_recording
from soundsieve.cli.job import REST, Job, warn_of_rest
from soundsieve.cli.model_options import ClapOption, PrecisionOption, TokenizerOption, WeightsOption
from soundsieve.cli.outputs import DEFAULT_FOLDER, DEFAULT_TEMPLATE, Outputs, model_slug, subtype_named
from soundsieve.cli.question import ask, check, describe
from soundsieve.cli.screen import Screen
from soundsieve.errors import QueryError
from soundsieve.naming import slugs


def split(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", show_default=False, help="The recording, a pattern, a folder (with --recursive), or -."
        ),
    ],
    queries: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="QUERIES",
            show_default=False,
            help="The sounds, each in words. What is named like a sound file before the first of them is a further "
            "recording.",
        ),
    ] = None,
    exclude: options.ExcludeOption = None,
    like: options.LikeOption = None,
    unlike: options.UnlikeOption = None,
    like_span: options.LikeSpanOption = None,
    unlike_span: options.UnlikeSpanOption = None,
    threshold: options.ThresholdOption = None,
    recursive: options.RecursiveOption = False,
    output: options.PartsFolderOption = DEFAULT_FOLDER,
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
    """Divide recordings among several sounds: a file for each, and one for the rest. Together they are the recording.

    soundsieve split street.wav "speech" "a dog barking" writes sieved/street.speech.wav, street.a-dog-barking.wav and
    street.rest.wav. Every --like CLIP and --like-span is one more sound; --exclude and the --unlike options hold for
    all sounds: what they name stays in the rest.

    Exit code: 0 if every recording was done, 1 if some failed, 2 if the request itself cannot be met.
    """
    texts, names = list(queries or []), [file]
    while texts and names_a_recording(texts[0]):
        names.append(texts.pop(0))
    ask_for = partial(ask, exclude=exclude, unlike=unlike, unlike_span=unlike_span)
    wanted = {
        **{text: ask_for(text) for text in texts},
        **{f"like {clip.stem}": ask_for(None, like=[clip]) for clip in like or ()},
        **{f"like {moment}": ask_for(None, like_span=[moment]) for moment in like_span or ()},
    }
    if len(wanted) < len(texts) + len(like or ()) + len(like_span or ()):
        raise QueryError("the same sound is asked for twice: leave one of them out")
    if not wanted:
        raise QueryError(f'no sound given: soundsieve split {file} "speech" "a dog barking"')
    for asked in wanted.values():
        describe(asked)  # finds what is wrong with the words
    inputs = find_inputs(names, recursive=recursive, output=output)
    outputs = Outputs(
        output, template, model_slug(model), format, force, skip_existing, inputs, [*(like or ()), *(unlike or ())]
    )
    kind = subtype_named(subtype)
    parts = dict(zip(slugs(wanted, taken=[REST]), wanted, strict=True))

    from soundsieve.separator import load

    use_threads(threads, jobs)
    settings = chosen(steps, sampler, guidance, seed, project)
    separator = load(
        model, device, weights=weights, clap=clap, tokenizer=tokenizer, precision=precision, settings=settings
    )
    separator.system.check_parts(len(wanted))
    for asked in wanted.values():
        check(separator, asked)
    questions = {part: wanted[phrase] for part, phrase in parts.items()}
    words = {part: part for part in (*parts, REST)}
    engine = {"segment_s": segment, "overlap": overlap, "batch": batch, "threshold": threshold}
    engine["agreement"] = json or not quiet  # otherwise nobody is told whether it is there
    job = Job(separator, questions, parts, words, outputs, kind, clip_mode, engine)
    inputs = outputs.recordings(words)
    screen = Screen(len(inputs), quiet=quiet)
    warn_of_rest(separator, words, screen)
    with screen:
        failed = tell(run(inputs, job.prepare, jobs=jobs, screen=screen), screen, as_json=json)
    if failed:
        raise typer.Exit(1)
