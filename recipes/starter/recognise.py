"""Give a trained Sieve a recogniser, which tells what an answer holds from what it leaves.

Mixtures are made as in training and heard by the Sieve, whose own weights stay as they are. Each of their sources is
one part, with some of the others left in it, described by `statistics`; a small network learns its label and the traits
of that label. What its evidence is worth for the presence, and the threshold, are set on mixtures of validation clips.

    python recipes/starter/recognise.py --model runs/starter-text_free/remembered.safetensors --data corpus/clips.csv \
        --output src/soundsieve/embedded/starter.safetensors
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from torch import Tensor

from soundsieve.evaluation.pairs import make_pairs, mix, read_labels
from soundsieve.systems.sieve import Scene, Sieve
from soundsieve.systems.sieve.recogniser import Recogniser, statistics
from soundsieve.training.build import Data, build_task
from soundsieve.training.recipe import read_recipe
from soundsieve.training.tasks.sieve import SieveTask
from soundsieve.weights.checkpoint import load_system

HERE = Path(__file__).parent
PAIRS = 280
"""Of validation mixtures, for the presence and its threshold."""
SECONDS = 5.0
"""Of a mixture."""
LEAK_DB = (-33.0, -3.0)
"""How much of the other sources is left in seven of ten parts."""
BATCH, LEARNING_RATE, NOISE, DROPOUT = 256, 2e-3, 0.5, (0.2, 0.5)
"""Of the recogniser's training; noise and dropout are what keeps so little data from being learnt by heart."""
TRAIT_LOSS = 5.0


def counted(what: str, count: int) -> Iterable[int]:
    """0 to ``count``, with progress on stderr, if that is a terminal."""
    return track(range(count), what, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def read_traits(path: Path, labels: list[str]) -> Tensor:
    """Traits of every label, shape ``(labels, traits)``: 1 for its traits, 0.5 for what it has somewhat of."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = {row["label"]: (row["traits"].split(), row["somewhat"].split()) for row in csv.DictReader(file)}
    missing = sorted(set(labels) - rows.keys())
    if missing:
        raise SystemExit(f"{path} says nothing of '{missing[0]}'")
    traits = sorted({trait for row in rows.values() for named in row for trait in named})
    table = torch.zeros(len(labels), len(traits))
    for i, label in enumerate(labels):
        for value, named in zip((1.0, 0.5), rows[label], strict=True):
            table[i, [traits.index(trait) for trait in named]] = value
    return table


def recognising(sieve: Sieve, hidden: int, traits: Tensor) -> Sieve:
    """The same Sieve with room for a recogniser, which knows nothing yet."""
    config = replace(sieve.config, recogniser=hidden, traits=traits.shape[1])
    changed = Sieve(config, assets=sieve.assets())
    changed.load_state_dict({**changed.state_dict(), **sieve.state_dict()})
    assert changed.recogniser is not None
    changed.recogniser.traits_of.copy_(traits)
    return changed.eval()


@torch.no_grad()
def gather(sieve: Sieve, task: SieveTask, batches: int) -> tuple[Tensor, Tensor]:
    """Statistics of parts, and the label of each."""
    told, labels = [], []
    rng = torch.Generator().manual_seed(task.seed)
    for step in counted("parts", batches):
        batch = task.batch(step)
        sources, label = batch["sources"], batch["labels"]
        energies = batch["energies"][: len(sources)]
        share = (sources / energies[:, None].clamp_min(1e-12)).clamp(0, 1)
        low, high = LEAK_DB
        draw = torch.rand(2, *label.shape, 1, 1, generator=rng)
        leak = 10.0 ** ((low + (high - low) * draw[0]) / 10) * (draw[1] < 0.7)
        there = label >= 0
        told.append(statistics(sieve.analysis(energies), share + leak * (1 - share))[there])
        labels.append(label[there])
    return torch.cat(told), torch.cat(labels)


def train(recogniser: Recogniser, told: Tensor, labels: Tensor, steps: int) -> None:
    """Teach it labels and traits; rare labels are heard more often than their parts are many."""
    count = torch.bincount(labels, minlength=len(recogniser.traits_of)).clamp_min(1).float()
    recogniser.centre.copy_(told.mean(0))
    recogniser.spread.copy_(told.std(0).clamp_min(1e-3))
    recogniser.common.copy_((recogniser.traits_of * count[:, None]).sum(0) / count.sum())
    told = recogniser.normalised(told)
    weight = count.rsqrt()[labels]
    trained = [recogniser.hidden, recogniser.labels, recogniser.traits]
    parameters = [p for module in trained for p in module.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    for _ in counted("steps", steps):
        chosen = torch.multinomial(weight, BATCH, replacement=True)
        seen = F.dropout(told[chosen] + NOISE * torch.randn(BATCH, told.shape[1]), DROPOUT[0])
        hidden = F.dropout(F.relu(recogniser.hidden(seen)), DROPOUT[1])
        loss = F.cross_entropy(recogniser.labels(hidden), labels[chosen], label_smoothing=0.1)
        wanted = recogniser.traits_of[labels[chosen]]
        loss = loss + TRAIT_LOSS * F.binary_cross_entropy_with_logits(recogniser.traits(hidden), wanted)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()


def weigh(sieve: Sieve, task: SieveTask) -> None:
    """Fit the presence: a logistic regression on the reader's presence and the evidence, where its input is there."""
    assert sieve.recogniser is not None
    presence, seen, there = sieve.recogniser.presence, [], []
    hook = presence.register_forward_pre_hook(lambda _, given: seen.append(given[0].flatten(0, 1)))
    store, rng = task.validation, np.random.default_rng(task.seed)
    captions = {clip.path: clip.caption for clip in store.clips}
    with torch.no_grad():
        for pair in make_pairs(store.clips, store.sounds, n=PAIRS, seed=task.seed + 1):
            labels = {clip.label for clip in store.clips if clip.path in pair.paths}
            others = [clip for clip in store.clips if clip.label not in labels]
            absent = [others[i].caption for i in rng.integers(0, len(others), 2)]
            asked = sieve.embed_texts([*(captions[path] for path in pair.paths), *absent])[None]
            scene: Scene = sieve.analysis(sieve.spectrum(mix(pair, store.sounds).mixture[None])[1])
            sieve.read(scene, asked, torch.zeros_like(asked))
            there.append(torch.tensor([1.0, 1.0, 0.0, 0.0]))
    hook.remove()
    given, wanted = torch.cat(seen).clone(), torch.cat(there)
    optimiser = torch.optim.LBFGS(presence.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.binary_cross_entropy_with_logits(presence(given)[:, 0], wanted)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]


def main() -> None:  # noqa: D103 (said above)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="file of a Sieve that looks twice")
    parser.add_argument("--recipe", default=HERE / "second_look.yaml", type=Path, help="what it was trained by")
    parser.add_argument("--data", required=True, type=Path, help="list of clips that it was trained on")
    parser.add_argument("--traits", default=HERE / "traits.csv", type=Path, help="CSV file with every label's traits")
    parser.add_argument("--hidden", default=512, type=int, help="units of the recogniser")
    parser.add_argument("--batches", default=800, type=int, help="batches of mixtures that it learns from")
    parser.add_argument("--steps", default=1500, type=int, help="steps that it learns for")
    parser.add_argument("--held-out", type=Path, help="file of labels, one a line, that the Sieve was trained without")
    parser.add_argument("--output", required=True, type=Path, help="file to write")
    options = parser.parse_args()
    sieve = load_system(options.model)
    if not isinstance(sieve, Sieve) or not sieve.config.contrast:
        raise SystemExit(f"{options.model} holds no sieve that looks twice")
    changes = {"options.init": options.model, "options.start_share": 0.0, "options.heard": sieve.config.heard}
    changes |= {"options.validation_pairs": PAIRS, "options.examples": 0, "options.mixtures.segment_s": SECONDS}
    changes |= {"held_out": read_labels(options.held_out) if options.held_out else []}
    task = build_task(read_recipe(options.recipe, changes), Data(options.data))
    assert isinstance(task, SieveTask)
    if len(task.sampler.labels) != len(sieve.anchors):
        raise SystemExit(f"{options.data} has other labels than {options.model} was trained on")
    torch.manual_seed(task.seed)
    changed = recognising(sieve, options.hidden, read_traits(options.traits, task.sampler.labels))
    assert changed.recogniser is not None
    train(changed.recogniser, *gather(changed, task, options.batches), options.steps)
    weigh(changed, task)
    scores = task.validate(changed)
    task.save(options.output, changed)
    print(f"{options.output}:", ", ".join(f"{name} {value:.3f}" for name, value in scores.items()))


if __name__ == "__main__":
    main()
