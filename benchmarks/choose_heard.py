"""How much of a text's vector to replace by the remembered sounds near it: the Sieve's ``heard``.

Chosen on mixtures of validation clips, asked for in their captions and in wordings of their own; then seen, with the
chosen share alone, on mixtures of test clips. Needs the clips that the starter was trained on (docs/training.md says
where they come from).

    python benchmarks/choose_heard.py --data corpus/clips.csv --output benchmarks/results/heard.json
    python benchmarks/choose_heard.py --data corpus/clips.csv --split test --shares 0 0.3 \
        --output benchmarks/results/heard-test.json
"""

from __future__ import annotations

from dataclasses import replace

import torch
from records import record, save
from starter_tables import heard_table
from unheard import Unheard, parser_of, sieve_named


def main() -> None:
    parser = parser_of(__doc__, pairs=400)
    parser.add_argument("--model", default="starter", help="name or file of a Sieve that remembers sounds")
    parser.add_argument("--split", default="validation", help="of the clips that are mixed")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.15, 0.3, 0.5, 0.7], help="to be tried")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    system = sieve_named(options.model)
    if not system.config.heard:
        raise SystemExit(f"'{options.model}' remembers no sounds: see recipes/starter/remember.py")
    asked = ("text", "text+exclude", "exclude", "paraphrase", "absent")
    mixtures = Unheard.mixed(options.data, options.pairs, asked, split=options.split)
    rows = []
    for share in options.shares:
        system.config = replace(system.config, heard=share)
        rows.append({"heard": share, **mixtures.figures(system)})
    command = f"python benchmarks/choose_heard.py --data corpus/clips.csv --pairs {options.pairs}"
    if options.split != "validation":
        command += f" --split {options.split} --shares {' '.join(f'{share:g}' for share in options.shares)}"
    about = {"pairs": len(mixtures.pairs), "split": options.split, "rows": rows}
    result = record("heard", options.model, **about, command=command)
    print(heard_table(result), end="")
    save(result, options.output)


if __name__ == "__main__":
    main()
