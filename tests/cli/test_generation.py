"""Commands with a model that generates its answer: how it is told to, and what it is honest about."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_flowsep import tiny

from soundsieve.weights.checkpoint import save_system

ANEW = "soundsieve: flowsep makes its answer anew"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("flowsep") / "flowsep.safetensors"
    save_system(path, tiny())
    return path


def sound(path: Path | str) -> np.ndarray:
    return soundfile.read(path, dtype="float64")[0]


def test_every_setting_has_its_option(soundsieve, recording, model: Path) -> None:
    recording("street.wav")
    found = {}
    for name, more in {
        "plain": [],
        "same": ["--steps", "2", "--sampler", "euler", "--guidance", "1", "--seed", "0"],
        "steps": ["--steps", "1"],
        "sampler": ["--sampler", "heun"],
        "guidance": ["--guidance", "3"],
        "seed": ["--seed", "7"],
        "project": ["--project"],
    }.items():
        code, out, err = soundsieve("extract", "a dog", "street.wav", "--model", model, "-o", f"{name}.wav", *more)
        assert (code, out) == (0, f"{name}.wav\n"), err
        found[name] = sound(f"{name}.wav")
        assert found[name].shape == sound("street.wav").shape
    assert np.array_equal(found["plain"], found["same"])
    for name in ("steps", "sampler", "guidance", "seed", "project"):
        assert not np.array_equal(found["plain"], found[name]), name


@pytest.mark.parametrize("option", ["--residual", "--invert"])
def test_the_rest_of_a_generated_sound_is_warned_of_once(soundsieve, recording, model: Path, option: str) -> None:
    recording("one.wav")
    recording("two.wav")
    code, _, err = soundsieve("extract", "a dog", "one.wav", "two.wav", "--model", model, option)
    assert code == 0
    assert err.count(ANEW) == 1
    assert "with project the answer is a part" in err
    assert ANEW not in soundsieve("extract", "a dog", "one.wav", "--model", model, "-o", "a.wav")[2]
    assert ANEW not in soundsieve("extract", "a dog", "one.wav", "--model", model, option, "--force", "--project")[2]
    assert ANEW not in soundsieve("extract", "a dog", "one.wav", "--model", model, option, "--force", "--quiet")[2]


def test_a_projected_sound_and_its_rest_are_the_recording(soundsieve, recording, model: Path) -> None:
    recording("street.wav", channels=2)
    code, out, _ = soundsieve("extract", "a dog", "street.wav", "--model", model, "--project", "--residual")
    assert code == 0
    target, rest = (sound(path) for path in out.splitlines())
    assert np.array_equal(target + rest, sound("street.wav"))


def test_split_wants_parts(soundsieve, recording, model: Path) -> None:
    recording("street.wav")
    code, out, err = soundsieve("split", "street.wav", "a dog", "rain", "--model", model)
    assert (code, out) == (2, "")
    assert err == "soundsieve: flowsep makes every sound anew, so they cannot share a recording: add project\n"
    code, out, err = soundsieve("split", "street.wav", "a dog", "rain", "--model", model, "--project")
    assert (code, ANEW in err) == (0, False)
    assert np.array_equal(sum(sound(path) for path in out.splitlines()), sound("street.wav"))


def test_find_and_json(soundsieve, recording, model: Path) -> None:
    recording("street.wav")
    code, out, err = soundsieve("find", "a dog", "street.wav", "--model", model, "--threshold", "0", "--steps", "1")
    assert (code, err) == (0, "")
    assert out.startswith("street.wav:0.00-")
    code, out, _ = soundsieve("extract", "a dog", "street.wav", "--model", model, "--json", "--residual")
    told = json.loads(out)
    assert code == 0
    assert 0 <= told["presence"] <= 1
    assert len(told["outputs"]) == 2


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--exclude", "rain"], "flowsep does not take exclusion"),
        (["--like-span", "0-0.1"], "flowsep does not take example clips"),
        (["--steps", "0"], "--steps"),
        (["--steps", "101"], "--steps"),
        (["--sampler", "rk45"], "--sampler"),
        (["--guidance", "-1"], "--guidance"),
        (["--seed", "-1"], "--seed"),
    ],
)
def test_what_cannot_be_is_one_line(soundsieve, recording, model: Path, more: list[str], complaint: str) -> None:
    recording("street.wav")
    code, out, err = soundsieve("extract", "a dog", "street.wav", "--model", model, *more)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert complaint in err


@pytest.mark.parametrize("more", [["--steps", "4"], ["--project"], ["--seed", "1"]])
def test_other_models_have_no_such_settings(soundsieve, recording, more: list[str]) -> None:
    recording("street.wav")
    code, out, err = soundsieve("extract", "a dog", "street.wav", *more)
    assert (code, out) == (2, "")
    assert err == f"soundsieve: identity has no setting '{more[0][2:]}': leave it out\n"
