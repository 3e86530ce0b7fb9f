"""What docs/studio.md says is so: its programs run against a studio, and its options are those of the command."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from live_studio import LiveStudio, live_studio

from soundsieve import audio
from soundsieve.cli import studio as command
from soundsieve.cli.demo import bundled_clips

PAGE = (Path(__file__).parents[2] / "docs" / "studio.md").read_text("utf-8")
USUAL = "http://127.0.0.1:7860"


def program(language: str) -> str:
    """The page's only program in a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert USUAL in found
    return str(found)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStudio]:
    with live_studio(tmp_path_factory.mktemp("studio")) as running:
        yield running


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with the recordings that the page speaks of."""
    clips, sample_rate = bundled_clips()
    dog, rain = clips.values()
    for name, samples in (("street", dog + rain), ("bark", dog)):
        audio.encode(tmp_path / f"{name}.wav", samples, sample_rate)
    return tmp_path


def run(command: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "no_proxy": "127.0.0.1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.slow
def test_the_python_client_runs(studio: LiveStudio, here: Path) -> None:
    script = here / "client.py"
    script.write_text(program("python").replace(USUAL, studio.url), "utf-8")
    done = run([sys.executable, script], here)
    assert done.returncode == 0, done.stderr
    assert re.search(r"presence [01]\.\d\d, at \[\{'start': ", done.stdout)
    dog, rest, street = (audio.decode(here / f"{name}.wav")[0] for name in ("dog", "quiet-street", "street"))
    assert abs(dog + rest - street).max() < 2**-14
    assert abs(dog).max() > 0.01


@pytest.mark.slow
def test_the_curl_commands_run(studio: LiveStudio, here: Path) -> None:
    if missing := [name for name in ("curl", "jq", "bash") if shutil.which(name) is None]:
        pytest.skip(f"no {missing[0]}")
    script = program("sh").replace(USUAL, studio.url)
    done = run(["bash", "-euo", "pipefail", "-c", script], here)
    assert done.returncode == 0, done.stderr
    for name in ("dog.flac", "mix.wav"):
        assert audio.probe(here / name).seconds == pytest.approx(5)
    assert (here / "all.zip").read_bytes()[:2] == b"PK"


def test_every_option_is_there_with_its_default() -> None:
    app = typer.Typer(add_completion=False)
    app.command()(command.studio)
    options = {name: one for one in typer.main.get_command(app).params for name in one.opts if name.startswith("--")}
    missing = [name for name in options if f"`{name}`" not in PAGE and name != "--help"]
    assert missing == []
    rows = re.findall(r"^\| `(--[\w-]+)` \|\s*([^|\s]*)\s*\|", PAGE, re.MULTILINE)
    assert len(rows) >= 20
    for name, told in rows:
        default = options[name].default
        assert told == (
            "" if default in (None, False) else f"{default:g}" if isinstance(default, float) else f"{default}"
        )


@pytest.mark.slow
def test_every_address_is_described(studio: LiveStudio) -> None:
    paths = studio.told("openapi.json")["paths"]
    told = re.sub(r"\?\S*", "", PAGE)
    for path, methods in paths.items():
        plain = re.sub(r"\{(id|track|job)\}", "ID", path)
        plain = plain.replace("{part}.{kind}", "target.wav").replace(".{kind}", ".wav")
        if plain.endswith("/mixture.wav"):
            continue  # told as a part
        assert plain in told, path
        for method in methods:
            assert re.search(rf"`[^|]*\b{method.upper()}\b[^|]*{re.escape(plain)}\b", told), (method, path)
