from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from soundsieve.audio import Reader, decode, encode
from soundsieve.audio.links import View, links
from soundsieve.errors import AudioError


def noise(samples: int, channels: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (channels, samples)).astype(np.float32)


def made(path: Path, samples: int, rate: int = 24000, channels: int = 2) -> bytes:
    encode(path, noise(samples, channels, samples), rate)
    return path.read_bytes()


def id3(picture_bytes: int, padding: int = 0) -> bytes:
    """An ID3v2.3 tag with a cover picture of random bytes."""
    picture = np.random.default_rng(1).integers(0, 256, picture_bytes, dtype=np.uint8).tobytes()
    frame = b"\0image/jpeg\0\x03\0" + picture
    body = b"APIC" + len(frame).to_bytes(4, "big") + b"\0\0" + frame + bytes(padding)
    n = len(body)
    return b"ID3\x03\0\0" + bytes([n >> 21 & 127, n >> 14 & 127, n >> 7 & 127, n & 127]) + body


def without_header(mp3: bytes) -> bytes:
    """An MP3 that does not tell its length: its Xing or Info header is made a frame of silence."""
    return mp3.replace(b"Xing", bytes(4)).replace(b"Info", bytes(4))


@pytest.mark.parametrize("suffix", [".mp3", ".flac", ".wav", ".ogg"])
@pytest.mark.parametrize(("picture", "padding"), [(10, 0), (30_000, 1000), (60_000, 0), (1_000_000, 3000)])
def test_a_picture_of_any_size_may_stand_before_the_sound(
    tmp_path: Path, suffix: str, picture: int, padding: int
) -> None:
    data = made(tmp_path / f"a{suffix}", 20_000)
    assert np.array_equal(decode(id3(picture, padding) + data)[0], decode(data)[0])


def test_a_tagged_mp3_without_a_length_is_counted(tmp_path: Path) -> None:
    data = without_header(made(tmp_path / "a.mp3", 20_000))
    assert np.array_equal(decode(id3(200_000) + data)[0], decode(data)[0])


def test_a_tag_alone_or_one_that_never_ends_is_no_recording(tmp_path: Path) -> None:
    for data in (id3(60_000), id3(60_000)[:-1000], b"ID3\x03\0\0\x7f\x7f\x7f\x7f" + bytes(5000), b"ID3"):
        with pytest.raises(AudioError, match="not a recording"):
            decode(data)


@pytest.mark.parametrize("suffix", [".ogg", ".opus", ".mp3"])
@pytest.mark.parametrize("lengths", [(22_400, 22_400), (5_000, 90_000, 7_001)])
def test_of_joined_files_all_is_read(tmp_path: Path, suffix: str, lengths: tuple[int, ...]) -> None:
    parts = [made(tmp_path / f"{n}{suffix}", n) for n in lengths]
    expected = np.concatenate([decode(part)[0] for part in parts], axis=1)
    path = tmp_path / f"joined{suffix}"
    path.write_bytes(b"".join(parts))
    with Reader(path) as recording:
        assert recording.info.samples == expected.shape[1] == sum(lengths)
        assert np.array_equal(recording.read(), expected)
        assert np.array_equal(np.concatenate(list(recording.blocks(4000)), axis=1), expected)
        for start, stop in ((lengths[0] - 10, lengths[0] + 10), (3, 40), (sum(lengths) - 5, sum(lengths)), (0, 1)):
            assert np.array_equal(recording.read(start, stop), expected[:, start:stop])


def test_of_joined_tagged_mp3s_all_is_read(tmp_path: Path) -> None:
    data = made(tmp_path / "a.mp3", 30_000)
    one = id3(70_000) + data + b"TAG" + bytes(125)
    assert np.array_equal(decode(one + one)[0], np.concatenate([decode(data)[0]] * 2, axis=1))


def test_an_mp3_without_a_header_behind_one_with_it_is_read(tmp_path: Path) -> None:
    first, second = made(tmp_path / "a.mp3", 30_000), without_header(made(tmp_path / "b.mp3", 40_000))
    expected = np.concatenate([decode(first)[0], decode(second)[0]], axis=1)
    assert np.array_equal(decode(first + second)[0], expected)


def with_size(mp3: bytes, size: int | None) -> bytes:
    """An MP3 whose Info or Xing header tells another size, or none."""
    at = max(mp3.find(b"Xing"), mp3.find(b"Info"))
    assert at > 0
    assert mp3[at + 7] & 3 == 3
    if size is None:  # the fields that follow keep their places: frames alone
        return mp3[: at + 7] + b"\x01" + mp3[at + 8 :]
    return mp3[: at + 12] + size.to_bytes(4, "big") + mp3[at + 16 :]


@pytest.mark.parametrize("size", [1, 300, 5000, 10_000_000, None])
def test_frames_know_better_than_a_wrong_size(tmp_path: Path, size: int | None) -> None:
    data = made(tmp_path / "a.mp3", 90_000)
    wrong = with_size(data, size)
    with Reader(wrong) as recording:
        assert recording.info.samples == recording.read().shape[1] >= 90_000
    if size != 10_000_000:
        assert decode(wrong + data)[0].shape[1] >= 180_000


@pytest.mark.parametrize("suffix", [".ogg", ".mp3"])
@pytest.mark.parametrize(("rate", "channels"), [(48000, 2), (24000, 1)])
def test_joined_files_of_two_forms_are_refused(tmp_path: Path, suffix: str, rate: int, channels: int) -> None:
    data = made(tmp_path / f"a{suffix}", 30_000) + made(tmp_path / f"b{suffix}", 30_000, rate, channels)
    path = tmp_path / f"joined{suffix}"
    path.write_bytes(data)
    with pytest.raises(AudioError, match=f"{path} holds streams of 24000 Hz .* and {rate} Hz with {channels}"):
        decode(path)


def test_a_later_stream_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    data = made(tmp_path / "a.ogg", 30_000)
    with pytest.raises(AudioError, match="stream 2 in it cannot be read"):
        decode(data + data[:40])


def test_what_stands_behind_an_mp3_is_not_taken_for_sound(tmp_path: Path) -> None:
    data = made(tmp_path / "a.mp3", 30_000)
    for behind in (b"TAG" + bytes(125), bytes(10_000), id3(50_000), np.random.default_rng(0).bytes(20_000)):
        assert np.array_equal(decode(data + behind)[0], decode(data)[0])


def test_a_view_is_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(range(100)))
    assert links(path) == [(0, 100)]
    with View(path, (10, 30)) as view:
        assert (view.readable(), view.seekable(), view.seek(0, 2), view.tell()) == (True, True, 20, 20)
        assert view.read(5) == b""
        assert (view.seek(-3, 1), view.read(10)) == (17, bytes(range(27, 30)))
        assert (view.seek(2), view.read()) == (2, bytes(range(12, 30)))
