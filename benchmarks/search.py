"""What one change to the starter's first run is worth: short runs of equal work, judged by recordings from elsewhere.

Every variant trains from nothing but the shipped text tower, on a list of clips that keeps whole collections out
(`search_clips.py`), for as many steps as cost what ``--steps`` of the plain recipe cost: operations are counted. It is
then asked about the same mixtures as the others: of *other sources*, which training knows nothing of, and of the *same
sources*. Differences to the plain run are taken answer by answer. *plain, again* differs by its seed alone: what is not
further from *plain* than that shows nothing.

    python benchmarks/search.py --data corpus/clips.csv --variants plain "128 bands"
    python benchmarks/search.py --data corpus/clips.csv --output benchmarks/results/search.json

Runs that are already in ``--folder`` are measured and not made again, so that several processes can share the work.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from records import record, save
from search_clips import SPOKEN, write_list
from starter_tables import search_table
from torch.utils.flop_counter import FlopCounterMode
from unheard import Unheard, sieve_named

from soundsieve.evaluation.report import mean_with_interval
from soundsieve.evaluation.run import of_condition
from soundsieve.systems.sieve import SieveConfig
from soundsieve.systems.sieve.analysis import Analysis
from soundsieve.systems.sieve.reader import Reader
from soundsieve.training.recipe import build_config, read_recipe

RECIPE = Path(__file__).parent.parent / "recipes" / "starter" / "sieve.yaml"
SPLITS = {"other": "validation", "same": "test"}
"""Of the lists that `write_list` makes."""
ASKED = ("text", "text+exclude", "absent")
VARIED = {"stretch": 0.3, "shift": 0.3, "dynamics": 0.3, "twins": 0.15}
SCENES = ("crowd", "city traffic", "restaurant")


@dataclass(frozen=True)
class Variant:
    """What differs from the plain recipe."""

    changes: dict[str, Any] = field(default_factory=dict)
    spoken: int = 0
    made: bool = False

    @property
    def clips(self) -> str:
        """Name of its list of clips."""
        return "spoken" if self.spoken else "made" if self.made else "plain"


def mixtures(**changes: float) -> Variant:
    """A change to how mixtures are made."""
    return Variant({f"options.mixtures.{name}": value for name, value in changes.items()})


VARIANTS = {
    "plain": Variant(),
    "plain, again": Variant({"seed": 2}),
    "up to four sources": mixtures(three_sources=0.25, four_sources=0.15),
    "length, pitch and dynamics varied, twins": mixtures(**VARIED),
    "equaliser of 6 dB, twice as often low-passed and reverberant": mixtures(eq_db=6.0, lowpass=0.2, reverb=0.4),
    "crowd, traffic and restaurant beneath 30%": Variant({"options.background": 0.3, "options.backgrounds": SCENES}),
    "speech of espeak-ng beneath 30%": Variant(
        {"options.background": 0.3, "options.interferers": (SPOKEN,)}, spoken=80
    ),
    "sounds made by rules among the clips": Variant(made=True),
    "similar labels in a quarter of the mixtures": Variant({"options.hard": 0.25}),
    "every label as often": mixtures(label_power=0.0),
    "128 bands": Variant({"model.n_bands": 128}),
    "wider: 64, 128 and 208 channels": Variant({"model.channels": (64, 128, 208), "model.width": 400}),
}


def operations(config: SieveConfig) -> int:
    """What a training step's mixture costs forwards: one analysis and three queries, on 4 s."""
    frames = round(4.0 * config.sample_rate / config.hop_length)
    vectors = torch.randn(1, 3, config.text.width)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        scene = Analysis(config).eval()(torch.rand(1, config.n_bands, frames))
        Reader(config).eval()(scene, vectors, vectors)
    return int(counter.get_total_flops())


def shape_of(variant: Variant) -> SieveConfig:
    """The network of a variant."""
    changes = {name: value for name, value in variant.changes.items() if name.startswith("model.")}
    return build_config(SieveConfig, read_recipe(RECIPE, changes).model)


def train(name: str, options: argparse.Namespace) -> int:
    """Make the run of a variant, unless it is there; its number of steps."""
    variant, folder = VARIANTS[name], options.folder
    steps = round(options.steps * operations(shape_of(VARIANTS["plain"])) / operations(shape_of(variant)))
    run = folder / slug(name)
    if (run / "last.safetensors").is_file():
        return steps
    clips = folder / "clips" / variant.clips / "clips.csv"
    if not clips.is_file():
        write_list(clips.parent, options.data, spoken=variant.spoken, made=variant.made)
    tower = folder / "text.safetensors"
    if not tower.is_file():
        sieve_named("starter").text.save(tower)
    changes = {"max_steps": steps, "validate_every": steps, "warmup_steps": steps // 8}
    changes |= {"ema_decay": 0.99, "options.text_tower": tower}
    changes |= variant.changes
    command = [str(Path(sys.executable).with_name("soundsieve")), "train", str(RECIPE)]
    command += ["--data", str(clips), "-o", str(run)]
    for key, value in changes.items():
        shown = "[" + ", ".join(map(str, value)) + "]" if isinstance(value, tuple) else value
        command += ["--set", f"{key}={shown}"]
    subprocess.run([*command, "--threads", str(options.threads), "--workers", "0"], check=True)
    return steps


def slug(name: str) -> str:
    """A variant's name as that of a folder."""
    return "-".join("".join(c if c.isalnum() else " " for c in name).split())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="list of the clips that the starter was trained on")
    parser.add_argument("--folder", type=Path, default=Path("runs/search"), help="of lists and runs")
    parser.add_argument("--steps", type=int, default=300, help="of the plain run")
    parser.add_argument("--pairs", type=int, default=300, help="mixtures of each kind that judge")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--train-only", action="store_true", help="leave the measuring to another call")
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    steps = {name: train(name, options) for name in options.variants}
    if options.train_only:
        return
    clips = options.folder / "clips" / "plain" / "clips.csv"
    judges = {kind: Unheard.mixed(clips, options.pairs, ASKED, split=split) for kind, split in SPLITS.items()}
    rows: list[dict[str, Any]] = []
    plain: dict[str, Any] = {}
    for name in options.variants:
        sieve = sieve_named(str(options.folder / slug(name) / "last.safetensors"))
        row: dict[str, Any] = {"variant": name, "steps": steps[name], "gflop": operations(sieve.config) / 1e9}
        for kind, judge in judges.items():
            answers = judge.answers(sieve)
            asked = of_condition(answers, "text")
            before = plain.setdefault(kind, asked)
            gained = [now["sdri"] - then["sdri"] for now, then in zip(asked, before, strict=True)]
            difference = mean_with_interval(gained, [one["pair"] for one in asked])
            row[kind] = {**judge.summed_up(answers), "difference": difference}
        rows.append(row)
    about = {"pairs": options.pairs, "steps": options.steps, "rows": rows}
    command = f"python benchmarks/search.py --data corpus/clips.csv --steps {options.steps} --pairs {options.pairs}"
    result = record("search", **about, command=command)
    print(search_table(result), end="")
    save(result, options.output)


if __name__ == "__main__":
    main()
