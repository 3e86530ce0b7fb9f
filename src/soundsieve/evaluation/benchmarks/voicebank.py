"""Voicebank-DEMAND has no list: a folder of noisy and one of clean speech, with the same names in both."""

from __future__ import annotations

from pathlib import Path

from soundsieve.audio import READABLE
from soundsieve.errors import ConfigError
from soundsieve.evaluation.benchmarks.example import Example

FOLDERS = ("noisy_testset_wav", "clean_testset_wav"), ("noisy", "clean")
"""Names of the two, as published and in short."""
QUERY = "speech"


def read(folder: str | Path) -> list[Example]:
    """Every recording of the two folders as a ready-made mixture, asked for by "speech".

    One that is in one folder alone is listed with the name that its other half should have, so that it is missed.

    Raises:
        ConfigError: the folders are not there, or hold no recordings.
    """
    for noisy, clean in FOLDERS:
        places = [Path(folder) / noisy, Path(folder) / clean]
        if all(place.is_dir() for place in places):
            names = {path.name for place in places for path in place.iterdir() if path.suffix.lower() in READABLE}
            if not names:
                raise ConfigError(f"{places[0]} and {places[1]} hold no recordings")
            return [
                Example(Path(name).stem, QUERY, mixture=f"{noisy}/{name}", reference=f"{clean}/{name}")
                for name in sorted(names)
            ]
    wanted = " or ".join(" and ".join(pair) for pair in FOLDERS)
    raise ConfigError(f"{folder} does not hold the folders {wanted}")
