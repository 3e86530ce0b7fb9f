from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from identity_system import IdentitySystem
from signals import tone

from soundsieve import audio
from soundsieve.cli.question import moment
from soundsieve.errors import QueryError
from soundsieve.separator import Separator


@pytest.fixture
def beeps() -> Path:
    """Three seconds with a beep from 1 to 1.4 s and one from 2.2 to 2.5 s, in faint noise."""
    x = 1e-4 * np.random.default_rng(0).standard_normal((1, 48000)).astype(np.float32)
    x[:, 16000:22400] += tone(440, 0.4, 16000)
    x[:, 35200:40000] += tone(660, 0.3, 16000)
    audio.encode("beeps.wav", x, 16000)
    return Path("beeps.wav")


def test_lines_as_of_grep(soundsieve, beeps: Path, recording) -> None:
    recording("other.flac")
    code, out, err = soundsieve("find", "a beep", beeps, "*.flac", "--segment", 3)
    assert (code, err) == (0, "")
    found = [re.fullmatch(r"(\S+):(\d+\.\d\d)-(\d+\.\d\d)  (0\.90)", line) for line in out.splitlines()]
    assert [match[1] for match in found] == ["beeps.wav", "beeps.wav", "other.flac"]
    borders = [[float(match[2]), float(match[3])] for match in found[:2]]
    np.testing.assert_allclose(borders, [[1.0, 1.4], [2.2, 2.5]], atol=0.06)
    assert sorted(path.name for path in Path().iterdir()) == ["beeps.wav", "other.flac"]  # nothing is written


def test_nothing_found_is_1_and_an_error_is_2(soundsieve, recording, make_model) -> None:
    recording("a.wav")
    absent = make_model(presence=0.2)
    assert soundsieve("find", "a beep", "a.wav", "--model", absent) == (1, "", "")
    code, out, err = soundsieve("find", "a beep", "a.wav", "none.wav")
    assert (code, out, err) == (2, "a.wav:0.00-0.30  0.90\n", "soundsieve: no file at none.wav\n")
    assert soundsieve("find", "a beep", "none.wav", "--model", absent)[0] == 2


def test_the_threshold_is_the_callers(soundsieve, recording, make_model) -> None:
    recording("a.wav")
    unsure = make_model(presence=0.2)
    assert soundsieve("find", "a beep", "a.wav", "--model", unsure, "--threshold", 0.1)[:2] == (
        0,
        "a.wav:0.00-0.30  0.20\n",
    )
    assert soundsieve("find", "a beep", "a.wav", "--threshold", 0.95)[0] == 1
    assert soundsieve("find", "a beep", "a.wav", "--threshold", 1.5)[0] == 2
    assert "no 'a beep' found" in soundsieve("extract", "a beep", "a.wav", "--threshold", 0.95)[2]
    assert "a.wav: 0.0-0.3 s" in soundsieve("extract", "a beep", "a.wav", "--threshold", 0.1, "--force")[2]


def test_quiet_is_for_the_exit_code_and_ends_early(soundsieve, beeps: Path, make_model) -> None:
    audio.encode("long.wav", tone(440, 20.0, 16000), 16000)
    blocks: list[int] = []
    real = IdentitySystem.forward
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(IdentitySystem, "forward", lambda self, x, c: blocks.append(len(x)) or real(self, x, c))
        assert soundsieve("find", "a beep", "long.wav", "none.wav", "-q", "--batch", 1) == (0, "", "")
        assert sum(blocks) < 10  # of 27
        assert soundsieve("find", "a beep", "long.wav", "-l", "--batch", 1) == (0, "long.wav\n", "")
        assert sum(blocks) < 20
    assert soundsieve("find", "a beep", beeps, "-q", "--model", make_model(presence=0.2)) == (1, "", "")
    code, out, err = soundsieve("find", "a beep", "none.wav", "-q")
    assert (code, out, err) == (2, "", "soundsieve: no file at none.wav\n")


def test_names_only(soundsieve, recording) -> None:
    names = [str(recording(f"{name}.wav")) for name in "abc"]
    assert soundsieve("find", "a beep", *names, "-l", "--jobs", 2) == (0, "a.wav\nb.wav\nc.wav\n", "")
    code, _, err = soundsieve("find", "a beep", *names, "-l", "--json")
    assert code == 2
    assert "--json tells more than names" in err


def test_json(soundsieve, beeps: Path) -> None:
    code, out, _ = soundsieve("find", "a beep", beeps, "none.wav", "--json", "--segment", 3)
    first, second = map(json.loads, out.splitlines())
    assert code == 2
    assert (first["path"], first["presence"], len(first["spans"])) == ("beeps.wav", pytest.approx(0.9), 2)
    assert (second["spans"], second["error"]) == (None, "no file at none.wav")


def test_by_example(soundsieve, beeps: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = Separator.encode
    monkeypatch.setattr(Separator, "encode", lambda self, query: asked.append(query) or real(self, query))
    options = ("--like", clips / "dog.wav", "--like", clips / "sheep.flac", "--like-span", "0:01-1.4", "-x", "rain")
    assert soundsieve("find", beeps, *options, "-x", "wind", "--unlike-span", "0:02.2-2.5")[0] == 0
    query = asked[-1]
    assert (query.text, query.exclude, len(query.like)) == ((), ("rain", "wind"), 3)
    samples, rate = query.like[2]
    np.testing.assert_array_equal(samples, audio.decode(beeps)[0][:, 16000:22400])
    assert rate == 16000
    assert query.unlike[0][0].shape == (1, 4800)
    code, out, _ = soundsieve("extract", "a beep", beeps, "--like-span", "1-1.4")
    assert (code, out) == (0, "sieved/beeps.a-beep-and-like-1-1-4.wav\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-x", "rain", "beeps.wav"], "nothing is to be found"),
        (["beeps.wav"], "the first argument is what to find, and 'beeps.wav' is a file"),
        (["a beep"], 'no recording given: soundsieve find "a beep" FILES...'),
        (["a beep", "beeps.wav", "--like-span", "7"], "'7' is no moment: write START-END"),
        (["a beep", "beeps.wav", "--like-span", "2-1"], "the moment '2-1' ends before it starts"),
        (["a beep", "beeps.wav", "--jobs", "0"], "Invalid value for '--jobs'"),
    ],
)
def test_what_cannot_be_meant(soundsieve, beeps: Path, arguments: list[str], message: str) -> None:
    code, out, err = soundsieve("find", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_moment_after_the_end_is_an_error_of_that_file(soundsieve, beeps: Path, recording) -> None:
    recording("short.wav")
    code, out, err = soundsieve("extract", "a beep", "short.wav", beeps, "--like-span", "1-1.4")
    assert (code, out) == (1, "sieved/beeps.a-beep-and-like-1-1-4.wav\n")
    assert "short.wav lasts 0.300 s: there is no part from 1.000 to 1.400 s" in err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("6.3-7.0", (6.3, 7.0)),
        ("1:02.5-1:04", (62.5, 64.0)),
        ("1:00:00 - 1:00:02.25", (3600.0, 3602.25)),
        (".5-1", (0.5, 1.0)),
        ("59-1:01", (59.0, 61.0)),
    ],
)
def test_moments(words: str, expected: tuple[float, float]) -> None:
    assert moment(words) == pytest.approx(expected)


@pytest.mark.parametrize("words", ["", "-", "1-", "-1", "1-2-3", "a-b", "1:2:3:4-5", "nan-inf", "1e1-20", "²-³"])
def test_no_moments(words: str) -> None:
    with pytest.raises(QueryError, match="is no moment"):
        moment(words)


def test_who_is_told_nothing_costs_nothing(soundsieve, recording, make_model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are compared with the query for those who are told whether it is there."""
    compared: list[torch.Tensor] = []

    def agreement(_: IdentitySystem, target: torch.Tensor, condition: object) -> torch.Tensor:
        compared.append(target)
        return torch.ones(1)

    monkeypatch.setattr(IdentitySystem, "compares", True)
    monkeypatch.setattr(IdentitySystem, "agreement", agreement)
    asked = [recording("street.wav"), "--force", "--model", make_model(presence=None)]
    for arguments, times in (
        (("extract", "a dog", *asked), 1),
        (("extract", "a dog", *asked, "--quiet"), 0),
        (("extract", "a dog", *asked, "--quiet", "--json"), 1),
        (("split", *asked[:1], "a dog", "rain", *asked[1:]), 2),
        (("split", *asked[:1], "a dog", "rain", *asked[1:], "--quiet"), 0),
    ):
        compared.clear()
        code, _, err = soundsieve(*arguments)
        assert (code, len(compared)) == (0, times), err
    assert soundsieve("find", "a dog", asked[0], *asked[2:])[1] == "street.wav:0.00-0.30  0.89\n"
