"""How much of a text's vector to replace by what training has named: the Sieve's ``recall`` and its temperature.

Measured on mixtures of validation clips, asked for in their captions and in the wordings of
recipes/starter/validation_wordings.csv, which are in no training text and in no test. Needs the clips that the starter
was trained on (docs/training.md says where they come from).

    python benchmarks/choose_recall.py --data corpus/clips.csv --output benchmarks/results/recall.json
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

import torch
from records import record, save
from write_tables import recall_table

from soundsieve import load
from soundsieve.evaluation import pairs as lists
from soundsieve.evaluation.questions import plan
from soundsieve.evaluation.run import evaluate, of_condition, selectivity
from soundsieve.systems.sieve import Sieve

HERE = Path(__file__).resolve().parent
SETTINGS = [(0.0, 0.03), *((recall, t) for t in (0.02, 0.03, 0.05) for recall in (0.4, 0.6, 0.8, 1.0))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter", help="name or file of a Sieve")
    parser.add_argument("--data", type=Path, required=True, help="list of clips that has a validation split")
    parser.add_argument("--pairs", type=int, default=200, help="mixtures")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    clips = lists.read_clips(options.data, split="validation")
    sounds = lists.decoded(options.data.parent)
    pairs = lists.make_pairs(clips, sounds, n=options.pairs, seed=1)
    wordings = lists.read_paraphrases(HERE.parent / "recipes" / "starter" / "validation_wordings.csv")
    questions = plan(pairs, {c.path: c for c in clips}, conditions=("text", "paraphrase"), paraphrases=wordings)
    system = load(options.model).system
    if not isinstance(system, Sieve):
        raise SystemExit(f"'{options.model}' is a {system.name}: only a sieve has a recall")
    config, settings = system.config, []
    for recall, temperature in SETTINGS:
        system.config = replace(config, recall=recall, recall_temperature=temperature, gate_db=0.0)
        rows = list(evaluate(system, pairs, questions, sounds, batch_size=16))
        found = {"recall": recall, "temperature": temperature}
        for name in ("text", "paraphrase"):
            found[f"sdri_{name}"] = statistics.mean(row["sdri"] for row in of_condition(rows, name))
            found[f"selectivity_{name}"] = statistics.mean(selectivity(rows, name).values())
        settings.append(found)
    command = f"python benchmarks/choose_recall.py --data corpus/clips.csv --pairs {options.pairs}"
    result = record("recall", options.model, pairs=len(pairs), settings=settings, command=command)
    print(recall_table(result), end="")
    save(result, options.output)


if __name__ == "__main__":
    main()
