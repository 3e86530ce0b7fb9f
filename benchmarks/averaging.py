"""How much of the first run's weights to keep in those of the second.

The ``start_share`` of recipes/starter/second_look.yaml. Measured on mixtures of validation clips, before the presence
turns anything down. Needs the clips that the starter was trained on (docs/training.md says where they come from), and
the weights that both runs ended with.

    python benchmarks/averaging.py --data corpus/clips.csv --output benchmarks/results/averaging.json
"""

from __future__ import annotations

import argparse
import copy
import statistics
from dataclasses import replace
from pathlib import Path

import torch
from records import record, save
from starter_tables import averaging_table

from soundsieve.evaluation import pairs as lists
from soundsieve.evaluation.questions import plan
from soundsieve.evaluation.run import evaluate, of_condition, selectivity
from soundsieve.metrics import roc_auc
from soundsieve.systems.sieve import Sieve
from soundsieve.weights.checkpoint import load_system

SHARES = (0.0, 0.2, 0.35, 0.5, 1.0)


def averaged(first: Sieve, second: Sieve, share: float) -> Sieve:
    mixed = copy.deepcopy(second)
    start = first.state_dict()
    with torch.no_grad():
        for name, value in mixed.state_dict().items():
            if value.is_floating_point() and not name.startswith("text."):
                value.lerp_(start[name], share)
    return mixed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", default="runs/starter-first/best.safetensors")
    parser.add_argument("--second", default="runs/starter-second_look/last.safetensors")
    parser.add_argument("--data", type=Path, required=True, help="list of clips that has a validation split")
    parser.add_argument("--pairs", type=int, default=280, help="mixtures")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    clips = lists.read_clips(options.data, split="validation")
    sounds = lists.decoded(options.data.parent)
    pairs = lists.make_pairs(clips, sounds, n=options.pairs, seed=1)
    by_path = {clip.path: clip for clip in clips}
    questions = plan(pairs, by_path, conditions=("text", "text+exclude", "absent"))
    first, second = load_system(options.first), load_system(options.second)
    if not isinstance(first, Sieve) or not isinstance(second, Sieve):
        raise SystemExit("both files have to hold a sieve")
    rows = []
    for share in SHARES:
        system = averaged(first, second, share)
        system.config = replace(system.config, gate_db=0.0)
        answers = list(evaluate(system, pairs, questions, sounds, batch_size=16))
        there, absent = ([row["presence"] for row in of_condition(answers, name)] for name in ("text", "absent"))
        is_there = torch.cat([torch.ones(len(there)), torch.zeros(len(absent))]).bool()
        gains = {name: [row["sdri"] for row in of_condition(answers, name)] for name in ("text", "text+exclude")}
        rows.append(
            {
                "share": share,
                "sdri_text": statistics.mean(gains["text"]),
                "median_text": statistics.median(gains["text"]),
                "sdri_both": statistics.mean(gains["text+exclude"]),
                "selectivity": statistics.mean(selectivity(answers, "text").values()),
                "presence_auc": roc_auc(torch.tensor(there + absent), is_there),
            }
        )
    command = f"python benchmarks/averaging.py --data corpus/clips.csv --pairs {options.pairs}"
    result = record("averaging", pairs=len(pairs), rows=rows, command=command)
    print(averaging_table(result), end="")
    save(result, options.output)


if __name__ == "__main__":
    main()
