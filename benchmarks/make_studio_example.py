"""Mix the recording of three sounds that the studio offers as an example, from the bundled test clips.

The clips were chosen by ear and because the starter takes them apart well: it shows what the studio does, and says
nothing about how well that goes in general.

    python benchmarks/make_studio_example.py
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from soundsieve import audio

CLIPS = Path(__file__).parent / "clips"
FOLDER = Path(__file__).parent.parent / "src" / "soundsieve" / "studio" / "recordings"
SAMPLE_RATE, SECONDS = 32000, 8
FADE_S = 0.03
PARTS = (  # clip, seconds from the start, level (RMS over the whole)
    ("librispeech/man-speaking/2518-154825-0000.ogg", 0.25, 0.080),
    ("olpc-berklee/bird-chirping/chirping-1-0.ogg", 0.0, 0.050),
    ("esc10/rooster/009-5-194930-a.ogg", 1.0, 0.060),
)
HEAD = """# The recordings that the studio offers

`farmyard.ogg` is a mixture of three clips from the test split of the bundled corpus: no model was trained on them.
Each was shifted, faded at its ends and scaled. `benchmarks/make_studio_example.py` made it and says how they were
chosen. "A dog in the rain" is the mixture of `soundsieve demo`, whose credits are in `embedded/demo/CREDITS.md`.

| what | licence | credit |
| --- | --- | --- |
"""


def main() -> None:
    with (CLIPS / "clips.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    mixture, lines = np.zeros(SAMPLE_RATE * SECONDS, np.float32), []
    for name, start_s, level in PARTS:
        samples, _ = audio.decode(CLIPS / name)
        part = np.zeros_like(mixture)
        start = round(start_s * SAMPLE_RATE)
        heard = samples[0, : len(part) - start].copy()
        fade = np.linspace(0, 1, round(FADE_S * SAMPLE_RATE), dtype=np.float32)
        heard[: len(fade)] *= fade
        heard[-len(fade) :] *= fade[::-1]
        part[start : start + len(heard)] = heard
        mixture += part * (level / np.sqrt(np.mean(part**2)))
        row = rows[name]
        lines.append(f"| {row['caption']} ({name}) | {row['licence']} | {row['credit']} |\n")
    FOLDER.mkdir(exist_ok=True)
    audio.encode(FOLDER / "farmyard.ogg", mixture[None] * (0.9 / np.abs(mixture).max()), SAMPLE_RATE)
    (FOLDER / "CREDITS.md").write_text(HEAD + "".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
