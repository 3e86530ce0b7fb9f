"""Make the clips of this folder from the benchmark's: real recordings in the formats that people have.

Run from the root of the repository: python tests/data/clips/make_clips.py
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile
import soxr

HERE = Path(__file__).parent
SOURCE = HERE.parents[2] / "benchmarks" / "clips"

# name, clip, sample rate, channels, seconds, subtype
CLIPS = [
    ("dog.wav", "esc10/dog-bark/001-5-231762-a.ogg", 16000, 1, 1.5, "PCM_16"),
    ("sheep.flac", "luanti-sounds/sheep/sheep-baa-0.ogg", 22050, 2, 0.8, "PCM_16"),
    ("knock.ogg", "luanti-sounds/door-knock/door-knock-02-0.ogg", 32000, 1, 0.7, "VORBIS"),
    ("whistle.mp3", "luanti-sounds/whistle/whistle-0.ogg", 44100, 2, 1.0, "MPEG_LAYER_III"),
    ("coin.opus", "luanti-sounds/coins/coin-0.ogg", 48000, 1, 0.9, "OPUS"),
]


def main() -> None:
    with (SOURCE / "clips.csv").open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    with (HERE / "CREDITS.csv").open("w", newline="") as file:
        credits = csv.writer(file, lineterminator="\n")
        credits.writerow(["path", "from", "credit", "licence"])
        for name, clip, rate, channels, seconds, subtype in CLIPS:
            samples, from_rate = soundfile.read(SOURCE / clip, dtype="float32")
            samples = soxr.resample(samples, from_rate, rate)[: round(seconds * rate)]
            samples = np.stack([samples, 0.5 * np.roll(samples, rate // 1000)][:channels], axis=1)
            container = "OGG" if subtype in ("VORBIS", "OPUS") else None
            soundfile.write(HERE / name, samples, rate, subtype=subtype, format=container)
            credits.writerow([name, clip, rows[clip]["credit"], rows[clip]["licence"]])


if __name__ == "__main__":
    main()
