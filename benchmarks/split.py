"""Does dividing a recording among several queries cost quality, against asking each of them alone?

The test mixtures, both sounds asked for by their captions: each with `Separator.separate`, then both at once with
`Separator.split`, where what both claim is shared out. Checked on the way: the parts add up to the mixture.

    python benchmarks/split.py --output benchmarks/results/split.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from records import CLIPS, interval, record, save, test_mixtures
from write_tables import split_table

import soundsieve
from soundsieve.evaluation.pairs import SAMPLE_RATE, decoded, mix
from soundsieve.metrics import sdr

MODES = ("each alone", "split")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter", help="name or file of a model")
    parser.add_argument("--mixtures", type=int, default=150)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    separator = soundsieve.load(options.model)
    pairs, clips = test_mixtures(options.mixtures)
    sounds = decoded(CLIPS)
    numbers: list[int] = []
    gains: dict[str, list[float]] = {mode: [] for mode in MODES}
    for pair in pairs:
        mixed = mix(pair, sounds)
        words = [clips[path].caption for path in pair.paths]
        split = separator.split(mixed.mixture, words, sample_rate=SAMPLE_RATE)
        left_over = float(np.abs(sum(split.targets) + split.rest - mixed.mixture.numpy()).max())
        if left_over > 2**-22:  # a rounding for each part
            raise SystemExit(f"pair {pair.pair_id}: the parts differ from the mixture by {left_over}")
        alone = [separator.separate(mixed.mixture, one, sample_rate=SAMPLE_RATE).target for one in words]
        for which, source in enumerate(mixed.sources):
            before = sdr(mixed.mixture, source)
            numbers.append(pair.pair_id)
            for mode, answer in zip(MODES, (alone[which], split.targets[which]), strict=True):
                gains[mode].append(float(sdr(torch.from_numpy(answer), source) - before))

    pair_of = np.array(numbers)
    values = {mode: np.array(gain) for mode, gain in gains.items()}
    difference = values["split"] - values["each alone"]
    result = record(
        "split",
        options.model,
        mixtures=len(pairs),
        threads=options.threads,
        modes={
            mode: {"sdri": round(float(value.mean()), 4), "sdri_interval": interval(value, pair_of)}
            for mode, value in values.items()
        },
        difference=round(float(difference.mean()), 4),
        difference_interval=interval(difference, pair_of),
    )
    print(split_table(result), end="")
    save(result, options.output)


if __name__ == "__main__":
    main()
