from __future__ import annotations

import zipfile

import numpy as np
import pytest
from studio_parts import GatedSystem, Studio, answered, samples, wav

from soundsieve import audio
from soundsieve.errors import ConfigError
from soundsieve.studio import tracks
from soundsieve.studio.engine import Engine, Question
from soundsieve.studio.limits import FullError, GoneError
from soundsieve.studio.store import Recording, Track


def asked(engine: Engine, content: bytes, *words: str) -> tuple[Recording, list[Track]]:
    recording = engine.store.add(content, "A Street.wav")
    return recording, [answered(engine, recording.id, Question(text)) for text in words]


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_downloads_have_the_format_that_came_in_and_add_up(suffix: str, subtype: str, studio: Studio) -> None:
    engine = studio()
    recording, (track,) = asked(engine, wav(0.5, channels=2, subtype=subtype), "a dog")
    target, rest, mixture = (
        tracks.sound(engine.store, recording, track, part, suffix).path for part in ("target", "rest", "mixture")
    )
    assert audio.probe(target).subtype == subtype
    assert np.array_equal(samples(target) + samples(rest), samples(mixture))
    assert np.array_equal(samples(mixture), samples(recording.path))
    assert tracks.sound(engine.store, recording, track, "target", suffix).path == target


def test_downloads_are_called_after_what_they_are(studio: Studio) -> None:
    recording, (track,) = asked(studio(), wav(0.1), "A dog / barking!")
    named = [tracks.file_name(recording, track, part, ".flac") for part in ("target", "rest", "mixture")]
    assert named == ["a-street.a-dog-barking.flac", "a-street.a-dog-barking.rest.flac", "a-street.flac"]


def test_a_mix_is_the_sum_of_what_is_kept(studio: Studio) -> None:
    engine = studio()
    recording, (dog, rain, _) = asked(engine, wav(0.5, subtype="FLOAT"), "a dog", "rain", "wind")
    mix = tracks.mix_down(engine.store, recording, {dog.id: 0.0, rain.id: -6.0206})
    assert mix.note is None
    expected = samples(dog.target_path) + samples(rain.target_path) / 2
    assert np.allclose(samples(mix.path), expected, atol=1e-6)


def test_a_mix_past_full_scale_is_told(studio: Studio) -> None:
    engine = studio()
    recording, (track,) = asked(engine, wav(0.1), "a dog")
    for _ in range(2):  # made, and found again
        loud = tracks.mix_down(engine.store, recording, {track.id: 18.0})
        assert loud.note is not None
        assert "written as 32-bit float" in loud.note
    assert np.allclose(samples(loud.path), samples(track.target_path) * 10 ** (18 / 20), atol=1e-6)
    turned_down = tracks.mix_down(engine.store, recording, {track.id: 18.0}, ".flac")
    assert "turned down by" in (turned_down.note or "")


@pytest.mark.parametrize(
    ("gains", "error", "complaint"),
    [
        ({}, ConfigError, "every track is muted"),
        ({"TRACK": 25.0}, ConfigError, "a gain of 25 dB: it lies between -80 and 24 dB"),
        ({"TRACK": float("nan")}, ConfigError, "a gain of nan dB"),
        ({"nowhere": 0.0}, GoneError, "this track is not here"),
    ],
)
def test_a_mix_that_cannot_be(gains: dict[str, float], error: type[Exception], complaint: str, studio: Studio) -> None:
    engine = studio()
    recording, (track,) = asked(engine, wav(0.1), "a dog")
    with pytest.raises(error, match=complaint):
        tracks.mix_down(
            engine.store, recording, {track.id if id == "TRACK" else id: gain for id, gain in gains.items()}
        )


def test_mixes_do_not_pile_up(studio: Studio) -> None:
    engine = studio()
    recording, (track,) = asked(engine, wav(0.1), "a dog")
    made = [tracks.mix_down(engine.store, recording, {track.id: 18.0 + i / 8}).path for i in range(8)]
    assert {*recording.folder.glob("mix.*.wav")} == {*made[-4:]}
    assert len([*recording.folder.glob("mix.*.note")]) == 4


def test_an_archive_holds_everything(studio: Studio) -> None:
    engine = studio()
    recording, (first, _) = asked(engine, wav(0.3), "a dog", "A dog!")
    packed = tracks.archive(engine.store, recording, ".flac", {first.id: 0.0})
    with zipfile.ZipFile(packed) as found:
        assert found.testzip() is None
        assert sorted(found.namelist()) == [
            "a-street.a-dog-2.flac",
            "a-street.a-dog-2.rest.flac",
            "a-street.a-dog.flac",
            "a-street.a-dog.rest.flac",
            "a-street.mix.flac",
            "questions.txt",
        ]
        assert np.array_equal(
            samples(found.read("a-street.a-dog.flac")) + samples(found.read("a-street.a-dog.rest.flac")),
            samples(recording.path),
        )
        assert "soundsieve extract 'A dog!' 'A Street.wav'" in found.read("questions.txt").decode()


def test_an_archive_says_what_is_to_be_known_of_the_rest(studio: Studio, system: GatedSystem) -> None:
    engine = studio()
    system.aligned = False
    recording, _ = asked(engine, wav(0.1), "a dog", "rain")
    with zipfile.ZipFile(tracks.archive(engine.store, recording)) as found:
        told = found.read("questions.txt").decode()
    assert told.count("what is left by subtracting it still holds the sound") == 2


def test_what_there_is_not(studio: Studio) -> None:
    engine = studio()
    recording, _ = asked(engine, wav(0.1))
    with pytest.raises(ConfigError, match="nothing to pack yet"):
        tracks.archive(engine.store, recording)
    with pytest.raises(ConfigError, match=r"no downloads as '\.exe': there are \.wav and \.flac"):
        tracks.sound(engine.store, recording, suffix=".exe")
    with pytest.raises(ConfigError, match="part is 'all'"):
        tracks.sound(engine.store, recording, part="all")  # type: ignore[arg-type]
    engine.store.drop(recording.id)
    with pytest.raises(GoneError):
        tracks.sound(engine.store, recording)


def test_downloads_count_against_the_disk_space(studio: Studio) -> None:
    engine = studio(max_gigabytes=2.4e-4)
    recording, (track,) = asked(engine, wav(1.0), "a dog")  # three files of 64 kB
    with pytest.raises(FullError, match="disk space"):
        tracks.archive(engine.store, recording)
    assert not list(recording.folder.glob("*.part"))
    assert track.target_path.exists()
