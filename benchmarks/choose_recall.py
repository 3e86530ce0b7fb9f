"""How much of a text's vector to replace by what training has named: the Sieve's ``recall`` and its temperature.

Measured on mixtures of validation clips, asked for in their captions and in the wordings of
recipes/starter/validation_wordings.csv, which are in no training text and in no test. Needs the clips that the starter
was trained on (docs/training.md says where they come from).

    python benchmarks/choose_recall.py --data corpus/clips.csv --output benchmarks/results/recall.json
"""

from __future__ import annotations

from dataclasses import replace

import torch
from records import record, save
from starter_tables import recall_table
from unheard import Unheard, parser_of, sieve_named

SETTINGS = [(0.0, 0.03), *((recall, t) for t in (0.02, 0.03, 0.05) for recall in (0.4, 0.6, 0.8, 1.0))]


def main() -> None:
    parser = parser_of(__doc__, pairs=200)
    parser.add_argument("--model", default="starter", help="name or file of a Sieve")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    system = sieve_named(options.model)
    mixtures, settings = Unheard.mixed(options.data, options.pairs, ("text", "paraphrase")), []
    for recall, temperature in SETTINGS:
        system.config = replace(system.config, recall=recall, recall_temperature=temperature)
        settings.append({"recall": recall, "temperature": temperature, **mixtures.figures(system)})
    command = f"python benchmarks/choose_recall.py --data corpus/clips.csv --pairs {options.pairs}"
    result = record("recall", options.model, pairs=len(mixtures.pairs), settings=settings, command=command)
    print(recall_table(result), end="")
    save(result, options.output)


if __name__ == "__main__":
    main()
