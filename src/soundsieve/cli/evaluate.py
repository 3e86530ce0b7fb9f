"""``soundsieve evaluate``: measure a model on the project's own test mixtures, or on a published list of others."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soundsieve.cli.evaluate_list import evaluate_list
from soundsieve.cli.generation import GuidanceOption, ProjectOption, SamplerOption, StepsOption
from soundsieve.cli.generation import chosen as chosen_settings
from soundsieve.cli.list_options import (
    CORPUS,
    AllowMissingOption,
    AudioOption,
    LimitOption,
    ListOption,
    MissingOption,
    MixOption,
    SeedOption,
    in_clone,
    names_in,
    opened,
)
from soundsieve.cli.measuring import Done, measured
from soundsieve.cli.model_options import ClapOption, PrecisionOption, TokenizerOption, WeightsOption
from soundsieve.errors import ConfigError

if TYPE_CHECKING:
    from soundsieve.evaluation.measuring import Row
    from soundsieve.separator import Separator

MEASURED = ("sdr", "si_sdr", "filtered_sdr", "si_snr")
"""By default, on the project's own mixtures."""


def evaluate(
    benchmark: Annotated[
        str, typer.Argument(help="corpus: the project's own; or a name of docs/benchmarks.md, with --list and --audio.")
    ] = CORPUS,
    model: Annotated[
        str, typer.Option("--model", "-m", help="Name or file of a model; see `soundsieve models`.")
    ] = "starter",
    weights: WeightsOption = None,
    clap: ClapOption = None,
    tokenizer: TokenizerOption = None,
    precision: PrecisionOption = "float32",
    steps: StepsOption = None,
    sampler: SamplerOption = None,
    guidance: GuidanceOption = None,
    project: ProjectOption = False,
    clips: Annotated[Path, typer.Option(help="List of clips (CSV or AudioSep's .json), beside them.")] = Path(
        "benchmarks/clips/clips.csv"
    ),
    pairs: Annotated[Path, typer.Option(help="List of the mixtures (CSV).")] = Path("benchmarks/pairs.csv"),
    paraphrases: Annotated[Path, typer.Option(help="Other words for each label (CSV).")] = Path(
        "benchmarks/paraphrases.csv"
    ),
    conditions: Annotated[
        str,
        typer.Option(help="Ways to ask, separated by commas, such as text,absent; by default all, or the benchmark's."),
    ] = "",
    metrics: Annotated[
        str,
        typer.Option(
            help="What is measured, of sdr, si_sdr, filtered_sdr, si_snr, pesq, ssnr (gains with it); by default the "
            "first four, or the benchmark's."
        ),
    ] = "",
    judge: Annotated[
        Path | None,
        typer.Option(help="A CLAP that hears the answers, for CLAPScores and FAD; or VGGish's weights, for FAD alone."),
    ] = None,
    examples_from: Annotated[
        Path | None, typer.Option(help="A further list of clips, of any split, to draw example clips from.")
    ] = None,
    unseen: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Labels the model was not trained on, one a line: measured apart, too."),
    ] = None,
    limit: LimitOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Summary (JSON); the rows (.jsonl) and tables (.md) go beside."),
    ] = None,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, ...")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; by default what torch chooses.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Mixtures separated at once.")] = 8,
    make_pairs: Annotated[
        bool,
        typer.Option("--make-pairs", help="Draw the list of mixtures anew from the test clips, write it, and stop."),
    ] = False,
    seed: SeedOption = 0,
    list_file: ListOption = None,
    audio: AudioOption = None,
    mix: MixOption = None,
    shots: Annotated[int, typer.Option(min=1, help="Example clips for the way `examples`, at most.")] = 5,
    like_seconds: Annotated[
        float | None, typer.Option(min=0.05, help="Cut example clips to their loudest stretch of so many seconds.")
    ] = None,
    allow_missing: AllowMissingOption = False,
    missing: MissingOption = None,
) -> None:
    """Measure a model: SDR improvement with 95% intervals for every way to ask, and what it answers in vain.

    Two test clips of different labels are mixed at 0 dB, 5 s each time, and both are asked for: by caption, with the
    other excluded, by other words, by example clips, and so on. Needs the lists in the project's benchmarks folder.

    soundsieve evaluate clapsep-esc50 --list esc_eval.csv --audio ESC-50/audio measures on a published list instead,
    mixed and measured as its authors do; a recording that is missing is an error, told before anything is computed.

    A run that was cut short goes on where it stopped when the same command is given again.
    """
    from soundsieve.evaluation import pairs as lists

    if benchmark == CORPUS and (list_file or audio or mix or allow_missing or missing):
        raise ConfigError(f"{CORPUS} has its own list and clips: --list, --audio, --mix, --missing are for others")
    if benchmark != CORPUS and make_pairs:
        raise ConfigError(f"--make-pairs draws the list of {CORPUS}; {benchmark} has a published one")
    if benchmark != CORPUS and (unseen or examples_from):
        raise ConfigError(f"--unseen and --examples-from are for {CORPUS}: the list of {benchmark} has its own labels")
    if benchmark == CORPUS:
        in_clone(clips)
    sounds = lists.decoded(clips.parent)
    if make_pairs:
        drawn = lists.make_pairs(lists.read_clips(clips, split="test"), sounds, n=limit, seed=seed)
        lists.write_pairs(pairs, drawn)
        print(f"wrote {len(drawn)} mixtures to {pairs}")
        return
    if output is not None and output.suffix != ".json":
        raise ConfigError(f"the summary is JSON: give -o a name that ends in .json, not '{output.name}'")
    if output is not None and output.is_dir():
        raise ConfigError(f"{output} is a folder: give -o the name of a file")

    import torch

    from soundsieve.evaluation import measuring, questions, report, run
    from soundsieve.evaluation.judge import load_judge
    from soundsieve.metrics import why_not
    from soundsieve.separator import load

    if threads is not None:
        torch.set_num_threads(threads)
    asked, named = names_in(conditions), names_in(metrics)
    measuring.choose(named)
    heard_by = None if judge is None else load_judge(judge, device=device)

    settings = chosen_settings(steps, sampler, guidance, None, project)

    def loaded() -> Separator:
        return load(
            model, device, weights=weights, clap=clap, tokenizer=tokenizer, precision=precision, settings=settings
        )

    def of_model() -> dict[str, Any]:
        sha256 = _weights_sha256(model if weights is None else str(weights))
        more: dict[str, Any] = {} if heard_by is None else {"judge": heard_by.name}
        more |= {} if clap is None else {"clap_sha256": report.sha256(clap)}
        more |= {} if tokenizer is None else {"tokenizer": tokenizer}
        more |= {} if like_seconds is None else {"like_seconds": like_seconds}
        more |= {"settings": settings} if settings else {}
        return {"model": model, "weights_sha256": sha256, "precision": precision, **more}

    command = shlex.join(["soundsieve", *sys.argv[1:]])
    if benchmark != CORPUS:
        evaluate_list(
            opened(benchmark, list_file, audio, mix=mix, seed=seed, limit=limit),
            loaded,
            of_model,
            conditions=asked,
            metrics=named,
            judge=heard_by,
            shots=shots,
            like_seconds=like_seconds,
            batch_size=batch_size,
            allow_missing=allow_missing,
            names_to=missing,
            output=output,
            command=command,
        )
        return
    named = named or list(MEASURED)
    by_path = {clip.path: clip for clip in lists.read_clips(clips)}
    chosen = lists.read_pairs(pairs, by_path)[:limit]
    held_out = lists.read_labels(unseen, by_path.values()) if unseen else []
    separator = loaded()
    system = separator.system
    planned = questions.plan(
        chosen,
        by_path,
        conditions=asked or None,
        queries=system.queries,
        folder=clips.parent,
        paraphrases=lists.read_paraphrases(paraphrases) if paraphrases.exists() else None,
        any_split=lists.read_clips(examples_from) if examples_from else (),
        any_folder=examples_from.parent if examples_from else ".",
        seed=seed,
        shots=shots,
    )
    if not planned:
        raise ConfigError(f"nothing can be asked: '{model}' understands {', '.join(sorted(system.queries))}")
    of_run = of_model() | {"pairs": len(chosen), "pairs_sha256": report.sha256(pairs)}
    depends_on = of_run | {
        "clips_sha256": report.sha256(clips),
        "conditions": asked,
        "metrics": named,
        "paraphrases_sha256": report.sha256(paraphrases) if paraphrases.exists() else "",
        "examples_from_sha256": report.sha256(examples_from) if examples_from else "",
        "seed": seed,
        "shots": shots,
    }

    started = time.perf_counter()
    mixtures = questions.settings_of(chosen, by_path, asked or list(questions.CONDITIONS)).values()
    total = len(planned) + len(run.BASELINES) * sum(1 + len(of) for both in mixtures for of in both)

    def rows_of(done: Done) -> Iterable[Row]:
        yield from run.baselines(
            chosen, by_path, sounds, conditions=asked or None, metrics=named, judge=heard_by, done=done
        )
        yield from run.evaluate(
            system,
            chosen,
            planned,
            sounds,
            batch_size=batch_size,
            metrics=named,
            judge=heard_by,
            done=done,
            like_seconds=like_seconds,
        )

    found = measured(output, depends_on, total, rows_of)
    summary = report.summarise(found, presence_threshold=separator.presence_threshold, unseen=held_out)
    summary["not_applicable"] = {name: why for name in named if (why := why_not(name, system))}
    summary["run"] = of_run | {
        "command": command,
        "seconds": round(time.perf_counter() - started, 1),
        "environment": report.environment(),
    }
    if output is not None:
        report.write_summary(output, summary)
        report.write_markdown(output.with_suffix(".md"), summary)
    tables = (
        report.condition_table(summary),
        report.setting_table(summary),
        report.seen_table(summary),
        report.absent_table(summary),
        report.further_table(summary) if metrics or judge else "",
    )
    print("\n".join(table for table in tables if table), end="")
    for why in summary["not_applicable"].values():
        print(why)


def _weights_sha256(model: str) -> str:
    """Of the file that a model was loaded from; empty for one that has none."""
    from importlib.resources import as_file, files

    from soundsieve.evaluation.report import sha256
    from soundsieve.weights.catalog import CATALOG, STARTER_FILE

    if model == "starter":
        with as_file(files("soundsieve.embedded") / STARTER_FILE) as path:
            return sha256(path)
    return (CATALOG[model].sha256 or "") if model in CATALOG else sha256(model)
