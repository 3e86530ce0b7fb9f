from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from signals import tone, tone_and_noise

from soundsieve import audio
from soundsieve.audio import decode, encode, output_subtype, probe, resample, resampled_length
from soundsieve.errors import AudioError

REAL = {
    "dog.wav": (16000, 1, 24000, "PCM_16"),
    "sheep.flac": (22050, 2, 17640, "PCM_16"),
    "knock.ogg": (32000, 1, 22400, "VORBIS"),
    "whistle.mp3": (44100, 2, 44100, "MPEG_LAYER_III"),
    "coin.opus": (48000, 1, 43200, "OPUS"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_recordings_decode(clips: Path, name: str) -> None:
    rate, channels, length, subtype = REAL[name]
    samples, found = decode(clips / name)
    info = probe(clips / name)
    assert found == info.sample_rate == rate
    assert samples.shape == (channels, length) == (info.channels, info.samples)
    assert info.subtype == subtype
    assert info.seconds == length / rate
    assert samples.dtype == np.float32
    assert samples.flags.c_contiguous
    assert 0.1 < np.abs(samples).max() < 1


@pytest.mark.parametrize("suffix", sorted(audio.CONTAINERS))
@pytest.mark.parametrize("channels", [1, 2])
def test_every_suffix_is_written_and_read_back(tmp_path: Path, suffix: str, channels: int) -> None:
    rate = 48000 if suffix == ".opus" else 44100
    x = np.concatenate([tone(440, 0.731, rate), tone(880, 0.731, rate)])[:channels]
    written = encode(tmp_path / f"a{suffix}", x, rate)
    assert written.note is None
    assert written.path == tmp_path / f"a{suffix}"
    y, found = decode(written.path)
    assert found == rate
    assert y.shape == x.shape
    lossy = suffix in (".ogg", ".oga", ".opus", ".mp3")
    # 16 bits: at most half a step of 2^-15. Lossy coders: a tone keeps its shape, so the error stays 20 dB below it.
    if lossy:
        assert np.mean((y - x) ** 2) < 0.01 * np.mean(x**2)
    else:
        assert np.abs(y - x).max() <= 2**-16 + 1e-7


@pytest.mark.parametrize(
    ("suffix", "subtype", "bits"), [(".wav", "PCM_16", 16), (".wav", "PCM_24", 24), (".flac", "PCM_24", 24)]
)
def test_integer_samples_survive_bit_for_bit(tmp_path: Path, suffix: str, subtype: str, bits: int) -> None:
    full = 2 ** (bits - 1)
    x = (np.random.default_rng(0).integers(-full, full, (2, 5000)) / full).astype(np.float32)
    encode(tmp_path / f"a{suffix}", x, 8000, subtype=subtype)
    assert np.array_equal(decode(tmp_path / f"a{suffix}")[0], x)


def test_float_samples_survive_bit_for_bit(tmp_path: Path) -> None:
    x = (3 * np.random.default_rng(0).standard_normal((6, 1000))).astype(np.float32)
    assert encode(tmp_path / "a.wav", x, 96000, subtype="FLOAT").note is None
    assert np.array_equal(decode(tmp_path / "a.wav")[0], x)


def test_one_channel_may_be_flat(tmp_path: Path) -> None:
    encode(tmp_path / "a.wav", tone(440, 0.1, 8000)[0], 8000)
    assert decode(tmp_path / "a.wav")[0].shape == (1, 800)


def test_peaks_past_full_scale_become_float_where_the_container_has_it(tmp_path: Path) -> None:
    x = 3 * tone(440, 0.2, 8000)
    for suffix in (".wav", ".aiff", ".caf", ".w64", ".rf64", ".au"):
        written = encode(tmp_path / f"a{suffix}", x, 8000)
        assert written.note is not None
        assert re.search(r"peak is 1\.\d+, so it was written as 32-bit float instead of PCM_16", written.note)
        assert np.array_equal(decode(written.path)[0], x)


def test_peaks_past_full_scale_in_flac_turn_the_whole_down(tmp_path: Path) -> None:
    x = (2 * tone(440, 0.2, 8000)).astype(np.float32) / np.float32(1.0)
    x *= np.float32(1.25) / np.abs(x).max()
    written = encode(tmp_path / "a.flac", x, 8000)
    assert written.note is not None
    assert "turned down by 1.94 dB" in written.note  # 20 log10 1.25
    assert np.abs(decode(written.path)[0] - x / 1.25).max() <= 2**-15


@pytest.mark.parametrize("suffix", [".ogg", ".mp3"])
def test_peaks_past_full_scale_survive_lossy_formats(tmp_path: Path, suffix: str) -> None:
    x = 3 * tone(440, 0.5, 44100)
    assert encode(tmp_path / f"a{suffix}", x, 44100).note is None
    assert np.abs(decode(tmp_path / f"a{suffix}")[0]).max() == pytest.approx(1.5, rel=0.03)


def test_writing_makes_folders_and_leaves_no_part_files(tmp_path: Path) -> None:
    encode(tmp_path / "a" / "b" / "c.wav", tone(440, 0.1, 8000), 8000)
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["c.wav"]


def test_a_failing_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    encode(path, tone(440, 0.1, 8000), 8000)
    before = path.read_bytes()

    def full(*args: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(soundfile.SoundFile, "write", full)
    with pytest.raises(AudioError, match=r"cannot write .*no space left on device"):
        encode(path, tone(880, 0.1, 8000), 8000)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_goes_on_pointing_at_its_file(tmp_path: Path) -> None:
    encode(tmp_path / "real.wav", tone(440, 0.1, 8000), 8000)
    (tmp_path / "link.wav").symlink_to(tmp_path / "real.wav")
    encode(tmp_path / "link.wav", tone(440, 0.2, 8000), 8000)
    assert (tmp_path / "link.wav").is_symlink()
    assert probe(tmp_path / "real.wav").samples == 1600


@pytest.mark.parametrize(
    ("name", "samples", "options", "message"),
    [
        ("a.xyz", np.zeros((1, 10)), {}, "'.xyz' is not one of .wav"),
        ("a", np.zeros((1, 10)), {}, "'' is not one of .wav"),
        ("a.wav", np.zeros((1, 0)), {}, "expected samples of shape (C, T), got (1, 0)"),
        ("a.wav", np.zeros((1, 1, 10)), {}, "expected samples of shape (C, T), got (1, 1, 10)"),
        ("a.wav", np.array([[0, 0, np.nan, np.inf]]), {}, "2 samples are not finite, the first at 0.000 s"),
        ("a.flac", np.zeros((1, 10)), {"subtype": "FLOAT"}, "FLAC does not hold FLOAT"),
        ("a.flac", np.zeros((9, 10)), {}, "(FLAC, 9 channels at 44100 Hz)"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, name: str, samples: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises(AudioError, match=re.escape(message)):
        encode(tmp_path / name, samples.astype(np.float32), 44100, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_cannot_be_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.wav").mkdir()
    with pytest.raises(AudioError, match=r"cannot write .*is a folder"):
        encode(tmp_path / "a.wav", tone(440, 0.1, 8000), 8000)


def test_missing_folder_empty_and_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("not audio at all " * 100)
    (tmp_path / "text.raw").write_text("not audio at all " * 100)
    (tmp_path / "text.mp3").write_text("not audio at all " * 100)
    (tmp_path / "text").write_text("x")
    encode(tmp_path / "none.wav", tone(440, 0.1, 8000), 8000)
    soundfile.write(tmp_path / "none.wav", np.zeros((0, 1), np.float32), 8000)
    for read in (decode, probe):
        for name, message in {
            "missing.wav": "no file at",
            "long" * 100: "no file at",
            "": "is a folder, not a recording",
            "empty.wav": "is empty (0 bytes)",
            "text.wav": "is damaged or not a recording (wav, flac",
            "text.raw": "is damaged or not a recording (wav, flac",
            "text.mp3": "and the like): Format not recognised",
            "text": "is damaged or not a recording (wav, flac",
            "none.wav": "holds no samples",
        }.items():
            with pytest.raises(AudioError, match=re.escape(message)) as caught:
                read(tmp_path / name)
            assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    encode(tmp_path / "a.wav", tone(440, 0.1, 8000), 8000)
    (tmp_path / "a.wav").chmod(0)
    with pytest.raises(AudioError, match="permission denied"):
        decode(tmp_path / "a.wav")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_placed(tmp_path: Path, value: float) -> None:
    x = np.zeros((8000, 2), np.float32)
    x[4000, 1] = value
    soundfile.write(tmp_path / "a.wav", x, 8000, subtype="FLOAT")
    with pytest.raises(AudioError, match=re.escape("1 samples are not finite, the first at 0.500 s")):
        decode(tmp_path / "a.wav")


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".w64", ".au", ".rf64"])
def test_a_cut_recording_says_what_is_lost(tmp_path: Path, suffix: str) -> None:
    encode(tmp_path / f"a{suffix}", tone_and_noise(4, 8000), 8000)
    data = (tmp_path / f"a{suffix}").read_bytes()
    (tmp_path / f"a{suffix}").write_bytes(data[: len(data) // 2])
    with pytest.raises(AudioError, match=r"is cut short: its header promises [34]\.\d\d s, it holds (1\.9|2\.0)\d s"):
        decode(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", [".flac", ".caf", ".mp3"])
def test_a_cut_recording_is_an_error(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    encode(tmp_path / f"a{suffix}", tone_and_noise(4, 44100), 44100)
    data = (tmp_path / f"a{suffix}").read_bytes()
    (tmp_path / f"a{suffix}").write_bytes(data[: len(data) // 2])
    with pytest.raises(AudioError, match=r"cut short|damaged"):
        decode(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_a_stream_that_never_learned_its_length_is_read(tmp_path: Path, size: int) -> None:
    encode(tmp_path / "a.wav", tone(440, 0.5, 8000), 8000)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = size.to_bytes(4, "little")
    data[4:8] = size.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    assert decode(tmp_path / "a.wav")[0].shape == (1, 4000)


def test_only_linear_sample_formats_are_kept(tmp_path: Path, clips: Path) -> None:
    def kept(subtype: str, suffix: str) -> str | None:
        soundfile.write(tmp_path / "a.wav", tone(440, 0.1, 8000).T, 8000, subtype=subtype)
        return output_subtype(probe(tmp_path / "a.wav"), suffix)

    assert kept("PCM_24", ".wav") == "PCM_24"
    assert kept("FLOAT", ".wav") == "FLOAT"
    assert kept("FLOAT", ".flac") is None
    assert kept("PCM_U8", ".wav") is None
    assert kept("ULAW", ".wav") is None
    assert output_subtype(probe(clips / "whistle.mp3"), ".mp3") is None


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 88200, 96000])
@pytest.mark.parametrize("length", [1, 2, 3, 100, 4801, 44101])
def test_resampling_there_and_back_restores_the_length(rate: int, length: int) -> None:
    x = tone_and_noise(1, length, channels=2)
    there = resample(x, rate, 32000)
    assert there.shape == (2, max(1, round(length * 32000 / rate)))
    assert there.shape[1] == resampled_length(length, rate, 32000)
    back = resample(there, 32000, rate, length=length)
    assert back.shape == x.shape
    assert back.dtype == np.float32
    assert back.flags.c_contiguous


@pytest.mark.parametrize(("from_rate", "to_rate"), [(44100, 32000), (96000, 32000), (8000, 32000), (32000, 44100)])
def test_a_tone_keeps_its_pitch_level_and_place(from_rate: int, to_rate: int) -> None:
    assert np.abs(resample(tone(1000, 0.5, from_rate), from_rate, to_rate) - tone(1000, 0.5, to_rate)).max() < 1e-3


def test_a_tone_above_half_the_rate_vanishes() -> None:
    high = resample(tone(20000, 0.5, 96000), 96000, 32000)
    assert np.abs(high).max() < 1e-3 * 0.5


def test_what_fits_below_half_the_rate_comes_back() -> None:
    x = tone(3000, 0.5, 44100)
    assert np.abs(resample(resample(x, 44100, 32000), 32000, 44100, length=x.shape[1]) - x).max() < 1e-4


def test_resampling_keeps_dimensions_and_the_input() -> None:
    x = tone(440, 0.1, 8000)
    before = x.copy()
    assert resample(x[0], 8000, 16000).shape == (1600,)
    assert resample(x, 8000, 8000) is x
    assert np.array_equal(x, before)


def test_what_cannot_be_resampled() -> None:
    with pytest.raises(AudioError, match="sample rates are positive"):
        resample(np.zeros(10, np.float32), 0, 8000)
    with pytest.raises(AudioError, match="without samples"):
        resample(np.zeros((2, 0), np.float32), 44100, 8000)
