"""CLAPSep's published recipes at toy size: what is asked, what is stored, what a resumed run does."""

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from soundsieve.encoders.clap import CLAP, CLAPConfig
from soundsieve.errors import ConfigError
from soundsieve.nn.lora import LoRALinear
from soundsieve.query import Query
from soundsieve.systems.clapsep import CLAPSep
from soundsieve.training.build import Data, build_task
from soundsieve.training.fit import fit
from soundsieve.training.recipe import Recipe, read_recipe
from soundsieve.training.tasks.clapsep import CLAPSepTask, _spec_augment
from soundsieve.weights.checkpoint import load_system, save_system
from soundsieve.weights.clap import load_clap, save_clap
from soundsieve.weights.trained_part import is_trained_part, load_trained_part, trained_names

ROOT = Path(__file__).parents[2]
TOY: dict[str, Any] = {
    "model.preset": "debug", "options.clap": None, "options.batch_size": 2, "options.mixtures.segment_s": 1.2,
    "options.validation_pairs": 2,
}  # fmt: skip


def toy(name: str = "base", **changes: Any) -> Recipe:
    """A published recipe, its sizes changed and nothing else."""
    return read_recipe(ROOT / f"recipes/clapsep/{name}.yaml", TOY | changes)


@pytest.fixture(scope="module")
def clap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clap") / "clap.safetensors"
    torch.manual_seed(5)
    save_clap(path, CLAP(CLAPConfig.debug()))
    return path


def task_of(recipe: Recipe, corpus: Path, cache: Path) -> CLAPSepTask:
    task = build_task(recipe, Data(corpus, cache))
    assert isinstance(task, CLAPSepTask)
    return task


def system_of(task: CLAPSepTask) -> CLAPSep:
    assert isinstance(task.module, CLAPSep)
    return task.module


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "examples_per_s"} for row in csv.DictReader(file)]


# --- stop and go on ---


def test_ten_steps_of_the_published_recipe_a_stop_and_the_same_next_steps(
    corpus: Path, cache: Path, clap: Path, tmp_path: Path
) -> None:
    """Losses, learning rates and weights, bit by bit; the learning rate fell on both sides of the stop."""
    changes = {"max_steps": 14, "validate_every": 3, "plateau_patience": 0, "options.clap": str(clap)}
    recipe = toy(**changes)
    losses: dict[str, list[float]] = {"whole": [], "parts": []}

    def run(name: str, **how: Any) -> None:
        task = task_of(recipe, corpus, cache)
        loss = task.loss

        def noted(*args: Any) -> dict[str, torch.Tensor]:
            parts = loss(*args)
            losses[name].append(parts["loss"].item())
            return parts

        task.loss = noted  # type: ignore[method-assign]
        task.validate = lambda _: {"score": 1.0}  # type: ignore[method-assign]  # never better than the first
        fit(task, recipe, tmp_path / name, workers=0, **how)

    run("whole")
    run("parts", stop_after=10)
    assert len(losses["parts"]) == 10
    run("parts", resume=tmp_path / "parts/last.ckpt")
    assert losses["whole"] == losses["parts"]
    whole, parts = (torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in losses)
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, parts["state_dict"][name]), name
    assert whole["plateau"] == parts["plateau"]
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")
    rates = [float(row["learning_rate"]) for row in rows(tmp_path / "whole")]  # of steps up to 3, 6, 9, 12, 14
    assert rates == pytest.approx([1e-4, 1e-4, 3e-5, 9e-6, 5e-6])


def test_a_checkpoint_holds_nothing_that_is_frozen(corpus: Path, cache: Path, clap: Path, tmp_path: Path) -> None:
    recipe = toy(max_steps=1, **{"options.clap": str(clap), "ema_decay": 0.9})
    task = task_of(recipe, corpus, cache)
    fit(task, recipe, tmp_path, workers=0)
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    names = trained_names(system_of(task))
    assert set(stored["state_dict"]) == {f"{side}.{name}" for side in ("module", "average") for name in names}
    optimised = sum(value["exp_avg"].numel() for value in stored["optimizer_states"][0]["state"].values())
    assert optimised == sum(p.numel() for p in system_of(task).trainable_parameters())
    assert is_trained_part(tmp_path / "best.safetensors")


@pytest.mark.parametrize("named", [True, False])
def test_a_run_on_another_clap_is_not_resumed(
    named: bool, corpus: Path, cache: Path, clap: Path, tmp_path: Path
) -> None:
    path = tmp_path / "clap.safetensors"
    shutil.copy(clap, path)
    recipe = toy(max_steps=1, **{"options.clap": str(path) if named else None})
    fit(task_of(recipe, corpus, cache), recipe, tmp_path, workers=0)
    again = task_of(recipe, corpus, cache)
    if named:
        save_clap(path, CLAP(CLAPConfig.debug()))
        other = task_of(recipe, corpus, cache)
    else:
        other = task_of(toy(max_steps=1, seed=2), corpus, cache)
    with pytest.raises(ConfigError, match=rf"on the frozen network {again.frozen_digest[:12]}, and this run"):
        fit(other, recipe, tmp_path, workers=0, resume=tmp_path / "last.ckpt")
    fit(again, recipe, tmp_path, workers=0, resume=tmp_path / "last.ckpt")


def test_a_checkpoint_from_before_there_were_plateaus_is_resumed(corpus: Path, cache: Path, tmp_path: Path) -> None:
    recipe = read_recipe(ROOT / "recipes/clapsep/debug.yaml", {"max_steps": 2, "validate_every": 1})
    fit(task_of(recipe, corpus, cache), recipe, tmp_path, workers=0, stop_after=1)
    path = tmp_path / "last.ckpt"
    stored = torch.load(path, weights_only=True)
    (keeper,) = stored["callbacks"].values()
    for name in ("schedule", "plateau_factor", "plateau_patience", "minimum_learning_rate"):
        keeper["recipe"].pop(name)
    del stored["plateau"]
    torch.save(stored, path)
    assert fit(task_of(recipe, corpus, cache), recipe, tmp_path, workers=0, resume=path).step == 2


# --- what a run leaves ---


def test_a_product_is_the_trained_part_and_gives_the_same_answers(
    corpus: Path, cache: Path, clap: Path, tmp_path: Path
) -> None:
    recipe = toy(max_steps=2, **{"options.clap": str(clap)})
    task = task_of(recipe, corpus, cache)
    fit(task, recipe, tmp_path, workers=0)
    trained, system = system_of(task).eval(), load_trained_part(tmp_path / "last.safetensors", load_clap(clap))
    x, query = 0.1 * torch.randn(1, 38400), Query(text="rain", exclude="wind")
    with torch.no_grad():
        assert torch.equal(system(x, system.encode_query(query)), trained(x, trained.encode_query(query)))
    moved = [m for m in system.tower.modules() if isinstance(m, LoRALinear) and m.lora_b.abs().max() > 0]
    assert moved


def test_without_a_clap_of_its_own_a_product_is_whole(corpus: Path, cache: Path, tmp_path: Path) -> None:
    recipe = toy(max_steps=1)
    fit(task_of(recipe, corpus, cache), recipe, tmp_path, workers=0)
    assert not is_trained_part(tmp_path / "last.safetensors")
    assert isinstance(load_system(tmp_path / "last.safetensors"), CLAPSep)


def test_training_goes_on_from_a_trained_part_or_a_whole_system(
    corpus: Path, cache: Path, clap: Path, tmp_path: Path
) -> None:
    recipe = toy(max_steps=1, **{"options.clap": str(clap)})
    first = task_of(recipe, corpus, cache)
    fit(first, recipe, tmp_path, workers=0)
    part, whole = str(tmp_path / "last.safetensors"), tmp_path / "whole.safetensors"
    save_system(whole, system_of(first))
    for changes in ({"options.init": part, "options.clap": str(clap)}, {"options.init": str(whole)}):
        again = task_of(toy(**changes), corpus, cache)
        assert again.frozen_digest == first.frozen_digest
        for name, value in first.module.state_dict().items():
            assert torch.equal(value, again.module.state_dict()[name]), name
    for changes, message in (
        ({"options.init": part}, "name its CLAP in options.clap"),
        ({"options.init": str(whole), "options.clap": str(clap)}, "set options.clap to null"),
        ({"options.init": str(whole), "model.mask_width": 32}, "another shape"),
        ({"options.init": str(ROOT / "src/soundsieve/embedded/starter.safetensors")}, "holds a sieve"),
        ({"options.clap": str(clap), "options.tokenizer": "none"}, "reads no text"),
    ):
        with pytest.raises(ConfigError, match=message):
            task_of(toy(**changes), corpus, cache)


# --- what is asked ---


def test_queries_are_drawn_in_the_published_shares(corpus: Path, cache: Path) -> None:
    """2,000 of them: within three standard deviations, 0.03 and 0.034."""
    changes = {"options.batch_size": 100, "options.mixtures.segment_s": 0.02, "options.spec_masks": 0}
    task = task_of(toy(**changes), corpus, cache)
    batches = [task.batch(step) for step in range(20)]
    asked = torch.cat([batch["asked"] for batch in batches])
    assert asked.shape == (2000, 2)
    assert (asked == torch.tensor([1.0, 0.0])).all(1).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert (asked == torch.tensor([0.0, 1.0])).all(1).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert (asked == 1).all(1).float().mean().item() == pytest.approx(0.5, abs=0.034)
    drawn = torch.stack([batch["draw"] for batch in batches])  # what a, one a batch, comes from
    assert len(drawn.unique()) == 20


def test_two_sounds_at_0_db_the_rest_being_the_target_of_an_exclusion(corpus: Path, cache: Path) -> None:
    batch = task_of(toy(**{"options.batch_size": 8}), corpus, cache).batch(0)
    rest = batch["mixture"] - batch["target"]
    ratio_db = 10 * (batch["target"].square().sum(1) / rest.square().sum(1)).log10()
    torch.testing.assert_close(ratio_db, torch.zeros(8), atol=1e-3, rtol=0)


def test_text_alone_never_listens_to_an_example(
    corpus: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def heard(*_: object) -> None:
        raise AssertionError("an audio embedding was computed")

    monkeypatch.setattr(CLAP, "embed_audio", heard)
    recipe = toy("text", max_steps=2, validate_every=1)
    task = task_of(recipe, corpus, cache)
    assert "example" not in task.batch(0)
    assert fit(task, recipe, tmp_path, workers=0).step == 2
    with pytest.raises(AssertionError, match="was computed"):
        fit(task_of(toy(max_steps=1), corpus, cache), toy(max_steps=1), tmp_path / "base", workers=0)


def test_text_differs_from_base_by_its_queries_alone() -> None:
    base, text = read_recipe(ROOT / "recipes/clapsep/base.yaml"), read_recipe(ROOT / "recipes/clapsep/text.yaml")
    extra = {name: base.options.pop(name) for name in ("example_speeds", "spec_masks", "mask_frames", "mask_bands")}
    assert len(extra) == 4
    assert text.options.pop("objective") == {"name": "supervised"}
    assert base == text


def test_example_clips_are_played_at_the_published_speeds(corpus: Path, cache: Path) -> None:
    task = task_of(toy(**{"options.mixtures.segment_s": 0.4}), corpus, cache)
    tone = next(i for i, clip in enumerate(task.mixer.store.clips) if clip.label == "tone")  # 700 Hz
    rng = np.random.default_rng(0)
    heard = {round(np.abs(np.fft.rfft(task._example(tone, rng))).argmax() / 0.4 / 700, 2) for _ in range(20)}
    assert heard == {0.9, 1.1}
    spectrum = np.abs(np.fft.rfft(task.mixer.crop(tone, rng)))
    assert spectrum.argmax() / 0.4 == pytest.approx(700, abs=5)


def test_spec_augment_masks_stretches_of_time_and_bands(corpus: Path, cache: Path) -> None:
    task = task_of(toy(**{"options.batch_size": 50}), corpus, cache)
    batch = task.batch(0)
    for name, length, widest in (("time_masks", 121, 64), ("band_masks", 32, 8)):
        assert batch[name].shape == (100, 2, 2)
        width = batch[name][..., 1] - batch[name][..., 0]
        assert width.min() == 0
        assert widest - 4 <= width.max() <= widest
        assert batch[name].min() >= 0
        assert length - 4 < batch[name].max() <= length
    tower, seen = system_of(task).clap.audio, []
    x = 0.1 * torch.randn(2, 38400)
    plain = tower(x)
    with _spec_augment(tower, torch.tensor([[[3, 5], [4, 9]]] * 2), torch.tensor([[[0, 0], [30, 32]]] * 2)):
        tower.bands_norm.register_forward_hook(lambda _, __, out: seen.append(out))
        masked = tower(x)
    assert not torch.equal(plain, masked)
    assert torch.equal(tower(x), plain)  # and it is over
    (out, _) = seen
    zero = torch.zeros(32, 121, dtype=torch.bool)
    zero[:, 3:9] = True
    zero[30:] = True
    assert ((out == 0) == zero).all()


def test_clips_without_labels_are_told_apart_by_their_captions(corpus: Path, cache: Path, tmp_path: Path) -> None:
    """As AudioCaps has them: the example of a caption that no other clip has is the clip itself."""
    with corpus.open(newline="") as file:
        listed = list(csv.DictReader(file))
    for i, row in enumerate(listed):
        row |= {"label": "", "caption": f"{row['caption']} {i}", "path": str(corpus.parent / row["path"])}
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, listed[0])
        writer.writeheader()
        writer.writerows(listed)
    task = task_of(toy(), tmp_path / "clips.csv", cache)
    assert len(task.sampler.labels) == len(task.mixer.store.clips)
    assert sorted(task.sampler.texts) == sorted(clip.caption for clip in task.mixer.store.clips)
    rng = np.random.default_rng(0)
    assert [task.sampler.draw_example(i, rng) for i in range(5)] == list(range(5))
    listed[0]["caption"] = ""
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, listed[0])
        writer.writeheader()
        writer.writerows(listed)
    with pytest.raises(ConfigError, match="neither label nor caption"):
        task_of(toy(), tmp_path / "clips.csv", cache)
