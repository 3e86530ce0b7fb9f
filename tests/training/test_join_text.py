"""recipes/starter/join_text.py: the tower is the new one, everything else the Sieve's own."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch

from soundsieve.encoders.text import SentenceEncoder, SentenceEncoderConfig
from soundsieve.systems.sieve import Sieve, SieveConfig
from soundsieve.weights.checkpoint import load_system, save_system

SCRIPT = Path(__file__).resolve().parents[2] / "recipes" / "starter" / "join_text.py"


def run(monkeypatch: pytest.MonkeyPatch, **options: Path) -> None:
    arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_a_sieve_gets_another_tower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    sieve, tower = Sieve(SieveConfig.debug()), SentenceEncoder(SentenceEncoderConfig.debug(), words="dog\nrain").eval()
    save_system(tmp_path / "sieve.safetensors", sieve)
    tower.save(tmp_path / "text.safetensors")
    run(
        monkeypatch,
        model=tmp_path / "sieve.safetensors",
        tower=tmp_path / "text.safetensors",
        output=tmp_path / "joined.safetensors",
    )
    assert "up to a cosine of" in capsys.readouterr().out
    joined = load_system(tmp_path / "joined.safetensors")
    assert isinstance(joined, Sieve)
    torch.testing.assert_close(joined.text.encode(["rain"]), tower.encode(["rain"]), atol=0.02, rtol=0)  # int8
    for part in ("analysis", "reader"):
        before, after = getattr(sieve, part).state_dict(), getattr(joined, part).state_dict()
        assert all(torch.allclose(before[name], after[name], atol=1e-3) for name in before)


def test_a_tower_of_another_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_system(tmp_path / "sieve.safetensors", Sieve(SieveConfig.debug()))
    size = SentenceEncoderConfig.debug().vocab_size
    SentenceEncoder(SentenceEncoderConfig(size, 16, 1, 2, 32)).save(tmp_path / "text.safetensors")
    with pytest.raises(SystemExit, match="another size or vocabulary"):
        run(
            monkeypatch,
            model=tmp_path / "sieve.safetensors",
            tower=tmp_path / "text.safetensors",
            output=tmp_path / "joined.safetensors",
        )
    assert not (tmp_path / "joined.safetensors").exists()
