"""How near to the truth does a sound start and end where it is found?

A short sound (up to 3 s) is put at a random time into 15 s of a steady one, 0 to 10 dB above it, and asked for by its
caption. Its true start and end are where its level, over 20 ms, first and last is within 20 dB of its peak. Printed and
written: how many are found, the share of starts and ends within 0.3 s, and how many other spans there are beside them.

    python benchmarks/spans.py --output benchmarks/results/spans.json             # on the test clips
    python benchmarks/spans.py --clips corpus/clips.csv --split validation
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch
from records import CLIPS, record, save

import soundsieve
from soundsieve.evaluation.pairs import SAMPLE_RATE, decoded, read_clips

STEADY = {
    *("rain", "wind", "sea waves", "stream", "waterfall", "running tap", "sizzling", "cricket", "cicada", "crowd"),
    *("vacuum cleaner", "electric fan", "clothes dryer", "dishwasher", "fridge", "cooker hood", "air compressor"),
    *("car engine", "truck engine", "city traffic", "helicopter", "propeller plane", "jet aircraft"),
    *("machinery", "electric motor"),
}
SECONDS, LONGEST_S, WITHIN_S = 15, 3.0, 0.3
FRAME = SAMPLE_RATE // 50


def true_span(sound: np.ndarray) -> tuple[float, float]:
    power = np.convolve(np.square(sound), np.ones(FRAME) / FRAME, "same")
    loud = np.flatnonzero(power >= power.max() / 100)
    return loud[0] / SAMPLE_RATE, loud[-1] / SAMPLE_RATE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter", help="name or file of a model")
    parser.add_argument("--clips", type=Path, default=CLIPS / "clips.csv", help="list of clips")
    parser.add_argument("--split", default="test", help="which of them")
    parser.add_argument("--mixtures", type=int, default=150)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    separator = soundsieve.load(options.model)
    sounds = decoded(options.clips.parent)
    short, steady = [], []
    for clip in read_clips(options.clips, split=options.split):
        sound = sounds(clip.path).numpy()
        if clip.label in STEADY and len(sound) >= 4 * SAMPLE_RATE:
            steady.append(sound)
        elif clip.label not in STEADY and len(sound) <= LONGEST_S * SAMPLE_RATE:
            short.append((clip, sound))
    rng = random.Random(0)
    rng.shuffle(short)
    starts, ends, others, asked = [], [], [], short[: options.mixtures]
    for clip, sound in asked:
        start_s, end_s = true_span(sound)
        behind = np.resize(rng.choice(steady), SECONDS * SAMPLE_RATE)
        at = round(rng.uniform(1, SECONDS - LONGEST_S) * SAMPLE_RATE)
        level = np.square(sound[round(start_s * SAMPLE_RATE) : round(end_s * SAMPLE_RATE) + 1]).mean()
        ratio = level / (np.square(behind).mean() + 1e-12) * 10 ** (-rng.uniform(0, 10) / 10)
        mixture = behind * np.float32(np.sqrt(ratio))
        mixture[at : at + len(sound)] += sound
        mixture *= np.float32(0.5 / np.abs(mixture).max())
        spans = separator.find(mixture, clip.caption, sample_rate=SAMPLE_RATE)
        start_s, end_s = start_s + at / SAMPLE_RATE, end_s + at / SAMPLE_RATE
        hit = [span for span in spans if span.start_s < end_s and span.end_s > start_s]
        if hit:
            starts.append(abs(hit[0].start_s - start_s))
            ends.append(abs(hit[-1].end_s - end_s))
            others.append(len(spans) - len(hit))
    result = record(
        "spans",
        options.model,
        split=options.split,
        mixtures=len(asked),
        found=len(starts),
        starts_within=round(float(np.mean(np.array(starts) <= WITHIN_S)), 4),
        ends_within=round(float(np.mean(np.array(ends) <= WITHIN_S)), 4),
        start_error_s_median=round(float(np.median(starts)), 4),
        end_error_s_median=round(float(np.median(ends)), 4),
        other_spans=round(float(np.mean(others)), 4),
        threads=options.threads,
    )
    print(json.dumps(result, indent=2))
    save(result, options.output)


if __name__ == "__main__":
    main()
