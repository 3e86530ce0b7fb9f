"""From a recipe to its task: which class, which clips, which config."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from soundsieve.errors import ConfigError
from soundsieve.evaluation.pairs import Clip, read_clips
from soundsieve.training.recipe import Recipe, build_config
from soundsieve.training.store import ClipStore, Progress
from soundsieve.training.tasks.base import Task
from soundsieve.weights.config import from_dict


@dataclass(frozen=True)
class Data:
    """What a run learns from.

    Attributes:
        clips: CSV of clips (path, label, caption, group, split), paths relative to its folder; a clip without a label
            has its caption for one. None where a task needs no sound.
        cache: folder for decoded clips; None for the usual one.
        progress: told how far preparations are.
    """

    clips: Path | None = None
    cache: Path | None = None
    progress: Progress | None = None

    def store(self, split: str, sample_rate: int, *, labelled: bool = True) -> ClipStore:
        """The decoded clips of one split.

        Args:
            split: which.
            sample_rate: Hz, of what is stored.
            labelled: without, labels and captions are not read, be they there or not.
        """
        if self.clips is None:
            raise ConfigError("this recipe trains on sound: name a list of clips with --data clips.csv")
        read = read_clips(self.clips, labelled=labelled)
        everything = [replace(clip, label=clip.label or clip.caption) for clip in read]
        if labelled:
            _check_labels(self.clips, everything)
        _check_splits(self.clips, everything)
        clips = [clip for clip in everything if clip.split == split]
        if not clips:
            raise ConfigError(f"{self.clips} lists no clip of the split '{split}'")
        return ClipStore(self.clips.parent, clips, sample_rate=sample_rate, cache=self.cache, progress=self.progress)


def _check_labels(path: Path, clips: Sequence[Clip]) -> None:
    for clip in clips:
        if not clip.label:
            raise ConfigError(f"{path}: {clip.path} has neither label nor caption")


def _check_splits(path: Path, clips: Sequence[Clip]) -> None:
    """Nothing may be judged by what it was trained on."""
    splits: dict[str, str] = {}
    for clip in clips:
        if not clip.split:
            raise ConfigError(f"{path}: {clip.path} has no split; it takes train, validation or test")
        if splits.setdefault(clip.group, clip.split) != clip.split:
            raise ConfigError(
                f"{path}: the group '{clip.group}' is in two splits, {splits[clip.group]} and {clip.split}"
            )


def build_task(recipe: Recipe, data: Data) -> Task:
    """The task that a recipe names.

    Raises:
        ConfigError: an unknown task, or settings that do not fit it.
    """
    if recipe.task not in MAKERS:
        raise ConfigError(f"task '{recipe.task}' is not known; known: {', '.join(sorted(MAKERS))}")
    return MAKERS[recipe.task](recipe, data)


def _sieve(recipe: Recipe, data: Data) -> Task:
    from soundsieve.systems.sieve import SieveConfig
    from soundsieve.training.tasks.sieve import SieveTask, SieveTaskConfig

    model = build_config(SieveConfig, recipe.model)
    options = from_dict(SieveTaskConfig, recipe.options, where="options")
    train, validation = (data.store(split, model.sample_rate) for split in ("train", "validation"))
    return SieveTask(model, options, train, validation, seed=recipe.seed)


def _clap(recipe: Recipe, data: Data) -> Task:
    from soundsieve.encoders.clap import CLAPConfig
    from soundsieve.training.tasks.clap import CLAPTask, CLAPTaskConfig

    model = build_config(CLAPConfig, recipe.model)
    options = from_dict(CLAPTaskConfig, recipe.options, where="options")
    train, validation = (data.store(split, model.audio.sample_rate) for split in ("train", "validation"))
    return CLAPTask(model, options, train, validation, seed=recipe.seed)


def _clapsep(recipe: Recipe, data: Data) -> Task:
    from soundsieve.systems.clapsep import CLAPSepConfig
    from soundsieve.training.tasks.clapsep import CLAPSepTask, CLAPSepTaskConfig

    model = build_config(CLAPSepConfig, recipe.model)
    options = from_dict(CLAPSepTaskConfig, recipe.options, where="options")
    train, validation = (data.store(split, model.sample_rate) for split in ("train", "validation"))
    return CLAPSepTask(model, options, train, validation, seed=recipe.seed)


def _listener(recipe: Recipe, data: Data) -> Task:
    from soundsieve.systems.sieve import SieveConfig
    from soundsieve.training.tasks.listener import ListenerTask, ListenerTaskConfig

    model = build_config(SieveConfig, recipe.model)
    options = from_dict(ListenerTaskConfig, recipe.options, where="options")
    train, validation = (data.store(split, model.sample_rate) for split in ("train", "validation"))
    return ListenerTask(model, options, train, validation, seed=recipe.seed)


def _lassnet(recipe: Recipe, data: Data) -> Task:
    from soundsieve.systems.lassnet import LASSNetConfig
    from soundsieve.training.tasks.resunet import LASSNetTask, LASSNetTaskConfig

    model = build_config(LASSNetConfig, recipe.model)
    options = from_dict(LASSNetTaskConfig, recipe.options, where="options")
    train, validation = (data.store(split, model.sample_rate) for split in ("train", "validation"))
    return LASSNetTask(model, options, train, validation, seed=recipe.seed)


def _separation(recipe: Recipe, data: Data) -> Task:
    from soundsieve.systems.sieve import SieveConfig
    from soundsieve.training.tasks.separation import SeparationTask, SeparationTaskConfig

    model = build_config(SieveConfig, recipe.model)
    options = from_dict(SeparationTaskConfig, recipe.options, where="options")
    labelled = options.objective.needs_text
    train, validation = (data.store(split, model.sample_rate, labelled=labelled) for split in ("train", "validation"))
    return SeparationTask(model, options, train, validation, seed=recipe.seed)


def _distill(recipe: Recipe, data: Data) -> Task:
    from soundsieve.encoders.text import SentenceEncoderConfig
    from soundsieve.training.store import default_cache
    from soundsieve.training.tasks.distill import DistillConfig, make_task

    model = build_config(SentenceEncoderConfig, recipe.model)
    options = from_dict(DistillConfig, recipe.options, where="options")
    return make_task(model, options, seed=recipe.seed, cache=data.cache or default_cache(), progress=data.progress)


MAKERS: dict[str, Callable[[Recipe, Data], Task]] = {
    "sieve": _sieve,
    "clap": _clap,
    "clapsep": _clapsep,
    "lassnet": _lassnet,
    "distill": _distill,
    "listener": _listener,
    "separation": _separation,
}
"""Tasks by name."""
