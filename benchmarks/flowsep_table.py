"""Quality against steps of the small FlowSep: flow, DiffusionSep and reflow; the table of docs/flowsep_training.md.

Test mixtures, the first sound of each asked for by its caption, everything heard at the model's 16 kHz. The judge is
the embedded model, by its vectors of sounds and texts: Fréchet distance of the answers to the sounds asked for (FAD),
and CLAPScores, also over the mixture's own, mixture by mixture. SDR says little of what is made anew and lines up with
nothing; it is there to be compared with that of the same answers as masks on the mixture (`--project`).

    python benchmarks/flowsep_table.py --output benchmarks/results/flowsep_table.json --figure docs/flowsep.png

The models are those of recipes/flowsep/small*.yaml, in runs/ where these leave them. Each row is made on one core.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from records import CLIPS, interval, record, save, test_mixtures
from torch import Tensor

from soundsieve import audio
from soundsieve.evaluation.judge import Judge
from soundsieve.evaluation.pairs import SAMPLE_RATE, decoded, mix
from soundsieve.evaluation.report import sha256
from soundsieve.metrics import frechet_distance, sdr
from soundsieve.query import Condition, Query
from soundsieve.systems.flowsep.bigvgan import BigVGAN, BigVGANConfig
from soundsieve.systems.flowsep.flowsep import FlowSep
from soundsieve.systems.flowsep.project import project
from soundsieve.training.embeddings import load_sieve_encoder
from soundsieve.training.tasks.flowsep_parts import VOCODER_KIND
from soundsieve.weights.checkpoint import load_system
from soundsieve.weights.modules import load_module

ROOT = Path(__file__).resolve().parent.parent
STEPS = (1, 2, 5, 10, 20, 50)
BATCH = 10
SCORES = ("clap_score", "clap_score_audio")


@dataclass(frozen=True)
class Row:
    """What is measured: a model and how it is asked, or something that needs no model."""

    model: str
    steps: int = 0
    sampler: str = "euler"
    guidance: float = 1.0


WITHOUT = ("unprocessed mixture", "sound itself", "sound through Griffin-Lim", "sound through VAE and Griffin-Lim",
           "sound through a small BigVGAN")  # fmt: skip
"""Rows of no answer: what one would have without a model, and what is left at best."""
MODELS = {"flow": "flowsep-small", "diffusion": "flowsep-small_diffusion", "flow, longer": "flowsep-small_longer",
          "reflow": "flowsep-small_reflow"}  # fmt: skip
"""Folders of the runs."""


def all_rows() -> list[Row]:
    rows = [Row(model, steps) for model in ("flow", "diffusion") for steps in STEPS]
    rows += [Row("flow, longer", steps, guidance=guidance) for guidance in (1.0, 3.0) for steps in STEPS[:-1]]
    rows += [Row("flow, longer", 10, guidance=6.0)]
    rows += [Row("flow, longer", 5, sampler, 3.0) for sampler in ("heun", "midpoint")]
    rows += [Row("reflow", steps) for steps in (1, 2, 5, 10)]
    return [Row(name) for name in WITHOUT] + rows


@dataclass(frozen=True)
class Example:
    """A mixture at the model's rate, the sound that is asked for, and its caption."""

    pair: int
    mixture: Tensor
    target: Tensor
    caption: str


def examples(count: int, sample_rate: int) -> list[Example]:
    pairs, clips = test_mixtures(count)
    sounds, found = decoded(CLIPS), []
    for pair in pairs:
        sources = audio.resample(mix(pair, sounds).sources.numpy(), SAMPLE_RATE, sample_rate)
        heard = torch.from_numpy(sources)
        found.append(Example(pair.pair_id, heard.sum(0), heard[0], clips[pair.first].caption))
    return found


def weights(folder: Path, model: str) -> Path:
    return folder / MODELS[model] / "last.safetensors"


def load(folder: Path, model: str) -> FlowSep:
    system = load_system(weights(folder, model))
    assert isinstance(system, FlowSep)
    return system


def answers_of(row: Row, system: FlowSep, heard: list[Example]) -> Tensor:
    """Answers ``(N, T)``, at the mixtures' level and length."""
    mixtures = torch.stack([one.mixture for one in heard])
    if row.model == WITHOUT[0]:
        return mixtures
    if row.model in WITHOUT:
        return _at_best(row.model, system, mixtures, torch.stack([one.target for one in heard]))
    asked = system.with_settings({name: getattr(row, name) for name in ("steps", "sampler", "guidance")})
    conditions = [asked.encode_query(Query(one.caption)) for one in heard]
    condition = Condition(*(torch.cat([getattr(c, side) for c in conditions]) for side in ("positive", "negative")))
    return asked(mixtures, condition)


def _at_best(name: str, system: FlowSep, mixtures: Tensor, targets: Tensor) -> Tensor:
    """The sounds themselves, or what VAE and vocoder leave of them, at the gain at which the model works."""
    if name == WITHOUT[1]:
        return targets
    length, grain = targets.shape[1], system.config.grain
    gain = 0.5 / (mixtures - mixtures.mean(1, keepdim=True)).abs().amax(1, keepdim=True)
    mel = system.mel(torch.nn.functional.pad(targets * gain, (0, -length % grain)))
    if name == WITHOUT[3]:
        mel = system.vae.decode(system.vae.encode(mel).mean)
    vocoder = small_vocoder() if name == WITHOUT[4] else system.vocoder
    made: Tensor = vocoder(mel[:, 0].transpose(1, 2))
    return made[:, :length] / gain


def small_vocoder() -> BigVGAN:
    path = ROOT / "runs" / "flowsep-small_vocoder" / "last.safetensors"
    return load_module(path, VOCODER_KIND, BigVGAN, BigVGANConfig)


def embedded_judge() -> Judge:
    encoder = load_sieve_encoder(None)
    return Judge(encoder.embed_audio, encoder.sample_rate, read=encoder.embed_text, name="starter")


def measure(row: Row, folder: Path, count: int) -> dict[str, Any]:
    """All figures of a row."""
    torch.set_num_threads(1)
    system, judge = load(folder, "flow" if row.model in WITHOUT else row.model), embedded_judge()
    heard = examples(count, system.sample_rate)
    with torch.inference_mode():
        answers_of(row, system, heard[:1])  # what is prepared once is not counted
        begun = time.perf_counter()
        parts = [answers_of(row, system, heard[i : i + BATCH]) for i in range(0, len(heard), BATCH)]
        seconds = (time.perf_counter() - begun) / len(heard)
        made = torch.cat(parts)
        projected = project(torch.stack([one.mixture for one in heard]), made)
    figures: dict[str, Any] = {"generated": _judged(made, heard, judge, system.sample_rate)}
    if row.model != WITHOUT[0]:
        figures["projected"] = _judged(projected, heard, judge, system.sample_rate)
    return asdict(row) | {"seconds": None if row.model in WITHOUT else round(seconds, 4)} | figures


def _judged(made: Tensor, heard: list[Example], judge: Judge, sample_rate: int) -> dict[str, Any]:
    mixtures, targets = (torch.stack([getattr(one, name) for one in heard]) for name in ("mixture", "target"))
    vectors = [torch.cat([judge.hear(x, sample_rate=sample_rate) for x in part]) for part in (made, mixtures, targets)]
    own, before = ({name: _scores(judge, part, vectors[2], heard, name) for name in SCORES} for part in vectors[:2])
    gained = {f"{name}_gain": _mean(own[name] - before[name], heard) for name in SCORES}
    sdri = (sdr(made, targets) - sdr(mixtures, targets)).numpy()
    return {
        "fad": round(frechet_distance(vectors[0], vectors[2]), 4),
        **{name: _mean(own[name], heard) for name in SCORES},
        **gained,
        "sdri": _mean(sdri, heard) if np.isfinite(sdri).all() else None,  # infinite for the sounds themselves
    }


def _scores(judge: Judge, found: Tensor, references: Tensor, heard: list[Example], name: str) -> np.ndarray:
    each = zip(found, references, heard, strict=True)
    return np.array([judge.judge(x[None], reference=y[None], text=one.caption)[name] for x, y, one in each])


def _mean(values: np.ndarray, heard: list[Example]) -> dict[str, Any]:
    pairs = np.array([one.pair for one in heard])
    return {"mean": round(float(values.mean()), 4), "interval": interval(values, pairs)}


def draw(folder: Path, count: int, chosen: int, path: Path) -> None:
    """One example: the mixture, the sound itself, what is generated, and the mixture through that."""
    from soundsieve.evaluation.pictures import save_figure, spectrogram_figure

    system = load(folder, "flow, longer")
    example = examples(count, system.sample_rate)[chosen]
    with torch.inference_mode():
        answer = answers_of(Row("flow, longer", 10, guidance=3.0), system, [example])
        masked = project(example.mixture[None], answer)
    panels = {"mixture": example.mixture, f"asked for: {example.caption}": example.target,
              "generated": answer[0], "projected": masked[0]}  # fmt: skip
    save_figure(path, spectrogram_figure({name: x.numpy() for name, x in panels.items()}, system.sample_rate), dpi=70)


def run_all(make: Callable[[Row], dict[str, Any]], rows: list[Row], jobs: int) -> list[dict[str, Any]]:
    done: dict[Row, dict[str, Any]] = {}
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(make, row): row for row in rows}
        for future in as_completed(waiting):
            row = waiting[future]
            done[row] = future.result()
            print(len(done), "of", len(rows), row, done[row]["generated"], file=sys.stderr, flush=True)
    return [done[row] for row in rows]


def merged(rows: list[Row], new: list[dict[str, Any]], path: Path | None, mixtures: int) -> list[dict[str, Any]]:
    """New figures, and those that a file of earlier ones has of the other rows, in order."""
    old = json.loads(path.read_text("utf-8")) if path is not None and path.is_file() else {"rows": [], "mixtures": 0}
    found = {}
    for row in [*(old["rows"] if old["mixtures"] == mixtures else []), *new]:
        found[Row(row["model"], row["steps"], row["sampler"], row["guidance"])] = row
    return [found[row] for row in rows if row in found]


@dataclass(frozen=True)
class Measure:
    """`measure` of given models and mixtures, for other processes."""

    folder: Path
    count: int

    def __call__(self, row: Row) -> dict[str, Any]:
        return measure(row, self.folder, self.count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs", help="of all runs")
    parser.add_argument("--mixtures", type=int, default=60)
    parser.add_argument("--models", nargs="*", help="measure these alone; other rows of the output file stay")
    parser.add_argument("--jobs", type=int, default=2, help="rows at a time, each on one core")
    parser.add_argument("--example", type=int, default=2, help="which mixture is drawn")
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--figure", type=Path, help="where to draw an example, PNG")
    options = parser.parse_args()
    there = {model for model in MODELS if weights(options.folder, model).is_file()}
    rows = [row for row in all_rows() if row.model in there or row.model in WITHOUT]
    chosen = [row for row in rows if options.models is None or row.model in options.models]
    new = run_all(Measure(options.folder, options.mixtures), chosen, options.jobs)
    measured = merged(rows, new, options.output, options.mixtures)
    runs = {}
    for model in sorted(there, key=list(MODELS).index):
        log = (options.folder / MODELS[model] / "log.csv").read_text("utf-8").splitlines()
        last = dict(zip(log[0].split(","), map(float, log[-1].split(",")), strict=True))
        runs[model] = {"steps": int(last["step"]), "validation_loss": last["validation_loss"]}
        runs[model]["weights_sha256"] = sha256(weights(options.folder, model))
    command = "python benchmarks/flowsep_table.py"
    save(
        record("flowsep_table", command=command, mixtures=options.mixtures, threads=1, runs=runs, rows=measured),
        options.output,
    )
    if options.figure:
        draw(options.folder, options.mixtures, options.example, options.figure)


if __name__ == "__main__":
    main()
