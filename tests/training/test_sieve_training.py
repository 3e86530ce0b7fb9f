"""What the Sieve's training asks for: hard mixtures, strange sounds, and the second look."""

from pathlib import Path

import numpy as np
import pytest
import torch

from soundsieve.errors import ConfigError
from soundsieve.evaluation.pairs import read_clips
from soundsieve.systems.sieve import Sieve
from soundsieve.training.build import Data, build_task
from soundsieve.training.recipe import read_recipe
from soundsieve.training.sampling import ClipSampler
from soundsieve.training.tasks import sieve as task_module
from soundsieve.training.tasks.sieve import SieveTask
from soundsieve.weights.checkpoint import load_system

DEBUG = Path(__file__).parents[2] / "recipes" / "starter" / "debug.yaml"
SMALLER = {"options.mixtures.segment_s": 1.2, "options.batch_size": 4, "options.validation_pairs": 2}


def task_of(corpus: Path, cache: Path, **options: object) -> SieveTask:
    changes = SMALLER | {f"options.{name}": value for name, value in options.items()}
    task = build_task(read_recipe(DEBUG, changes), Data(corpus, cache))
    assert isinstance(task, SieveTask)
    return task


def test_hard_mixtures_hold_sounds_that_are_described_alike(corpus: Path, cache: Path) -> None:
    task = task_of(corpus, cache, hard=1.0)
    count = len(task.sampler.labels)
    task._near = [[(label + 1) % count] for label in range(count)]
    for step in range(4):
        labels = task.batch(step)["labels"].numpy()
        assert all(second == (first + 1) % count for first, second in labels[:, :2])


def test_sounds_that_are_told_apart_by_nothing_are_not_hard(corpus: Path, cache: Path) -> None:
    task = task_of(corpus, cache, hard=1.0)
    anchors = task.module.get_buffer("anchors")
    for label, near in enumerate(task._near):
        assert label not in near
        assert all(task_module.NEAR[0] < float(anchors[label] @ anchors[i]) < task_module.NEAR[1] for i in near)


def test_strange_sounds_are_asked_for_in_vain_alone(
    corpus: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "strange.txt"
    path.write_text("a spaceship landing\n\na dragon yawning\n", encoding="utf-8")
    monkeypatch.setattr(task_module, "STRANGE", 1.01)  # an untrained text tower holds everything for alike
    task = task_of(corpus, cache, strange=[str(path)], strange_query=1.0)
    assert len(task.strange) == 2
    asked = np.concatenate([task.batch(step)["text"].numpy() for step in range(4)])
    assert np.isin(asked[:, 2, 0, 0], task.strange).any()
    assert not np.isin(asked[:, :2], task.strange).any()
    monkeypatch.setattr(task_module, "STRANGE", -1.01)  # nearer than this: none is left
    assert not len(task_of(corpus, cache, strange=[str(path)]).strange)
    with pytest.raises(ConfigError, match=r"no\.txt"):
        task_of(corpus, cache, strange=[str(tmp_path / "no.txt")])


def test_a_second_look_is_trained_and_shipped(corpus: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not task_of(corpus, cache).module.config.contrast  # type: ignore[union-attr]
    task = task_of(corpus, cache, second_look=1.0, recalled=1.0)
    module = task.module
    assert isinstance(module, Sieve)
    assert module.config.contrast
    batch, asked = task.batch(0), []
    reader = module.reader.forward

    def heard(scene: object, positive: torch.Tensor, negative: torch.Tensor) -> object:
        asked.append((torch.is_grad_enabled(), positive.detach(), negative.detach()))
        return reader(scene, positive, negative)  # type: ignore[arg-type]

    monkeypatch.setattr(module.reader, "forward", heard)
    task.loss(module, batch, 0)["loss"].backward()
    (first_learns, _, before), (second_learns, positive, after) = asked
    assert not first_learns
    assert second_learns
    words = positive.abs().amax(2) > 0
    assert words.all()  # who only excluded asks for what the first answer holds
    assert (after.norm(dim=2) > 0.99).all()
    assert (before.norm(dim=2) < 0.01).any()


def test_backgrounds_lie_beneath(corpus: Path, cache: Path) -> None:
    rows = corpus.read_text(encoding="utf-8").splitlines()
    path, _, rest = rows[1].split(",", 2)
    rows[1] = f"{path},a fifth label,{rest}"
    five = corpus.with_name("five.csv")
    five.write_text("\n".join(rows) + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="training needs 5 labels"):
        task_of(corpus, cache, background=1.0, backgrounds=task_of(corpus, cache).sampler.labels[:1])
    plain = task_of(five, cache)
    task = task_of(five, cache, background=1.0, backgrounds=plain.sampler.labels[:1])
    found = 0
    for step in range(6):
        batch = task.batch(step)
        labels, sources = batch["labels"].numpy(), batch["sources"].sum((2, 3)).numpy()
        assert labels.shape[1] == plain.batch(step)["labels"].shape[1] + 1
        for row, energy in zip(labels, sources, strict=True):
            count = int((row >= 0).sum())
            assert 0 in row[:count]  # where the background is none of the sources, it lies beneath them
            if count == 3 and row[2] == 0:
                found += energy[2] < energy[:2].max()
        assert torch.isfinite(task.loss(task.module, batch, step)["loss"])
    assert found


def test_nothing_asks_for_an_interferer(corpus: Path) -> None:
    clips = read_clips(corpus, split="train")
    names = sorted({clip.label for clip in clips})
    sampler = ClipSampler(clips, [], backgrounds=names[:1], interferers=names[1:2])
    rng = np.random.default_rng(0)
    assert not any(1 in sampler.draw_labels(2, rng) for _ in range(50))
    assert {sampler.draw_background([2], rng) for _ in range(20)} == {0, 1}
    assert {sampler.draw_background([0], rng) for _ in range(5)} == {1}
    assert sampler.draw_background([0, 1], rng) is None
    with pytest.raises(ConfigError, match="the clips have 3"):
        sampler.draw_labels(4, rng)


@pytest.mark.parametrize("kind", ["backgrounds", "interferers"])
def test_backgrounds_are_labels_of_the_clips(corpus: Path, cache: Path, kind: str) -> None:
    with pytest.raises(ConfigError, match="none is 'a choir of whales'"):
        task_of(corpus, cache, background=0.5, **{kind: ["a choir of whales"]})
    with pytest.raises(ConfigError, match="background needs"):
        task_of(corpus, cache, background=0.5)


@pytest.mark.parametrize("name", ["recalled", "second_look", "heard", "hard", "strange_query", "background"])
def test_shares_are_shares(corpus: Path, cache: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is a share"):
        task_of(corpus, cache, **{name: 1.5})


def test_what_is_saved_is_an_average_with_the_start(corpus: Path, cache: Path, tmp_path: Path) -> None:
    task = task_of(corpus, cache, start_share=0.25)
    assert isinstance(task.module, Sieve)
    start = task.module.reader.project.weight.detach().clone()
    with torch.no_grad():
        task.module.reader.project.weight += 1.0
    task.validate(task.module)
    task.save(tmp_path / "saved.safetensors", task.module)
    saved = load_system(tmp_path / "saved.safetensors")
    assert isinstance(saved, Sieve)
    torch.testing.assert_close(saved.reader.project.weight.detach(), start + 0.75, atol=2e-3, rtol=0)
    torch.testing.assert_close(task.module.reader.project.weight.detach(), start + 1.0)  # training goes on from here
    torch.testing.assert_close(saved.anchors, task.module.anchors, atol=2e-3, rtol=0)
    assert saved.config == task.module.config


def test_what_is_remembered_is_the_mean_of_a_labels_clips(corpus: Path, cache: Path, tmp_path: Path) -> None:
    task = task_of(corpus, cache, heard=0.5, start_share=0.5)
    module = task.module
    assert isinstance(module, Sieve)
    task.validate(module)
    task.save(tmp_path / "saved.safetensors", module)
    saved = load_system(tmp_path / "saved.safetensors").eval()
    assert isinstance(saved, Sieve)
    assert saved.config.heard == 0.5
    assert len(saved.sounds) == len(task.sampler.labels)
    clips = [clip for clip in read_clips(corpus, split="train") if clip.label == task.sampler.labels[0]]
    heard = saved.embed_clips([corpus.parent / clip.path for clip in clips])
    assert saved.sounds[0] @ torch.nn.functional.normalize(heard.mean(0), dim=0) > 0.99
