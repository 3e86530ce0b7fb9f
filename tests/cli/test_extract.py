from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from identity_system import IdentityConfig, IdentitySystem
from signals import tone, tone_and_noise

from soundsieve import audio
from soundsieve.cli.inputs import split_arguments
from soundsieve.cli.main import main
from soundsieve.errors import QueryError
from soundsieve.naming import slug
from soundsieve.separator import Separator
from soundsieve.weights.checkpoint import save_system


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def street() -> Path:
    audio.encode("street.wav", tone_and_noise(0.5, 44100, 2), 44100)
    return Path("street.wav")


@pytest.fixture
def model(tmp_path: Path) -> str:
    """Answers with a quarter of the mixture."""
    save_system(tmp_path / "quarter.safetensors", IdentitySystem(IdentityConfig(gain=0.25)))
    return str(tmp_path / "quarter.safetensors")


@pytest.fixture
def run(model: str, capsys: pytest.CaptureFixture[str]):
    def run(*arguments: object, with_model: bool = True) -> tuple[int, str, str]:
        options = ["--model", model] if with_model else []
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["extract", *map(str, arguments), *options])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return int(caught.value.code or 0), captured.out, captured.err

    return run


def written() -> list[str]:
    return sorted(path.name for path in Path("sieved").iterdir()) if Path("sieved").exists() else []


def test_a_recording_gives_a_recording_alike(run, street: Path) -> None:
    code, out, err = run("a dog barking", street)
    assert (code, out, err) == (0, "sieved/street.a-dog-barking.wav\n", "street.wav: 0.0-0.5 s\n")
    assert written() == ["street.a-dog-barking.wav"]
    before, after = audio.probe(street), audio.probe("sieved/street.a-dog-barking.wav")
    assert (after.sample_rate, after.channels, after.samples, after.format, after.subtype) == (
        before.sample_rate,
        before.channels,
        before.samples,
        before.format,
        before.subtype,
    )


@pytest.mark.parametrize("name", ["dog.wav", "sheep.flac", "knock.ogg", "whistle.mp3", "coin.opus"])
def test_real_formats_are_kept(run, clips: Path, name: str) -> None:
    code, out, err = run("a dog", clips / name, "--residual", "--quiet")
    stem, suffix = name.split(".")
    assert (code, err) == (0, "")
    assert out.splitlines() == [f"sieved/{stem}.a-dog.{suffix}", f"sieved/{stem}.a-dog.rest.{suffix}"]
    before = audio.probe(clips / name)
    for path in out.splitlines():
        after = audio.probe(path)
        assert (after.sample_rate, after.channels, after.samples, after.format, after.subtype) == (
            before.sample_rate,
            before.channels,
            before.samples,
            before.format,
            before.subtype,
        )


@pytest.mark.parametrize("subtype", ["PCM_24", "FLOAT"])
def test_depth_is_kept_and_parts_add_up(run, subtype: str) -> None:
    mixture = np.rint(tone_and_noise(0.4, 22050, 2) * 2**23).astype(np.float32) / np.float32(2**23)
    audio.encode("a.wav", mixture, 22050, subtype=subtype)
    assert run("a dog", "a.wav", "--residual")[0] == 0
    target, rest = (audio.decode(f"sieved/a.a-dog{part}.wav")[0] for part in ("", ".rest"))
    assert audio.probe("sieved/a.a-dog.wav").subtype == subtype
    assert np.array_equal(target + rest, mixture)
    assert np.linalg.norm(target) == pytest.approx(0.25 * np.linalg.norm(mixture), rel=0.02)


def test_eight_bits_become_sixteen(run) -> None:
    soundfile.write("a.wav", tone(440, 0.3, 8000).T, 8000, subtype="PCM_U8")
    assert run("a dog", "a.wav")[0] == 0
    assert audio.probe("sieved/a.a-dog.wav").subtype == "PCM_16"


def test_invert_writes_the_rest(run, street: Path) -> None:
    code, out, _ = run("a dog barking", street, "--invert")
    assert (code, out) == (0, "sieved/street.not-a-dog-barking.wav\n")
    rest, mixture = audio.decode(out.strip())[0], audio.decode(street)[0]
    assert np.linalg.norm(rest) == pytest.approx(0.75 * np.linalg.norm(mixture), rel=0.02)
    code, _, err = run("a dog barking", street, "--invert", "--residual")
    assert code == 2
    assert "--invert already writes everything else" in err


def test_many_files_and_one_that_fails(run, street: Path, clips: Path) -> None:
    shutil.copy(clips / "knock.ogg", "knock.ogg")
    Path("notes.wav").write_text("not audio")
    code, out, err = run("a dog", street, "missing.wav", "notes.wav", "knock.ogg")
    assert code == 1
    assert out.splitlines() == ["sieved/street.a-dog.wav", "sieved/knock.a-dog.ogg"]
    lines = err.splitlines()
    assert lines[0] == "street.wav: 0.0-0.5 s"
    assert lines[1] == "soundsieve: no file at missing.wav"
    assert lines[2].startswith("soundsieve: notes.wav is damaged or not a recording")
    assert lines[3].startswith("knock.ogg: 0.")
    assert lines[4] == "soundsieve: 2 of 4 recordings failed"


def test_existing_files_are_not_replaced_unasked(run, street: Path) -> None:
    assert run("a dog", street)[0] == 0
    Path("sieved/street.a-dog.wav").write_text("mine")
    code, out, err = run("a dog", street)
    assert (code, out) == (1, "")
    assert "sieved/street.a-dog.wav exists: --force replaces it" in err
    assert Path("sieved/street.a-dog.wav").read_text() == "mine"
    for option in ("--force", "--overwrite"):
        assert run("a dog", street, option)[0] == 0
        assert audio.probe("sieved/street.a-dog.wav").channels == 2


def test_no_answer_replaces_an_input_or_another_answer(run, street: Path) -> None:
    shutil.copy(street, "street.a-dog.wav")
    before = Path("street.a-dog.wav").read_bytes()
    code, _, err = run("a dog", street, "street.a-dog.wav", "-o", ".", "--force")
    assert code == 1
    assert "would replace the recording street.a-dog.wav" in err
    assert Path("street.a-dog.wav").read_bytes() == before
    Path("other").mkdir()
    shutil.copy(street, "other/street.wav")
    code, out, err = run("a dog", street, "other/street.wav", "--force")
    assert code == 1
    assert out == "sieved/street.a-dog.wav\n"
    assert "the answer to other/street.wav would replace that to street.wav" in err


def test_output_dir(run, street: Path) -> None:
    code, out, _ = run("a dog", street, "-o", "deep/er")
    assert (code, out) == (0, "deep/er/street.a-dog.wav\n")
    Path("taken").write_text("a file")
    code, _, err = run("a dog", street, "-o", "taken")
    assert code == 1
    assert "cannot write taken/street.a-dog.wav" in err


def test_examples_and_exclusions(run, street: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(IdentitySystem, "check_query", lambda self, query: asked.append(query))
    bark, sheep = clips / "dog.wav", clips / "sheep.flac"
    for arguments, name in [
        ((street, "--like", bark), "street.like-dog.wav"),
        (("--like", bark, "--like", sheep, street), "street.like-dog-and-like-sheep.wav"),
        (("a dog", street, "--like", bark, "--unlike", sheep), "street.a-dog-and-like-dog-without-like-sheep.wav"),
        ((street, "-x", "rain", "-x", "wind"), "street.everything-without-rain-and-wind.wav"),
        (("a dog", street, "--exclude", "rain"), "street.a-dog-without-rain.wav"),
    ]:
        code, out, _ = run(*arguments)
        assert (code, out) == (0, f"sieved/{name}\n")
    assert asked[-1].text == ("a dog",)
    assert asked[-1].exclude == ("rain",)
    assert asked[-1].audio_weight == 0.5
    assert len(asked) >= 5
    run("a dog", street, "--like", bark, "--audio-weight", 0.8, "--force")
    assert asked[-1].audio_weight == 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a dog"], 'no recording given: soundsieve extract "a dog" FILES...'),
        (["street.wav"], "the first argument is what to extract, and 'street.wav' is a file"),
        (["typo.wav", "street.wav"], "the first argument is what to extract, and 'typo.wav' is a file"),
        ([" ", "street.wav"], "the text is empty"),
        (["rain", "street.wav", "-x", "Rain"], "both wanted and excluded"),
        (["a dog", "street.wav", "--like", "missing.wav"], "no file at missing.wav"),
        (["a dog", "street.wav", "--audio-weight", "2"], "audio_weight is 2.0: it lies between 0"),
        (["a dog", "street.wav", "--device", "gramophone"], "device 'gramophone' cannot be used"),
    ],
)
def test_requests_that_cannot_be_met(run, street: Path, arguments: list[str], message: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("soundsieve: ")
    assert message in err
    assert len(err.splitlines()) == 1
    assert written() == []


def test_a_system_that_does_not_take_the_query(run, street: Path, clips: Path, tmp_path: Path) -> None:
    save_system(tmp_path / "words.safetensors", IdentitySystem(IdentityConfig(queries=("text",))))
    arguments = (street, "--like", clips / "dog.wav", "--model", tmp_path / "words.safetensors")
    code, _, err = run(*arguments, with_model=False)
    assert (code, err) == (2, "soundsieve: identity does not take example clips (like, unlike); it takes text\n")


def test_models_that_are_not_there(run, street: Path) -> None:
    for name, message in {"nonesuch": "no model 'nonesuch'", "none.ckpt": "no weights at none.ckpt"}.items():
        code, _, err = run("a dog", street, "--model", name, with_model=False)
        assert code == 2
        assert message in err


def test_an_absent_sound_is_said(run, street: Path, tmp_path: Path) -> None:
    save_system(tmp_path / "unsure.safetensors", IdentitySystem(IdentityConfig(gain=0.1, presence=0.03)))
    arguments = ("a dog barking", street, "--force", "--model", tmp_path / "unsure.safetensors")
    code, out, err = run(*arguments, with_model=False)
    assert (code, out) == (0, "sieved/street.a-dog-barking.wav\n")
    assert err == "no 'a dog barking' found in street.wav (presence 0.03)\n"
    assert run(*arguments, "--quiet", with_model=False) == (0, "sieved/street.a-dog-barking.wav\n", "")


def test_nothing_is_missing_when_nothing_was_wanted(run, street: Path, tmp_path: Path) -> None:
    save_system(tmp_path / "unsure.safetensors", IdentitySystem(IdentityConfig(gain=0.1, presence=0.03)))
    code, _, err = run(street, "-x", "rain", "--model", tmp_path / "unsure.safetensors", with_model=False)
    assert (code, err) == (0, "")


def test_what_a_file_cannot_hold_is_said(run, tmp_path: Path) -> None:
    save_system(tmp_path / "loud.safetensors", IdentitySystem(IdentityConfig(gain=4.0)))
    x = 2 * tone(440, 0.4, 16000) * np.float32(0.9)
    for name in ("a.wav", "b.flac"):
        audio.encode(name, x, 16000)
    code, _, err = run("a dog", "a.wav", "b.flac", "--model", tmp_path / "loud.safetensors", with_model=False)
    assert code == 0
    assert "a.a-dog.wav: its peak is 3.6" in err
    assert "written as 32-bit float" in err
    assert "b.a-dog.flac: its peak is 3.6" in err
    assert "turned down by 11.1" in err
    assert np.abs(audio.decode("sieved/a.a-dog.wav")[0]).max() == pytest.approx(3.6, rel=0.01)


def test_formats_that_are_only_read_become_wav(run) -> None:
    soundfile.write("a.voc", tone(440, 0.3, 16000).T, 16000, subtype="PCM_16")
    code, out, err = run("a dog", "a.voc")
    assert (code, out) == (0, "sieved/a.a-dog.wav\n")
    assert "a.voc: '.voc' cannot be written, so the answer is a .wav file" in err


def test_a_failing_write_leaves_nothing_and_keeps_the_old(run, street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("a dog", street)[0] == 0
    before = Path("sieved/street.a-dog.wav").read_bytes()

    def full(*args: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(soundfile.SoundFile, "write", full)
    code, out, err = run("a dog", street, "--force")
    assert (code, out) == (1, "")
    assert "no space left on device" in err
    assert written() == ["street.a-dog.wav"]
    assert Path("sieved/street.a-dog.wav").read_bytes() == before


def test_what_appears_meanwhile_is_not_replaced(run, street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from soundsieve import pouring

    takes_places = pouring._take_places
    answer = Path("sieved/street.a-dog.wav")

    def late(*args: object) -> None:
        answer.write_text("of another")
        takes_places(*args)

    monkeypatch.setattr(pouring, "_take_places", late)

    def without_links(*args: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    for links in (True, False):
        if not links:
            monkeypatch.setattr("os.link", without_links)
        code, out, err = run("a dog", street, "--residual")
        assert (code, out) == (1, "")
        assert f"{answer} exists by now" in err
        assert written() == [answer.name]
        assert answer.read_text() == "of another"
        answer.unlink()
    assert "exists by now" not in run("a dog", street, "--force")[2]
    assert answer.read_bytes()[:4] == b"RIFF"


@pytest.mark.parametrize("option", ["--like", "--unlike"])
def test_an_example_is_never_replaced(run, street: Path, clips: Path, option: str) -> None:
    shutil.copy(clips / "dog.wav", "bark.wav")
    before = Path("bark.wav").read_bytes()
    code, _, err = run("a dog", street, option, "bark.wav", "--force", "-o", "bark.wav")
    assert (code, err.count("\n")) == (1, 1)
    assert "would replace the example bark.wav" in err
    assert Path("bark.wav").read_bytes() == before


def test_interruption_is_130(run, street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Separator, "split_stream", interrupted)
    code, out, err = run("a dog", street)
    assert (code, out, err) == (130, "", "soundsieve: interrupted\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a dog barking", "a-dog-barking"),
        ("  Rain & wind!  ", "rain-wind"),
        ("../../etc/passwd", "etc-passwd"),
        ("chien_qui aboie à l'aube", "chien-qui-aboie-à-l-aube"),
        ("犬が吠える", "犬が吠える"),
        ("?!", "sound"),
        ("...", "sound"),
        ("a\x00b\nc", "a-b-c"),
    ],
)
def test_slugs_are_safe(words: str, expected: str) -> None:
    assert slug(words) == expected


def test_long_names_are_cut(run, clips: Path) -> None:
    assert len(slug("a very long description " * 20)) <= 60
    assert len(slug("犬" * 300).encode()) <= 100
    assert slug("word " * 30).endswith("word")
    name = "é" * 120 + ".wav"
    shutil.copy(clips / "dog.wav", name)
    code, out, _ = run("犬" * 300, name, "--residual")
    assert code == 0
    assert all(len(Path(line).name.encode()) <= 255 for line in out.splitlines())


def test_split_arguments() -> None:
    assert split_arguments(["a dog", "x.wav", "y.wav"], words_optional=False) == ("a dog", ["x.wav", "y.wav"])
    assert split_arguments(["a dog", "x.wav"], words_optional=True) == ("a dog", ["x.wav"])
    assert split_arguments(["x.wav", "y.mp3"], words_optional=True) == (None, ["x.wav", "y.mp3"])
    assert split_arguments(["x.wav"], words_optional=True) == (None, ["x.wav"])
    Path("recording").write_text("a file without a suffix")
    assert split_arguments(["recording"], words_optional=True) == (None, ["recording"])
    with pytest.raises(QueryError, match="no recording given"):
        split_arguments(["a dog"], words_optional=True)


def test_progress_shows_where_a_person_watches(run, street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from soundsieve.cli import screen

    monkeypatch.setattr(screen, "_SHOWN_AFTER_S", -1.0)
    assert run("a dog", street)[2] == "street.wav: 0.0-0.5 s\n"  # not a terminal
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert run("a dog", street, "--force", "--quiet")[2] == ""
    code, out, err = run("a dog", street, "--force")
    assert (code, out) == (0, "sieved/street.a-dog.wav\n")
    bar, rest = err.removeprefix("\r\x1b[K").split("\r\x1b[K")
    assert bar.startswith("0 of 1 done, street.wav ")
    assert "%, 0:00 of sound in 0:00 (" in bar
    assert rest.startswith("street.wav: 0.0-0.5 s\n1 of 1 done, 0:00 of sound in 0:00 (")
