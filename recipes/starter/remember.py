"""Let a trained Sieve remember how its labels sounded, so that words ask with that beside them (`SieveConfig.heard`).

It listens to every training clip alone, keeps a mean vector for each label, and sets its presence threshold anew on
mixtures of validation clips. Nothing else of it changes.

    python recipes/starter/remember.py --model runs/starter-text_free/starter.safetensors --data corpus/clips.csv \
        --output runs/starter-text_free/remembered.safetensors
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from soundsieve.evaluation.pairs import read_labels
from soundsieve.systems.sieve import Sieve
from soundsieve.training.build import Data, build_task
from soundsieve.training.recipe import read_recipe
from soundsieve.training.tasks.sieve import SieveTask
from soundsieve.weights.checkpoint import load_system

RECIPE = Path(__file__).parent / "second_look.yaml"
PAIRS = 280
"""Of validation mixtures, for the threshold."""


def with_memory(sieve: Sieve, heard: float, heard_range: tuple[float, float]) -> Sieve:
    """The same Sieve, with room for the sounds of its anchors."""
    config = replace(sieve.config, heard=heard, heard_range=heard_range)
    remembering = Sieve(config, assets=sieve.assets())
    remembering.load_state_dict({"sounds": remembering.sounds, **sieve.state_dict()})
    return remembering.eval()


def main() -> None:  # noqa: D103 (said above)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="file of a Sieve")
    parser.add_argument("--recipe", default=RECIPE, type=Path, help="what it was trained by")
    parser.add_argument("--data", required=True, type=Path, help="list of clips that it was trained on")
    parser.add_argument("--heard", default=0.3, type=float, help="share of the sounds in a text's vector")
    parser.add_argument(
        "--heard-range",
        default=(0.5, 0.7),
        type=float,
        nargs=2,
        help="cosines to the nearest label between which it grows",
    )
    parser.add_argument("--held-out", type=Path, help="file of labels, one a line, that it was trained without")
    parser.add_argument("--output", required=True, type=Path, help="file to write")
    options = parser.parse_args()
    sieve = load_system(options.model)
    if not isinstance(sieve, Sieve) or not len(sieve.anchors):
        raise SystemExit(f"{options.model} holds no sieve with anchors")
    changes = {"options.init": options.model, "options.start_share": 0.0, "options.heard": options.heard}
    held_out = read_labels(options.held_out) if options.held_out else []
    changes |= {"options.validation_pairs": PAIRS, "held_out": held_out}
    task = build_task(read_recipe(options.recipe, changes), Data(options.data))
    assert isinstance(task, SieveTask)
    if len(task.sampler.labels) != len(sieve.anchors):
        raise SystemExit(f"{options.data} has other labels than {options.model} was trained on")
    remembering = with_memory(sieve, options.heard, tuple(options.heard_range))
    scores = task.validate(remembering)
    task.save(options.output, remembering)
    print(f"{options.output}:", ", ".join(f"{name} {value:.3f}" for name, value in scores.items()))


if __name__ == "__main__":
    main()
