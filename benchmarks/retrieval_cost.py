"""What looking captions up adds to a training step of CLAPSep: every sound of every mixture is searched for, each step.

Steps with the objectives ``audio`` and ``retrieval`` on the same batches, in turns; the captions are 100,000 made-up
texts, as the time of a search does not depend on what they say. Times are the CPU's, on one thread.

    python benchmarks/retrieval_cost.py --data corpus/clips.csv --output benchmarks/results/retrieval_cost.json

Without --data it uses the bundled test clips (as if they were training clips): the times are the same.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from loader import _as_training
from parallel_data_free_tables import retrieval_cost_table
from records import record, save

from soundsieve.encoders.clap import CLAPConfig
from soundsieve.encoders.text import SentenceEncoderConfig
from soundsieve.training.build import Data, build_task
from soundsieve.training.captions.building import build_cache
from soundsieve.training.captions.encoders import CLAPEncoder
from soundsieve.training.objectives import Objective, neighbours
from soundsieve.training.recipe import read_recipe
from soundsieve.training.tasks.clapsep import CLAPSepTask
from soundsieve.weights.config import to_dict

ROOT = Path(__file__).parents[1]
CAPTIONS = 100_000
OBJECTIVES = {"audio": Objective("audio"), "retrieval": Objective("retrieval", k=5)}


def tasks(data: Path, folder: Path, batch_size: int) -> dict[str, CLAPSepTask]:
    """The same untrained network twice, asked in two ways."""
    changes = {
        "options.clap": None,
        "options.batch_size": batch_size,
        "options.sentences": [],
        "model.clap": to_dict(CLAPConfig.small(SentenceEncoderConfig.debug())),
    }
    recipe = ROOT / "recipes" / "clapsep" / "small.yaml"
    first = build_task(
        read_recipe(recipe, changes | {"options.objective": to_dict(OBJECTIVES["audio"])}), Data(data, folder)
    )
    assert isinstance(first, CLAPSepTask)
    encoder = CLAPEncoder(first.module.clap, "untrained")  # type: ignore[arg-type]
    cache = build_cache([f"sound {i}" for i in range(CAPTIONS)], folder / "cache", encoder)
    changes |= {"options.objective": to_dict(OBJECTIVES["retrieval"]), "options.cache": str(cache.folder)}
    second = build_task(read_recipe(recipe, changes), Data(data, folder))
    assert isinstance(second, CLAPSepTask)
    return {"audio": first, "retrieval": second}


def measure(by_name: dict[str, CLAPSepTask], steps: int) -> dict[str, float]:
    """Median CPU seconds of a step with each objective, and of the search alone; other work does not count."""
    times: dict[str, list[float]] = {name: [] for name in (*by_name, "search")}
    optimizers = {}
    for name, task in by_name.items():
        task.module.train()
        optimizers[name] = torch.optim.AdamW([p for p in task.module.parameters() if p.requires_grad], 1e-4)
    searching = by_name["retrieval"]
    assert searching._cache is not None
    for step in range(steps + 1):
        batch = searching.batch(step)
        for name, task in by_name.items():
            start = time.process_time()
            loss = task.loss(task.module, batch, step)["loss"]
            optimizers[name].zero_grad()
            loss.backward()
            optimizers[name].step()
            times[name].append(time.process_time() - start)
        queries = torch.nn.functional.normalize(torch.randn(2 * len(batch["mixture"]), searching._cache.info.width))
        start = time.process_time()
        neighbours(queries, searching._cache, OBJECTIVES["retrieval"].k)
        times["search"].append(time.process_time() - start)
    return {f"{name}_s": statistics.median(values[1:]) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="CSV of clips; the bundled test clips unless given")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--output", type=Path, help="JSON file for the result")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or _as_training(Path(folder))
        by_name = tasks(data, Path(folder), options.batch_size)
        measured = measure(by_name, options.steps)
        width = by_name["audio"].module.config.clap.dim  # type: ignore[union-attr]
    result = record(
        "retrieval_cost",
        **measured,
        share=measured["search_s"] / measured["audio_s"],
        system="CLAPSep, small",
        batch_size=options.batch_size,
        captions=CAPTIONS,
        width=width,
        threads=options.threads,
    )
    print(retrieval_cost_table(result), end="")
    save(result, options.output)


if __name__ == "__main__":
    main()
