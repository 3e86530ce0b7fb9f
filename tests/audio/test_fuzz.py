"""No header, however forged, costs more than an AudioError."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("fuzz_headers.py")


def fuzz(per_seed: int, seconds: float) -> tuple[int, int]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": ""}  # no ffmpeg: this is about libsndfile and us
    done = subprocess.run(
        [sys.executable, PROGRAM, str(per_seed)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, f"status {done.returncode}: {done.stdout[-3000:]} {done.stderr[-300:]}"
    counts = re.search(r"(\d+) cases, (\d+) readable", done.stdout)
    assert counts is not None, done.stdout
    return int(counts[1]), int(counts[2])


def test_mutated_headers_end_in_samples_or_an_audio_error() -> None:
    cases, readable = fuzz(30, 60)
    assert cases > 800
    assert 0.02 * cases < readable < 0.98 * cases  # the mutations are neither deadly all nor harmless all


@pytest.mark.slow
def test_many_mutated_headers() -> None:
    cases, _ = fuzz(600, 200)
    assert cases > 16000
