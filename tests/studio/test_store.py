from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from studio_parts import RATE, samples, wav

from soundsieve import audio
from soundsieve.errors import AudioError
from soundsieve.studio.limits import FullError, GoneError, Limits, TooLargeError
from soundsieve.studio.store import Store, plain_name


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with Store(Limits(max_minutes=0.05, max_megabytes=0.5, max_recordings=5, max_recordings_each=2), tmp_path) as made:
        yield made


def test_a_recording_is_decoded_once_to_floats(store: Store) -> None:
    content = wav(0.5, channels=2, subtype="PCM_24")
    recording = store.add(content, "street.wav")
    assert (recording.name, recording.sample_rate, recording.channels, recording.seconds) == (
        "street.wav",
        RATE,
        2,
        0.5,
    )
    assert audio.probe(recording.path).subtype == "FLOAT"
    assert np.array_equal(samples(recording.path), samples(content))
    assert store.get(recording.id) is recording


def test_the_folder_is_private_and_goes_in_the_end(tmp_path: Path) -> None:
    with Store(folder=tmp_path) as store:
        recording = store.add(wav(), "a.wav")
        for folder in (store.folder, store.incoming, recording.folder):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(GoneError):
        store.get(recording.id)


@pytest.mark.parametrize("how", ["raises", "is terminated"])
def test_nothing_is_left_however_the_program_ends(how: str, tmp_path: Path) -> None:
    end = {"raises": "raise ValueError", "is terminated": "os.kill(os.getpid(), signal.SIGTERM)"}
    code = f"""
import os, signal, sys, time
from pathlib import Path
from soundsieve.studio.store import Store
def stop(*_): sys.exit(143)
signal.signal(signal.SIGTERM, stop)
store = Store(folder=Path({str(tmp_path)!r}))
store.add({wav(0.1)!r}, "a.wav")
assert any(store.folder.iterdir())
{end[how]}
"""
    subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_studio_left_goes_when_the_next_one_starts(tmp_path: Path) -> None:
    with Store(folder=tmp_path) as alive:
        dead = tmp_path / "soundsieve-studio-dead"
        shutil.copytree(alive.folder, dead)
        young = tmp_path / "soundsieve-studio-young"
        shutil.copytree(alive.folder, young)
        for folder in (dead, alive.folder):
            os.utime(folder, (0, 0))
        with Store(folder=tmp_path) as next_one:
            assert {*tmp_path.iterdir()} == {alive.folder, young, next_one.folder}


def test_ids_cannot_be_guessed(store: Store) -> None:
    ids = {store.add(wav(0.1, seed=seed), "a.wav").id for seed in range(3)}
    assert len(ids) == 3
    assert all(len(id) == 24 for id in ids)  # 18 random bytes
    for wrong in ("", "..", "../..", next(iter(ids))[:-1], "a.wav"):
        with pytest.raises(GoneError, match="this recording is not here"):
            store.get(wrong)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("street.wav", "street.wav"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\bark.wav", "bark.wav"),
        ("a\x00b\n\x1b[31m.wav", "ab[31m.wav"),
        ("\u202egpj.wav", "gpj.wav"),
        ("犬.flac", "犬.flac"),
        ("x" * 300 + ".flac", "x" * 120 + ".flac"),
        ("", "recording"),
        ("..", "recording"),
        ("/", "recording"),
    ],
)
def test_a_name_is_for_showing_and_never_a_path(name: str, shown: str, store: Store) -> None:
    assert plain_name(name) == shown
    recording = store.add(wav(0.1), name)
    assert recording.name == shown
    assert recording.path.parent.parent == store.folder


@pytest.mark.parametrize(
    ("content", "error", "complaint"),
    [
        (b"RIFF but not really" * 10, AudioError, "^street.wav is damaged or not a recording"),
        (b"", AudioError, "^street.wav is empty"),
        (wav(0.5)[:-4000], AudioError, "^street.wav is cut short"),
        (wav(3.1), AudioError, "^street.wav lasts longer than 3 seconds, the most that is taken: cut it"),
        (wav(0.1, channels=9), TooLargeError, "9 channels, more than the 8 taken here"),
        (bytes(500_001), TooLargeError, "larger than 0.5 MB"),
    ],
)
@pytest.mark.parametrize("given", ["bytes", "path", "stream"])
def test_what_cannot_be_taken_leaves_nothing(
    content: bytes, error: type[Exception], complaint: str, given: str, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "upload-1234"
    path.write_bytes(content)
    before = {*store.folder.rglob("*")}
    if given == "stream" and len(content) > 500_000:
        pytest.skip("whoever receives a stream counts it")
    with path.open("rb") as stream, pytest.raises(error, match=complaint) as told:
        store.add({"bytes": content, "path": path, "stream": stream}[given], "street.wav")
    assert str(tmp_path) not in str(told.value)
    assert {*store.folder.rglob("*")} == before
    assert len(store) == 0


def test_a_bomb_is_not_decoded(store: Store) -> None:
    """A minute of silence in a few bytes, whose header leaves the length open."""
    content = io.BytesIO()
    with audio.Writer(content, RATE, 1, container="FLAC", subtype="PCM_16") as out:
        out.write(np.zeros((1, 60 * RATE), np.float32))
    bomb = bytearray(content.getvalue())
    bomb[21] &= 0xF0
    bomb[22:26] = bytes(4)  # STREAMINFO: 36 bits of length, 0 for unknown
    with pytest.raises(AudioError, match=r"^street.flac lasts longer than 3 seconds"):
        store.add(bytes(bomb), "street.flac")


def test_one_more_of_ones_own_replaces_the_least_used(store: Store) -> None:
    first, second = (store.add(wav(0.1, seed=seed), "a.wav", owner="me") for seed in (1, 2))
    store.get(first.id)
    third = store.add(wav(0.1, seed=3), "a.wav", owner="me")
    with pytest.raises(GoneError):
        store.get(second.id)
    assert not second.folder.exists()
    with store.using(first.id), store.using(third.id), pytest.raises(FullError, match="all of your recordings"):
        store.add(wav(0.1), "a.wav", owner="me")


def test_nobody_elses_recording_is_replaced(store: Store) -> None:
    ids = [store.add(wav(0.1, seed=seed), "a.wav", owner=f"person {seed}").id for seed in range(5)]
    with pytest.raises(FullError, match="the studio holds 5 recordings, as many as it takes"):
        store.add(wav(0.1), "a.wav", owner="somebody else")
    assert [store.get(id).id for id in ids] == ids


def test_disk_space_is_bounded(tmp_path: Path) -> None:
    with Store(Limits(max_gigabytes=1e-4), tmp_path) as store:
        store.add(wav(1.0), "a.wav")  # 64 kB as floats
        with pytest.raises(FullError, match="disk space is used up"):
            store.add(wav(1.0), "b.wav")
        with store.room(30_000), pytest.raises(FullError), store.room(30_000):
            pass
        with store.room(30_000):
            pass


def test_folders_that_go_while_space_is_counted_do_no_harm(store: Store) -> None:
    done = threading.Event()

    def come_and_go(number: int) -> None:
        while not done.is_set():
            folder = store.incoming / str(number)
            folder.mkdir()
            (folder / "file").touch()
            shutil.rmtree(folder)

    with ThreadPoolExecutor(3) as others:
        coming = [others.submit(come_and_go, number) for number in range(3)]
        try:
            for _ in range(1000):
                with store.room(1):
                    pass
        finally:
            done.set()
        for one in coming:
            one.result()


def test_a_disk_that_refuses_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    content = wav(0.1)
    monkeypatch.setattr(audio.Writer, "write", refuse)
    with pytest.raises(FullError, match="the recording cannot be stored: No space left"):
        store.add(content, "a.wav")
    assert list(store.folder.rglob("*.wav*")) == []


def test_what_is_not_used_goes_and_what_is_stays(tmp_path: Path) -> None:
    with Store(Limits(keep_minutes=0.3 / 60), tmp_path) as store:
        idle, busy = (store.add(wav(0.1, seed=seed), "a.wav") for seed in (1, 2))
        stale = store.incoming / "folder" / "half-an-upload"
        stale.parent.mkdir()
        stale.touch()
        with store.using(busy.id):
            deadline = time.monotonic() + 20
            while (idle.folder.exists() or stale.parent.exists()) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not idle.folder.exists()
            assert not stale.parent.exists()
            assert busy.path.exists()


def test_files_that_are_read_stay_until_then(store: Store) -> None:
    recording = store.add(wav(0.1), "a.wav")
    with store.using(recording.id):
        store.drop(recording.id)
        assert recording.gone
        assert recording.path.exists()
        with pytest.raises(GoneError):
            store.get(recording.id)
    assert not recording.folder.exists()
