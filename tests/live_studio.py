"""The studio as a process of its own, which can reach nothing but this machine and says so if it tried."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Answer = TypeVar("Answer")

# What runs before the command: whoever looks up or connects to another machine is refused and written down.
GUARD = """
import os, socket, sys

def outside(host):
    return str(host) not in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "", "None")

def refuse(host):
    with open(os.environ["STUDIO_TRIED"], "a") as file:
        print(host, file=file)
    raise OSError(f"this test has no network: {host}")

def connect(self, address, _real=socket.socket.connect):
    if self.family in (socket.AF_INET, socket.AF_INET6) and outside(address[0]):
        refuse(address[0])
    return _real(self, address)

def look_up(host, *args, _real=socket.getaddrinfo, **options):
    if outside(host.decode() if isinstance(host, bytes) else host):
        refuse(host)
    return _real(host, *args, **options)

socket.socket.connect, socket.getaddrinfo = connect, look_up
from soundsieve.cli.main import main
os.nice(10)
main(sys.argv[1:])
"""


@dataclass(frozen=True)
class LiveStudio:
    """A studio that runs: its address, its process, and the folders it was given."""

    url: str
    process: subprocess.Popen[bytes]
    temp: Path
    """Its temporary folder: nothing else is written there."""
    tried: Path
    log: Path

    @property
    def other_hosts(self) -> list[str]:
        """Machines that the server wanted to reach."""
        return self.tried.read_text("utf-8").split() if self.tried.exists() else []

    def told(self, path: str) -> dict[str, Any]:
        """What it says at an address, as JSON."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"{self.url}/{path}", timeout=30) as answer:
            return dict(json.load(answer))

    def health(self) -> dict[str, Any]:
        return self.told("health")


@contextmanager
def live_studio(folder: Path, *options: str) -> Iterator[LiveStudio]:
    """A studio with these options, once its weights are loaded; ended like Ctrl-C does."""
    temp, tried, log = folder / "temp", folder / "tried.txt", folder / "log.txt"
    temp.mkdir(parents=True)
    # On one thread and behind whoever asks it: long work stays long enough to be seen and cancelled on any machine.
    variables = {**os.environ, "TMPDIR": str(temp), "STUDIO_TRIED": str(tried), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", GUARD, "studio", "--port", "0", *options]
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, env=variables) as process:
        try:
            studio = LiveStudio(_wait_for(lambda: _address(log), process, log), process, temp, tried, log)
            _wait_for(lambda: studio.health()["ready"], process, log)
            yield studio
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(log: Path) -> str | None:
    """What the command prints once it listens."""
    found = re.search(r"^http://\S+$", log.read_text("utf-8"), re.MULTILINE)
    return found[0] if found else None


def _wait_for(what: Callable[[], Answer], process: subprocess.Popen[bytes], log: Path, seconds: float = 120) -> Answer:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if answer := what():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"the studio did not start: {log.read_text('utf-8', 'replace')[-3000:]}")
