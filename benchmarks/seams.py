"""Does the level of a steady sound change where segments overlap?

Ten minutes of noise (white, pink, and with the spectrum of the bundled rain) are asked for several sounds. The level of
the answer in the overlaps is compared with that elsewhere, for fades over the whole overlap and for fades in its middle
fifth, which is what `soundsieve.segments` does; sounds that are not found are left out, for theirs is a level of
nothing. Printed: the largest and the mean difference in dB.

    python benchmarks/seams.py --output benchmarks/results/seams.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from records import record, save
from write_tables import seams_table

import soundsieve
from soundsieve import segments
from soundsieve.cli.demo import bundled_clips

RATE, SECONDS = 32000, 600
WORDS = ("rain", "wind", "waves on a beach", "a vacuum cleaner", "an engine", "a waterfall")
ALONE = {"the whole overlap": 0.0, "its middle fifth": 0.4}


def noises() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    samples = RATE * SECONDS
    hz = np.fft.rfftfreq(samples, 1 / RATE)
    rain = bundled_clips()[0]["rain falling"][0]
    frames = rain[: len(rain) // 2048 * 2048].reshape(-1, 2048)
    spectrum = np.sqrt(np.square(np.abs(np.fft.rfft(frames))).mean(0))
    shapes = {
        "white": np.ones(len(hz)),
        "pink": 1 / np.sqrt(np.maximum(hz, 20)),
        "rain": np.interp(hz, np.linspace(0, RATE / 2, len(spectrum)), spectrum),
    }
    found = {}
    for name, shape in shapes.items():
        noise = np.fft.irfft(np.fft.rfft(rng.normal(size=samples)) * shape, samples)
        found[name] = (0.1 * noise / noise.std()).astype(np.float32)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter", help="name or file of a model that works at 32 kHz")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    separator = soundsieve.load(options.model)
    plan = segments.plan_for(separator.system, None)
    rows = []
    for fade, segments._ALONE in ALONE.items():
        for noise, samples in noises().items():
            for words in WORDS:
                answer = separator.separate(samples, words, sample_rate=RATE)
                if answer.presence is None or answer.presence < separator.presence_threshold:
                    continue
                turns = len(samples) // plan.step - 1
                power = np.square(answer.target[plan.step : turns * plan.step].reshape(-1, plan.step)).mean(0)
                overlap, elsewhere = power[: plan.overlap].mean(), power[plan.overlap :].mean()
                difference = 10 * float(np.log10(overlap / elsewhere))
                rows.append({"fade": fade, "noise": noise, "query": words, "difference_db": round(difference, 4)})
    result = record(
        "seams",
        options.model,
        threads=options.threads,
        rows=rows,
    )
    print(seams_table(result), end="")
    save(result, options.output)


if __name__ == "__main__":
    main()
