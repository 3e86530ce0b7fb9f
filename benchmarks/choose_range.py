"""How near a text must be to a label to ask along with its remembered sounds: the Sieve's ``heard_range``.

These help words that mean a known sound, and hurt those that mean another one. The first are measured on mixtures of
validation clips, asked for in wordings of their own; the second with a network that was trained without some labels
(docs/evaluation.md, zero-shot), on mixtures that hold their training and validation clips, by the answers about these.

    python recipes/starter/remember.py --model runs/zero-shot/last.safetensors --data corpus/clips.csv \
        --held-out recipes/parallel_data_free/held_out.txt --output runs/zero-shot/remembered.safetensors
    python benchmarks/choose_range.py --data corpus/clips.csv --output benchmarks/results/range.json
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import torch
from records import record, save
from starter_tables import range_table
from unheard import HERE, Unheard, parser_of, sieve_named

from soundsieve.evaluation import pairs as lists
from soundsieve.evaluation.questions import plan

RANGES = ((-1.0, -1.0), (0.45, 0.6), (0.5, 0.7), (0.6, 0.8), (1.0, 1.0))
"""From remembered sounds for every text to none for any."""
UNSEEN = HERE.parent / "recipes" / "parallel_data_free" / "held_out.txt"


def unseen_mixtures(data: Path, labels: set[str], count: int) -> Unheard:
    """Mixtures of clips of the labels that were left out, and of as many validation clips of the others."""
    clips = [clip for clip in lists.read_clips(data) if clip.split != "test"]
    left_out = [clip for clip in clips if clip.label in labels]
    others = [clip for clip in clips if clip.label not in labels and clip.split == "validation"]
    random.Random(0).shuffle(others)
    mixed = left_out + others[: len(left_out)]
    sounds = lists.decoded(data.parent)
    pairs = lists.make_pairs(mixed, sounds, n=count, seed=1)
    questions = plan(pairs, {clip.path: clip for clip in mixed}, conditions=("text",), folder=data.parent)
    return Unheard(pairs, questions, sounds, ("text",))


def main() -> None:
    parser = parser_of(__doc__, pairs=200)
    parser.add_argument("--model", default="starter", help="name or file of a Sieve")
    parser.add_argument("--zero-shot", default="runs/zero-shot/remembered.safetensors", help="file of the other one")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    system, other, labels = sieve_named(options.model), sieve_named(options.zero_shot), lists.read_labels(UNSEEN)
    known = Unheard.mixed(options.data, options.pairs, ("text", "paraphrase"))
    unseen = unseen_mixtures(options.data, set(labels), options.pairs)
    rows = []
    for given in RANGES:
        for one in (system, other):
            one.config = replace(one.config, heard_range=given)
        rows.append({"range": given, **known.figures(system), "unseen": unseen.figures(other, set(labels))})
    command = f"python benchmarks/choose_range.py --data corpus/clips.csv --pairs {options.pairs}"
    command += "" if options.model == "starter" else f" --model {options.model}"
    result = record("range", options.model, pairs=options.pairs, unseen=len(labels), rows=rows, command=command)
    print(range_table(result), end="")
    save(result, options.output)


if __name__ == "__main__":
    main()
