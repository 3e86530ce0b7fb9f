from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from signals import tone, tone_and_noise

from soundsieve import audio
from soundsieve.audio import Writer, decode, encode, output_container, output_subtype, probe, writer
from soundsieve.errors import AudioError

LOUD = (1.25 / 0.5 * tone(440, 0.5, 48000)).astype(np.float32)  # peak 1.25, that is 1.94 dB too much
LOSSLESS = [".wav", ".flac", ".aiff", ".caf", ".w64", ".rf64", ".au"]


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for the peak goes to disk at once."""
    monkeypatch.setattr(writer, "_HELD_IN_MEMORY_BYTES", 1000)


def in_blocks(path: Path, x: np.ndarray, rate: int, block: int, **options: object) -> audio.Written:
    with Writer(path, rate, len(x), **options) as out:  # type: ignore[arg-type]
        for at in range(0, x.shape[1], block):
            out.write(x[:, at : at + block])
    return out.written


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("suffix", sorted(audio.CONTAINERS))
def test_blocks_give_the_file_that_the_whole_gives(tmp_path: Path, suffix: str) -> None:
    x = tone_and_noise(1.5, 48000, channels=2)
    whole = encode(tmp_path / f"whole{suffix}", x, 48000)
    for block in (1000, 65_537):
        written = in_blocks(tmp_path / f"a{suffix}", x, 48000, block)
        assert (written.note, written.container, written.subtype) == (None, whole.container, whole.subtype)
        y, z = decode(written.path)[0], decode(whole.path)[0]
        if written.subtype == "VORBIS":  # its encoder's choices in the first frames depend on how samples come in
            assert np.mean((y - z) ** 2) < 1e-3 * np.mean(z**2)
        else:
            assert np.array_equal(y, z)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a{suffix}", f"whole{suffix}"]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("suffix", LOSSLESS)
def test_every_linear_format_keeps_its_numbers(tmp_path: Path, suffix: str, subtype: str) -> None:
    bits = {"PCM_16": 16, "PCM_24": 24}.get(subtype, 25)  # float32 holds 25 bits of a number below 1, sign included
    x = np.random.default_rng(0).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (2, 5000)) / 2 ** (bits - 1)
    x = x.astype(np.float32)
    if suffix == ".flac" and subtype not in ("PCM_16", "PCM_24"):
        with pytest.raises(AudioError, match=f"FLAC does not hold {subtype}"):
            encode(tmp_path / "a.flac", x, 48000, subtype=subtype)
        return
    written = encode(tmp_path / f"a{suffix}", x, 48000, subtype=subtype)
    assert probe(written.path).subtype == written.subtype == subtype
    assert output_subtype(probe(written.path), suffix) == subtype
    assert np.array_equal(decode(written.path)[0], x)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 3, 5, 6, 8])
def test_rates_and_channels(tmp_path: Path, rate: int, channels: int) -> None:
    x = np.random.default_rng(channels).uniform(-1, 1, (channels, 701)).astype(np.float32)
    for suffix in (*LOSSLESS, ".ogg"):
        info = probe(encode(tmp_path / f"a{suffix}", x, rate).path)
        assert (info.sample_rate, info.channels, info.samples) == (rate, channels, 701)


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize(
    ("suffix", "options", "mode", "subtype", "peak", "note"),
    [
        (".wav", {}, "none", "FLOAT", 1.25, "its peak is 1.250, so it was written as 32-bit float instead of PCM_16"),
        (".wav", {"subtype": "PCM_24"}, "none", "FLOAT", 1.25, "32-bit float instead of PCM_24"),
        (".wav", {"subtype": "FLOAT"}, "none", "FLOAT", 1.25, None),
        (".wav", {"subtype": "DOUBLE"}, "none", "DOUBLE", 1.25, None),
        (".flac", {}, "none", "PCM_16", 1, "past what FLAC holds, so it was turned down by 1.94 dB"),
        (".ogg", {}, "none", "VORBIS", 1.25, None),
        (".opus", {}, "none", "OPUS", 1.25, None),
        (".mp3", {}, "none", "MPEG_LAYER_III", 1.25, None),
        (".wav", {}, "rescale", "PCM_16", 1, "its peak is 1.250, so it was turned down by 1.94 dB"),
        (".wav", {"subtype": "FLOAT"}, "rescale", "FLOAT", 1, "turned down by 1.94 dB"),
        (".flac", {}, "rescale", "PCM_16", 1, "turned down by 1.94 dB"),
        (".mp3", {}, "rescale", "MPEG_LAYER_III", 1, "turned down by 1.94 dB"),
        (".wav", {}, "clamp", "PCM_16", 1, "samples past full scale were clamped"),
        (".wav", {"subtype": "FLOAT"}, "clamp", "FLOAT", 1, "samples past full scale were clamped"),
        (".flac", {}, "clamp", "PCM_16", 1, "samples past full scale were clamped"),
        (".opus", {}, "clamp", "OPUS", 1, "samples past full scale were clamped"),
    ],
)
def test_what_becomes_of_peaks(
    tmp_path: Path, suffix: str, options: dict, mode: str, subtype: str, peak: float, note: str | None
) -> None:
    written = in_blocks(tmp_path / f"a{suffix}", LOUD, 48000, 5000, clip_mode=mode, **options)
    y = decode(written.path)[0]
    assert written.subtype == probe(written.path).subtype == subtype
    assert y.shape == LOUD.shape
    assert np.abs(y).max() == pytest.approx(peak, rel=0.05 if suffix in (".ogg", ".opus", ".mp3") else 1e-4)
    assert (written.note is None) == (note is None)
    assert note is None or note in (written.note or "")
    turned = "turned down" in (note or "")
    assert written.gain_db == pytest.approx(-1.9382 if turned else 0, abs=1e-4)
    past = int((np.abs(LOUD) > 1).sum())
    assert written.clamped == (past if mode == "clamp" else 0)
    if mode == "clamp":
        assert f"{past} samples past" in (written.note or "")
    if suffix in (".wav", ".flac"):
        wanted = np.clip(LOUD, -1, 1) if mode == "clamp" else LOUD / np.abs(LOUD).max() if turned else LOUD
        assert np.abs(y - wanted).max() <= 2**-15


@pytest.mark.parametrize("mode", ["none", "rescale", "clamp"])
def test_modes_do_nothing_without_peaks(tmp_path: Path, mode: audio.ClipMode) -> None:
    x = np.array([[1, -1, 0.5, 0]], np.float32)  # full scale itself is not past it
    for suffix in LOSSLESS:
        written = encode(tmp_path / f"{mode}{suffix}", x, 8000, clip_mode=mode)
        assert (written.gain_db, written.subtype) == (0, "PCM_16")
        assert written.note == "1 sample of +1.0 was stored one step lower, the last that PCM_16 has"
        assert written.clamped == 1
        assert np.abs(decode(written.path)[0] - x).max() <= 2**-15


@pytest.mark.parametrize(("subtype", "step"), [("PCM_16", 2.0**-15), ("PCM_24", 2.0**-23)])
@pytest.mark.parametrize("mode", ["none", "rescale", "clamp"])
def test_what_is_not_noted_adds_up(tmp_path: Path, subtype: str, step: float, mode: audio.ClipMode) -> None:
    """Samples next to full scale: each is stored to half a step, or counted."""
    x = np.array([[1 - step, 1 - 0.75 * step, -1, 0.5], [1, 1 - 0.5 * step, -1 + step, 0]], np.float32)
    written = encode(tmp_path / "a.wav", x, 8000, subtype=subtype, clip_mode=mode)
    wrong = np.abs(decode(written.path)[0].astype(np.float64) - x) >= 0.5 * step
    assert written.clamped == wrong.sum() == 2
    assert written.note == f"2 samples of +1.0 were stored one step lower, the last that {subtype} has"
    written = encode(tmp_path / "a.wav", x[:1], 8000, subtype=subtype, clip_mode=mode)
    assert (written.note, written.clamped) == (None, 0)
    written = encode(tmp_path / "a.wav", x, 8000, subtype="FLOAT", clip_mode=mode)
    assert (written.note, written.clamped) == (None, 0)


class Stopped(BaseException):
    """As Ctrl-C is."""


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("error", [KeyboardInterrupt, Stopped, ValueError, OSError, AudioError])
@pytest.mark.parametrize("mode", ["none", "rescale", "clamp"])
@pytest.mark.parametrize("there", [False, True])
def test_what_breaks_off_leaves_nothing_behind(
    tmp_path: Path, error: type[BaseException], mode: audio.ClipMode, there: bool
) -> None:
    path = tmp_path / "a.flac"
    if there:
        encode(path, tone(440, 0.1, 8000), 8000)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    x = tone_and_noise(1, 48000)
    out = Writer(path, 48000, 1, clip_mode=mode)
    with pytest.raises(error, match="broken off"), out:  # noqa: PT012
        out.write(x)
        assert len(list(tmp_path.iterdir())) >= 1 + there  # something waits beside it
        raise error("broken off")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    with pytest.raises(AudioError, match="is not written yet"):
        _ = out.written


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("call", ["write", "close"])
def test_ctrl_c_in_the_second_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    real = getattr(soundfile.SoundFile, call)
    calls = []

    def interrupted(self: soundfile.SoundFile, *args: object) -> None:
        calls.append(self)
        if len(calls) == 1:
            raise KeyboardInterrupt
        real(self, *args)

    with pytest.raises(KeyboardInterrupt), Writer(tmp_path / "a.flac", 48000, 1) as out:  # noqa: PT012
        out.write(tone_and_noise(1, 48000))
        monkeypatch.setattr(soundfile.SoundFile, call, interrupted)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("small_memory")
def test_a_disk_that_fills_while_samples_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(tempfile.SpooledTemporaryFile):  # type: ignore[type-arg]
        def write(self, data: bytes) -> int:  # type: ignore[override]
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", Full)
    with pytest.raises(
        AudioError, match=r"cannot write .*a\.wav \(WAV, 1 channels at 8000 Hz\): No space left on device"
    ):
        encode(tmp_path / "a.wav", tone(440, 0.1, 8000), 8000)
    assert list(tmp_path.iterdir()) == []


FULL = """
import json, resource, sys
from pathlib import Path
from soundsieve import audio
from soundsieve.errors import AudioError
import numpy as np
folder, suffix = Path(sys.argv[1]), sys.argv[2]
x = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 200_000)).astype(np.float32)
size = audio.encode(folder / f"whole{suffix}", x, 48000).path.stat().st_size
said = []
for limit in (10, size // 2, size - 5000, size - 100, size - 1):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        audio.encode(folder / f"a{suffix}", x, 48000, clip_mode="clamp")
        said.append("written")
    except AudioError as error:
        said.append(str(error))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(json.dumps([said, sorted(path.name for path in folder.iterdir())]))
"""


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".caf", ".w64"])
def test_a_file_that_finds_no_room_is_no_file(tmp_path: Path, suffix: str) -> None:
    """The system itself refuses bytes past a limit, also the very last ones, which libsndfile does not report."""
    import json

    command = [sys.executable, "-c", FULL, str(tmp_path), suffix]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    said, left = json.loads(done.stdout)
    assert left == [f"whole{suffix}"]
    for line in said:
        assert re.search(r"cannot write .*: ", line), line
        assert "\n" not in line
    assert all(line.endswith("File too large") for line in said[1:])


def test_a_full_device(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with (
        pytest.raises(AudioError, match="No space left on device"),
        open("/dev/full", "wb") as full,
    ):
        in_blocks(full, tone(440, 1, 8000), 8000, 1000)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("container", "options", "magic"),
    [("WAV", {}, b"RIFF"), ("FLAC", {"container": "FLAC"}, b"fLaC"), ("OGG", {"container": "OGG"}, b"OggS")],
)
def test_a_stream_gets_the_finished_file(container: str, options: dict, magic: bytes) -> None:
    x = tone(440, 1, 48000)
    stream = io.BytesIO()
    with Writer(stream, 48000, 1, **options) as out:
        out.write(x)
        assert stream.getvalue() == b""
    assert out.written.container == container
    assert stream.getvalue().startswith(magic)
    assert decode(stream.getvalue())[0].shape == x.shape
    with pytest.raises(RuntimeError, match="off"), Writer(stream := io.BytesIO(), 48000, 1) as out:  # noqa: PT012
        out.write(x)
        raise RuntimeError("off")
    assert stream.getvalue() == b""


def test_a_hyphen_is_standard_output(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    with Writer("-", 8000, 1) as out:
        out.write(tone(440, 0.1, 8000))
    assert str(out.written.path) == "standard output"
    assert decode(capsysbinary.readouterr().out)[0].shape == (1, 800)


def test_a_reader_that_went_away_is_told() -> None:
    outlet, inlet = os.pipe()
    os.close(outlet)
    with pytest.raises(AudioError, match="Broken pipe"), os.fdopen(inlet, "wb", buffering=0) as pipe:
        in_blocks(pipe, tone(440, 1, 8000), 8000, 1000)  # type: ignore[arg-type]


@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize(
    ("subtype", "mode"),
    [("PCM_16", "none"), ("PCM_24", "rescale"), ("PCM_32", "clamp"), ("FLOAT", "none"), ("DOUBLE", "none")],
)
def test_a_wav_past_its_size_goes_on_as_rf64(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtype: str, mode: audio.ClipMode
) -> None:
    x = tone_and_noise(4, 48000, channels=2)
    plain = in_blocks(tmp_path / "plain.wav", x, 48000, 10_000, subtype=subtype, clip_mode=mode)
    monkeypatch.setattr(writer, "_SIZE_LIMITS_BYTES", {"WAV": 500_000, "AIFF": 500_000})
    written = in_blocks(tmp_path / "a.wav", x, 48000, 10_000, subtype=subtype, clip_mode=mode)
    assert (plain.container, written.container, probe(written.path).format) == ("WAV", "RF64", "RF64")
    assert written.note == "it is larger than 4 GiB, so it was written as RF64"
    assert np.array_equal(decode(written.path)[0], decode(plain.path)[0])
    with pytest.raises(AudioError, match=r"AIFF holds at most 4 GiB: write \.w64"):
        in_blocks(tmp_path / "a.aiff", x, 48000, 10_000, subtype=subtype, clip_mode=mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "plain.wav"]


@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64"])
def test_a_wav_keeps_its_kind(tmp_path: Path, container: str) -> None:
    path = tmp_path / "a.wav"
    assert in_blocks(path, tone(440, 0.1, 8000), 8000, 100, container=container).container == container
    info = probe(path)
    assert info.format == container
    assert output_container(info, ".wav") == container
    assert output_container(info, ".flac") is None


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("a.xyz", 8000, 1), {}, "'.xyz' is not one of .wav"),
        (("a.m4a", 8000, 1), {}, "'.m4a' is not one of .wav"),
        (("a.wav", 8000, 1), {"subtype": "PCM_17"}, "WAV does not hold PCM_17"),
        (("a.wav", 8000, 1), {"container": "ZIP"}, "ZIP does not hold PCM_16"),
        (("a.wav", 8000, 1), {"clip_mode": "loud"}, "no clip mode 'loud': there are none, rescale, clamp"),
        (("a.mp3", 44100, 3), {}, "cannot write a.mp3 (MP3, 3 channels at 44100 Hz)"),
        (("a.opus", 44100, 1), {}, "cannot write a.opus (OGG, 1 channels at 44100 Hz)"),
        (("a.mp3", 96000, 1), {}, "cannot write a.mp3 (MP3, 1 channels at 96000 Hz)"),
        (("a.wav", 0, 1), {}, "cannot write a.wav (WAV, 1 channels at 0 Hz)"),
        (("a.wav", -8000, 1), {}, "cannot write a.wav (WAV, 1 channels at -8000 Hz)"),
        (("a.wav", 8000, 0), {}, "cannot write a.wav (WAV, 0 channels at 8000 Hz)"),
        (("a.wav", 8000, 70000), {}, "cannot write a.wav (WAV, 70000 channels at 8000 Hz)"),
        (("b" * 300 + ".wav", 8000, 1), {}, "File name too long"),
        (("file/a.wav", 8000, 1), {}, "File exists"),
        (("", 8000, 1), {}, "'' is not one of .wav"),
    ],
)
def test_what_cannot_be_written_is_told_before_the_first_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple, options: dict, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("words")
    with pytest.raises(AudioError, match=re.escape(message)) as caught:
        Writer(*arguments, **options).__enter__()
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (np.zeros((1, 10)), "expected samples of shape (2, n), got (1, 10)"),
        (np.zeros(10), "expected samples of shape (2, n), got (10,)"),
        (np.zeros((2, 2, 10)), "expected samples of shape (2, n), got (2, 2, 10)"),
        (np.full((2, 4000), np.nan), "4000 samples are not finite, the first at 0.500 s"),
        (np.full((2, 4000), np.inf), "the first at 0.500 s"),
    ],
)
def test_blocks_that_do_not_fit(tmp_path: Path, block: np.ndarray, message: str) -> None:
    with pytest.raises(AudioError, match=re.escape(message)), Writer(tmp_path / "a.wav", 8000, 2) as out:  # noqa: PT012
        out.write(np.zeros((2, 4000), np.float32))
        out.write(block.astype(np.float32))
    assert list(tmp_path.iterdir()) == []


def test_a_recording_without_samples_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="it would hold no samples"), Writer(tmp_path / "a.wav", 8000, 1) as out:
        out.write(np.zeros((1, 0), np.float32))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(AudioError, match="Permission denied"):
        encode(tmp_path / "a.wav", tone(440, 0.1, 8000), 8000)


def test_memory_does_not_grow_with_the_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    monkeypatch.setattr(writer, "_HELD_IN_MEMORY_BYTES", 1 << 18)
    block = np.random.default_rng(0).uniform(-1.5, 1.5, (2, 48000)).astype(np.float32)

    def peak(mode: audio.ClipMode, seconds: int) -> int:
        tracemalloc.start()
        with Writer(tmp_path / "a.wav", 48000, 2, clip_mode=mode) as out:
            for _ in range(seconds):
                out.write(block)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    for mode in ("none", "rescale", "clamp"):
        assert peak(mode, 30) < 1.1 * peak(mode, 5) < 12 * block.nbytes


def test_what_is_written_may_be_read_by_others(tmp_path: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)

    def made(name: str) -> int:
        return (tmp_path / name).stat().st_mode & 0o777

    encode(tmp_path / "new.wav", LOUD, 48000)
    assert made("new.wav") == 0o666 & ~mask
    (tmp_path / "old.wav").write_bytes(b"")
    (tmp_path / "old.wav").chmod(0o640)
    encode(tmp_path / "old.wav", LOUD, 48000)
    assert made("old.wav") == 0o640
