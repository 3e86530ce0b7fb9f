"""A little corpus on disk: the toy benchmark's clips as files, split by take."""

import csv
from pathlib import Path

import pytest
import toy_benchmark

from soundsieve import audio

COLUMNS = ["path", "label", "caption", "group", "split"]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a clips.csv; takes 0 and 1 train, take 2 validates."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = []
    for clip in toy_benchmark.CLIPS.values():
        path = folder / clip.path
        path.parent.mkdir(exist_ok=True)
        audio.encode(path, toy_benchmark.sounds(clip.path).numpy()[None], 32000)
        take = int(Path(clip.path).stem)
        row = [clip.path, clip.label, clip.caption, f"{clip.label}-{take}", "validation" if take == 2 else "train"]
        rows.append(dict(zip(COLUMNS, row, strict=True)))
    with (folder / "clips.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return folder / "clips.csv"


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")
