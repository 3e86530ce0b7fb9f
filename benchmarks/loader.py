"""How many mixtures a second the loader makes and a training step takes: data must never be what training waits for.

    python benchmarks/loader.py --data corpus/clips.csv [--threads 2] [-o benchmarks/results/loader.json]

Without --data it uses the bundled test clips (as if they were training clips): the rates are the same.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
import zlib
from pathlib import Path

import torch
from records import record, save

from soundsieve.training.build import Data, build_task
from soundsieve.training.recipe import read_recipe

ROOT = Path(__file__).parents[1]
RECIPES = {
    "Sieve, small (band energies)": ("starter/sieve.yaml", {"options.text_tower": None, "model.text": "debug"}),
    "CLAPSep, small (waveforms)": ("clapsep/small.yaml", {"options.clap": None, "model.clap": "debug-text"}),
}


def _as_training(folder: Path) -> Path:
    """The test clips, every fourth recording for validation, the rest for training."""
    with (ROOT / "benchmarks/clips/clips.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["path"] = str(ROOT / "benchmarks/clips" / row["path"])
        row["split"] = "train" if zlib.crc32(row["group"].encode()) % 4 else "validation"
    path = folder / "clips.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _changes(changes: dict[str, object]) -> dict[str, object]:
    """An untrained text tower of single characters stands in: the frozen tower takes no part in a step."""
    from soundsieve.encoders.clap import CLAPConfig
    from soundsieve.encoders.text import SentenceEncoderConfig
    from soundsieve.weights.config import to_dict

    text = SentenceEncoderConfig.debug()
    known = {"debug": to_dict(text), "debug-text": to_dict(CLAPConfig.small(text))}
    return {name: known.get(value, value) if isinstance(value, str) else value for name, value in changes.items()}


def measure(recipe_path: str, changes: dict[str, object], data: Path, cache: Path, steps: int) -> dict[str, float]:
    """Mixtures a second of one loader process and of a training step."""
    recipe = read_recipe(ROOT / "recipes" / recipe_path, _changes(changes))
    task = build_task(recipe, Data(data, cache))
    size = int(recipe.options["batch_size"])
    task.batch(0)  # pages of the store that are read for the first time
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    start = time.perf_counter()
    batches = [task.batch(step) for step in range(1, steps + 1)]
    loader_s = (time.perf_counter() - start) / steps
    torch.set_num_threads(threads)
    optimizer = torch.optim.AdamW([p for p in task.module.parameters() if p.requires_grad], 1e-3)
    task.module.train()
    times = []
    for step, batch in enumerate(batches):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
            loss = task.loss(task.module, batch, step)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    step_s = sorted(times)[len(times) // 2]
    return {"batch_size": size, "loader_per_s": size / loader_s, "step_per_s": size / step_s}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="CSV of clips; the bundled test clips unless given")
    parser.add_argument("--threads", type=int, default=2, help="of a training step")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("-o", "--output", type=Path, help="JSON file for the result")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data or _as_training(Path(folder))
        print("| recipe | mixtures/s, one loader process | mixtures/s, training step | loader is ahead by |")
        print("| --- | ---: | ---: | ---: |")
        for name, (recipe, changes) in RECIPES.items():
            row = measure(recipe, dict(changes), data, Path(folder), arguments.steps)
            rows[name] = row
            ahead = row["loader_per_s"] / row["step_per_s"]
            print(f"| {name} | {row['loader_per_s']:.0f} | {row['step_per_s']:.0f} | {ahead:.1f}x |", flush=True)
    save(record("loader", threads=arguments.threads, rows=rows), arguments.output)


if __name__ == "__main__":
    main()
