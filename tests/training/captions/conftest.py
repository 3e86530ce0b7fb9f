from __future__ import annotations

import itertools

import pytest

from soundsieve.training.captions.encoders import JointEncoder, load_encoder


@pytest.fixture(scope="session")
def encoder() -> JointEncoder:
    """The tiny model with random weights: it tells texts apart by their letters."""
    return load_encoder("debug")


@pytest.fixture(scope="session")
def captions() -> list[str]:
    """300 short ones, all different."""
    who = ("dog", "cat", "man", "bird", "car", "bee", "owl", "cow", "pig", "hen")
    does = ("barks", "meows", "talks", "sings", "hums", "honks")
    how = ("softly", "loudly", "twice", "nearby", "outside")
    return [f"a {one} {two} {three}" for one, two, three in itertools.product(who, does, how)]
