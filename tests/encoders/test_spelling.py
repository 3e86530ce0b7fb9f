"""Typing errors are put right; what is right, or like nothing, stays as it is."""

from __future__ import annotations

import pytest

from soundsieve.encoders.spelling import Spelling, distance
from soundsieve.encoders.text import SentenceEncoder, SentenceEncoderConfig
from soundsieve.errors import ConfigError

WORDS = ["dog", "barking", "a", "water", "guitar", "cat", "bat", "playing", "car", "horn", "claves", "violin"]


@pytest.fixture(scope="module")
def spelling() -> Spelling:
    return Spelling(WORDS, known={"hund", "clavés", "the", "vat"})


@pytest.mark.parametrize(
    ("a", "b", "errors"),
    [
        ("", "", 0), ("", "abc", 3), ("abc", "", 3), ("rain", "rain", 0), ("rain", "train", 1), ("rian", "rain", 1),
        ("ran", "rain", 1), ("rein", "rain", 1), ("ca", "abc", 3),  # 2 where a swapped pair may be touched again
    ],
)  # fmt: skip
def test_distance(a: str, b: str, errors: int) -> None:
    assert distance(a, b) == distance(b, a) == errors


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("dgo", "dog"), ("a barknig dog", "a barking dog"), ("guittar", "guitar"), ("wter", "water"),
        ("Waetr!", "water!"), ("dogbarking", "dog barking"), ("carhorn", "car horn"), ("vilion", "violin"),
        ("guetarr", "guitar"),  # two errors
    ],
)  # fmt: skip
def test_errors_are_put_right(spelling: Spelling, typed: str, read: str) -> None:
    assert spelling(typed) == read


@pytest.mark.parametrize(
    "text",
    ["a dog barking", "Dog", "vat", "Hund", "the 3rd x-ray", "zamboni", "do", "ギター", "", "pqhtar", "wetre"],
)
def test_the_rest_stays(spelling: Spelling, text: str) -> None:
    """Known words whatever their case, numbers, short words, other scripts, and two errors in five letters."""
    assert spelling(text) == text


def test_accents_are_no_errors(spelling: Spelling) -> None:
    assert spelling("Clavès guitár") == "Clavès guitár"


def test_first_letters_and_usual_words_decide(spelling: Spelling) -> None:
    assert spelling("caat") == "cat"
    assert spelling("ccar") == "car"
    assert Spelling(["rat", "bat", "cat"])("zat") == "rat"
    assert Spelling(["rat", "bat", "cat"])("ct") == "ct"
    assert Spelling(["bin", "cab"])("cib") == "cab"


def test_words_have_letters_only() -> None:
    with pytest.raises(ConfigError, match="'t-shirt'"):
        Spelling(["shirt", "t-shirt"])


def test_an_encoder_reads_them_as_meant(tmp_path) -> None:  # type: ignore[no-untyped-def]
    encoder = SentenceEncoder(SentenceEncoderConfig.debug(), words="dog\nbarking").eval()
    right, wrong = encoder.encode(["dog barking"]), encoder.encode(["dgo barknig"])
    assert right.equal(wrong)
    encoder.save(tmp_path / "text.safetensors")
    again = SentenceEncoder.load(tmp_path / "text.safetensors")
    assert again.assets() == encoder.assets()
    assert again.encode(["dgo barknig"]).equal(wrong)
    again.spell_by(None)
    assert set(again.assets()) == {"tokenizer.json"}
    assert not again.encode(["dgo barknig"]).equal(wrong)
