from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest

from soundsieve import audio
from soundsieve.cli.main import main
from soundsieve.errors import QueryError
from soundsieve.studio.question import Question

NAMES = {"a": "bark one.wav", "b": "-rain.wav"}


@pytest.mark.parametrize(
    ("question", "complaint"),
    [
        ({}, "nothing was asked"),
        ({"text": "  \n"}, "nothing was asked"),
        ({"text": "x" * 301}, "301 letters long: a few words will do"),
        ({"text": "dog", "exclude": tuple("abcdefghi")}, "9 texts to leave out are too many: give at most 8"),
        ({"like": tuple("abcdefghi")}, "9 example clips are too many"),
        ({"text": "dog", "exclude": ("Dog",)}, "both wanted and excluded"),
        ({"region": (2.0, 1.0)}, "from 2 to 1 s"),
        ({"region": (-1.0, 1.0)}, "from -1 to 1 s"),
        ({"region": (0.0, float("inf"))}, "from 0 to inf s"),
        ({"region": (0.0, float("nan"))}, "from 0 to nan s"),
        ({"region": 3}, "a region is its start and end in seconds"),
    ],
)
def test_what_cannot_be_asked_is_told(question: dict[str, object], complaint: str) -> None:
    with pytest.raises(QueryError, match=complaint):
        Question(**question)  # type: ignore[arg-type]


def test_words_are_tidied() -> None:
    question = Question("  a   dog ", ("", " rain\nfalling "))
    assert (question.text, question.exclude) == ("a dog", ("rain falling",))
    assert Question("a dog", "rain").exclude == ("rain",)


@pytest.mark.parametrize(
    ("question", "phrase", "wants"),
    [
        (Question("a dog"), "a dog", True),
        (Question("a dog", ("rain",), invert=True), "everything but a dog without rain", True),
        (Question(exclude=("rain",)), "everything without rain", False),
        (Question(like=("a",), region=(0.5, 1.25)), "like bark one and like 0.5-1.25", True),
        (Question(unlike=("b",)), "everything without like -rain", False),
    ],
)
def test_a_phrase_says_what_was_asked(question: Question, phrase: str, wants: bool) -> None:
    assert question.describe(NAMES) == phrase
    assert question.wants_something is wants


def test_the_command_is_one_for_a_shell() -> None:
    question = Question("a dog's bark", ("rain", "-x"), ("a",), ("b",), True, (0.5, 1.25))
    said = shlex.split(question.command("-street one.wav", NAMES, "clapsep"))
    assert said == [
        *["soundsieve", "extract", "a dog's bark", "./-street one.wav", "--like", "bark one.wav"],
        *["--unlike", "./-rain.wav", "--like-span", "0.5-1.25", "--exclude", "rain", "--exclude", "-x"],
        *["--invert", "--model", "clapsep"],
    ]


def test_python_names_what_is_needed_and_no_more() -> None:
    assert Question("a dog", ("rain",)).python("street.wav").splitlines() == [
        "import soundsieve",
        "",
        "sieve = soundsieve.load()",
        "out = sieve.separate('street.wav', 'a dog', exclude='rain')",
        "out.save('street.a-dog-without-rain.wav')",
    ]


def test_words_that_look_like_an_option_are_none() -> None:
    said = Question("--help", ("-x",)).command("street.wav")
    assert said == "soundsieve extract --exclude -x -- --help street.wav"


@pytest.mark.parametrize("words", ["a dog", "--help"])
def test_command_and_python_do_the_same(
    words: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole, rate = audio.decode(min(clips.glob("*.flac")))
    audio.encode("street.wav", whole, rate)
    audio.encode("bark one.wav", whole[:, : rate // 2], rate)
    question = Question(words, ("-rain",), ("a",), invert=True, region=(0.1, 0.4))
    program, command, *rest = shlex.split(question.command("street.wav", NAMES, "debug"))
    assert program == "soundsieve"
    with pytest.raises(SystemExit) as ended:
        main([command, "-o", "by-command.wav", *rest])
    assert ended.value.code == 0
    exec(question.python("street.wav", NAMES, "debug"), {})
    by_python = next(tmp_path.glob("street.everything-but-*.wav"))
    assert np.array_equal(audio.decode("by-command.wav")[0], audio.decode(by_python)[0])
