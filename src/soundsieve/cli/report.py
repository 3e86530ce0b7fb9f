"""``soundsieve report``: one page with tables, figures and examples of what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soundsieve.cli.list_options import AudioOption, ListOption, MixOption, SeedOption, in_clone, opened
from soundsieve.cli.model_options import ClapOption, PrecisionOption, TokenizerOption, WeightsOption
from soundsieve.errors import ConfigError

if TYPE_CHECKING:
    from soundsieve.evaluation.reports.replay import Replay
    from soundsieve.evaluation.reports.runs import Run
    from soundsieve.separator import Separator

_EXAMPLES = "Examples to hear"


def report(
    runs: Annotated[list[Path], typer.Argument(help="Rows of runs (.jsonl), as `soundsieve evaluate -o` writes them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page (.html).")],
    metric: Annotated[
        str | None, typer.Option(help="Of the figures; by default the first gain that all runs have, such as sdri.")
    ] = None,
    condition: Annotated[
        str | None, typer.Option(help="Way of asking, of the figures about one way; by default text.")
    ] = None,
    curve: Annotated[
        list[Path] | None, typer.Option("--curve", metavar="FILE", help="Log of a training run (log.csv); repeatable.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="The model of the first run: makes its best, median and worst answers again, to be heard.",
            rich_help_panel=_EXAMPLES,
        ),
    ] = None,
    examples: Annotated[
        int, typer.Option(min=1, help="How many best, median and worst ones.", rich_help_panel=_EXAMPLES)
    ] = 2,
    weights: WeightsOption = None,
    clap: ClapOption = None,
    tokenizer: TokenizerOption = None,
    precision: PrecisionOption = "float32",
    clips: Annotated[Path, typer.Option(help="List of clips that the run was about (CSV).")] = Path(
        "benchmarks/clips/clips.csv"
    ),
    pairs: Annotated[Path, typer.Option(help="List of its mixtures (CSV).")] = Path("benchmarks/pairs.csv"),
    paraphrases: Annotated[Path, typer.Option(help="Other words for each label (CSV).")] = Path(
        "benchmarks/paraphrases.csv"
    ),
    list_file: ListOption = None,
    audio: AudioOption = None,
    mix: MixOption = None,
    seed: SeedOption = 0,
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Make one page of what was measured, with everything inside: it opens offline, prints, and can be sent.

    soundsieve report starter.jsonl -o starter.html --model starter --curve runs/starter/log.csv

    Of a run about a published list, --model takes --list and --audio as the run did.
    """
    from soundsieve.evaluation.report import write_text
    from soundsieve.evaluation.reports import curve as curves
    from soundsieve.evaluation.reports import page
    from soundsieve.evaluation.reports.replay import of_corpus, of_list
    from soundsieve.evaluation.reports.runs import read

    if output.suffix != ".html":
        raise ConfigError(f"the page is HTML: give -o a name that ends in .html, not '{output.name}'")
    logs = list(curve or ())
    named = dict(zip(page.curve_names(logs), map(curves.read, logs), strict=True))
    made = page.report(read(runs), metric=metric, condition=condition, curves=named, each=examples)

    def replay_of(run: Run, separator: Separator) -> Replay:
        cut = run.facts.get("like_seconds")
        if "pair" in run.rows[0]:
            return of_corpus(separator.system, in_clone(clips), pairs, paraphrases, like_seconds=cut)
        chosen = opened(run.benchmark, list_file, audio, mix=mix, seed=seed, limit=None)
        return of_list(separator.system, chosen.examples, chosen.asking(), like_seconds=cut)

    if model is not None:
        from soundsieve.separator import load

        loaded = load(model, device, weights=weights, clap=clap, tokenizer=tokenizer, precision=precision)
        made.replay = replay_of(made.runs[0], loaded)
    write_text(output, made.html())
    print(output)
