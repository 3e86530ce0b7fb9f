from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from soundsieve import audio
from soundsieve.errors import AudioError
from soundsieve.studio import pictures
from soundsieve.studio.pictures import COLUMNS, RANGE_DB, ROWS, frequency_marks, levels_db, png


def drawn(folder: Path, samples: np.ndarray, sample_rate: int) -> np.ndarray:
    path = folder / "sound.wav"
    audio.encode(path, samples.astype(np.float32), sample_rate, subtype="FLOAT")
    return levels_db(path)


def tone(hertz: float, seconds: float, sample_rate: int, level: float = 0.1) -> np.ndarray:
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * sample_rate)) / sample_rate)[None]


def mel(hertz: float) -> float:
    return 2595 * np.log10(1 + hertz / 700)


@pytest.mark.parametrize(("hertz", "sample_rate"), [(200, 8000), (1000, 16000), (5000, 44100)])
def test_a_tone_is_where_its_frequency_belongs(tmp_path: Path, hertz: float, sample_rate: int) -> None:
    levels = drawn(tmp_path, tone(hertz, 1.0, sample_rate), sample_rate)
    place = mel(hertz) / mel(sample_rate / 2) * ROWS - 0.5
    assert np.all(np.abs(levels[:, 50:-50].argmax(0) - place) <= 2)


def test_marks_stand_where_tones_are_drawn() -> None:
    for sample_rate in (8000, 16000, 32000, 48000, 192000):
        marks = frequency_marks(sample_rate)
        places = [place for place, _ in marks]
        assert len(marks) >= 4
        assert places == sorted(places)
        assert min(np.diff(places)) > 0.09
        assert all(0 < place < 1 for place in places)
        for place, text in marks:
            number, unit = text.split()
            hertz = float(number) * {"Hz": 1, "kHz": 1000}[unit]
            assert place == pytest.approx(mel(hertz) / mel(sample_rate / 2))


@pytest.mark.parametrize("seconds", [0.5, 3.0, 100.0])
def test_a_click_is_where_its_time_belongs(tmp_path: Path, seconds: float) -> None:
    samples = np.zeros((1, round(8000 * seconds)))
    samples[0, round(0.3 * samples.shape[1])] = 1.0
    levels = drawn(tmp_path, samples, 8000)
    loudest = levels.max(0)
    window = 0.032 / seconds * COLUMNS  # half of the 512 samples around it
    assert abs(np.average(np.arange(COLUMNS), weights=10 ** (loudest / 10)) - 0.3 * COLUMNS) < 1.5
    assert np.all(loudest[np.abs(np.arange(COLUMNS) - 0.3 * COLUMNS) > window + 2] < -100)


def test_twice_the_amplitude_is_six_decibels_and_channels_are_averaged(tmp_path: Path) -> None:
    quiet = drawn(tmp_path, tone(440, 0.5, 16000), 16000)
    loud = drawn(tmp_path, 2 * tone(440, 0.5, 16000), 16000)
    one_of_two = drawn(tmp_path, np.concatenate([tone(440, 0.5, 16000), np.zeros((1, 8000))]), 16000)
    assert loud.max() - quiet.max() == pytest.approx(20 * np.log10(2), abs=1e-3)
    assert quiet.max() - one_of_two.max() == pytest.approx(10 * np.log10(2), abs=1e-3)


def test_every_row_is_the_mean_of_its_band() -> None:
    weights = pictures._row_weights(48000, 2048)
    assert np.allclose(weights.sum(0), 1, atol=2e-3)  # a flat spectrum stays flat
    assert weights.min() >= 0
    assert np.all(weights.max(1)[:-1] > 0)  # and no bin is left out


def test_high_rates_take_little_memory() -> None:
    tracemalloc.start()
    try:
        pictures._row_weights(1_000_000, 2**15)
        assert tracemalloc.get_traced_memory()[1] < 150e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("samples", [1, 7, 4000])
def test_short_recordings_are_drawn(tmp_path: Path, samples: int) -> None:
    levels = drawn(tmp_path, np.full((2, samples), 0.5), 48000)
    assert levels.shape == (ROWS, COLUMNS)
    assert np.isfinite(levels).all()


def test_what_cannot_be_read_is_not_drawn(tmp_path: Path) -> None:
    (tmp_path / "letter.wav").write_text("Dear all")
    with pytest.raises(AudioError, match=r"letter\.wav"):
        levels_db(tmp_path / "letter.wav")


def test_the_picture_is_a_png_with_low_frequencies_below_and_one_scale() -> None:
    levels = np.full((ROWS, COLUMNS), -200.0, np.float32)
    levels[0] = 10.0
    levels[-1] = 10.0 - RANGE_DB / 2
    with Image.open(io.BytesIO(png(levels, 10.0))) as picture:
        picture.load()
        assert picture.size == (COLUMNS, ROWS)
        shades = np.asarray(picture)
        light = np.asarray(picture.convert("L"), np.float32)
    assert np.all(shades[-1] == 255)
    assert np.all(abs(shades[0].astype(int) - 128) <= 1)
    assert np.all(shades[1:-1] == 0)
    assert light[-1, 0] > light[0, 0] > light[1, 0]
    ramp = png(np.linspace(10 - RANGE_DB, 10, ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS), 10.0)
    with Image.open(io.BytesIO(ramp)) as picture:
        assert np.all(np.diff(np.asarray(picture.convert("L"), np.int64)[::-1, 0]) >= 0)  # louder is never darker
