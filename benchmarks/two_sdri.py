"""How far apart are the two measures that papers call SDRi? Answers whose faults are known, on the test mixtures.

Each answer is measured as AudioSep and DCASE 2024 measure (the plain ratio of energies), as CLAPSep measures (BSS Eval,
with a filter of 512 taps on the reference), and by SI-SDR. Three of the answers are one and the same, spoilt in a way
that a filter can mend: half as loud, half a millisecond late, or dull.

    python benchmarks/two_sdri.py --output benchmarks/results/two_sdri.json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from records import CLIPS, record, save, test_mixtures
from torch import Tensor
from write_tables import two_sdri_table

import soundsieve
from soundsieve.evaluation.oracle import ideal_ratio_mask
from soundsieve.evaluation.pairs import SAMPLE_RATE, decoded, mix
from soundsieve.metrics import filtered_sdr, sdr, si_sdr

METRICS = {"sdr": sdr, "filtered_sdr": filtered_sdr, "si_sdr": si_sdr}
LATE = round(0.0005 * SAMPLE_RATE)


def late(x: Tensor) -> Tensor:
    return torch.nn.functional.pad(x, (LATE, 0))[:-LATE]


def dull(x: Tensor) -> Tensor:
    """Through 2 ms of an exponential decay, a low-pass filter from 480 Hz."""
    taps = torch.exp(-torch.arange(64) * 2 * torch.pi * 480 / SAMPLE_RATE)
    padded = torch.nn.functional.pad(x, (63, 0))
    return torch.nn.functional.conv1d(padded[None, None], (taps / taps.sum()).flip(0)[None, None])[0, 0]


SPOILT: dict[str, Callable[[Tensor], Tensor]] = {
    "the same, half as loud": lambda x: x / 2,
    f"the same, {1000 * LATE / SAMPLE_RATE:g} ms late": late,
    "the same, dull": dull,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter", help="name or file of a model")
    parser.add_argument("--mixtures", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    separator = soundsieve.load(options.model)
    pairs, clips = test_mixtures(options.mixtures)
    sounds = decoded(CLIPS)
    found: dict[str, dict[str, list[float]]] = {}
    for pair in pairs:
        mixed = mix(pair, sounds)
        for which, source in enumerate(mixed.sources):
            mask = ideal_ratio_mask(source, mixed.sources[1 - which])
            words = clips[pair.paths[which]].caption
            asked = separator.separate(mixed.mixture, words, sample_rate=SAMPLE_RATE).target
            answers = {
                "the mixture": mixed.mixture,
                "the mixture at half its level": mixed.mixture / 2,
                f"the model '{options.model}', asked by caption": torch.from_numpy(asked),
                "the ideal ratio mask": mask,
                **{name: spoil(mask) for name, spoil in SPOILT.items()},
            }
            for name, answer in answers.items():
                row = found.setdefault(name, {metric: [] for metric in METRICS})
                for metric, function in METRICS.items():
                    row[metric].append(float(function(answer, source)))
    unprocessed = found.pop("the mixture")
    result = record(
        "two_sdri",
        options.model,
        mixtures=len(pairs),
        threads=options.threads,
        unprocessed={metric: round(float(np.mean(values)), 3) for metric, values in unprocessed.items()},
        rows={
            name: {
                f"{metric}i": round(float(np.mean(np.subtract(values, unprocessed[metric]))), 3)
                for metric, values in row.items()
            }
            for name, row in found.items()
        },
    )
    print(two_sdri_table(result), end="")
    save(result, options.output)


if __name__ == "__main__":
    main()
