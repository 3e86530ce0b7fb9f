"""Training without captions against training with them: the runs, tables and figure of docs/parallel_data_free.md.

    python benchmarks/parallel_data_free.py --data corpus/clips.csv --jobs 2

One network, one loss, the same mixtures; what differs is what stands for a sound while training. Every run takes one
core for a few minutes. What is finished is not done again, so the same command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import multiprocessing
import random
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from soundsieve.evaluation.pairs import Clip, Pair, make_pairs, mix, read_clips, read_pairs, write_pairs
from soundsieve.files import replacing
from soundsieve.metrics import sdr, si_sdr
from soundsieve.query import Condition
from soundsieve.training.build import Data, build_task
from soundsieve.training.captions.building import build_cache
from soundsieve.training.captions.cache import CaptionCache
from soundsieve.training.captions.grammar import Grammar
from soundsieve.training.captions.texts import distinct
from soundsieve.training.embeddings import embed_captions, embed_clips, load_sieve_encoder
from soundsieve.training.recipe import read_recipe
from soundsieve.training.store import ClipStore
from soundsieve.weights.checkpoint import load_system

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ROOT / "recipes" / "parallel_data_free"
SIZES = (1_000, 10_000, 100_000)
"""Captions in the caches; a smaller one is the beginning of a larger one."""
KINDS = ("text", "own audio", "retrieved", "moved text")
"""How a test mixture is asked: by caption, by the very sound in it, by the caption retrieved for that sound, and by
caption, moved by the distance from the mean caption of the cache to the mean clip of separation's half."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        recipe: what stands for a sound: a file of recipes/parallel_data_free.
        encoder: ``half`` (has heard other recordings, and no held-out label) or ``starter`` (the embedded model).
        seed: of the network and of the mixtures.
        k: captions that retrieval chooses among.
        captions: in its cache.
    """

    recipe: str
    encoder: str
    seed: int
    k: int = 1
    captions: int = SIZES[-1]

    @property
    def name(self) -> str:
        looked_up = f"-k{self.k}-{self.captions}" if self.recipe == "retrieval" else ""
        return f"{self.encoder}-{self.recipe}{looked_up}-{self.seed}"


def all_runs(seeds: int) -> list[Run]:
    """Supervised runs know nothing of the encoder's ears: its words are those of the starter."""
    objectives = ("audio", "audio_dropout", "retrieval")
    numbers = range(1, seeds + 1)
    runs = [Run(recipe, "half", seed) for seed in numbers for recipe in ("supervised", *objectives)]
    runs += [Run("retrieval", "half", 1, k, size) for size in SIZES for k in (1, 5)]
    runs += [Run(recipe, "starter", seed) for seed in numbers for recipe in objectives]
    return list(dict.fromkeys(runs))


# --- what there is to hear ---


def choose_held_out(clips: Sequence[Clip], *, count: int = 24, at_least: int = 2, seed: int = 0) -> list[str]:
    """Labels to be kept out of every training: drawn from those that have enough test clips."""
    tested = [clip.label for clip in clips if clip.split == "test"]
    enough = sorted({label for label in tested if tested.count(label) >= at_least})
    return sorted(random.Random(seed).sample(enough, count))


def held_out() -> list[str]:
    """The labels that `choose_held_out` chose."""
    return (RECIPES / "held_out.txt").read_text("utf-8").split("\n")[:-1]


def half_of(group: str) -> str:
    """Whose recording one of the training split is: the encoder's, or separation's."""
    return "encoder" if zlib.crc32(f"half:{group}".encode()) % 2 else "separation"


def shared_out(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    """The encoder's clips and separation's, without held-out labels; both judge by the same validation clips."""
    allowed = [clip for clip in clips if clip.label not in held_out() and clip.split in ("train", "validation")]
    return {
        part: [clip for clip in allowed if clip.split == "validation" or half_of(clip.group) == part]
        for part in ("encoder", "separation")
    }


def write_lists(data: Path, folder: Path) -> None:
    """Lists of clips for `soundsieve train`; of separation's, one with captions and one without a word."""
    lists = shared_out(read_clips(data))
    named = ["path", "label", "caption", "group", "split"]
    for name, part, columns in (
        ("encoder", "encoder", named),
        ("separation", "separation", named),
        ("unlabelled", "separation", ["path", "group", "split"]),
    ):
        with replacing(folder / f"{name}.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            for clip in lists[part]:
                row = asdict(clip) | {"path": str(data.resolve().parent / clip.path)}
                writer.writerow([row[column] for column in columns])


# --- training ---


def train(recipe: Path, data: Path, folder: Path, changes: dict[str, Any]) -> None:
    """A run of a recipe on one core, unless it is there."""
    from soundsieve.training.fit import fit

    if (folder / "last.safetensors").is_file():
        return
    settings = read_recipe(recipe, changes)
    resume = folder / "last.ckpt"
    fit(build_task(settings, Data(data)), settings, folder, workers=0, resume=resume if resume.is_file() else None)


def encoder_path(folder: Path, encoder: str) -> str | None:
    """Of the encoder's weights; None is the embedded model."""
    return str(folder / "encoder" / "last.safetensors") if encoder == "half" else None


def cache_path(folder: Path, encoder: str, captions: int) -> Path:
    return folder / f"cache-{encoder}-{captions}"


def make_run(run: Run, data: Path, folder: Path, changes: dict[str, Any]) -> tuple[str, float]:
    """Train and measure one run; its name and the seconds that it took."""
    torch.set_num_threads(1)
    start = time.monotonic()
    own = folder / "runs" / run.name
    changes = {
        "seed": run.seed,
        "options.encoder": encoder_path(folder, run.encoder),
        "options.cache": str(cache_path(folder, run.encoder, run.captions)),
        "options.objective.k": run.k,
        **changes,
    }
    words = "separation" if run.recipe == "supervised" else "unlabelled"
    train(RECIPES / f"{run.recipe}.yaml", folder / "lists" / f"{words}.csv", own, changes)
    done = own / "rows.json"
    rows = json.loads(done.read_text("utf-8")) if done.is_file() else []
    missing = [kind for kind in KINDS if all(row["asked"] != kind for row in rows)]
    if missing:
        rows += measure(own / "last.safetensors", data, folder, run.encoder, missing)
        with replacing(done) as temporary:
            temporary.write_text(json.dumps(rows), encoding="utf-8")
    return run.name, time.monotonic() - start


# --- measuring ---


class Test:
    """The test mixtures, and what can be asked about them."""

    def __init__(self, data: Path, folder: Path, count: int | None = None) -> None:
        self.clips = read_clips(data, split="test")
        self.by_path = {clip.path: clip for clip in self.clips}
        self.store = ClipStore(data.parent, self.clips)
        if not (folder / "pairs.csv").is_file():
            write_pairs(folder / "pairs.csv", make_pairs(self.clips, self.store.sounds, n=count, seed=0))
        self.pairs = read_pairs(folder / "pairs.csv", self.by_path)

    def mixed(self, pair: Pair) -> Tensor:
        """Both sources of a mixture, which is their sum, shape ``(2, T)``."""
        return mix(pair, self.store.sounds).sources

    def asked(self, folder: Path, encoder: str) -> dict[str, Tensor]:
        """For each of `KINDS` a vector for both sounds of each pair, shape ``(pairs, 2, D)``."""
        known = load_sieve_encoder(encoder_path(folder, encoder))
        cache = CaptionCache.open(cache_path(folder, encoder, SIZES[-1]), encoder_digest=known.digest)
        captions = embed_captions([self.by_path[path] for pair in self.pairs for path in pair.paths], known)
        audio = torch.cat([known.embed_audio(self.mixed(pair)) for pair in self.pairs])
        nearest = cache.vectors(cache.search(audio, 1)[1][:, 0])
        heard = embed_clips(Data(folder / "lists" / "unlabelled.csv").store("train", 32000, labelled=False), known)
        written = cache.vectors(torch.arange(len(cache)))
        moved = F.normalize(captions + heard.mean(0) - written.mean(0), dim=1)
        vectors = zip(KINDS, (captions, audio, nearest, moved), strict=True)
        return {kind: part.view(len(self.pairs), 2, -1) for kind, part in vectors}


def measure(
    weights: Path, data: Path, folder: Path, encoder: str, kinds: Sequence[str], *, batch_size: int = 8
) -> Iterator[Row]:
    """One row for each sound of each test mixture and each way to ask."""
    system, test = load_system(weights), Test(data, folder)
    asked = torch.load(folder / f"asked-{encoder}.pt", weights_only=True)
    nothing = torch.zeros_like(asked["text"][:, 0])
    for start in range(0, len(test.pairs), batch_size):
        batch = slice(start, start + batch_size)
        sources = torch.stack([test.mixed(pair) for pair in test.pairs[batch]])
        mixtures = sources.sum(1)
        ways = [(kind, side) for kind in kinds for side in (0, 1)]
        conditions = [Condition(asked[kind][batch, side], nothing[batch]) for kind, side in ways]
        with torch.inference_mode():
            answers = system.estimate_many(mixtures, conditions)
        before = [[ratio(mixtures, sources[:, side]) for ratio in (sdr, si_sdr)] for side in (0, 1)]
        for (kind, side), answer in zip(ways, answers, strict=True):
            gains = sdr(answer.target, sources[:, side]) - before[side][0]
            scale_free = si_sdr(answer.target, sources[:, side]) - before[side][1]
            for pair, sdri, si_sdri in zip(test.pairs[batch], gains.tolist(), scale_free.tolist(), strict=True):
                label = test.by_path[pair.paths[side]].label
                yield {"pair": pair.pair_id, "side": side, "label": label, "asked": kind, "sdri": round(sdri, 4),
                       "si_sdri": round(max(si_sdri, -100.0), 4)}  # fmt: skip


# --- everything ---


def write_captions(path: Path, count: int) -> list[str]:
    """Different captions of the grammar, in the order in which it writes them."""
    if not path.is_file():
        with replacing(path) as temporary:
            temporary.write_text("\n".join(islice(distinct(Grammar().write(seed=0)), count)) + "\n", encoding="utf-8")
    return path.read_text("utf-8").splitlines()


def prepare(data: Path, folder: Path, pairs: int | None, changes: dict[str, Any], sizes: Sequence[int]) -> None:
    """Lists, the encoder, the caches, and the questions of the test."""
    write_lists(data, folder / "lists")
    train(RECIPES / "encoder.yaml", folder / "lists" / "encoder.csv", folder / "encoder", changes)
    captions = write_captions(folder / "captions.txt", sizes[-1])
    test = Test(data, folder, pairs)
    for encoder in ("half", "starter"):
        known = load_sieve_encoder(encoder_path(folder, encoder))
        for size, name in zip(sizes, SIZES, strict=True):
            path = cache_path(folder, encoder, name)
            if not path.is_dir():
                build_cache(captions[:size], path, known)
        if not (folder / f"asked-{encoder}.pt").is_file():
            with replacing(folder / f"asked-{encoder}.pt") as temporary:
                torch.save(test.asked(folder, encoder), temporary)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="list of the corpus, docs/training.md tells of it")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "parallel_data_free", help="of all runs")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, each on one core")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-steps", type=int, help="fewer steps, to try it out")
    parser.add_argument("--pairs", type=int, help="test mixtures; as many as test clips unless given")
    parser.add_argument("--output", type=Path, help="JSON file for the result")
    parser.add_argument("--figure", type=Path, help="PNG file for the figure")
    options = parser.parse_args()
    changes = {"max_steps": options.max_steps, "validate_every": options.max_steps} if options.max_steps else {}
    torch.set_num_threads(options.jobs)
    prepare(options.data, options.folder, options.pairs, changes, SIZES)
    runs = all_runs(options.seeds)
    make = functools.partial(make_run, data=options.data, folder=options.folder, changes=changes)
    start = time.monotonic()
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(make, run) for run in runs]
        for done, future in enumerate(as_completed(waiting), 1):
            name, seconds = future.result()
            spent = (time.monotonic() - start) / 60
            print(f"{done}/{len(runs)} {name}: {seconds:.0f} s; {spent:.1f} min in all", file=sys.stderr, flush=True)
    from parallel_data_free_results import collect, draw

    command = f"python benchmarks/parallel_data_free.py --data corpus/clips.csv --jobs {options.jobs}"
    result = collect(options.data, options.folder, runs, command)
    if options.output:
        with replacing(options.output) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.figure:
        draw(result, options.figure)
    for one in result["runs"]:
        gains = {group: entry["mean"] for group, entry in one["text"]["sdri"].items()}
        print(one["encoder"], one["recipe"], one.get("k", ""), one.get("captions", ""), gains)


if __name__ == "__main__":
    main()
