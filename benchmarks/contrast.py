"""What a second look is worth: the Sieve asked once, and asked again without what its first answer left behind.

Measured on mixtures of validation clips, so that the choice is not made on the test's. Needs the clips that the starter
was trained on (docs/training.md says where they come from).

    python benchmarks/contrast.py --data corpus/clips.csv --output benchmarks/results/contrast.json
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from records import record, save
from starter_tables import contrast_table

from soundsieve import load
from soundsieve.evaluation import pairs as lists
from soundsieve.evaluation.questions import plan
from soundsieve.evaluation.run import evaluate, of_condition, selectivity
from soundsieve.metrics import roc_auc
from soundsieve.query import Query
from soundsieve.systems.sieve import Sieve

CONDITIONS = ("text", "text+exclude", "exclude", "example")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter", help="name or file of a Sieve")
    parser.add_argument("--data", type=Path, required=True, help="list of clips that has a validation split")
    parser.add_argument("--split", default="validation", help="of the clips that are mixed")
    parser.add_argument("--unseen", type=Path, help="file of labels: count only the answers about these")
    parser.add_argument("--pairs", type=int, default=280, help="mixtures")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    clips = lists.read_clips(options.data, split=options.split)
    sounds = lists.decoded(options.data.parent)
    pairs = lists.make_pairs(clips, sounds, n=options.pairs, seed=1)
    by_path = {clip.path: clip for clip in clips}
    questions = plan(pairs, by_path, conditions=(*CONDITIONS, "absent"), folder=options.data.parent)
    labels = set(options.unseen.read_text().splitlines()) if options.unseen else {clip.label for clip in clips}
    system = load(options.model).system
    if not isinstance(system, Sieve):
        raise SystemExit(f"'{options.model}' is a {system.name}: only a sieve looks twice")
    config, looks = system.config, []
    mixture, asked = torch.randn(1, 10 * system.sample_rate) / 10, system.encode_query(Query(text="a dog barking"))
    for contrast in (False, True):
        system.config = replace(config, contrast=contrast, gate_db=0.0)
        rows = list(evaluate(system, pairs, questions, sounds, batch_size=16))
        found: dict[str, Any] = {"looks": 1 + contrast}
        for name in CONDITIONS:
            gains = [row["sdri"] for row in of_condition(rows, name) if row["label"] in labels]
            found[f"sdri_{name}"], found[f"median_{name}"] = statistics.mean(gains), statistics.median(gains)
        found["selectivity"] = statistics.mean(selectivity(rows, "text").values())
        there, absent = ([row["presence"] for row in of_condition(rows, name)] for name in ("text", "absent"))
        is_there = torch.cat([torch.ones(len(there)), torch.zeros(len(absent))]).bool()
        found["presence_auc"] = roc_auc(torch.tensor(there + absent), is_there)
        times = []
        with torch.inference_mode():
            for _ in range(7):
                start = time.perf_counter()
                system.estimate(mixture, asked)
                times.append(time.perf_counter() - start)
        found["seconds"] = statistics.median(times)
        looks.append(found)
    chosen = f" --model {options.model} --split {options.split} --unseen {options.unseen}" if options.unseen else ""
    result = record(
        "contrast",
        options.model,
        pairs=len(pairs),
        split=options.split,
        unseen=str(options.unseen) if options.unseen else None,
        looks=looks,
        threads=options.threads,
        command=f"python benchmarks/contrast.py --data corpus/clips.csv --pairs {options.pairs}{chosen}",
    )
    print(contrast_table(result), end="")
    save(result, options.output)


if __name__ == "__main__":
    main()
