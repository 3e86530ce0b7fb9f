"""One decision for all channels of a recording, or one for each: which keeps the stereo image, and what does it cost?

The two sounds of a test mixture are put at two different places between left and right (constant power: left gets
cos a, right sin a of each sound, a from 0 to 90 degrees), and each is asked for by its caption, in two ways: all
channels by the same mask (the system's `estimate_channels`), and every channel on its own. Measured: the improvement of
the SDR over both channels together; how far the level difference between left and right of the answer is from that of
the sound itself, in dB, no difference counting for more than 20 dB; and the time.

    python benchmarks/stereo.py --output benchmarks/results/stereo.json
"""

from __future__ import annotations

import argparse
import math
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from records import CLIPS, interval, record, save, test_mixtures
from torch import Tensor
from write_tables import stereo_table

import soundsieve
from soundsieve.evaluation.pairs import SAMPLE_RATE, decoded, mix
from soundsieve.metrics import sdr

MODES = {"one decision for all": True, "each on its own": False}
MOST_DB = 20.0
APART = 0.25
"""Least distance of the two sounds, of the way from left to right."""


def panned(sound: Tensor, place: float) -> Tensor:
    """A mono sound as left and right; place 0 is left, 1 is right."""
    angle = place * math.pi / 2
    return torch.stack([math.cos(angle) * sound, math.sin(angle) * sound])


def places(rng: random.Random) -> tuple[float, float]:
    """Two places that are not the same."""
    while True:
        first, second = rng.random(), rng.random()
        if abs(first - second) >= APART:
            return first, second


def level_difference_db(x: Tensor) -> float:
    """Level of left over right in dB, within 20 dB of zero."""
    left, right = (float(channel.square().sum()) + 1e-12 for channel in x)
    return min(MOST_DB, max(-MOST_DB, 10 * math.log10(left / right)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter", help="name or file of a model")
    parser.add_argument("--mixtures", type=int, default=150)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    separator = soundsieve.load(options.model)
    if not separator.system.shares_channels:
        raise SystemExit(f"{separator.system.name} separates every channel on its own: there is nothing to compare")
    pairs, clips = test_mixtures(options.mixtures)
    sounds, rng = decoded(CLIPS), random.Random(0)
    rows: list[dict[str, Any]] = []
    for pair in pairs:
        mono = mix(pair, sounds).sources
        sources = [panned(sound, place) for sound, place in zip(mono, places(rng), strict=True)]
        mixture = sources[0] + sources[1]
        for path, source in zip(pair.paths, sources, strict=True):
            before = sdr(mixture.flatten(), source.flatten())
            for name, shared in MODES.items():
                separator.system.shares_channels = shared  # type: ignore[misc]
                separator.encode(soundsieve.Query(clips[path].caption))  # not a part of the time
                begun = time.perf_counter()
                answer = separator.separate(mixture, clips[path].caption, sample_rate=SAMPLE_RATE)
                seconds = time.perf_counter() - begun
                target = torch.from_numpy(answer.target)
                error = abs(level_difference_db(target) - level_difference_db(source))
                gain = float(sdr(target.flatten(), source.flatten()) - before)
                rows.append({"pair": pair.pair_id, "mode": name, "sdri": gain, "error": error, "seconds": seconds})

    modes = {}
    for name in MODES:
        of_mode = [row for row in rows if row["mode"] == name]
        gains, errors, numbers = (np.array([row[key] for row in of_mode]) for key in ("sdri", "error", "pair"))
        modes[name] = {
            "sdri": round(float(gains.mean()), 4),
            "sdri_interval": interval(gains, numbers),
            "level_error_db": round(float(errors.mean()), 4),
            "level_error_db_median": round(float(np.median(errors)), 4),
            "seconds": round(sum(row["seconds"] for row in of_mode), 2),
        }
    gains = {name: np.array([row["sdri"] for row in rows if row["mode"] == name]) for name in MODES}
    first, second = gains.values()
    numbers = np.array([row["pair"] for row in rows if row["mode"] == next(iter(MODES))])
    result = record(
        "stereo",
        options.model,
        mixtures=len(pairs),
        threads=options.threads,
        modes=modes,
        difference=round(float((first - second).mean()), 4),
        difference_interval=interval(first - second, numbers),
    )
    print(stereo_table(result), end="")
    print("SDRi of the first less the second:", result["difference"], result["difference_interval"])
    save(result, options.output)


if __name__ == "__main__":
    main()
