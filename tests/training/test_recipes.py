"""Every recipe loads, and says no to what it does not know."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from soundsieve.encoders.clap import CLAPConfig
from soundsieve.encoders.text import SentenceEncoderConfig
from soundsieve.errors import ConfigError
from soundsieve.systems.audiosep import AudioSepConfig
from soundsieve.systems.clapsep import CLAPSepConfig
from soundsieve.systems.flowsep.config import FlowSepConfig
from soundsieve.systems.lassnet import LASSNetConfig
from soundsieve.systems.sieve import SieveConfig
from soundsieve.systems.uss import USSConfig
from soundsieve.training.build import MAKERS
from soundsieve.training.fit import Plateau, _Loop
from soundsieve.training.recipe import Recipe, build_config, read_recipe
from soundsieve.training.tasks.clap import CLAPTaskConfig
from soundsieve.training.tasks.clapsep import CLAPSepTaskConfig
from soundsieve.training.tasks.distill import DistillConfig
from soundsieve.training.tasks.flowsep import FlowSepTaskConfig
from soundsieve.training.tasks.flowsep_parts import FlowSepVAETaskConfig, FlowSepVocoderTaskConfig
from soundsieve.training.tasks.listener import ListenerTaskConfig
from soundsieve.training.tasks.resunet import AudioSepTaskConfig, LASSNetTaskConfig, USSTaskConfig
from soundsieve.training.tasks.separation import SeparationTaskConfig
from soundsieve.training.tasks.sieve import SieveTaskConfig
from soundsieve.weights.config import from_dict

ROOT = Path(__file__).parents[2]
RECIPES = sorted(ROOT.glob("recipes/*/*.yaml"))
CONFIGS = {
    "sieve": (SieveConfig, SieveTaskConfig),
    "clap": (CLAPConfig, CLAPTaskConfig),
    "clapsep": (CLAPSepConfig, CLAPSepTaskConfig),
    "audiosep": (AudioSepConfig, AudioSepTaskConfig),
    "lassnet": (LASSNetConfig, LASSNetTaskConfig),
    "uss": (USSConfig, USSTaskConfig),
    "distill": (SentenceEncoderConfig, DistillConfig),
    "listener": (SieveConfig, ListenerTaskConfig),
    "separation": (SieveConfig, SeparationTaskConfig),
    "flowsep": (FlowSepConfig, FlowSepTaskConfig),
    "flowsep_vae": (FlowSepConfig, FlowSepVAETaskConfig),
    "flowsep_vocoder": (FlowSepConfig, FlowSepVocoderTaskConfig),
}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe_loads(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.task in MAKERS
    model, options = CONFIGS[recipe.task]
    build_config(model, recipe.model)
    built = from_dict(options, recipe.options, where="options")
    for field in ("sentences", "labels", "captions", "descriptions", "exclude"):
        for name in getattr(built, field, ()):
            assert (ROOT / name).is_file()


def test_there_are_recipes() -> None:
    assert {"sieve", "text", "small", "small_clap"} <= {path.stem for path in RECIPES}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: sieve\nmax_steps: 1\nlearning_rates: 1", "unknown key 'learning_rates'"),
        ("max_steps: 1", "missing key 'task'"),
        ("task: sieve\nmax_steps: 0", "at least 1"),
        ("- a", "no table"),
        ("a: [", "not YAML"),
    ],
)
def test_a_recipe_that_cannot_be_run_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_recipe(tmp_path / "r.yaml")


def test_values_can_be_changed_by_dotted_name() -> None:
    recipe = read_recipe(ROOT / "recipes/starter/debug.yaml", {"options.batch_size": 7, "model.width": 32})
    assert recipe.options["batch_size"] == 7
    assert build_config(SieveConfig, recipe.model).width == 32
    with pytest.raises(ConfigError, match="preset"):
        build_config(SieveConfig, {"preset": "huge"})


def test_a_plateau_lowers_the_rate_when_waiting_was_in_vain() -> None:
    """Patience 2: two validations without a new best are waited for, the third lowers the rate, down to the minimum."""
    plateau = Plateau(factor=0.3, patience=2, minimum=0.05)
    scales = []
    for score in (1.0, 2.0, 2.0, 1.0, 1.5, 1.0, math.nan, 2.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0):
        plateau.step(score)
        scales.append(round(plateau.state["scale"], 6))
    assert scales == [1, 1, 1, 1, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.09, 0.09, 0.09, 0.05]


@pytest.mark.parametrize(
    ("settings", "factors"),
    [
        ({"warmup": "linear", "schedule": "constant"}, {0: 0.1, 4: 0.5, 9: 1, 10: 1, 99999: 1}),
        ({"warmup": "stairs", "schedule": "constant"}, {0: 1e-3, 9: 1e-3, 10: 1e-2, 29: 0.1, 30: 1, 99999: 1}),
        ({"warmup": "stairs", "schedule": "cosine"}, {0: 1e-3, 30: 0.5 + 0.5 * math.cos(0.3 * math.pi), 100: 0}),
    ],
)
def test_the_learning_rate_of_a_step(settings: dict[str, Any], factors: dict[int, float]) -> None:
    """Warm-up of ten steps, or of three stairs of ten steps each (AudioSep's "constant warm-up")."""
    recipe = Recipe("lassnet", max_steps=100, warmup_steps=10, **settings)
    found = {step: _Loop.rate_factor(SimpleNamespace(recipe=recipe), step) for step in factors}
    assert found == pytest.approx(factors)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("schedule: linear", "not one of 'cosine', 'plateau', 'constant'"),
        ("plateau_factor: 1.0", "plateau_factor lies"),
        ("minimum_learning_rate: 1.0", "minimum_learning_rate lies"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "r.yaml").write_text(f"task: sieve\nmax_steps: 1\n{line}")
    with pytest.raises(ConfigError, match=message):
        read_recipe(tmp_path / "r.yaml")
