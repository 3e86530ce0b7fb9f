"""recipes/starter/recognise.py: a trained Sieve learns to recognise parts of mixtures, and keeps everything else."""

from __future__ import annotations

import csv
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
    monkeypatch.setattr(sys, "argv", ["recognise.py", *arguments])
    runpy.run_path(str(STARTER / "recognise.py"), run_name="__main__")


def test_a_sieve_learns_to_recognise(
    corpus: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOUNDSIEVE_CACHE", str(cache))
    recipe = yaml.safe_load((STARTER / "debug.yaml").read_text("utf-8"))
    recipe["options"] |= {"mixtures": {"segment_s": 1.2}, "second_look": 0.5}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    task = build_task(read_recipe(tmp_path / "recipe.yaml"), Data(corpus, cache))
    trained = task.module
    assert isinstance(trained, Sieve)
    task.save(tmp_path / "trained.safetensors", trained)
    labels = task.sampler.labels  # type: ignore[attr-defined]
    with (tmp_path / "traits.csv").open("w", encoding="utf-8") as file:
        file.write(
            "label,traits,somewhat\n" + "".join(f"{label},one,two\n" for label in labels[1:]) + f"{labels[0]},two,\n"
        )
    asked = {"recipe": tmp_path / "recipe.yaml", "data": corpus, "traits": tmp_path / "traits.csv", "hidden": 32}
    asked |= {"batches": 12, "steps": 150, "output": tmp_path / "out.safetensors"}
    run(monkeypatch, model=tmp_path / "trained.safetensors", **asked)
    assert "presence_auc" in capsys.readouterr().out
    before, after = (load_system(tmp_path / name) for name in ("trained.safetensors", "out.safetensors"))
    assert isinstance(after, Sieve)
    assert isinstance(before, Sieve)
    for name, value in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[name], value, atol=1e-3, rtol=1e-2)
    assert after.recogniser is not None
    expected = torch.tensor([[0.0, 1.0], *([[1.0, 0.5]] * (len(labels) - 1))])
    torch.testing.assert_close(after.recogniser.traits_of, expected)
    assert (after.recogniser.presence.weight != torch.tensor([[1.0, 0.0, 0.0]])).any()

    # It tells the parts of mixtures that it has not learnt from, far better than by guessing.
    functions = runpy.run_path(str(STARTER / "recognise.py"))
    task = build_task(read_recipe(tmp_path / "recipe.yaml", {"seed": 99}), Data(corpus, cache))
    told, right = functions["gather"](after, task, 4)
    with torch.no_grad():
        guessed = after.recogniser.logits(after.recogniser.normalised(told))[0].argmax(1)
    assert (guessed == right).float().mean() > 2.0 / len(labels)

    with (tmp_path / "traits.csv").open("w", encoding="utf-8") as file:
        file.write("label,traits,somewhat\nnothing,one,two\n")
    with pytest.raises(SystemExit, match="says nothing of"):
        run(monkeypatch, model=tmp_path / "trained.safetensors", **asked)
    save_system(tmp_path / "once.safetensors", Sieve(SieveConfig.debug()))
    with pytest.raises(SystemExit, match="no sieve that looks twice"):
        run(monkeypatch, model=tmp_path / "once.safetensors", **asked)


def test_every_label_of_the_starter_has_traits() -> None:
    with (STARTER / "traits.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with (STARTER / "paraphrases.csv").open(encoding="utf-8", newline="") as file:
        labels = {row["label"] for row in csv.DictReader(file)}
    assert {row["label"] for row in rows} == labels
    assert len(rows) == len(labels)
    for row in rows:
        full, half = row["traits"].split(), row["somewhat"].split()
        assert full
        assert len({*full, *half}) == len(full) + len(half), row["label"]
