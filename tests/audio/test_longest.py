"""`Reader` with ``longest_s``: what is too long is refused before it is decoded."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from soundsieve.audio import Reader, encode
from soundsieve.audio.tracks import BLOCK, Track
from soundsieve.errors import AudioError

RATE = 24000
TOO_LONG = "lasts longer than 2 seconds, the most that is taken: cut it into parts"


def silence(path: Path, seconds: float) -> bytes:
    encode(path, np.zeros((1, round(seconds * RATE)), np.float32), RATE)
    return path.read_bytes()


def without_length(flac: bytes) -> bytes:
    """As a live encoder writes it: the 36 bits of the length in STREAMINFO are 0."""
    return flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many samples were decoded, read by read."""
    found: list[int] = []
    real = Track._frames

    def frames(self: Track, most: int) -> np.ndarray:
        read: np.ndarray = real(self, most)
        found.append(len(read))
        return read

    monkeypatch.setattr(Track, "_frames", frames)
    return found


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_a_recording_of_just_that_length_is_taken(tmp_path: Path, suffix: str) -> None:
    for seconds in (1.9, 2.0):
        silence(tmp_path / f"a{suffix}", seconds)
        with Reader(tmp_path / f"a{suffix}", longest_s=2.0) as recording:
            assert recording.info.seconds == seconds


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_a_header_that_tells_more_is_believed(tmp_path: Path, suffix: str, counted: list[int]) -> None:
    silence(tmp_path / f"a{suffix}", 2.01)
    with pytest.raises(AudioError, match=rf"a\{suffix} {TOO_LONG}"):
        Reader(tmp_path / f"a{suffix}", longest_s=2.0)
    assert counted == []


def test_what_does_not_tell_its_length_is_decoded_no_further(tmp_path: Path, counted: list[int]) -> None:
    flac = without_length(silence(tmp_path / "a.flac", 600.0))
    mp3 = silence(tmp_path / "a.mp3", 600.0).replace(b"Xing", bytes(4)).replace(b"Info", bytes(4))
    for data in (flac, mp3):
        counted.clear()
        with pytest.raises(AudioError, match=TOO_LONG):
            Reader(data, longest_s=2.0)
        assert 2 * RATE < sum(counted) <= 2 * RATE + BLOCK


def test_joined_recordings_are_looked_at_no_further(tmp_path: Path) -> None:
    one = silence(tmp_path / "a.ogg", 1.0)
    with Reader(one * 2, longest_s=2.0) as recording:
        assert recording.info.seconds == 2.0
    (tmp_path / "many.ogg").write_bytes(one * 100)
    assert Track(tmp_path / "many.ogg", longest_s=2.0).samples == 3 * RATE
    with pytest.raises(AudioError, match=TOO_LONG):
        Reader(tmp_path / "many.ogg", longest_s=2.0)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg")
def test_ffmpeg_decodes_no_further(tmp_path: Path) -> None:
    silence(tmp_path / "a.wav", 600.0)
    command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.wav"), str(tmp_path / "a.m4a")]
    subprocess.run(command, check=True)
    with pytest.raises(AudioError, match=TOO_LONG):
        Reader(tmp_path / "a.m4a", longest_s=2.0)
    with Reader(tmp_path / "a.m4a", longest_s=700.0) as recording:
        assert recording.info.seconds > 599
