"""Make the two sounds of `soundsieve demo` from the bundled test clips: a dog and rain, 5 s, at equal energy.

The pair is fixed by a rule that looks at the clips alone, never at what a model makes of them: of each label, the
first clip in clips.csv that is CC0 and sounds all the time (no half second under -60 dBFS).

    python benchmarks/make_demo.py
"""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from soundsieve import audio
from soundsieve.dsp.mixing import mix_at_snr, rms_db

CLIPS = Path(__file__).parent / "clips"
DEMO = Path(__file__).parent.parent / "src" / "soundsieve" / "embedded" / "demo"
SAMPLE_RATE = 32000
SECONDS = 5
PEAK = 0.9


def first_steady_clip(label: str) -> tuple[dict[str, str], torch.Tensor]:
    with (CLIPS / "clips.csv").open(newline="", encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            if row["label"] != label or row["licence"] != "CC0 1.0":
                continue
            samples, sample_rate = audio.decode(CLIPS / row["path"])
            wave = torch.from_numpy(samples)[0, : SECONDS * SAMPLE_RATE]
            pieces = wave[: len(wave) // (SAMPLE_RATE // 2) * (SAMPLE_RATE // 2)].reshape(-1, SAMPLE_RATE // 2)
            if sample_rate == SAMPLE_RATE and len(wave) == SECONDS * SAMPLE_RATE and bool((rms_db(pieces) > -60).all()):
                return row, wave
    raise SystemExit(f"no CC0 clip of '{label}' sounds for {SECONDS} s")


def main() -> None:
    (dog_row, dog), (rain_row, rain) = first_steady_clip("dog bark"), first_steady_clip("rain")
    mixture, dog, rain = mix_at_snr(dog, rain, snr_db=0.0)
    gain = PEAK / max(float(x.abs().max()) for x in (mixture, dog, rain))
    credits = [
        "# The two sounds of `soundsieve demo`",
        "",
        "Both are CC0 1.0 (public domain) and from the test split of the bundled corpus: no model was trained on them.",
        "They were cut to 5 s and scaled: to equal energy, and together so that their sum stays within 0.9 of",
        "full scale. `benchmarks/make_demo.py` made them and says how they were chosen.",
        "",
        "| file | what | credit |",
        "| --- | --- | --- |",
    ]
    for name, row, wave in (("dog.flac", dog_row, dog), ("rain.flac", rain_row, rain)):
        audio.encode(DEMO / name, (wave * gain)[None].numpy(), SAMPLE_RATE, subtype="PCM_16")
        credits.append(f"| {name} | {row['caption']} ({row['path']}) | {row['credit']} |")
    (DEMO / "CREDITS.md").write_text("\n".join(credits) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
