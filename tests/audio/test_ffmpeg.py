"""What libsndfile cannot read, by way of ffmpeg: a stand-in on the PATH, and the real one where there is one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from signals import tone

from soundsieve import audio
from soundsieve.audio import Reader, decode, encode, ffmpeg, output_subtype, probe
from soundsieve.errors import AudioError

M4A = b"\0\0\0\x20ftypM4A " + bytes(100)
FAKE = '''#!{python} -IS
"""Stands in for ffmpeg: writes one second of stereo as 32-bit float AU, and does what its name asks for."""
import json, os, struct, sys, time
with open({log!r}, "w") as log:
    json.dump([sys.argv[1:], sys.stdin.read() if not sys.stdin.isatty() else None, os.getpid()], log)
out = sys.stdout.buffer
way = {way!r}
if way == "fail":
    sys.exit("[mov,mp4 @ 0x5] moov atom not found\\n[in#0] Error opening input: Invalid data found when processing")
if way == "silent-fail":
    sys.exit(3)
if way == "nothing":
    sys.exit(0)
if way == "kill":
    os.kill(os.getpid(), 9)
out.write(b".snd" + struct.pack(">5I", 24, 0xFFFFFFFF, 6, 44100, 2))
for second in range(10):
    out.write(b"".join(struct.pack(">2f", 1.5, -0.25) for _ in range(4410)))
    out.flush()
    if way == "midway" and second == 4:
        sys.exit("[aac @ 0x5] Something broke")
    if way == "cut" and second == 4:
        print("[mov,mp4 @ 0x5] stream 0, offset 0x2c: partial file", file=sys.stderr)
        sys.exit(0)
    if way == "hang" and second == 4:
        time.sleep(60)
if way == "chatty":
    print("[aac @ 0x5] Number of bands exceeds limit", file=sys.stderr)
'''


class Fake:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log.json"

    def does(self, way: str) -> None:
        program = self.folder / "ffmpeg"
        program.write_text(FAKE.format(python=sys.executable, log=str(self.log), way=way))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def said(self) -> tuple[list[str], str, int]:
        import json

        arguments, stdin, process = json.loads(self.log.read_text())
        return arguments, stdin, process


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temporary: Path) -> Fake:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    made = Fake(tmp_path / "bin")
    made.does("well")
    return made


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.m4a"
    path.write_bytes(M4A)
    return path


@pytest.mark.parametrize("way", ["well", "chatty"])
def test_what_ffmpeg_decodes_is_a_recording_like_any_other(
    fake: Fake, recording: Path, temporary: Path, way: str
) -> None:
    fake.does(way)
    with Reader(recording) as found:
        assert (found.info.sample_rate, found.info.channels, found.info.samples) == (44100, 2, 44100)
        assert (found.info.path, found.info.format, found.info.subtype) == (recording, "MP4", "FFMPEG")
        x = found.read()
        assert (x[0] == 1.5).all()  # past full scale, and kept
        assert (x[1] == -0.25).all()
        assert [block.shape for block in found.blocks(40_000)] == [(2, 40_000), (2, 4100)]
        assert found.read(44_000, 44_100).shape == (2, 100)
        assert len(list(temporary.iterdir())) == 1
    assert list(temporary.iterdir()) == []
    assert output_subtype(found.info, ".wav") is None


def test_how_ffmpeg_is_called(fake: Fake, recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = recording.with_name("-i;$(touch x) ü.m4a")
    odd.write_bytes(M4A)
    monkeypatch.chdir(odd.parent)
    decode(odd.name)
    arguments, stdin, _ = fake.said()
    assert arguments[arguments.index("-i") + 1] == f"file:{odd}"  # whole, and never taken for an option or an address
    assert "-nostdin" in arguments
    assert arguments[arguments.index("-protocol_whitelist") + 1] == "file,pipe"
    assert arguments.index("-protocol_whitelist") < arguments.index("-i")
    allowed = arguments[arguments.index("-format_whitelist") + 1].split(",")
    assert not {"hls", "concat", "concatf", "dash", "lavfi", "image2", "sdp", "rtsp"} & set(allowed)
    assert arguments[-1] == "pipe:1"
    assert stdin == ""
    assert not (odd.parent / "x").exists()


def test_bytes_go_through_ffmpeg_too(fake: Fake, temporary: Path) -> None:
    assert decode(M4A)[0].shape == (2, 44100)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("fail", "is damaged or not a recording, says ffmpeg: Error opening input: Invalid data"),
        ("silent-fail", "is damaged or not a recording, says ffmpeg: status 3"),
        ("nothing", "holds no samples, says ffmpeg"),
        ("kill", "says ffmpeg: status -9"),
        ("midway", "is damaged or not a recording, says ffmpeg: Something broke"),
        ("cut", "is damaged or cut short, says ffmpeg: stream 0, offset 0x2c: partial file"),
    ],
)
def test_what_goes_wrong_in_ffmpeg_is_one_line(
    fake: Fake, recording: Path, temporary: Path, way: str, message: str
) -> None:
    fake.does(way)
    for use in (decode, probe):
        with pytest.raises(AudioError, match=re.escape(message)) as caught:
            use(recording)
        assert str(caught.value).startswith(str(recording))
        assert "\n" not in str(caught.value)
    assert list(temporary.iterdir()) == []


def test_an_ffmpeg_that_stands_still_is_ended(
    fake: Fake, recording: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.does("hang")
    monkeypatch.setattr(ffmpeg, "_STALL_S", 0.5)
    started = time.monotonic()
    with pytest.raises(AudioError, match="ffmpeg wrote nothing for"):
        decode(recording)
    assert time.monotonic() - started < 20
    with pytest.raises(ProcessLookupError):
        os.kill(fake.said()[2], 0)
    assert list(temporary.iterdir()) == []


def test_ctrl_c_ends_ffmpeg_as_well(fake: Fake, recording: Path, temporary: Path) -> None:
    fake.does("hang")

    def interrupt() -> None:
        while not fake.log.exists() or not fake.log.read_text().endswith("]"):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        decode(recording)
    thread.join()
    with pytest.raises(ProcessLookupError):
        os.kill(fake.said()[2], 0)
    assert list(temporary.iterdir()) == []


def test_without_ffmpeg_the_way_out_is_named(
    tmp_path: Path, recording: Path, monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for source in (recording, M4A, b"\x1a\x45\xdf\xa3" + bytes(100)):
        with pytest.raises(AudioError, match=r"needs ffmpeg to be read, and there is none on the PATH: install ffmpeg"):
            decode(source)
    with pytest.raises(AudioError, match="is damaged or not a recording"):
        decode(b"neither this nor that " * 9)
    assert list(temporary.iterdir()) == []


def test_a_program_that_does_not_start(fake: Fake, recording: Path) -> None:
    (fake.folder / "ffmpeg").write_text("#!/nonexistent/interpreter\n")
    with pytest.raises(AudioError, match="does not start: No such file or directory"):
        decode(recording)


def test_what_libsndfile_reads_does_not_wait_for_ffmpeg(fake: Fake, clips: Path) -> None:
    for path in sorted(clips.iterdir()):
        if path.suffix in audio.CONTAINERS:
            decode(path)
    assert not fake.log.exists()


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (M4A, "MP4"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "MOV"),
        (b"\x1a\x45\xdf\xa3" + bytes(50), "WEBM"),
        (b"RIFF\0\0\0\0AVI LIST", "AVI"),
        (b"\xff\xf1\x50\x80" + bytes(50), "AAC"),
        (b"#!AMR\n" + bytes(50), "AMR"),
        (b"plain words", None),
        (b"", None),
    ],
)
def test_kinds_are_told_by_their_first_bytes(tmp_path: Path, head: bytes, name: str | None) -> None:
    (tmp_path / "a").write_bytes(head)
    assert ffmpeg.container_of(tmp_path / "a", "", "Format not recognised") == name
    assert ffmpeg.container_of(tmp_path / "a", ".Mkv", "Format not recognised") == (name or "MKV")


def test_an_encoding_that_libsndfile_lacks_is_left_to_ffmpeg(tmp_path: Path) -> None:
    (tmp_path / "a.caf").write_bytes(b"caff" + bytes(20))
    (tmp_path / "a.flac").write_bytes(b"fLaC" + bytes(20))
    said = "Supported file format but unsupported encoding"
    assert ffmpeg.container_of(tmp_path / "a.caf", ".caf", said) == "CAF"
    assert ffmpeg.container_of(tmp_path / "a.caf", ".caf", "Supported file format but file is malformed") is None
    assert ffmpeg.container_of(tmp_path / "a.flac", ".flac", said) is None


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.m4a", ["-c:a", "aac", "-b:a", "192k"], 0.05),
        ("lossless.m4a", ["-c:a", "alac"], 2**-15),
        ("a.mp4", ["-c:a", "aac", "-b:a", "192k", "-movflags", "+faststart"], 0.05),
        ("a.mka", ["-c:a", "pcm_s16le"], 2**-15),
        ("a.webm", ["-c:a", "libopus", "-ar", "48000"], 0.05),
    ],
)
def test_the_real_ffmpeg(tmp_path: Path, name: str, options: list[str], tolerance: float) -> None:
    x = tone(440, 1.5, 48000)
    encode(tmp_path / "a.wav", x, 48000)
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-i", str(tmp_path / "a.wav"), *options]
    if subprocess.run([*command, str(tmp_path / name)], capture_output=True, check=False).returncode:
        pytest.skip("this ffmpeg lacks the encoder")
    y, rate = decode(tmp_path / name)
    assert rate == 48000
    assert y.shape[0] == 1
    assert 0 <= y.shape[1] - x.shape[1] < 2048
    assert np.abs(y[:, : x.shape[1]] - x).max() <= tolerance
    data = (tmp_path / name).read_bytes()
    with pytest.raises(AudioError, match="says ffmpeg"):
        decode(data[: len(data) // 2])


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_the_real_ffmpeg_follows_no_playlist(tmp_path: Path) -> None:
    encode(tmp_path / "a.wav", tone(440, 0.1, 8000), 8000)
    (tmp_path / "list.m4a").write_text("ffconcat version 1.0\nfile a.wav\n")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.wav\n#EXT-X-ENDLIST\n")
    for name in ("list.m4a", "list.mp4"):
        with pytest.raises(AudioError, match="says ffmpeg"):
            decode(tmp_path / name)
