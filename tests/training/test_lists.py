"""Training on AudioSep's lists, which name neither labels nor recordings nor splits."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from soundsieve.errors import AudioError, ConfigError
from soundsieve.evaluation.pairs import Clip, read_clips
from soundsieve.training.build import Data, build_task, share_out
from soundsieve.training.fit import fit
from soundsieve.training.recipe import read_recipe
from soundsieve.training.store import ClipStore
from soundsieve.training.tasks.resunet import AudioSepTask

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def listed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus as JSON, each file under five names, so that some of them validate."""
    folder = tmp_path_factory.mktemp("listed")
    with corpus.open(newline="") as file:
        rows = list(csv.DictReader(file))
    entries = []
    for k in range(5):
        for row in rows:
            path = folder / f"{k}" / row["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(corpus.parent / row["path"])
            entries.append({"wav": f"{k}/{row['path']}", "caption": f"{row['caption']} {k}"})
    entries.append({"wav": entries[0]["wav"], "caption": "the same again"})
    (folder / "train.json").write_text(json.dumps({"data": entries}))
    return folder / "train.json"


def test_a_twentieth_validates_whatever_else_is_in_the_list() -> None:
    clips = [Clip(f"{i}.wav", "", f"sound {i}", f"{i}.wav") for i in range(4000)]
    split = {clip.path: clip.split for clip in share_out(clips)}
    assert sum(name == "validation" for name in split.values()) == pytest.approx(200, abs=45)  # 3 deviations
    assert set(split.values()) == {"train", "validation"}
    assert {clip.path: clip.split for clip in share_out(clips[1000:][::-1])}.items() <= split.items()
    assert len({clip.split for clip in share_out([Clip(f"{i}", "", "", "one") for i in range(50)])}) == 1


def test_a_clip_without_a_group_is_a_recording_of_its_own(
    corpus: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of them train and others validate, under one group that is empty."""
    monkeypatch.setattr("soundsieve.training.build.VALIDATION_SHARE", 0.3)
    with corpus.open(newline="") as file:
        rows = list(csv.DictReader(file))
    path = corpus.parent / "no_groups.csv"
    path.write_text("path,label,caption,group\n" + "".join(f"{r['path']},{r['label']},{r['label']},\n" for r in rows))
    clips = share_out(read_clips(path))
    assert [clip.group for clip in clips] == [clip.path for clip in clips]
    assert {clip.split for clip in clips} == {"train", "validation"}
    store = Data(path, cache).store("train", 32000)
    assert [clip.path for clip in store.clips] == [clip.path for clip in clips if clip.split == "train"]


def test_a_name_that_no_file_can_have_is_refused(corpus: Path, cache: Path) -> None:
    for name in ("no\0where.wav", "\ud800.wav", "none.wav"):
        with pytest.raises(AudioError, match=r"the list names '.*\.wav', which is not in"):
            ClipStore(corpus.parent, [Clip(name, "a", "A.", name)], cache=cache)


def test_a_json_list_trains(listed: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soundsieve.training.build.VALIDATION_SHARE", 0.3)
    recipe = read_recipe(ROOT / "recipes/audiosep/debug.yaml", {"max_steps": 2, "validate_every": 2})
    task = build_task(recipe, Data(listed, cache))
    assert isinstance(task, AudioSepTask)
    train, validation = ({clip.path for clip in store.clips} for store in (task.mixer.store, task.validation))
    assert train
    assert validation
    assert not train & validation
    assert sorted(task.sampler.texts) == sorted({clip.caption for clip in task.mixer.store.clips})
    assert fit(task, recipe, tmp_path, workers=0).step == 2


def test_one_file_is_not_enough(listed: Path, cache: Path) -> None:
    """However many captions it has."""
    task = build_task(read_recipe(ROOT / "recipes/audiosep/debug.yaml"), Data(listed, cache))
    assert isinstance(task, AudioSepTask)
    store = task.mixer.store
    store.clips[:] = [replace(clip, path="one") for clip in store.clips]
    with pytest.raises(ConfigError, match="mixtures of 3 sounds need that many files"):
        AudioSepTask(task.module.config, task.config, store, task.validation, seed=0)


def test_a_file_is_never_mixed_with_itself(listed: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soundsieve.training.build.VALIDATION_SHARE", 0.3)
    task = build_task(read_recipe(ROOT / "recipes/audiosep/debug.yaml"), Data(listed, cache))
    assert isinstance(task, AudioSepTask)
    clips = task.mixer.store.clips
    clips[:] = [replace(clip, path=str(i // 9)) for i, clip in enumerate(clips)]
    for step in range(50):
        for asked in task.asked(np.random.default_rng(step)):
            assert len({clips[clip].path for clip in asked.clips}) == len(asked.clips)


def test_a_list_whose_files_cannot_meet_is_refused(listed: Path, cache: Path) -> None:
    """Three files and three captions, of which two are of one file: no three of them differ in both."""
    task = build_task(
        read_recipe(ROOT / "recipes/audiosep/debug.yaml", {"options.mixtures.three_sources": 1.0}), Data(listed, cache)
    )
    assert isinstance(task, AudioSepTask)
    store = task.mixer.store
    names = (("a", "x"), ("b", "x"), ("c", "y"), ("c", "z"))
    store.clips[:] = [replace(store.clips[0], path=path, label=label) for path, label in names]
    with pytest.raises(ConfigError, match="were of one file: the list needs more files"):
        AudioSepTask(task.module.config, task.config, store, task.validation, seed=0).batch(0)
