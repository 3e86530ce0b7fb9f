"""Training: ten steps lower the loss, a resumed run takes the same next step, the run's folder is whole."""

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import typer
from typer.testing import CliRunner

from soundsieve.cli.train import train
from soundsieve.errors import ConfigError
from soundsieve.systems.audiosep import AudioSep
from soundsieve.systems.clapsep import CLAPSep
from soundsieve.systems.lassnet import LASSNet
from soundsieve.systems.sieve import Sieve
from soundsieve.systems.uss import USS
from soundsieve.training.build import Data, build_task
from soundsieve.training.fit import _Loop, fit
from soundsieve.training.recipe import Recipe, read_recipe
from soundsieve.training.tasks.base import Task
from soundsieve.weights.checkpoint import load_system
from soundsieve.weights.clap import load_clap

ROOT = Path(__file__).parents[2]
DEBUG = {
    "sieve": "starter/debug.yaml", "clap": "clapsep/debug_clap.yaml", "clapsep": "clapsep/debug.yaml",
    "audiosep": "audiosep/debug.yaml", "lassnet": "lassnet/debug.yaml", "uss": "uss/debug.yaml",
    "flowsep": "flowsep/debug.yaml", "flowsep_vae": "flowsep/debug_vae.yaml",
    "flowsep_vocoder": "flowsep/debug_vocoder.yaml",
}  # fmt: skip
SMALLER = {
    "sieve": {"options.mixtures.segment_s": 1.2, "options.batch_size": 3, "options.validation_pairs": 2},
    "clap": {"options.batch_size": 3},
    "clapsep": {"options.validation_pairs": 2, "ema_decay": 0.9},
    "audiosep": {"options.text_ratio": 0.5},
    "lassnet": {"ema_decay": 0.9},
    "uss": {},
    "flowsep": {"ema_decay": 0.9},
    "flowsep_vae": {"ema_decay": 0.9},
    "flowsep_vocoder": {},
}


def recipe_of(kind: str, **changes: object) -> Recipe:
    return read_recipe(ROOT / "recipes" / DEBUG[kind], SMALLER[kind] | changes)


def task_of(recipe: Recipe, corpus: Path, cache: Path) -> Task:
    return build_task(recipe, Data(corpus, cache))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open() as file:
        found = list(csv.DictReader(file))
    for row in found:
        row.pop("examples_per_s")
    return found


@pytest.mark.parametrize("kind", list(DEBUG))
def test_ten_steps_lower_the_loss_on_one_batch(kind: str, corpus: Path, cache: Path) -> None:
    task = task_of(recipe_of(kind), corpus, cache)
    batch = task.batch(0)
    task.module.train()
    optimizer = torch.optim.AdamW([p for p in task.module.parameters() if p.requires_grad], 3e-3)
    losses = []
    for _ in range(11):
        torch.manual_seed(0)
        loss = task.loss(task.module, batch, 0)["loss"]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] - min(0.05, 0.1 * abs(losses[0]))


@pytest.mark.parametrize("kind", list(DEBUG))
def test_a_resumed_run_takes_the_same_steps(kind: str, corpus: Path, cache: Path, tmp_path: Path) -> None:
    recipe = recipe_of(kind, max_steps=6, validate_every=3)
    fit(task_of(recipe, corpus, cache), recipe, tmp_path / "whole", workers=0)
    fit(task_of(recipe, corpus, cache), recipe, tmp_path / "parts", workers=0, stop_after=4)
    assert (tmp_path / "parts" / "last.ckpt").is_file()
    last = tmp_path / "parts" / "last.ckpt"
    result = fit(task_of(recipe, corpus, cache), recipe, tmp_path / "parts", workers=0, resume=last)
    assert result.step == 6
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")
    whole, parts = (torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("whole", "parts"))
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, parts["state_dict"][name]), name


def test_workers_give_the_same_batches(corpus: Path, cache: Path, tmp_path: Path) -> None:
    recipe = recipe_of("sieve", max_steps=5, validate_every=5)
    for workers in (0, 2):
        fit(task_of(recipe, corpus, cache), recipe, tmp_path / str(workers), workers=workers)
    assert rows(tmp_path / "0") == rows(tmp_path / "2")


def test_a_run_leaves_a_product_that_loads(corpus: Path, cache: Path, tmp_path: Path) -> None:
    systems = {"sieve": Sieve, "clapsep": CLAPSep, "audiosep": AudioSep, "lassnet": LASSNet, "uss": USS}
    for kind, cls in systems.items():
        recipe = recipe_of(kind, max_steps=2, validate_every=1)
        result = fit(task_of(recipe, corpus, cache), recipe, tmp_path / kind, workers=0)
        assert isinstance(load_system(tmp_path / kind / "best.safetensors"), cls)
        assert result.best["validation_score"] == max(float(r["validation_score"]) for r in rows(tmp_path / kind)) or (
            abs(result.best["validation_score"]) < 1e3  # the log is rounded
        )
        assert (tmp_path / kind / "curve.png").stat().st_size > 5000


def test_clapsep_is_built_on_a_trained_clap(corpus: Path, cache: Path, tmp_path: Path) -> None:
    recipe = recipe_of("clap", max_steps=1, validate_every=1)
    fit(task_of(recipe, corpus, cache), recipe, tmp_path, workers=0)
    clap = load_clap(tmp_path / "last.safetensors")
    task = task_of(recipe_of("clapsep", **{"options.clap": str(tmp_path / "last.safetensors")}), corpus, cache)
    assert isinstance(task.module, CLAPSep)
    for name, value in clap.state_dict().items():
        assert torch.equal(task.module.clap.state_dict()[name], value)
    before = {name: value.clone() for name, value in task.module.state_dict().items()}
    fit(task, recipe_of("clapsep", max_steps=1, validate_every=1), tmp_path / "sep", workers=0)
    for name, value in task.module.state_dict().items():
        if name.startswith("clap."):
            assert torch.equal(value, before[name]), f"{name} is frozen"


def test_training_goes_on_from_weights(corpus: Path, cache: Path, tmp_path: Path) -> None:
    recipe = recipe_of("sieve", max_steps=1, validate_every=1)
    fit(task_of(recipe, corpus, cache), recipe, tmp_path, workers=0)
    again = task_of(recipe_of("sieve", **{"options.init": str(tmp_path / "last.safetensors")}), corpus, cache)
    stored = load_system(tmp_path / "last.safetensors").state_dict()
    for name, value in again.module.state_dict().items():
        if name == "anchors":  # computed anew, by the text tower as it was stored
            torch.testing.assert_close(value, stored[name], atol=5e-3, rtol=0)
        else:
            assert torch.equal(value, stored[name]), name


def test_the_queries_of_clapsep_are_the_papers(corpus: Path, cache: Path) -> None:
    task = task_of(recipe_of("clapsep", **{"options.batch_size": 200}), corpus, cache)
    asked = task.batch(0)["asked"]
    both, positive = (asked.sum(1) == 2).float().mean(), ((asked[:, 0] == 1) & (asked[:, 1] == 0)).float().mean()
    assert both.item() == pytest.approx(0.5, abs=0.1)
    assert positive.item() == pytest.approx(0.25, abs=0.1)
    assert asked.sum(1).min() == 1  # something is always asked


def test_the_target_of_an_exclusion_is_all_the_rest(corpus: Path, cache: Path) -> None:
    task = task_of(recipe_of("clapsep", **{"options.negative": 1.0, "options.positive": 0.0}), corpus, cache)
    batch = task.batch(0)
    assert (batch["asked"] == torch.tensor([0.0, 1.0])).all()
    assert (batch["target"].square().sum(1) < batch["mixture"].square().sum(1) * 1.5).all()


def test_what_cannot_be_resumed_or_built_is_refused(corpus: Path, cache: Path, tmp_path: Path) -> None:
    recipe = recipe_of("sieve", max_steps=1, validate_every=1)
    task = task_of(recipe, corpus, cache)
    with pytest.raises(ConfigError, match="no checkpoint"):
        fit(task, recipe, tmp_path, resume=tmp_path / "none.ckpt")
    with pytest.raises(ConfigError, match="--data"):
        build_task(recipe, Data())
    with pytest.raises(ConfigError, match="not known; known"):
        build_task(read_recipe(ROOT / "recipes/starter/debug.yaml", {"task": "unheard"}), Data(corpus, cache))
    fit(task, recipe, tmp_path, workers=0)
    for change, message in (({"model.width": 32}, "another shape"), ({"learning_rate": 1.0}, "learning_rate changed")):
        other = recipe_of("sieve", max_steps=1, validate_every=1, **change)
        with pytest.raises(ConfigError, match=message):
            fit(task_of(other, corpus, cache), other, tmp_path, workers=0, resume=tmp_path / "last.ckpt")
    for device in ("cuda:1", "gpu"):
        with pytest.raises(ConfigError, match="cpu or cuda"):
            fit(task, recipe, tmp_path / "x", device=device)
    with pytest.raises(ConfigError, match="no part of the loss"):
        task_of(recipe_of("sieve", **{"options.weights": {"cells": 1.0}}), corpus, cache)
    weights = str(ROOT / "src/soundsieve/embedded/starter.safetensors")
    with pytest.raises(ConfigError, match="another shape"):
        task_of(recipe_of("sieve", **{"options.init": weights}), corpus, cache)


def test_labels_can_be_held_out(corpus: Path, cache: Path, tmp_path: Path) -> None:
    for labelled in (True, False):
        for split in ("train", "validation"):
            kept = Data(corpus, cache).store(split, 32000, labelled=labelled, held_out=("hum", "tone")).clips
            everything = Data(corpus, cache).store(split, 32000, labelled=labelled).clips
            paths = [clip.path for clip in everything if not clip.path.startswith(("hum/", "tone/"))]
            assert [clip.path for clip in kept] == paths
            assert 0 < len(paths) < len(everything)
    with pytest.raises(ConfigError, match="labelled 'a unicorn'"):
        Data(corpus, cache).store("train", 32000, held_out=["hum", "a unicorn"])
    with pytest.raises(ConfigError, match="words alone"):
        build_task(Recipe("distill", 1, held_out=("hum",)), Data())


def test_a_run_without_some_labels_does_not_go_on_with_them(corpus: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "unheard.txt").write_text("hum\n")
    command = [str(ROOT / "recipes/clapsep/debug_clap.yaml"), "--data", str(corpus), "--cache", str(cache), "-o"]
    command += [str(tmp_path / "run"), "--workers", "0", "--set", "max_steps=1", "--set", "options.batch_size=3"]
    app = typer.Typer()
    app.command()(train)
    assert CliRunner().invoke(app, [*command, "--held-out", str(tmp_path / "unheard.txt")]).exit_code == 0
    with pytest.raises(ConfigError, match="held_out changed"):
        CliRunner().invoke(app, [*command, "--resume"], catch_exceptions=False)


def test_lists_that_would_deceive_are_refused(corpus: Path, cache: Path, tmp_path: Path) -> None:
    recipe, text = recipe_of("sieve"), corpus.read_text()
    (tmp_path / "a.csv").write_text(text.replace(",validation", ","))
    with pytest.raises(ConfigError, match="has no split"):
        build_task(recipe, Data(tmp_path / "a.csv", cache))
    (tmp_path / "b.csv").write_text(text.replace("tone-2,", "tone-1,"))
    with pytest.raises(ConfigError, match="is in two splits"):
        build_task(recipe, Data(tmp_path / "b.csv", cache))
    lines = [line for line in text.splitlines() if not line.startswith("hiss")]
    for folder in ("hum", "tone", "whistle"):
        (tmp_path / folder).symlink_to(corpus.parent / folder)
    (tmp_path / "c.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match="needs 4 labels"):
        build_task(recipe, Data(tmp_path / "c.csv", cache))


def test_devices_draw_each_their_own_noise() -> None:
    """And one alone draws by its step, as a resumed run has to."""

    def drawn(step: int, rank: int, world: int) -> float:
        loop = SimpleNamespace(
            trainer=SimpleNamespace(global_rank=rank, world_size=world), global_step=step, module=None,
            recipe=SimpleNamespace(seed=1), task=SimpleNamespace(loss=lambda *_: {"loss": torch.rand(())}),
        )  # fmt: skip
        return _Loop.training_step(loop, {}, 0).item()  # type: ignore[arg-type]

    found = [drawn(step, rank, 2) for step in range(3) for rank in range(2)]
    assert len(set(found)) == 6
    assert drawn(2, 0, 1) == drawn(2, 0, 1) == found[2]
