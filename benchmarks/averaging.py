"""How much of the first run's weights to keep in those of the second.

The ``start_share`` of recipes/starter/second_look.yaml. Measured on mixtures of validation clips, before the presence
turns anything down. Needs the clips that the starter was trained on (docs/training.md says where they come from), and
the weights that both runs ended with.

    python benchmarks/averaging.py --data corpus/clips.csv --output benchmarks/results/averaging.json
"""

from __future__ import annotations

import copy

import torch
from records import record, save
from starter_tables import averaging_table
from unheard import Unheard, parser_of, sieve_named

from soundsieve.systems.sieve import Sieve

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
    parser = parser_of(__doc__, pairs=280)
    parser.add_argument("--first", default="runs/starter-first/best.safetensors")
    parser.add_argument("--second", default="runs/starter-second_look/last.safetensors")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    first, second = sieve_named(options.first), sieve_named(options.second)
    mixtures = Unheard.mixed(options.data, options.pairs, ("text", "text+exclude", "absent"))
    rows = [{"share": share, **mixtures.figures(averaged(first, second, share))} for share in SHARES]
    command = f"python benchmarks/averaging.py --data corpus/clips.csv --pairs {options.pairs}"
    result = record("averaging", pairs=len(mixtures.pairs), rows=rows, command=command)
    print(averaging_table(result), end="")
    save(result, options.output)


if __name__ == "__main__":
    main()
