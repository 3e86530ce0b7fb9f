"""From a recipe to its task: which class, which clips, which config."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from soundsieve.errors import ConfigError
from soundsieve.evaluation.pairs import Clip, read_clips
from soundsieve.training.recipe import Recipe, build_config
from soundsieve.training.sampling import by_recording
from soundsieve.training.store import ClipStore, Progress
from soundsieve.training.tasks.base import Task
from soundsieve.weights.config import from_dict

VALIDATION_SHARE = 0.05
"""Of the recordings of a list that names no split."""


@dataclass(frozen=True)
class Data:
    """What a run learns from.

    Attributes:
        clips: list of clips, CSV (path, label, caption, group, split) or AudioSep's JSON, paths relative to its folder;
            a clip without a label has its caption for one, and a list without any split is shared out by `share_out`.
            None where a task needs no sound.
        cache: folder for decoded clips; None for the usual one.
        progress: told how far preparations are.
    """

    clips: Path | None = None
    cache: Path | None = None
    progress: Progress | None = None

    def store(self, split: str, sample_rate: int, *, labelled: bool = True, held_out: Sequence[str] = ()) -> ClipStore:
        """The decoded clips of one split.

        Args:
            split: which.
            sample_rate: Hz, of what is stored.
            labelled: without, labels and captions are not read, be they there or not; see `by_recording`.
            held_out: labels whose clips are left out; these are read in any case.
        """
        if self.clips is None:
            raise ConfigError("this recipe trains on sound: name a list of clips with --data clips.csv (or .json)")
        read = read_clips(self.clips, labelled=labelled or bool(held_out))
        unknown = set(held_out) - {clip.label for clip in read}
        if unknown:
            raise ConfigError(f"held_out: no clip of {self.clips} is labelled '{min(unknown)}'")
        read = [clip for clip in read if clip.label not in held_out]
        everything = (
            [replace(clip, label=clip.label or clip.caption) for clip in read] if labelled else by_recording(read)
        )
        if not any(clip.split for clip in everything):
            everything = share_out(everything)
        _check_splits(self.clips, everything)
        clips = [clip for clip in everything if clip.split == split]
        if not clips:
            raise ConfigError(f"{self.clips} lists no clip of the split '{split}'")
        return ClipStore(self.clips.parent, clips, sample_rate=sample_rate, cache=self.cache, progress=self.progress)


def share_out(clips: Sequence[Clip]) -> list[Clip]:
    """Splits for clips that have none: about one recording of twenty validates, the others train.

    Which, a hash of the recording's name decides: a list that grows leaves every recording where it was.
    """

    def split(clip: Clip) -> str:
        first = hashlib.sha256(clip.group.encode()).digest()[0]
        return "validation" if first < 256 * VALIDATION_SHARE else "train"

    return [replace(clip, split=split(clip)) for clip in clips]


def _check_splits(path: Path, clips: Sequence[Clip]) -> None:
    """Nothing may be judged by what it was trained on."""
    splits: dict[str, str] = {}
    for clip in clips:
        if not clip.label:
            raise ConfigError(f"{path}: {clip.path} has neither label nor caption")
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


SYSTEMS: dict[str, tuple[str, str, str, str]] = {
    "sieve": ("sieve", "SieveConfig", "sieve", "SieveTask"),
    "listener": ("sieve", "SieveConfig", "listener", "ListenerTask"),
    "separation": ("sieve", "SieveConfig", "separation", "SeparationTask"),
    "clapsep": ("clapsep", "CLAPSepConfig", "clapsep", "CLAPSepTask"),
    "audiosep": ("audiosep", "AudioSepConfig", "resunet", "AudioSepTask"),
    "lassnet": ("lassnet", "LASSNetConfig", "resunet", "LASSNetTask"),
    "uss": ("uss", "USSConfig", "resunet", "USSTask"),
    "flowsep": ("flowsep.config", "FlowSepConfig", "flowsep", "FlowSepTask"),
    "flowsep_vae": ("flowsep.config", "FlowSepConfig", "flowsep_parts", "FlowSepVAETask"),
    "flowsep_vocoder": ("flowsep.config", "FlowSepConfig", "flowsep_parts", "FlowSepVocoderTask"),
}
"""Tasks over a system and clips -> (module of the system, its config, module of the task, its class, whose own
config has its name and ``Config``); what is not asked for is not imported."""


def _system(recipe: Recipe, data: Data) -> Task:
    system, config, module, task = SYSTEMS[recipe.task]
    tasks = import_module(f"soundsieve.training.tasks.{module}")
    model = build_config(getattr(import_module(f"soundsieve.systems.{system}"), config), recipe.model)
    options = from_dict(getattr(tasks, f"{task}Config"), recipe.options, where="options")
    objective = getattr(options, "objective", None)
    labelled = objective is None or objective.needs_text
    train, validation = (
        data.store(split, model.sample_rate, labelled=labelled, held_out=recipe.held_out)
        for split in ("train", "validation")
    )
    made: Task = getattr(tasks, task)(model, options, train, validation, seed=recipe.seed)
    return made


def _clap(recipe: Recipe, data: Data) -> Task:
    from soundsieve.encoders.clap import CLAPConfig
    from soundsieve.training.tasks.clap import CLAPTask, CLAPTaskConfig

    model = build_config(CLAPConfig, recipe.model)
    options = from_dict(CLAPTaskConfig, recipe.options, where="options")
    train, validation = (
        data.store(split, model.audio.sample_rate, held_out=recipe.held_out) for split in ("train", "validation")
    )
    return CLAPTask(model, options, train, validation, seed=recipe.seed)


def _distill(recipe: Recipe, data: Data) -> Task:
    from soundsieve.encoders.text import SentenceEncoderConfig
    from soundsieve.training.store import default_cache
    from soundsieve.training.tasks.distill import DistillConfig, make_task

    if recipe.held_out:
        raise ConfigError("held_out leaves out clips, and this recipe trains on words alone")
    model = build_config(SentenceEncoderConfig, recipe.model)
    options = from_dict(DistillConfig, recipe.options, where="options")
    return make_task(model, options, seed=recipe.seed, cache=data.cache or default_cache(), progress=data.progress)


MAKERS: dict[str, Callable[[Recipe, Data], Task]] = {
    **dict.fromkeys(SYSTEMS, _system),
    "clap": _clap,
    "distill": _distill,
}
"""Tasks by name."""
