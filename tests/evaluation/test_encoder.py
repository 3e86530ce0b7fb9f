from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from identity_system import IdentitySystem

from soundsieve import audio
from soundsieve.evaluation.encoder import Encoder
from soundsieve.query import Query


def columns(query: Query, seconds: float | None = None) -> dict[str, object]:
    return Encoder(IdentitySystem(), seconds).columns(query)


def test_words_alone_have_no_columns():
    assert columns(Query(text="a dog", exclude="rain")) == {}


def test_clips_are_counted_and_measured(clips: Path):
    memory = (np.zeros((2, 8000), np.float32), 16000)
    assert columns(Query(text="a dog", like=[memory])) == {"shots": 1, "like_s": 0.5}
    dog = columns(Query(like=[clips / "dog.wav"]))["like_s"]
    assert dog > 0.1
    assert columns(Query(like=[memory, clips / "dog.wav"])) == {"shots": 2, "like_s": round((0.5 + dog) / 2, 2)}
    assert columns(Query(like=[memory, clips / "dog.wav"]), 0.1) == {"shots": 2, "like_s": 0.1}


def test_clips_that_are_no_files_are_counted():
    assert columns(Query(like=["a name", "another"])) == {"shots": 2, "like_s": None}


def test_a_query_is_encoded_once(clips: Path):
    system = IdentitySystem()
    encoder = Encoder(system)
    query = Query(like=[clips / "dog.wav"])
    assert encoder(query) is encoder(Query(like=[clips / "dog.wav"]))
    assert system.encoded == [query]


@pytest.mark.parametrize("channels", [1, 2])
def test_long_clips_are_cut_to_their_loudest_stretch(tmp_path: Path, channels: int):
    samples = np.full((channels, 16000), 0.01, np.float32)
    samples[:, 6400:9600] = 0.5  # 0.4 to 0.6 s
    audio.encode(tmp_path / "long.wav", samples, 16000, subtype="FLOAT")
    audio.encode(tmp_path / "short.wav", samples[:, :1600], 16000, subtype="FLOAT")
    system = IdentitySystem()
    Encoder(system, 0.2)(Query(text="a dog", like=[tmp_path / "long.wav", tmp_path / "short.wav"]))
    (query,) = system.encoded
    (long, rate), (short, _) = query.like
    assert (rate, long.shape, short.shape) == (16000, (channels, 3200), (channels, 1600))
    assert (long == 0.5).all()
    assert query.text == ("a dog",)
