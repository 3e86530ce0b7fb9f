"""Spectrogram pictures: a tone is drawn where and as loud as it is."""

from pathlib import Path

import numpy as np
import pytest

from soundsieve.evaluation.pictures import HOP_LENGTH, N_FFT, save_figure, spectrogram_db, spectrogram_figure

SAMPLE_RATE = 16000


def tone(hertz: float, amplitude: float = 1.0, seconds: float = 1.0) -> np.ndarray:
    steps = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (amplitude * np.sin(2 * np.pi * hertz * steps)).astype(np.float32)


def test_a_tone_is_loudest_at_its_own_frequency() -> None:
    picture = spectrogram_db(tone(1000.0))
    assert picture.shape == (N_FFT // 2 + 1, SAMPLE_RATE // HOP_LENGTH + 1)
    assert (picture.argmax(0)[4:-4] == round(1000 * N_FFT / SAMPLE_RATE)).all()


def test_ten_times_the_amplitude_is_20_db() -> None:
    difference = spectrogram_db(tone(1000.0)).max() - spectrogram_db(tone(1000.0, amplitude=0.1)).max()
    assert difference == pytest.approx(20.0, abs=0.01)


def test_panels_share_scale_and_axes() -> None:
    figure = spectrogram_figure({"loud": tone(500.0), "soft": tone(500.0, 0.1)[None]}, SAMPLE_RATE, range_db=60.0)
    loud, soft = figure.axes[:2]
    assert [axis.get_title() for axis in (loud, soft)] == ["loud", "soft"]
    assert loud.images[0].get_clim() == soft.images[0].get_clim() == (-60.0, 0.0)
    assert loud.images[0].get_array().max() == pytest.approx(0.0)
    assert soft.images[0].get_array().max() == pytest.approx(-20.0, abs=0.01)
    assert loud.images[0].get_extent() == [0.0, 1.0, 0.0, 8.0]  # seconds, kHz
    assert (loud.get_xlabel(), loud.get_ylabel()) == ("time (s)", "frequency (kHz)")


def test_silence_can_be_drawn(tmp_path: Path) -> None:
    save_figure(tmp_path / "silence.png", spectrogram_figure({"silence": np.zeros(4000, np.float32)}, SAMPLE_RATE))
    assert (tmp_path / "silence.png").read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [tmp_path / "silence.png"]


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one waveform"):
        spectrogram_figure({}, SAMPLE_RATE)
