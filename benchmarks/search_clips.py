"""Lists of clips for `search.py`: sounds from elsewhere to judge by, and sounds that are made to train on.

*Other sources*: where several collections recorded a label, the clips of the smaller ones are kept out of training, so
that a network is judged by recordings of people, places and microphones that it knows nothing of. *Same sources*: the
usual validation clips. Audio is linked, not copied.
"""

from __future__ import annotations

import csv
import random
import shutil
import subprocess
from collections import defaultdict
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from synthetic import SOUNDS

from soundsieve import audio
from soundsieve.evaluation.pairs import Clip, read_clips

KEPT = 2
"""Clips of a label that training keeps at least."""
SPOKEN = "synthetic speech"
"""Label of the sentences that espeak-ng says; nothing ever asks for it."""
MADE = 8
"""Sounds made of each kind of `synthetic.SOUNDS`."""
RATE = 32000


def split_by_source(clips: list[Clip]) -> list[Clip]:
    """The splits of `search.py`: train; validation, of other sources; and test, the usual validation clips."""
    usual = [replace(clip, split="test") for clip in clips if clip.split == "validation"]
    train = [clip for clip in clips if clip.split == "train"]
    by_label: dict[str, dict[str, list[Clip]]] = defaultdict(lambda: defaultdict(list))
    for clip in train:
        by_label[clip.label][clip.source].append(clip)
    kept_out = set()
    for sources in by_label.values():
        left = sum(len(own) for own in sources.values())
        for source in sorted(sources, key=lambda name: (len(sources[name]), name))[:-1]:
            left -= len(sources[source])
            if left < KEPT:
                break
            kept_out.update(clip.path for clip in sources[source])
    groups = {clip.group for clip in train if clip.path in kept_out}
    judged = [replace(clip, split="validation") for clip in train if clip.path in kept_out]
    return usual + judged + [clip for clip in train if clip.group not in groups]


def write_list(folder: Path, corpus: Path, *, spoken: int = 0, made: bool = False) -> Path:
    """A folder with clips.csv, links to the corpus, and sounds that are made; the list's path.

    Args:
        folder: to write into.
        corpus: list of the clips that the starter was trained on.
        spoken: sentences said by espeak-ng, which must be installed.
        made: whether to add synthetic sounds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clips = split_by_source(read_clips(corpus))
    for top in sorted({Path(clip.path).parts[0] for clip in clips}):
        if not (folder / top).exists():
            (folder / top).symlink_to((corpus.parent / top).resolve(), target_is_directory=True)
    clips += _speak(folder, [clip.caption for clip in clips], spoken) if spoken else []
    clips += _make(folder, clips) if made else []
    path = folder / "clips.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(clips[0])))
        writer.writeheader()
        writer.writerows(asdict(clip) for clip in clips)
    return path


def _speak(folder: Path, captions: list[str], count: int) -> list[Clip]:
    """Sentences in English voices of espeak-ng, at many speeds and pitches."""
    if shutil.which("espeak-ng") is None:
        raise SystemExit("the variant with synthetic speech needs espeak-ng: install it, or leave that variant out")
    rng, made = random.Random(0), []
    (folder / "espeak-ng").mkdir(exist_ok=True)
    variants = [f"+{sex}{number}" for sex, most in (("m", 8), ("f", 5)) for number in range(1, most)]
    for number in range(count):
        name = f"espeak-ng/{number}.wav"
        voice = rng.choice(("en-us", "en-gb", "en-gb-scotland", "en-029")) + rng.choice(variants)
        words = " ".join(rng.sample(captions, 2))
        pace, pitch = rng.randint(120, 220), rng.randint(20, 80)
        command = ["espeak-ng", "-v", voice, "-s", str(pace), "-p", str(pitch), "-w", str(folder / name), words]
        subprocess.run(command, check=True)
        made.append(_clip(name, SPOKEN, "A synthetic voice is speaking."))
    return made


def _make(folder: Path, clips: list[Clip]) -> list[Clip]:
    """`MADE` sounds of each kind of `synthetic.SOUNDS`."""
    captions = {clip.label: clip.caption for clip in clips if clip.split == "train"}
    (folder / "synthetic").mkdir(exist_ok=True)
    made = []
    for label, sound in SOUNDS.items():
        if label not in captions:
            continue
        for number in range(MADE):
            name = f"synthetic/{label.replace(' ', '-')}-{number}.wav"
            samples: NDArray[np.float64] = sound(np.random.default_rng([len(label), number]), RATE)
            level = 0.5 * samples / max(float(np.abs(samples).max()), 1e-9)
            audio.encode(folder / name, level.astype(np.float32), RATE)
            made.append(_clip(name, label, captions[label]))
    return made


def _clip(path: str, label: str, caption: str) -> Clip:
    return Clip(path=path, label=label, caption=caption, group=path, source=path.split("/")[0], split="train")
