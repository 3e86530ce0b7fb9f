"""The search's lists keep whole collections out, its variants are valid recipes, and its made sounds sound."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


def test_a_label_is_judged_by_collections_that_training_did_not_hear_it_from() -> None:
    from search_clips import KEPT, split_by_source

    from soundsieve.evaluation.pairs import Clip

    def clip(number: int, source: str, label: str, split: str = "train") -> Clip:
        name = f"{source}-{label}-{number}"
        return Clip(path=name, label=label, caption=label, group=name, source=source, split=split)

    clips = [clip(i, "large", "rain") for i in range(5)] + [clip(i, "small", "rain") for i in range(2)]
    clips += [clip(0, "large", "bell"), clip(0, "large", "bell", "validation"), clip(0, "large", "bell", "test")]
    made = split_by_source(clips)
    by_split: dict[str, set[str]] = defaultdict(set)
    for one in made:
        by_split[one.split].add(one.path)
    assert by_split["validation"] == {"small-rain-0", "small-rain-1"}
    assert len(by_split["train"]) == 6 >= KEPT
    assert len(by_split["test"]) == 1  # what usually validates; the test's own clips are left alone
    heard = {(one.label, one.source) for one in made if one.split == "train"}
    assert not heard & {(one.label, one.source) for one in made if one.split == "validation"}


def test_every_variant_is_a_recipe_and_costs_as_much() -> None:
    from search import RECIPE, VARIANTS, operations, shape_of, slug

    from soundsieve.systems.sieve import SieveConfig
    from soundsieve.training.recipe import build_config, read_recipe
    from soundsieve.training.tasks.sieve import SieveTaskConfig
    from soundsieve.weights.config import from_dict

    assert len({slug(name) for name in VARIANTS}) == len(VARIANTS)
    for variant in VARIANTS.values():
        recipe = read_recipe(RECIPE, variant.changes)
        from_dict(SieveTaskConfig, recipe.options)
        build_config(SieveConfig, recipe.model)
    plain, fine = operations(shape_of(VARIANTS["plain"])), operations(shape_of(VARIANTS["128 bands"]))
    assert 1.5 < fine / plain < 2.5


@pytest.mark.parametrize("rate", [16000, 32000])
def test_made_sounds_are_sounds(rate: int) -> None:
    from synthetic import SOUNDS

    for name, sound in SOUNDS.items():
        first, second = (sound(np.random.default_rng(seed), rate) for seed in (0, 1))
        for samples in (first, second):
            assert np.isfinite(samples).all(), name
            assert np.abs(samples).max() > 0, name
            assert 0.05 * rate < len(samples) <= 10 * rate, name
        assert len(first) != len(second) or not np.allclose(first, second), name
