"""Whatever comes in costs one clear line and nothing else: no traceback, nothing written, the other files go on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signals import tone_and_noise

from soundsieve import audio

RATE = 16000


def whole(name: str) -> Path:
    audio.encode(name, tone_and_noise(0.3, RATE), RATE)
    return Path(name)


def empty_file() -> str:
    Path("in.wav").touch()
    return "in.wav is empty (0 bytes)"


def no_samples() -> str:
    soundfile.write("in.wav", np.zeros((0, 1)), RATE)
    return "in.wav holds no samples"


def cut_short() -> str:
    content = whole("in.wav").read_bytes()
    Path("in.wav").write_bytes(content[: len(content) // 2])
    return "in.wav is cut short"


def cut_short_flac() -> str:
    content = whole("whole.flac").read_bytes()
    Path("whole.flac").unlink()
    Path("in.wav").write_bytes(content[: len(content) // 2])  # under another name, too
    return "in.wav is "


def corrupt() -> str:
    content = bytearray(whole("in.wav").read_bytes())
    content[:40] = bytes(40)
    Path("in.wav").write_bytes(content)
    return "in.wav is damaged or not a recording"


def forged() -> str:
    content = bytearray(whole("in.wav").read_bytes())
    content[24:28] = (0xFFFFFFFF).to_bytes(4, "little")  # the sample rate
    Path("in.wav").write_bytes(content)
    return "in.wav is damaged"


def not_audio() -> str:
    Path("in.wav").write_text("Dear diary, today I heard a dog.")
    return "in.wav is damaged or not a recording"


def not_finite() -> str:
    x = tone_and_noise(0.3, RATE)
    x[0, 1600], x[0, 3200] = np.nan, np.inf
    soundfile.write("in.wav", x.T, RATE, subtype="FLOAT")
    return "in.wav is broken: 2 samples are not finite, the first at 0.100 s"


def a_folder() -> str:
    Path("in.wav").mkdir()
    return "in.wav is a folder: --recursive takes the recordings in it"


def a_link_to_nowhere() -> str:
    Path("in.wav").symlink_to("nowhere.wav")
    return "no file at in.wav"


def a_link_to_itself() -> str:
    Path("in.wav").symlink_to("in.wav")
    return "no file at in.wav"


def not_permitted() -> str:
    whole("in.wav").chmod(0)
    return "in.wav cannot be read: permission denied"


def missing() -> str:
    return "no file at in.wav"


BAD = [
    empty_file,
    no_samples,
    cut_short,
    cut_short_flac,
    corrupt,
    forged,
    not_audio,
    not_finite,
    a_folder,
    a_link_to_nowhere,
    a_link_to_itself,
    not_permitted,
    missing,
]


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_a_bad_recording_costs_one_line(soundsieve, make, monkeypatch: pytest.MonkeyPatch) -> None:
    message = make()
    if make is not_permitted and os.access("in.wav", os.R_OK):  # for a superuser all is permitted
        monkeypatch.setattr(os, "access", lambda path, mode: str(path) != "in.wav")
    for command in (["extract", "a dog", "in.wav"], ["split", "in.wav", "a dog"], ["find", "a dog", "in.wav"]):
        code, out, err = soundsieve(*command)
        assert (code, out, err.count("\n")) == (2 if command[0] == "find" else 1, "", 1)
        assert err.startswith("soundsieve: ")
        assert message in err
    assert not list(Path().rglob("sieved/*"))
    whole("good.wav")
    code, out, _ = soundsieve("extract", "a dog", "in.wav", "good.wav", "--jobs", 2)
    assert (code, out) == (1, "sieved/good.a-dog.wav\n")
    assert len(list(Path("sieved").iterdir())) == 1


def constant(value: float, samples: int) -> np.ndarray:
    return np.full((1, samples), value, np.float32)


@pytest.mark.parametrize("model", ["starter", "identity"])
@pytest.mark.parametrize(
    ("name", "samples"),
    {
        "one_sample": constant(0.5, 1),
        "shorter_than_a_frame": tone_and_noise(0.005, RATE),
        "silence": constant(0.0, 5000),
        "dc": constant(0.25, 5000),
        "clipped": np.clip(9 * tone_and_noise(0.3, RATE), -1, 1),
        "faint": 1e-9 * tone_and_noise(0.3, RATE),
        "huge": 1e6 * tone_and_noise(0.3, RATE),
    }.items(),
)
def test_odd_recordings_come_back_as_long_as_they_are(soundsieve, name: str, samples: np.ndarray, model: str) -> None:
    audio.encode("in.wav", samples, RATE, subtype="FLOAT")
    options = ["--model", "starter"] if model == "starter" else []
    code, out, err = soundsieve("extract", "a dog", "in.wav", "--residual", *options)
    assert code == 0, err
    target, rest = (audio.decode(path)[0] for path in out.splitlines())
    assert target.shape == rest.shape == samples.shape
    np.testing.assert_allclose(target + rest, samples, rtol=1e-6)
    if name == "silence":
        assert not target.any()
        assert "no 'a dog' found in in.wav (presence 0.00)" in err


@pytest.mark.parametrize(
    "name", ["犬の声 🐕.wav", "a b'c\"d.wav", "x" * 251 + ".wav", "é" * 125 + ".wav", "new\nline.wav"]
)
def test_odd_names(soundsieve, name: str) -> None:
    whole(name)
    code, out, _ = soundsieve("extract", "a dog", name)
    assert code == 0
    assert audio.probe(out.removesuffix("\n")).samples == 4800


def test_names_that_become_too_long(soundsieve) -> None:
    whole("in.wav")
    code, out, err = soundsieve("extract", "a dog", "in.wav", "--template", "{stem}" + "x" * 255 + ".{ext}")
    assert (code, out) == (1, "")
    assert err == "soundsieve: the name for the answer to in.wav is too long: give a shorter --template\n"
    assert "File name too long" in soundsieve("extract", "a dog", "in.wav", "-o", "x" * 256)[2]


@pytest.mark.parametrize(
    "query",
    [
        "w" * 10_000,
        "a dog " * 2000,
        "собака лает",
        "犬が吠えている",
        "🐕",
        "a\tdog\nbarking",
        "--",
        "%s {stem} $(id)",
        "'; x",
    ],
    ids=lambda query: query[:12],
)
def test_odd_words_are_words(soundsieve, make_model, query: str) -> None:
    whole("in.wav")
    code, out, err = soundsieve("extract", "--model", "starter", "-o", "known", "--", query, "in.wav")
    assert (code, err.count("\n")) in ((0, 1), (2, 1))  # words that the model cannot know are refused
    code, out, _ = soundsieve("extract", "--model", make_model(), "--", query, "in.wav")
    assert code == 0
    assert Path(out.strip()).parent == Path("sieved")
    assert all(character.isalnum() or character in "-." for character in Path(out.strip()).name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extract"], "Missing argument 'QUERY': soundsieve extract --help says what there is"),
        (["find"], "Missing argument 'QUERY'"),
        (["split"], "Missing argument 'FILE'"),
        (["extract", "", "in.wav"], "the text is empty: describe a sound in a few words"),
        (["extract", " \t", "in.wav"], "the text is empty"),
        (["extract", "in.wav"], "the first argument is what to extract, and 'in.wav' is a file"),
        (["extract", "a dog"], "no recording given"),
        (["extract", "rain", "in.wav", "-x", "Rain"], "'rain' is both wanted and excluded"),
        (["extract", "rain", "in.wav", "-x", ""], "the exclude is empty"),
        (["extract", "rain", "in.wav", "--segment", "-3"], "segment_s is -3.0"),
        (["extract", "rain", "in.wav", "--segment", "nan"], "segment_s is nan"),
        (["extract", "rain", "in.wav", "--overlap", "1"], "overlap is 1.0"),
        (["extract", "rain", "in.wav", "--batch", "0"], "Invalid value for '--batch'"),
        (["extract", "rain", "in.wav", "--jobs", "two"], "Invalid value for '--jobs'"),
        (["extract", "rain", "in.wav", "--nonesuch"], "No such option: --nonesuch"),
        (["extract", "rain", "in.wav", "--model", "nonesuch"], "no model 'nonesuch'"),
        (["nonesuch"], "No such command 'nonesuch'"),
    ],
)
def test_bad_requests_cost_one_line(soundsieve, arguments: list[str], message: str) -> None:
    whole("in.wav")
    if arguments[0] == "nonesuch":
        arguments = [*arguments, "--model", "debug"]
    code, out, err = soundsieve(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("soundsieve: ")
    assert message in err
    assert not Path("sieved").exists()


def test_a_place_that_cannot_be_written(soundsieve) -> None:
    whole("in.wav")
    Path("taken").write_text("mine")
    code, out, err = soundsieve("extract", "a dog", "in.wav", "-o", "taken/deep")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "cannot write taken/deep/in.a-dog.wav" in err


@settings(max_examples=20, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    samples=st.one_of(st.integers(1, 40), st.integers(1, 30_000)),
    rate=st.one_of(st.sampled_from([8000, 11025, 22050, 44100, 48000, 96000, 192000]), st.integers(8000, 192_000)),
    channels=st.integers(1, 8),
    kind=st.sampled_from(
        ["wav PCM_16", "wav PCM_24", "wav FLOAT", "flac PCM_24", "w64 PCM_16", "caf FLOAT", "aiff PCM_16"]
    ),
)
def test_any_length_rate_and_channels(soundsieve, samples: int, rate: int, channels: int, kind: str) -> None:
    suffix, subtype = kind.split()
    if suffix == "flac" and rate > 65535:
        rate -= rate % 10  # all that FLAC has
    x = np.random.default_rng(samples).uniform(-0.9, 0.9, (channels, samples)).astype(np.float32)
    path = f"in.{suffix}"
    audio.encode(path, x, rate, subtype=subtype)
    mixture, _ = audio.decode(path)
    code, out, err = soundsieve("extract", "a dog", path, "--residual", "--force")
    assert code == 0, err
    target, rest = (audio.decode(line)[0] for line in out.splitlines())
    info = audio.probe(out.splitlines()[0])
    assert (info.samples, info.channels, info.sample_rate) == (samples, channels, rate)
    assert (info.format, info.subtype) == (audio.probe(path).format, subtype)
    np.testing.assert_allclose(target + rest, mixture, atol=0 if subtype != "FLOAT" else 1e-7)


@pytest.mark.parametrize("name", ["dog.wav", "sheep.flac", "knock.ogg", "whistle.mp3", "coin.opus"])
def test_real_recordings_damaged_anywhere(soundsieve, clips: Path, name: str) -> None:
    """Every mutation ends in success or in one line."""
    content = (clips / name).read_bytes()
    random = np.random.default_rng(7)
    for trial in range(8):
        damaged = bytearray(content)
        for at in random.integers(0, 64 if trial % 2 else len(content), 4):
            damaged[at] = random.integers(256)
        Path(name).write_bytes(damaged if trial % 4 else damaged[: random.integers(1, len(content))])
        code, out, err = soundsieve("extract", "a dog", name, "--force", "--quiet")
        assert (code, len(out.splitlines()), err.count("\n")) in ((0, 1, 0), (1, 0, 1))
