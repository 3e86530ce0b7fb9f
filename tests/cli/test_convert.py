from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fake_hub import FakeHub, hub, publish_debug
from published_files import as_debug, debug_system, laion_file, lightning_file, slim_file

import soundsieve
from soundsieve import audio
from soundsieve.cli.main import main
from soundsieve.systems.clapsep import CLAPSep
from soundsieve.weights.checkpoint import load_system, read_metadata
from soundsieve.weights.clap import clap_digest
from soundsieve.weights.trained_part import save_trained_part

__all__ = ["hub"]  # a fixture


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CLAPSep:
    """A published pair and its tokenizer in the working directory, and the system that they hold."""
    as_debug(monkeypatch)
    monkeypatch.chdir(tmp_path)
    system = debug_system()
    slim_file(Path("best_model.ckpt"), system)
    laion_file(Path("clap.pt"), system)
    Path("tokenizer.json").write_text(system.clap.assets()["tokenizer.json"], "utf-8")
    return system


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call


PAIR = ("best_model.ckpt", "--clap", "clap.pt", "--tokenizer", "tokenizer.json")


def names() -> set[str]:
    return {path.name for path in Path().iterdir()}


def target(system: CLAPSep) -> torch.Tensor:
    mixture = 0.1 * np.random.default_rng(0).standard_normal(20000).astype(np.float32)
    found = soundsieve.Separator(system).separate(mixture, "a dog", sample_rate=32000)
    return torch.from_numpy(found.target)


@pytest.mark.parametrize("lora", ["merged", "kept"])
def test_a_pair_into_one_file(files: CLAPSep, run, lora: str) -> None:
    assert run("convert", *PAIR, "-o", "one.safetensors", "--lora", lora) == (0, "one.safetensors\n", "")
    found = load_system("one.safetensors")
    assert isinstance(found, CLAPSep)
    assert found.config.lora_rank == (0 if lora == "merged" else 2)
    torch.testing.assert_close(target(found), target(files), atol=1e-6, rtol=1e-4)
    assert names() == {"best_model.ckpt", "clap.pt", "tokenizer.json", "one.safetensors"}


def test_the_weights_as_an_option(files: CLAPSep, run) -> None:
    options = ("--weights", "best_model.ckpt", "--clap", "clap.pt", "--tokenizer", "none", "--dtype", "float16")
    assert run("convert", *options, "-o", "one.safetensors")[0] == 0
    assert read_metadata("one.safetensors")["assets"] == "{}"
    code, _, err = run("convert", "a.ckpt", *options, "-o", "two.safetensors")
    assert code == 2
    assert "the weights are given twice" in err


def test_a_whole_checkpoint_and_a_part(files: CLAPSep, run) -> None:
    lightning_file(Path("epoch=1.ckpt"), files)
    tokenizer = ("--tokenizer", "tokenizer.json")
    assert run("convert", "epoch=1.ckpt", *tokenizer, "-o", "one.safetensors")[0] == 0
    torch.testing.assert_close(target(load_system("one.safetensors")), target(files))  # type: ignore[arg-type]
    save_trained_part("part.safetensors", files, clap_digest(files.clap))
    arguments = ("convert", "part.safetensors", "-o", "two.safetensors", *tokenizer)
    code, _, err = run(*arguments)
    assert code == 2
    assert "give the CLAP that it was trained on too (--clap)" in err
    assert run(*arguments, "--clap", "clap.pt")[0] == 0
    torch.testing.assert_close(target(load_system("two.safetensors")), target(files))  # type: ignore[arg-type]


def test_back_to_the_published_layout(files: CLAPSep, run) -> None:
    run("convert", *PAIR, "-o", "kept.safetensors", "--lora", "kept")
    run("convert", *PAIR, "-o", "merged.safetensors")
    assert run("convert", "kept.safetensors", "--to", "published", "-o", "out.ckpt") == (0, "out.ckpt\n", "")
    found, expected = (torch.load(path, weights_only=True) for path in ("out.ckpt", "best_model.ckpt"))
    assert found.keys() == {key for key in expected if not key.startswith("clap_model.")}
    for key, tensor in found.items():
        assert torch.equal(tensor, expected[key]), key
    code, _, err = run("convert", "merged.safetensors", "--to", "published", "-o", "none.ckpt")
    assert (code, err.count("\n")) == (2, 1)
    assert "its LoRA has been merged" in err
    assert "none.ckpt" not in names()
    save_trained_part("part.safetensors", files, clap_digest(files.clap))
    part = ("part.safetensors", "--clap", "clap.pt", "--tokenizer", "none")
    assert run("convert", *part, "--to", "published", "-o", "out.ckpt", "--force")[0] == 0
    assert torch.load("out.ckpt", weights_only=True).keys() == found.keys()


def test_nothing_is_replaced_unless_asked(files: CLAPSep, run) -> None:
    Path("one.safetensors").write_text("mine")
    code, out, err = run("convert", *PAIR, "-o", "one.safetensors")
    assert (code, out, err) == (2, "", "soundsieve: one.safetensors exists: --force replaces it\n")
    assert Path("one.safetensors").read_text() == "mine"
    assert run("convert", *PAIR, "-o", "one.safetensors", "--force")[0] == 0
    load_system("one.safetensors")


def test_names_that_say_another_kind(files: CLAPSep, run) -> None:
    code, _, err = run("convert", *PAIR, "-o", "one.ckpt")
    assert code == 2
    assert "give -o a name that ends in .safetensors" in err
    code, _, err = run("convert", *PAIR, "-o", "one.safetensors", "--to", "published")
    assert code == 2
    assert "give -o a name such as best_model.ckpt" in err
    assert run("convert", *PAIR)[0] == 2


def test_a_failure_leaves_nothing_behind(files: CLAPSep, run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Path("best_model.ckpt").read_bytes()
    Path("cut.ckpt").write_bytes(whole[: len(whole) // 2])
    before = names()
    for arguments in (
        ("cut.ckpt", "--clap", "clap.pt"),
        ("clap.pt", "--clap", "best_model.ckpt"),
        ("best_model.ckpt",),
        ("best_model.ckpt", "--clap", "clap.pt", "--tokenizer", "nowhere.json"),
        ("none.ckpt", "--clap", "clap.pt"),
    ):
        code, out, err = run("convert", *arguments, "-o", "one.safetensors")
        assert (code, out, len(err.splitlines())) == (2, "", 1), err
        assert names() == before

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("soundsieve.weights.checkpoint.save_file", full)
    code, _, err = run("convert", *PAIR, "-o", "one.safetensors")
    assert code == 2
    assert "cannot write one.safetensors" in err
    assert names() == before


def test_the_published_model_from_the_hub(hub: FakeHub, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_debug(hub, tmp_path / "published", monkeypatch)
    one = tmp_path / "one.safetensors"
    assert run("convert", "-o", one)[0] == 0
    torch.testing.assert_close(target(load_system(one)), target(debug_system()), atol=1e-6, rtol=1e-4)  # type: ignore[arg-type]


def test_extract_with_local_files(files: CLAPSep, run, clips: Path) -> None:
    options = ("--model", "clapsep", "--weights", *PAIR)
    code, out, err = run("extract", "a dog", clips / "dog.wav", *options, "--quiet")
    assert (code, err) == (0, "")
    mixture, rate = audio.decode(clips / "dog.wav")
    expected = soundsieve.Separator(files).separate(mixture, "a dog", sample_rate=rate).target
    found, _ = audio.decode(out.strip())
    assert np.abs(found - expected).max() < 1e-4
    code, _, err = run("extract", "a dog", clips / "dog.wav", *options, "--force", "--precision", "loud")
    assert code == 2
    assert "precision is 'loud'" in err
    code, _, err = run("extract", "a dog", clips / "dog.wav", "--model", "starter", "--clap", "clap.pt")
    assert code == 2
    assert "'starter' has its own" in err


def test_clips_alone_without_a_tokenizer(files: CLAPSep, run, clips: Path) -> None:
    run("convert", "best_model.ckpt", "--clap", "clap.pt", "--tokenizer", "tokenizer.json", "-o", "one.safetensors")
    options = ("--model", "clapsep", "--weights", "best_model.ckpt", "--clap", "clap.pt", "--tokenizer", "none")
    code, _, err = run("extract", "a dog", clips / "dog.wav", *options)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "has no tokenizer and cannot read text" in err
    assert run("extract", "--like", clips / "sheep.flac", clips / "dog.wav", *options)[0] == 0
