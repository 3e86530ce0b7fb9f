"""Recipes: one YAML file states one training run, and nothing in it is left to guess.

Unknown keys are errors. ``task`` names what is trained; ``model`` and ``options`` are read by that task's own config
classes; everything else is the loop's and documented in `Recipe`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from soundsieve.errors import ConfigError, reason
from soundsieve.weights.config import from_dict


@dataclass(frozen=True)
class Recipe:
    """One training run."""

    task: str
    """What is trained: a name of `soundsieve.training.build.MAKERS`."""
    max_steps: int
    """Optimiser steps."""
    seed: int = 0
    """Of everything random."""
    model: dict[str, Any] = field(default_factory=dict)
    """The network's shape: ``preset`` names one, further keys change it."""
    options: dict[str, Any] = field(default_factory=dict)
    """The task's own settings."""
    held_out: tuple[str, ...] = ()
    """Labels whose clips are left out of every split, for the zero-shot protocol (CLAPSep, section V-C)."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    """After the warm-up: ``cosine`` falls along half a cosine over ``max_steps``; ``plateau`` stays, and falls by
    ``plateau_factor`` whenever the validation score has not risen for ``plateau_patience`` validations; ``constant``
    stays."""
    final_learning_rate: float = 0.0
    """Where the cosine ends, as a share of the peak."""
    plateau_factor: float = 0.3
    """What the learning rate is multiplied by on a plateau."""
    plateau_patience: int = 5
    """Validations without a new best score that are waited for; the next one lowers the learning rate."""
    minimum_learning_rate: float = 0.0
    """Below this a plateau does not lower it."""
    weight_decay: float = 0.05
    """On matrices; biases, norms and scalars have none."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's averages."""
    amsgrad: bool = False
    """AdamW divides by the largest average so far (Reddi et al., 2018, arXiv 1904.09237)."""
    warmup_steps: int = 200
    """Steps of warm-up."""
    warmup: Literal["linear", "stairs"] = "linear"
    """``linear`` rises from zero; ``stairs`` takes a thousandth, a hundredth and a tenth of the peak, for
    ``warmup_steps`` each."""
    gradient_clip: float = 2.0
    """Largest norm of the gradient."""
    ema_decay: float = 0.999
    """Of the running average of the weights, which is what is judged and shipped; 0 for none."""
    sync_batchnorm: bool = False
    """Batch norms take their averages over the batches of all devices (GPUs), instead of each over its own."""
    precision: Literal["32", "bf16"] = "32"
    """bf16 runs matrix products and convolutions in bfloat16, weights and sums staying float32. On a CPU always, be it
    faster or not; on a GPU that has no bfloat16 the run is in float32, and says so."""
    validate_every: int = 500
    """Steps between validations; also between checkpoints."""

    def __post_init__(self) -> None:
        if self.max_steps < 1 or self.validate_every < 1:
            raise ConfigError("max_steps and validate_every must be at least 1")
        if self.warmup_steps < 0:
            raise ConfigError(f"warmup_steps is at least 0, got {self.warmup_steps}")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"ema_decay lies between 0 and 1, got {self.ema_decay}")
        if not 0 < self.plateau_factor < 1 or self.plateau_patience < 0:
            raise ConfigError("plateau_factor lies between 0 and 1, plateau_patience is at least 0")
        if not 0 <= self.minimum_learning_rate <= self.learning_rate:
            raise ConfigError("minimum_learning_rate lies between 0 and learning_rate")


def read_recipe(path: str | Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe; ``changes`` replaces values by dotted name, such as ``{"options.batch_size": 8}``.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not known.
    """
    import yaml

    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the recipe {path}: {reason(error)}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path} is not a recipe: it holds no table of settings")
    for name, value in (changes or {}).items():
        *parents, last = name.split(".")
        table = data
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise ConfigError(f"{name}: {parent} is a value, not a table")
        table[last] = value
    return from_dict(Recipe, data)


def build_config(cls: type[Any], table: Mapping[str, Any], *, where: str = "model") -> Any:
    """A config from a recipe's table: the preset it names, changed by its other keys."""
    from soundsieve.weights.config import to_dict

    table = dict(table)
    preset = table.pop("preset", None)
    if preset is None:
        return from_dict(cls, table, where=where)
    maker = getattr(cls, str(preset), None)
    if not callable(maker) or str(preset).startswith(("_", "from_")):
        known = [name for name in ("debug", "small", "base") if hasattr(cls, name)]
        raise ConfigError(f"{where}.preset: '{preset}' is not known; known: {', '.join(known)}")
    return from_dict(cls, {**to_dict(maker()), **table}, where=where)
