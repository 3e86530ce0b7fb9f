"""What a second look is worth, and what the recogniser adds: the Sieve asked once, asked again without what its first
answer left behind, and asked with the recogniser naming what was left and doubting the answer.

Measured on mixtures of validation clips, so that the choice is not made on the test's. Needs the clips that the starter
was trained on (docs/training.md says where they come from).

    python benchmarks/contrast.py --data corpus/clips.csv --output benchmarks/results/contrast.json
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from records import record, save
from starter_tables import contrast_table
from timing import timed
from unheard import Unheard, parser_of, sieve_named

from soundsieve.query import Query
from soundsieve.systems.sieve import Sieve

CONDITIONS = ("text", "text+exclude", "exclude", "example", "absent")


def seconds(system: Sieve) -> float:
    """One query about 10 s, median of seven."""
    mixture, asked = torch.randn(1, 10 * system.sample_rate) / 10, system.encode_query(Query(text="a dog barking"))
    with torch.inference_mode():
        return statistics.median(timed(lambda: system.estimate(mixture, asked), 7))


def main() -> None:
    parser = parser_of(__doc__, pairs=280)
    parser.add_argument("--model", default="starter", help="name or file of a Sieve")
    parser.add_argument("--split", default="validation", help="of the clips that are mixed")
    parser.add_argument("--unseen", type=Path, help="file of labels: count only the answers about these")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    system = sieve_named(options.model)
    mixtures = Unheard.mixed(options.data, options.pairs, CONDITIONS, split=options.split)
    labels = set(options.unseen.read_text().splitlines()) if options.unseen else None
    looks: list[dict[str, Any]] = []
    config, recogniser = system.config, system.recogniser
    ways = {"1": replace(config, contrast=False, recogniser=0), "2": replace(config, contrast=True, recogniser=0)}
    if recogniser is not None:
        ways["2, recogniser"] = config
    for name, way in ways.items():
        system.config, system.recogniser = way, recogniser if way.recogniser else None
        looks.append({"looks": name, **mixtures.figures(system, labels), "seconds": seconds(system)})
    chosen = f" --model {options.model} --split {options.split} --unseen {options.unseen}" if options.unseen else ""
    result = record(
        "contrast",
        options.model,
        pairs=len(mixtures.pairs),
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
