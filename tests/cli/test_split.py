from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from soundsieve import audio


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dog in the rain: the bundled demonstration."""
    from soundsieve.cli.demo import bundled_clips

    clips, sample_rate = bundled_clips()
    path = tmp_path_factory.mktemp("street") / "street.wav"
    audio.encode(path, np.sum(list(clips.values()), axis=0), sample_rate, subtype="FLOAT")
    return path


def parts(out: str) -> list[np.ndarray]:
    return [soundfile.read(path, dtype="float64")[0] for path in out.splitlines()]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("model", ["starter", "debug"])
def test_the_files_add_up_to_the_recording(soundsieve, street: Path, subtype: str, model: str) -> None:
    samples, sample_rate = audio.decode(street)
    if subtype == "FLOAT":
        samples = np.rint(samples * 2**23).astype(np.float32) / np.float32(2**23)
    audio.encode("street.wav", np.concatenate([samples, 0.5 * samples]), sample_rate, subtype=subtype)
    code, out, err = soundsieve("split", "street.wav", "church bells", "a dog barking", "rain", "--model", model)
    names = ["street.church-bells.wav", "street.a-dog-barking.wav", "street.rain.wav", "street.rest.wav"]
    assert (code, out.splitlines()) == (0, [f"sieved/{name}" for name in names])
    assert {audio.probe(path).subtype for path in out.splitlines()} == {subtype}
    mixture = soundfile.read("street.wav", dtype="float64")[0]
    found = parts(out)
    assert np.abs(sum(found) - mixture).max() == 0  # to the last bit, in integers too
    if model == "starter":
        assert "no 'church bells' found in street.wav (presence 0.0" in err
        assert "street.wav, a dog barking: " in err
        energies = [float((one**2).sum()) for one in found]
        assert energies[1] > 10 * energies[0]


def test_a_recording_of_floats_in_sixteen_bits(soundsieve, street: Path) -> None:
    code, out, _ = soundsieve("split", street, "a dog", "rain", "--subtype", "int16", "--model", "starter")
    assert code == 0
    assert np.abs(sum(parts(out)) - soundfile.read(street, dtype="float64")[0]).max() <= 2**-16


def test_extract_and_its_residual_add_up_in_sixteen_bits(soundsieve, recording) -> None:
    recording("street.wav", channels=2)
    _, out, _ = soundsieve("extract", "a dog", "street.wav", "--residual")
    assert np.array_equal(sum(parts(out)), soundfile.read("street.wav", dtype="float64")[0])
    _, inverted, _ = soundsieve("extract", "a dog", "street.wav", "--invert")
    assert np.array_equal(parts(inverted)[0], parts(out)[1])


def test_examples_are_further_sounds(soundsieve, recording, clips: Path) -> None:
    recording("street.wav", 1.5)
    arguments = ("rain", "--like", clips / "dog.wav", "--like-span", "0.2-0.5", "-x", "wind", "--unlike-span", "1-1.2")
    code, out, _ = soundsieve("split", "street.wav", *arguments, "--template", "{part}/{stem}.{ext}")
    assert code == 0
    names = ["rain", "like-dog", "like-0-2-0-5", "rest"]
    assert out.splitlines() == [f"sieved/{name}/street.wav" for name in names]
    assert np.array_equal(sum(parts(out)), soundfile.read("street.wav", dtype="float64")[0])


def test_several_recordings(soundsieve, recording) -> None:
    for name in ("a.wav", "b.flac", "rain"):
        recording(f"{name}.wav" if "." not in name else name)
    Path("rain").mkdir()  # words, all the same
    code, out, _ = soundsieve("split", "a.wav", "b.flac", "rain", "a dog", "--json")
    first, second = map(json.loads, out.splitlines())
    assert code == 0
    assert first["outputs"] == ["sieved/a.rain.wav", "sieved/a.a-dog.wav", "sieved/a.rest.wav"]
    assert second["outputs"][-1] == "sieved/b.rest.flac"
    assert first["presence"] == {"rain": pytest.approx(0.9), "a dog": pytest.approx(0.9)}
    assert set(first["spans"]) == {"rain", "a dog"}
    for arguments, missing in ((("--skip-existing",), 0), (("--force",), 6)):
        assert len(soundsieve("split", "a.wav", "b.flac", "rain", "a dog", *arguments)[1].splitlines()) == missing


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.wav"], 'no sound given: soundsieve split a.wav "speech" "a dog barking"'),
        (["a.wav", "rain", " "], "the text is empty"),
        (["a.wav", "rain", "rain"], "the same sound is asked for twice"),
        (["a.wav", "rain", "-x", "Rain"], "both wanted and excluded"),
        (["a.wav", "rain", "-o", "-"], "standard output takes one of rain and rest"),
        (["a.wav", "rain", "-o", "b.wav"], "b.wav would hold both rain and rest: name a folder"),
        (["a.wav", "rain", "--like", "none.wav"], "no file at none.wav"),
        (["a.wav", "rain", "--segment", "0"], "segment_s is 0.0"),
        (["a.wav", "rain", "--overlap", "1"], "overlap is 1.0"),
    ],
)
def test_what_cannot_be_meant(soundsieve, recording, arguments: list[str], message: str) -> None:
    recording("a.wav")
    code, out, err = soundsieve("split", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert [path.name for path in Path().rglob("*.*")] == ["a.wav"]
