"""How long the studio lets people wait: for the page, for the first answer, for the next ones; and in how much memory.

A studio is started afresh as its command starts it, and asked over HTTP as a program or the page asks it. The recording
is the bundled dog in the rain, in stereo at 44.1 kHz, repeated to 30 s and to ten minutes.

    python benchmarks/studio.py --threads 2 --output benchmarks/results/studio.json
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
from records import record, save

from soundsieve import audio
from soundsieve.cli.demo import bundled_clips

RATE = 44100
SECONDS, LONG_SECONDS = 30, 600
QUESTIONS: list[dict[str, Any]] = [
    {"text": "a dog barking"},
    {"text": "rain falling"},
    {"text": "a dog barking", "exclude": ["rain falling"]},
    {"region": {"start": 0.5, "end": 1.5}},
    {"text": "wind blowing"},
]
PATIENCE_S = 600


class Studio:
    """A running studio, timed from its start."""

    def __init__(self, threads: int, model: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="bench-")
        command = [sys.executable, "-m", "soundsieve.cli.main", "studio", "--port", "0", "--model", model]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
        self.begun = time.perf_counter()
        self.process = subprocess.Popen(
            [*command, "--threads", str(threads), "--folder", self.folder.name],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers = {"Content-Type": "application/json"}
        with urlopen(Request(self.url + path, body, headers, method=method), timeout=PATIENCE_S) as answer:
            return bytes(answer.read())

    def json(self, method: str, path: str, body: bytes | None = None) -> Any:
        return json.loads(self.call(method, path, body))

    def until(self, happens: Callable[[], object]) -> float:
        """Seconds from the start until then."""
        while True:
            try:
                if happens():
                    return time.perf_counter() - self.begun
            except URLError:
                pass  # it does not listen yet
            time.sleep(0.01)

    def ask(self, recording: str, question: dict[str, Any]) -> float:
        """Seconds from the question to the answer, over HTTP."""
        begun = time.perf_counter()
        job = self.json("POST", f"/api/recordings/{recording}/tracks?wait=60", json.dumps(question).encode())
        while job["state"] in ("waiting", "working"):
            job = self.json("GET", f"/api/jobs/{job['id']}?wait=60")
        if job["state"] != "done":
            raise SystemExit(f"no answer: {job['words']}")
        return time.perf_counter() - begun

    def memory_mib(self, which: str = "VmHWM") -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(60)
        self.folder.cleanup()


def recording(seconds: int) -> bytes:
    """A wav file, stereo, 16 bits."""
    clips, sample_rate = bundled_clips()
    mixture = audio.resample(np.sum(list(clips.values()), axis=0), sample_rate, RATE)[0]
    content = io.BytesIO()
    whole = np.resize(mixture, seconds * RATE)
    with audio.Writer(content, RATE, 2) as out:
        out.write(np.stack([whole, 0.8 * whole]))
    return content.getvalue()


def measure(threads: int, model: str, long: bool) -> dict[str, float]:
    studio = Studio(threads, model)
    try:
        found = {"page_s": studio.until(lambda: b"gradio" in studio.call("GET", "/"))}
        found["ready_s"] = studio.until(lambda: studio.json("GET", "/health")["ready"])
        content = recording(SECONDS)
        begun = time.perf_counter()
        id = studio.json("POST", "/api/recordings?name=street.wav", content)["id"]
        found["upload_s"] = time.perf_counter() - begun
        first, *others = (studio.ask(id, question) for question in QUESTIONS)
        found |= {"first_s": first, "next_s": others[0], "next_median_s": statistics.median(others)}
        found["next_worst_s"] = max(others)
        found["memory_mib"] = studio.memory_mib()
        if long:
            content = recording(LONG_SECONDS)
            begun = time.perf_counter()
            id = studio.json("POST", "/api/recordings?name=long.wav", content)["id"]
            found["long_upload_s"] = time.perf_counter() - begun
            found["long_s"] = studio.ask(id, QUESTIONS[0])
            found["long_memory_mib"] = studio.memory_mib()
        return found
    finally:
        studio.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processes", type=int, default=5)
    parser.add_argument("--without-long", action="store_true", help="leave out the ten minutes")
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    runs = [measure(asked.threads, asked.model, not asked.without_long) for _ in range(asked.processes)]
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    worst = {name: max(run[name] for run in runs) for name in runs[0]}
    sizes = {"seconds": SECONDS, "long_seconds": LONG_SECONDS, "threads": asked.threads, "processes": asked.processes}
    result = record("studio", asked.model, **sizes, median=medians, worst=worst)
    print(json.dumps(result, indent=2))
    save(result, asked.output)


if __name__ == "__main__":
    main()
