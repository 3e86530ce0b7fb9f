from __future__ import annotations

import io
import os
import re
import struct
import tempfile
import threading
import tracemalloc
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signals import tone, tone_and_noise

from soundsieve import audio
from soundsieve.audio import Reader, decode, encode, probe
from soundsieve.errors import AudioError

REAL = ["dog.wav", "sheep.flac", "knock.ogg", "whistle.mp3", "coin.opus"]


def written(path: Path, samples: int = 120_001) -> np.ndarray:
    """White noise, in which every sample tells where it stands, as a file; what libsndfile reads of it in one go."""
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (2, samples)).astype(np.float32)
    encode(path, x, 48000)
    return soundfile.read(path, dtype="float32", always_2d=True)[0].T


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary copies."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("suffix", sorted(audio.CONTAINERS))
def test_blocks_and_parts_are_the_whole_cut_up(tmp_path: Path, suffix: str) -> None:
    whole = written(tmp_path / f"a{suffix}")
    with Reader(tmp_path / f"a{suffix}") as recording:
        assert recording.info.samples == whole.shape[1]
        for samples in (1000, 65536, 100_000, 10**15):
            blocks = list(recording.blocks(samples))
            assert [block.shape[1] for block in blocks[:-1]] == [samples] * (len(blocks) - 1)
            assert all(block.flags.c_contiguous and block.dtype == np.float32 for block in blocks)
            assert np.array_equal(np.concatenate(blocks, axis=1), whole)
        # Back and forth: libsndfile's own seek misses the place in Vorbis.
        for start, stop in ((60_000, 60_100), (5, 10), (119_990, 120_001), (30_000, 110_000), (0, 1)):
            assert np.array_equal(recording.read(start, stop), whole[:, start:stop])
        assert np.array_equal(recording.read(), whole)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    length=st.integers(1, 3000),
    rate=st.sampled_from([8000, 11025, 22050, 44100, 96000, 192_000]),
    channels=st.integers(1, 8),
    suffix=st.sampled_from([".wav", ".flac", ".aiff", ".caf", ".w64", ".rf64", ".au", ".ogg"]),
    block=st.integers(1, 4000),
)
def test_length_rate_and_channels_survive(
    tmp_path: Path, length: int, rate: int, channels: int, suffix: str, block: int
) -> None:
    x = np.random.default_rng(length).uniform(-1, 1, (channels, length)).astype(np.float32)
    encode(tmp_path / f"a{suffix}", x, rate)
    with Reader(tmp_path / f"a{suffix}") as recording:
        info = recording.info
        y = np.concatenate(list(recording.blocks(block)), axis=1)
    assert (info.sample_rate, info.channels, info.samples) == (rate, channels, length)
    assert y.shape == x.shape
    if suffix != ".ogg":
        assert np.abs(y - x).max() <= 2**-15  # half a step, and a whole one at +1


@pytest.mark.parametrize("name", REAL)
def test_bytes_streams_and_pipes_read_as_the_file_does(clips: Path, name: str, tmp_path: Path, temporary: Path) -> None:
    data = (clips / name).read_bytes()
    whole, rate = decode(clips / name)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    outlet, inlet = os.pipe()

    def feed() -> None:
        with os.fdopen(inlet, "wb") as end:
            end.write(data)

    feeders = [threading.Thread(target=fifo.write_bytes, args=(data,)), threading.Thread(target=feed)]
    for feeder in feeders:
        feeder.start()
    with (clips / name).open("rb") as file, os.fdopen(outlet, "rb") as pipe:
        for source in (data, io.BytesIO(data), file, fifo, pipe, str(clips / name)):
            with Reader(source) as recording:  # type: ignore[arg-type]
                assert recording.info.sample_rate == rate
                assert np.array_equal(recording.read(), whole)
    for feeder in feeders:
        feeder.join()
    assert list(temporary.iterdir()) == []


class Standard:
    """Standard input, as a program sees it."""

    def __init__(self, data: bytes, terminal: bool = False) -> None:
        self.buffer = io.BytesIO(data)
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def test_a_hyphen_is_standard_input(clips: Path, monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    monkeypatch.setattr("sys.stdin", Standard((clips / "dog.wav").read_bytes()))
    with Reader("-") as recording:
        assert np.array_equal(recording.read(), decode(clips / "dog.wav")[0])
        assert str(recording.info.path) == "standard input"
        assert len(list(temporary.iterdir())) == 1
    assert list(temporary.iterdir()) == []
    for stdin, message in {
        Standard(b""): "standard input is empty (0 bytes)",
        Standard(b"words " * 99): "standard input is damaged or not a recording",
        Standard(b"", terminal=True): "standard input is a terminal",
        None: "standard input is a terminal",
    }.items():
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(AudioError, match=re.escape(message)):
            Reader("-")
    assert list(temporary.iterdir()) == []


def test_a_temporary_folder_that_is_full_says_so(monkeypatch: pytest.MonkeyPatch, clips: Path) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(
        AudioError, match=r"cannot copy the recording in memory to the temporary folder .*No space left"
    ):
        Reader((clips / "dog.wav").read_bytes())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "the recording in memory is empty (0 bytes)"),
        (b"x", "the recording in memory is damaged or not a recording"),
        (io.BytesIO(b""), "the stream given is empty (0 bytes)"),
        (io.StringIO("words"), "cannot copy the stream given"),
        ("/dev/null", "/dev/null is a device or a socket"),
        ("/dev/zero", "/dev/zero is a device or a socket"),
        ("a\0b", "no file at"),
        ("x" * 5000, "no file at"),
        ("ü/音/\udcff.wav", "no file at"),
        (3, "a recording is a path, bytes or a binary stream; got int"),
        (None, "got NoneType"),
    ],
)
def test_sources_that_are_none(source: object, message: str, temporary: Path) -> None:
    with pytest.raises(AudioError, match=re.escape(message)):
        Reader(source)  # type: ignore[arg-type]
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("stem", ["ü ñ 音 🎵", "-", "a\nb", "%d", "b" * 251, os.fsdecode(b"bad\xff")])
def test_names_of_every_kind(tmp_path: Path, stem: str) -> None:
    x = tone(440, 0.1, 8000)
    encode(tmp_path / f"{stem}.wav", x, 8000)
    assert decode(tmp_path / f"{stem}.wav")[0].shape == x.shape
    assert [path.name for path in tmp_path.iterdir()] == [f"{stem}.wav"]


@pytest.mark.parametrize("length", [1, 2, 7])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".opus"])
def test_a_few_samples_are_a_recording(tmp_path: Path, suffix: str, length: int) -> None:
    encode(tmp_path / f"a{suffix}", np.full((2, length), 0.25, np.float32), 48000)
    with Reader(tmp_path / f"a{suffix}") as recording:
        assert [block.shape for block in recording.blocks(48000)] == [(2, length)]


@pytest.mark.parametrize("value", [0.0, 0.5, -1.0])
def test_silence_and_constants_stay_what_they_are(tmp_path: Path, value: float) -> None:
    for suffix in (".wav", ".flac", ".aiff"):
        encode(tmp_path / f"a{suffix}", np.full((1, 70_000), value, np.float32), 48000)
        assert (decode(tmp_path / f"a{suffix}")[0] == value).all()


def test_a_clipped_recording_is_read_as_it_is(tmp_path: Path) -> None:
    x = np.clip(4 * tone_and_noise(1, 8000), -1, 32767 / 32768)
    written = encode(tmp_path / "a.wav", x, 8000)
    assert written.note is None
    assert np.abs(decode(tmp_path / "a.wav")[0]).max() == 1


def without_its_length(path: Path) -> None:
    """Drop the first frame of an MP3, which says how many there are."""
    data = path.read_bytes()
    assert b"Xing" in data[:200] or b"Info" in data[:200]
    path.write_bytes(data[data.index(data[:2], 4) :])


def test_mpeg_audio_that_does_not_tell_its_length_is_counted(tmp_path: Path) -> None:
    rate = 44100
    quiet, loud = np.zeros((1, rate), np.float32), tone_and_noise(3, rate)
    for name, x in {"quiet-first": np.hstack([quiet, loud]), "loud-first": np.hstack([loud, quiet])}.items():
        path = tmp_path / f"{name}.mp3"
        soundfile.write(path, x.T, rate, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="VARIABLE")
        whole = decode(path)[0]
        assert whole.shape == x.shape
        without_its_length(path)
        guessed = soundfile.info(path).frames
        with Reader(path) as recording:
            y = np.concatenate(list(recording.blocks(10_000)), axis=1)
            assert y.shape == (1, recording.info.samples)
            assert 0 <= y.shape[1] - x.shape[1] <= 2 * 1152  # the encoder's delay and padding cannot be told either
            assert abs(guessed - x.shape[1]) > rate / 2  # what libsndfile makes of it
            assert np.array_equal(recording.read(50_000, 50_100), y[:, 50_000:50_100])
            assert np.array_equal(recording.read(5, 9), y[:, 5:9])


def test_flac_from_a_live_encoder_is_counted(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.flac", 70_000)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] &= 0xF0  # the 36-bit number of samples in STREAMINFO: 0 is "not known"
    data[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(data)
    with Reader(tmp_path / "a.flac") as recording:
        assert recording.info.samples == 70_000
        assert np.array_equal(recording.read(), whole)
        assert np.array_equal(recording.read(100, 200), whole[:, 100:200])


def forged(suffix: str, at: int | bytes, value: bytes) -> bytes:
    """A recording with some bytes of its header replaced, at a place or behind a name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        encode(path, tone_and_noise(0.5, 48000, channels=2), 48000)
        data = bytearray(path.read_bytes())
    place = at if isinstance(at, int) else data.index(at) + len(at)
    data[place : place + len(value)] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("suffix", "at", "value", "message"),
    [
        (".wav", 22, struct.pack("<H", 65535), "recording"),
        (".wav", 22, struct.pack("<H", 1000), "channels"),
        (".wav", 22, struct.pack("<H", 0), "recording"),
        (".wav", 24, struct.pack("<I", 0), "recording"),
        (".wav", 24, struct.pack("<I", 1), "sample rate of 1 Hz"),
        (".wav", 24, struct.pack("<I", 4_000_000_000), "recording"),
        (".wav", 24, struct.pack("<I", 2_000_000_000), "sample rate of 2000000000 Hz"),
        (".wav", 40, struct.pack("<I", 1 << 30), "cut short"),
        (".flac", 21, b"\xff\xff\xff\xff\xff", "hours, which"),
        (".flac", 21, b"\xf0\x00\x10\x00\x00", "cut short|damaged"),
        (".caf", b"data", struct.pack(">q", 2**62), ""),
        (".w64", 104 - 8, struct.pack("<q", 2**62), ""),
        (".au", 8, struct.pack(">I", 0x7FFF0000), ""),
        (".au", 16, struct.pack(">I", 4_000_000_000), "recording"),
        (".au", 20, struct.pack(">I", 65535), "recording"),
        (".aiff", b"COMM\x00\x00\x00\x12\x00\x02", struct.pack(">I", 0xFFFFFFFF), ""),
        (".ogg", -1, b"", ""),
        (".opus", 9, b"\xff", "recording"),
    ],
)
def test_what_a_forged_header_claims_is_not_believed(suffix: str, at: int | bytes, value: bytes, message: str) -> None:
    tracemalloc.start()
    found = outcome(forged(suffix, at, value))
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()
    if isinstance(found, str):
        assert re.search(message, found), found
    else:
        assert not message  # then the claim is simply not believed, and what is there is read
        assert found.shape == (2, 24000)


def outcome(data: bytes) -> np.ndarray | str:
    """The samples, or the one line that says why there are none."""
    try:
        return decode(data)[0]
    except AudioError as error:
        text = str(error)
    assert "\n" not in text
    return text


def ogg_checksum(page: bytes) -> bytes:
    """CRC-32 as in RFC 3533: generator 0x04c11db7, nothing reflected, starting from 0."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1
        crc &= 0xFFFFFFFF
    return crc.to_bytes(4, "little")


@pytest.mark.parametrize("claim", [2**30, 2**50, 2**62, 2**63 - 1])
@pytest.mark.parametrize("suffix", [".ogg", ".opus"])
def test_an_ogg_page_that_claims_a_long_recording(tmp_path: Path, suffix: str, claim: int) -> None:
    """The position that the last page names is the length; at most the last packet is then not cut to it."""
    encode(tmp_path / f"a{suffix}", tone_and_noise(0.5, 48000), 48000)
    data = (tmp_path / f"a{suffix}").read_bytes()
    last = data.rindex(b"OggS")
    page = data[last : last + 6] + claim.to_bytes(8, "little") + data[last + 14 :]
    page = page[:22] + bytes(4) + page[26:]
    page = page[:22] + ogg_checksum(page) + page[26:]
    found = outcome(data[:last] + page)
    assert re.search("hours, which|cut short|damaged", found) if isinstance(found, str) else found.shape[1] < 28096


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    block = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 48000)).astype(np.float32)
    peaks = []
    for seconds in (5, 40):
        with audio.Writer(tmp_path / "a.wav", 48000, 2, subtype="FLOAT") as out:
            for _ in range(seconds):
                out.write(block)
        tracemalloc.start()
        with Reader(tmp_path / "a.wav") as recording:
            for part in recording.blocks(48000):
                assert part.shape == (2, 48000)
            recording.read(48000 * (seconds - 1), 48000 * seconds)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] < 8 * block.nbytes


def test_a_value_that_is_not_finite_is_placed_in_the_whole(tmp_path: Path) -> None:
    x = np.zeros((100_000, 2), np.float32)
    x[90_000, 1] = np.nan
    soundfile.write(tmp_path / "a.wav", x, 8000, subtype="FLOAT")
    with Reader(tmp_path / "a.wav") as recording:
        assert sum(block.shape[1] for block in islice(recording.blocks(1000), 90)) == 90_000
        with pytest.raises(AudioError, match=r"1 samples are not finite, the first at 11\.250 s"):
            list(recording.blocks(1000))
        with pytest.raises(AudioError, match=r"the first at 11\.250 s"):
            recording.read(80_000, 100_000)
        assert recording.read(0, 90_000).shape == (2, 90_000)


def test_a_peak_in_whose_squares_numbers_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    for scale in (1e30, -1e30):
        soundfile.write(path, np.array([0, scale, 0.5], np.float32), 8000, subtype="FLOAT")
        with pytest.raises(AudioError, match=rf"{path} has a peak of 1e\+30"):
            decode(path)
    soundfile.write(path, np.array([0, 2**31, -(2.0**31)], np.float32), 8000, subtype="FLOAT")  # unscaled integers
    assert decode(path)[0].max() == 2**31


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (5, 5), (6, 5), (0, 8001), (8000, 8001)])
def test_a_part_that_is_not_there(tmp_path: Path, start: int, stop: int) -> None:
    encode(tmp_path / "a.wav", tone(440, 1, 8000), 8000)
    with Reader(tmp_path / "a.wav") as recording:
        with pytest.raises(AudioError, match=r"lasts 1\.000 s: there is no part from"):
            recording.read(start, stop)
        with pytest.raises(AudioError, match="at least 1 sample"):
            list(recording.blocks(0))


def test_a_flac_that_breaks_off_gives_what_it_holds_first(tmp_path: Path) -> None:
    written(tmp_path / "a.flac")
    data = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(data[: len(data) // 2])
    assert probe(tmp_path / "a.flac").samples == 120_001  # nothing but decoding can tell
    given = []
    with Reader(tmp_path / "a.flac") as recording, pytest.raises(AudioError, match=r"cut short|damaged"):
        given.extend(recording.blocks(10_000))
    assert 3 < len(given) < 9


def test_a_failed_reader_leaves_no_file_open(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("words " * 100)
    encode(tmp_path / "rate.wav", tone(440, 0.1, 8000), 8000)
    data = bytearray((tmp_path / "rate.wav").read_bytes())
    data[24:28] = struct.pack("<I", 1)
    (tmp_path / "rate.wav").write_bytes(data)
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for name in ("text.wav", "rate.wav"):
        with pytest.raises(AudioError):
            Reader(tmp_path / name)
    if before:
        assert len(os.listdir("/proc/self/fd")) == before
