from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from identity_system import IdentityConfig, IdentitySystem
from signals import tone_and_noise

from soundsieve import audio
from soundsieve.cli.main import main
from soundsieve.weights.checkpoint import save_system

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """Makes a file of the tests' own system: answers with a fixed share of the mixture and a fixed presence."""

    def make(**config: object) -> Path:
        path = tmp_path / f"model{len(list(tmp_path.glob('model*')))}.safetensors"
        save_system(path, IdentitySystem(IdentityConfig(**config)))  # type: ignore[arg-type]
        return path

    return make


@pytest.fixture
def soundsieve(here: Path, make_model: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line: exit code, stdout, stderr. The model answers with a quarter unless another is given."""
    quarter = make_model(gain=0.25)

    def run(*arguments: object) -> tuple[int, str, str]:
        words = [str(argument) for argument in arguments]
        if "--model" not in words:
            words += ["--model", str(quarter)]
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(words)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return int(caught.value.code or 0), out, err

    return run


@pytest.fixture
def recording() -> Callable[..., Path]:
    """Writes a short recording: tones in noise."""

    def write(name: str, seconds: float = 0.3, sample_rate: int = 16000, channels: int = 1, **options: object) -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        audio.encode(path, tone_and_noise(seconds, sample_rate, channels), sample_rate, **options)  # type: ignore[arg-type]
        return path

    return write
