from __future__ import annotations

from pathlib import Path

import numpy as np

from soundsieve.evaluation.example_clips import columns
from soundsieve.query import Query


def test_words_alone_have_no_columns():
    assert columns(Query(text="a dog", exclude="rain")) == {}


def test_clips_are_counted_and_measured(clips: Path):
    memory = (np.zeros((2, 8000), np.float32), 16000)
    assert columns(Query(text="a dog", like=[memory])) == {"shots": 1, "like_s": 0.5}
    dog = columns(Query(like=[clips / "dog.wav"]))["like_s"]
    assert dog > 0.1
    assert columns(Query(like=[memory, clips / "dog.wav"])) == {"shots": 2, "like_s": round((0.5 + dog) / 2, 2)}


def test_clips_that_are_no_files_are_counted():
    assert columns(Query(like=["a name", "another"])) == {"shots": 2, "like_s": None}
