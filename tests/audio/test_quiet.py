from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from soundsieve.audio import Reader, encode
from soundsieve.audio.quiet import no_chatter
from soundsieve.errors import AudioError


def test_damaged_mp3s_print_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.mp3"
    encode(path, np.random.default_rng(0).uniform(-0.5, 0.5, (1, 60_000)).astype(np.float32), 24000)
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    cases = [
        whole[: len(whole) // 2],
        whole + whole[:5000],
        whole.replace(b"Xing", bytes(4)).replace(b"Info", bytes(4)),
    ]
    for _ in range(30):
        data = bytearray(whole)
        at = int(rng.integers(500, len(data) - 2000))
        data[at : at + 1000] = rng.bytes(1000)
        cases.append(bytes(data))
    for data in cases:
        try:
            with Reader(data) as recording:
                recording.read()
                recording.read(0, 10)
                recording.read(recording.info.samples // 2)
        except AudioError:
            pass
    assert capfd.readouterr().err == ""


def test_standard_error_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    with no_chatter(), no_chatter():
        os.write(2, b"lost")
    with pytest.raises(KeyError), no_chatter():
        raise KeyError
    os.write(2, b"kept")
    assert capfd.readouterr().err == "kept"


def test_threads_are_in_it_together(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        for _ in range(200):
            with no_chatter():
                os.write(2, b"lost")

    before = len(os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else 0
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"kept")
    assert capfd.readouterr().err == "kept"
    assert before == (len(os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else 0)


def test_a_closed_standard_error_stays_closed(capfd: pytest.CaptureFixture[str]) -> None:
    kept = os.dup(2)
    os.close(2)
    try:
        with no_chatter():
            pass
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(2)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
