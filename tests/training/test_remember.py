"""recipes/starter/remember.py: a trained Sieve gets the sounds of its labels, and keeps everything else."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import torch
import yaml

from soundsieve.systems.sieve import Sieve, SieveConfig
from soundsieve.training.build import Data, build_task
from soundsieve.training.recipe import read_recipe
from soundsieve.weights.checkpoint import load_system, save_system

STARTER = Path(__file__).resolve().parents[2] / "recipes" / "starter"


def run(monkeypatch: pytest.MonkeyPatch, **options: object) -> None:
    arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    monkeypatch.setattr(sys, "argv", ["remember.py", *arguments])
    runpy.run_path(str(STARTER / "remember.py"), run_name="__main__")


def test_a_sieve_remembers(
    corpus: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOUNDSIEVE_CACHE", str(cache))
    recipe = yaml.safe_load((STARTER / "debug.yaml").read_text("utf-8"))
    recipe["options"]["mixtures"] = {"segment_s": 1.2}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    task = build_task(read_recipe(tmp_path / "recipe.yaml"), Data(corpus, cache))
    trained = task.module
    assert isinstance(trained, Sieve)
    task.save(tmp_path / "trained.safetensors", trained)
    before = load_system(tmp_path / "trained.safetensors")
    asked = {"recipe": tmp_path / "recipe.yaml", "data": corpus, "heard": 0.25}
    run(monkeypatch, model=tmp_path / "trained.safetensors", output=tmp_path / "out.safetensors", **asked)
    assert "selectivity" in capsys.readouterr().out
    after = load_system(tmp_path / "out.safetensors")
    assert isinstance(after, Sieve)
    assert after.config.heard == 0.25
    assert after.config.heard_range == (0.5, 0.7)
    torch.testing.assert_close(after.sounds.norm(dim=1), torch.ones(len(after.anchors)), atol=1e-3, rtol=0)
    for name, value in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[name], value)

    save_system(tmp_path / "untrained.safetensors", Sieve(SieveConfig.debug()))
    with pytest.raises(SystemExit, match="no sieve with anchors"):
        run(monkeypatch, model=tmp_path / "untrained.safetensors", output=tmp_path / "out.safetensors", **asked)
