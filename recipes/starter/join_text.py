"""Put a text tower into a Sieve that was trained on the vectors of an earlier one.

For towers of recipes/starter/text_free.yaml, which go on saying what they said before. The Sieve's anchors stay as they
are: they are the vectors that the network was trained on.

    python recipes/starter/join_text.py --model src/soundsieve/embedded/starter.safetensors \
        --tower runs/starter-text_free/best.safetensors --output runs/starter-text_free/starter.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch.nn.functional as F

from soundsieve.encoders.text import SentenceEncoder
from soundsieve.systems.sieve import Sieve
from soundsieve.weights.checkpoint import load_system, save_system


def join(sieve: Sieve, tower: SentenceEncoder) -> Sieve:
    """The Sieve, reading texts through ``tower``, which must have the sizes and the tokenizer of its own."""
    if (tower.config, tower.vocabulary) != (sieve.text.config, sieve.text.vocabulary):
        raise SystemExit("the tower has another size or vocabulary than the Sieve's: it did not go on from it")
    sieve.text.load_state_dict(tower.state_dict())
    sieve.text.spell_by(tower.words)
    return sieve


def main() -> None:  # noqa: D103 (said above)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="file of a Sieve")
    parser.add_argument("--tower", required=True, help="file of the text tower")
    parser.add_argument("--output", required=True, type=Path, help="file to write")
    options = parser.parse_args()
    sieve, tower = load_system(options.model), SentenceEncoder.load(options.tower)
    if not isinstance(sieve, Sieve):
        raise SystemExit(f"{options.model} holds a {sieve.name}, not a sieve")
    names = ["a dog barking", "rain on a tin roof", "a man is speaking"]
    before = sieve.text.encode(names)
    joined = join(sieve, tower)
    kept = F.cosine_similarity(before, joined.text.encode(names)).min()
    save_system(options.output, joined, dtypes={"": "float16", "text.": "int8"})
    print(f"{options.output}: the tower says what it said before up to a cosine of {kept:.3f}")


if __name__ == "__main__":
    main()
