"""The command as a process of its own: signals, pipes, full disks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from signals import tone_and_noise

from soundsieve import audio

TESTS = Path(__file__).parent.parent

# The command with the tests' own system, which takes its time where the environment says so.
PROGRAM = """
import os, sys, time
sys.path.insert(0, sys.argv.pop(1))
from identity_system import IdentitySystem
from soundsieve.cli.main import main
from soundsieve.weights import checkpoint
checkpoint.SYSTEMS["identity"] = ("identity_system", "IdentitySystem", "IdentityConfig")
forward = IdentitySystem.forward
def slow(self, mixture, condition):
    time.sleep(float(os.environ.get("SECONDS_EACH", "0")))
    return forward(self, mixture, condition)
IdentitySystem.forward = slow
main()
"""

# The command; fails if it has imported what takes long.
IMPORTED = """
import sys
from soundsieve.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    found = {"torch", "numpy", "soundfile", "transformers"} & set(sys.modules)
    sys.exit(f"imported {found}" if found else 0)
"""


@pytest.fixture
def command(here: Path, make_model) -> list[str]:
    model = str(make_model(gain=0.25))
    return [sys.executable, "-c", PROGRAM, str(TESTS), "extract", "a dog", "--model", model]


def files() -> list[str]:
    """Everything in the working directory and below, hidden files included."""
    return sorted(str(path) for path in Path().rglob("*") if path.is_file())


def start(command: list[str], *arguments: str, **options: object) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([*command, *arguments], text=True, **pipes)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_batches_leave_whole_files_only(command: list[str], jobs: str, sent: int, code: int) -> None:
    audio.encode("0.wav", tone_and_noise(0.5, 16000), 16000)
    for name in ("1.wav", "2.wav", "3.wav"):
        audio.encode(name, tone_and_noise(60.0, 16000), 16000)
    names = [f"{i}.wav" for i in range(4)]
    process = start(command, *names, "--jobs", jobs, "--batch", "1", env={**os.environ, "SECONDS_EACH": "0.05"})
    assert process.stdout is not None
    assert process.stdout.readline() == "sieved/0.a-dog.wav\n"
    deadline = time.monotonic() + 20
    while not list(Path("sieved").glob(".*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert list(Path("sieved").glob(".*"))  # the next is being written
    process.send_signal(sent)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (code, "")
    told = err.splitlines()
    assert "soundsieve: interrupted" in told
    assert set(told) <= {"0.wav: 0.0-0.5 s", "soundsieve: interrupted"}  # the note may be on its way
    assert files() == [*names, "sieved/0.a-dog.wav"]
    assert audio.probe("sieved/0.a-dog.wav").samples == 8000


def test_terminated_where_ctrl_c_is_ignored(command: list[str]) -> None:
    """As a shell starts what runs in the background."""
    audio.encode("0.wav", tone_and_noise(60.0, 16000), 16000)
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command]
    process = start(ignoring, "0.wav", "--batch", "1", env={**os.environ, "SECONDS_EACH": "0.05"})
    deadline = time.monotonic() + 20
    while not list(Path().glob("sieved/.*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (143, "soundsieve: interrupted\n")
    assert files() == ["0.wav"]


def test_a_full_disk(command: list[str]) -> None:
    """A limit on the size of files stands for it: the system refuses to write on."""
    audio.encode("long.flac", 0.1 * tone_and_noise(20.0, 16000), 16000)
    audio.encode("short.wav", tone_and_noise(0.5, 16000), 16000)
    limited = ["sh", "-c", 'ulimit -f 200; exec "$@"', "sh", *command]
    process = start(limited, "long.flac", "short.wav", "--format", "wav")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "sieved/short.a-dog.wav\n")
    first, *_ = err.splitlines()
    assert first.startswith("soundsieve: cannot write sieved/long.a-dog.wav")
    assert "File too large" in first
    assert "Traceback" not in err
    assert files() == ["long.flac", "short.wav", "sieved/short.a-dog.wav"]


def test_pipes_in_and_out(command: list[str]) -> None:
    audio.encode("street.flac", tone_and_noise(0.5, 44100, 2), 44100)
    with Path("street.flac").open("rb") as source, Path("dog.flac").open("wb") as answer:
        process = start(command, "-", stdin=source, stdout=answer)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "standard input: 0.0-0.5 s\n")
    before, after = audio.probe("street.flac"), audio.probe("dog.flac")
    assert (after.samples, after.channels, after.format) == (before.samples, 2, "FLAC")


def test_a_pipe_by_its_name_is_read_once(command: list[str]) -> None:
    audio.encode("street.wav", tone_and_noise(0.5, 16000), 16000)
    for option in ([], ["--skip-existing", "--jobs", "2"]):
        os.mkfifo("pipe")
        process = start(command, "pipe", *option)
        Path("pipe").write_bytes(Path("street.wav").read_bytes())
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "" if option else "sieved/pipe.a-dog.wav\n"), err
        Path("pipe").unlink()


@pytest.mark.parametrize("arguments", [["long.wav", "-o", "-"], ["long.wav", "short.wav"]])
def test_a_reader_who_leaves(command: list[str], arguments: list[str]) -> None:
    for name, seconds in (("long.wav", 20.0), ("short.wav", 0.5)):
        audio.encode(name, tone_and_noise(seconds, 16000), 16000)
    reading, writing = os.pipe()
    os.close(reading)
    process = start(command, *arguments, stdout=writing)
    os.close(writing)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, "")
    assert [name for name in files() if "/." in name] == []


def test_help_is_quick_for_it_imports_nothing_heavy() -> None:
    for arguments in (["--help"], ["extract", "--help"], ["split", "--help"], ["find", "--help"], ["extract"]):
        done = subprocess.run([sys.executable, "-c", IMPORTED, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
