"""`soundsieve demo` with the small random model of the tests: what it writes, and what it says."""

import sys
from pathlib import Path

import numpy as np
import pytest

from soundsieve import audio
from soundsieve.cli.demo import QUERIES, bundled_clips, demo


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "new"
    demo(output=path, model="debug")
    return path


def test_bundled_clips_are_five_seconds_at_equal_energy() -> None:
    clips, sample_rate = bundled_clips()
    assert list(clips) == list(QUERIES)
    assert sample_rate == 32000
    dog, rain = clips.values()
    assert dog.shape == rain.shape == (1, 5 * sample_rate)
    assert 10 * np.log10((dog**2).sum() / (rain**2).sum()) == pytest.approx(0.0, abs=0.01)
    assert np.abs(dog + rain).max() <= 0.9 + 1e-4


def test_writes_the_mixture_an_answer_for_each_query_and_a_picture(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "a-dog-barking.wav",
        "demo.png",
        "mixture.wav",
        "rain-falling.wav",
    ]
    clips, sample_rate = bundled_clips()
    for name in ("mixture", "a-dog-barking", "rain-falling"):
        samples, rate = audio.decode(folder / f"{name}.wav")
        assert (samples.shape, rate) == ((1, 5 * sample_rate), sample_rate)
        if name == "mixture":
            np.testing.assert_allclose(samples, sum(clips.values()), atol=2**-15)


def test_says_how_close_each_answer_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo(output=tmp_path, model="debug")
    text = capsys.readouterr().out
    for query in QUERIES:
        line = next(line for line in text.splitlines() if query in line and "dB" in line)
        assert line.count(" dB") == 2
        assert "0.0 dB" in line  # two sounds of equal energy
    assert "demo.png" in text


def test_without_matplotlib_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    demo(output=tmp_path, model="debug")
    assert not (tmp_path / "demo.png").exists()
    assert "pip install 'soundsieve[demo]'" in capsys.readouterr().out
