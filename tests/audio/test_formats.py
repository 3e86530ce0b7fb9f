from __future__ import annotations

import re
from pathlib import Path

import soundfile

from soundsieve import audio
from soundsieve.audio import ffmpeg, formats, reader

PAGE = Path(__file__).resolve().parents[2] / "docs" / "audio.md"


def test_the_table_in_the_docs_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| `(\.\w+)` \| (\w+) \| (\w+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert {suffix: (container, subtype) for suffix, container, subtype in rows} == audio.CONTAINERS
    assert len(rows) == len(audio.CONTAINERS)


def test_the_limits_in_the_docs_are_those_of_the_code() -> None:
    limits = (
        f"1 to {reader.MOST_CHANNELS} channels and {reader.LOWEST_RATE // 1000} to {reader.HIGHEST_RATE // 1000} kHz"
    )
    assert limits in PAGE.read_text("utf-8")


def test_every_container_of_the_table_holds_its_default() -> None:
    for container, subtype in audio.CONTAINERS.values():
        assert soundfile.check_format(container, subtype)
        assert formats.holds(container, subtype)
    assert not formats.holds("FLAC", "FLOAT")
    assert not formats.holds("NONE", "PCM_16")
    assert not formats.holds("WAV", "NONE")


def test_what_is_readable_is_what_is_written_and_more() -> None:
    assert set(audio.CONTAINERS) < audio.READABLE
    assert ffmpeg.SUFFIXES < audio.READABLE
    assert not set(audio.CONTAINERS) & ffmpeg.SUFFIXES
    assert all(re.fullmatch(r"\.[a-z0-9]+", suffix) for suffix in audio.READABLE)
