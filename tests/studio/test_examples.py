from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest

from soundsieve import audio
from soundsieve.separator import load
from soundsieve.studio.examples import EXAMPLES, Example
from soundsieve.weights.catalog import CATALOG


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_an_example_is_a_recording_that_holds_what_is_asked(example: Example) -> None:
    samples, sample_rate = audio.decode(example.content())
    seconds = samples.shape[1] / sample_rate
    assert 3 < seconds < 20
    assert 0.3 < np.abs(samples).max() <= 1
    assert example.file_name.endswith(".wav")
    if not CATALOG["starter"].at_hand:
        pytest.skip("the embedded model is not in this checkout")
    answer = load().separate(samples, example.ask, sample_rate=sample_rate)
    assert answer.spans
    assert 0.05 < np.square(answer.target).sum() / np.square(samples).sum() < 0.95


def test_examples_are_told_apart_and_credited() -> None:
    assert len({example.title for example in EXAMPLES}) == len({example.file_name for example in EXAMPLES}) >= 2
    for example in EXAMPLES:
        for package, name in example.clips:
            clip = files(package) / name
            credits = clip.parent / "CREDITS.md" if hasattr(clip, "parent") else None
            assert clip.is_file()
            assert credits is not None
            assert clip.name in credits.read_text("utf-8")
