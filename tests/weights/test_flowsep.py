"""FlowSep out of made-up published files of debug size: by path, by name, converted and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fake_hub import FakeHub, hub
from flowsep_files import debug_flowsep, flowsep_entries, flowsep_file
from published_files import as_debug, debug_system, laion_file

import soundsieve
from soundsieve.cli.main import main
from soundsieve.encoders.text import SentenceEncoderConfig
from soundsieve.errors import ConfigError, WeightsError
from soundsieve.systems.flowsep.config import FlowSepConfig
from soundsieve.systems.flowsep.flowsep import FlowSep
from soundsieve.systems.flowsep.unet import FlowUNetConfig
from soundsieve.weights.catalog import CATALOG
from soundsieve.weights.checkpoint import load_system
from soundsieve.weights.convert import needs_clap, read_system, write_published, write_system
from soundsieve.weights.hub import T5_TOKENIZER
from soundsieve.weights.releases import RELEASES, release_of

__all__ = ["hub"]  # a fixture

MIXTURE = 0.1 * np.random.default_rng(0).standard_normal(12000).astype(np.float32)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    as_debug(monkeypatch)


@pytest.fixture(scope="module")
def system() -> FlowSep:
    return debug_flowsep()


@pytest.fixture
def file(system: FlowSep, tmp_path: Path) -> Path:
    return flowsep_file(tmp_path / "v2_100k.ckpt", system)


@pytest.fixture
def tokenizer(system: FlowSep, tmp_path: Path) -> Path:
    path = tmp_path / "tokenizer.json"
    path.write_text(system.assets()["tokenizer.json"], "utf-8")
    return path


def equal(found: object, expected: FlowSep) -> None:
    assert isinstance(found, FlowSep)
    assert not found.training
    assert found.config == expected.config
    assert found.assets() == expected.assets()
    mine, others = found.state_dict(), expected.state_dict()
    assert mine.keys() == others.keys()
    assert all(torch.equal(mine[name], others[name]) for name in others)


def answer(separator: soundsieve.Separator) -> np.ndarray:
    return separator.separate(MIXTURE, "a dog", sample_rate=16000).target


def close(found: np.ndarray, expected: np.ndarray) -> None:
    """Where weights lie in memory decides in which order numbers are summed."""
    assert np.abs(expected).max() > 1e-3
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


# --- from files ---


def test_the_published_file_becomes_the_system(system: FlowSep, file: Path, tokenizer: Path) -> None:
    assert not needs_clap(file)
    before = file.read_bytes()
    found = read_system(file, None, tokenizer)
    equal(found, system)
    expected = answer(soundsieve.Separator(system))
    for loaded in (
        soundsieve.load(file, tokenizer=tokenizer),
        soundsieve.load("flowsep", weights=file, tokenizer=tokenizer),
    ):
        equal(loaded.system, system)
        close(answer(loaded), expected)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(1)
    assert file.read_bytes() == before


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_one_file_of_it(system: FlowSep, file: Path, tokenizer: Path, tmp_path: Path, dtype: str) -> None:
    one = tmp_path / "one.safetensors"
    write_system(one, read_system(file, None, tokenizer), dtype=dtype)  # type: ignore[arg-type]
    found = load_system(one)
    assert found.assets() == system.assets()
    for name, tensor in system.state_dict().items():
        bound = 0 if dtype == "float32" else 1e-3 * tensor.abs().max()
        assert (found.state_dict()[name] - tensor).abs().max() <= bound, name
    if dtype == "float32":
        close(answer(soundsieve.load("flowsep", weights=one)), answer(soundsieve.Separator(system)))


def test_it_is_told_from_the_others(system: FlowSep, file: Path) -> None:
    published = flowsep_entries(system)
    assert [release.name for release in RELEASES.values() if release.recognises(published)] == ["flowsep"]
    assert release_of(published) is RELEASES["flowsep"]
    for other in ("clapsep", "audiosep", "lassnet", "uss"):
        with pytest.raises(WeightsError, match=f"holds the system flowsep, and {other} was asked for"):
            soundsieve.load(other, weights=file)


def test_it_cannot_be_published(system: FlowSep, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="written for a clapsep alone, and this is a flowsep"):
        write_published(tmp_path / "x.ckpt", system)


# --- tokenizers ---


def test_it_needs_a_tokenizer(file: Path) -> None:
    with pytest.raises(ConfigError, match="flowsep is asked in words alone: it needs a tokenizer"):
        soundsieve.load(file, tokenizer="none")


def test_the_usual_tokenizer_is_fetched(system: FlowSep, file: Path, tokenizer: Path, hub: FakeHub) -> None:
    with pytest.raises(WeightsError, match=r"cannot fetch tokenizer\.json of google/flan-t5-large: .*--tokenizer"):
        soundsieve.load("flowsep", weights=file)
    hub.publish(T5_TOKENIZER, tokenizer)
    equal(soundsieve.load("flowsep", weights=file).system, system)


def test_a_tokenizer_of_another_encoder(file: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    other = tmp_path / "other.json"
    for size, said in ((9, "does not end texts with token 1"), (5000, r"has 5000 tokens, the text encoder only \d+")):
        words = {"[UNK]": 0} | {str(i): i for i in range(1, size)}
        other.write_text(Tokenizer(models.WordLevel(words, unk_token="[UNK]")).to_str(), "utf-8")
        with pytest.raises(WeightsError, match=rf"other\.json: the tokenizer {said}"):
            soundsieve.load(file, tokenizer=other)
    with pytest.raises(WeightsError, match="no tokenizer at"):
        soundsieve.load(file, tokenizer=tmp_path / "nowhere.json")


def test_a_tokenizer_for_a_file_of_soundsieves(system: FlowSep, tokenizer: Path, tmp_path: Path) -> None:
    one = tmp_path / "one.safetensors"
    write_system(one, system)
    equal(soundsieve.load(one, tokenizer=tokenizer).system, system)


def test_one_that_is_asked_by_sentences_has_its_own(tokenizer: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    debug, text = FlowSepConfig.debug(), SentenceEncoderConfig.debug()
    unet = replace(FlowUNetConfig.debug(), context_width=text.width)
    one = tmp_path / "one.safetensors"
    write_system(one, FlowSep(replace(debug, text=text, unet=unet)))
    assert isinstance(soundsieve.load(one).system, FlowSep)
    with pytest.raises(ConfigError, match="holds a flowsep, which takes no tokenizer: leave --tokenizer out"):
        soundsieve.load(one, tokenizer=tokenizer)


# --- what is given wrongly ---


def test_its_parts_alone(system: FlowSep, tmp_path: Path) -> None:
    whole = flowsep_entries(system)
    for part, prefix, place, name in (
        ("VAE", "first_stage_model.", "state_dict", "vae.ckpt"),
        ("vocoder", "first_stage_model.vocoder.", "generator", "g_01000000"),
    ):
        entries = {key.removeprefix(prefix): tensor for key, tensor in whole.items() if key.startswith(prefix)}
        torch.save({place: entries}, tmp_path / name)
        with pytest.raises(WeightsError, match=f"{name} is FlowSep's {part} alone: the whole model is another file"):
            soundsieve.load("flowsep", weights=tmp_path / name)


def test_without_the_average(system: FlowSep, tokenizer: Path, tmp_path: Path) -> None:
    entries = {key: t for key, t in flowsep_entries(system).items() if not key.startswith("model_ema.")}
    torch.save({"state_dict": entries}, tmp_path / "raw.ckpt")
    with pytest.raises(WeightsError, match=r"raw\.ckpt holds the UNet as trained and not its average") as caught:
        soundsieve.load("flowsep", weights=tmp_path / "raw.ckpt", tokenizer=tokenizer)
    assert "\n" not in str(caught.value)


def test_files_that_are_damaged(file: Path, tokenizer: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="is cut short"):
        soundsieve.load("flowsep", weights=file, tokenizer=tokenizer)
    file.write_bytes(whole)
    contents = torch.load(file, weights_only=True)
    for change, said in (
        (lambda state: state.pop("scale_factor"), "does not fit: missing scale_factor; unexpected none"),
        (lambda state: state.update({"scale_factor": torch.tensor(torch.nan)}), "scale_factor has values that are not"),
    ):
        change(contents["state_dict"])
        torch.save(contents, file)
        with pytest.raises(WeightsError, match=said):
            soundsieve.load("flowsep", weights=file, tokenizer=tokenizer)


def test_what_it_has_no_use_for(file: Path, tmp_path: Path, hub: FakeHub) -> None:
    clap = laion_file(tmp_path / "clap.pt", debug_system())
    for name, weights in ((file, None), ("flowsep", file), ("flowsep", None)):
        with pytest.raises(ConfigError, match=r"is whole: leave the CLAP \(.*clap\.pt\) out"):
            soundsieve.load(name, weights=weights, clap=clap)
    assert hub.fetched == []


# --- by name ---


def test_it_has_to_be_fetched_by_hand(hub: FakeHub, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = r"flowsep cannot be fetched: its authors publish v2_100k\.ckpt on Zenodo, at https://zenodo\.org/records/\d+"
    with pytest.raises(WeightsError, match=said):
        soundsieve.load("flowsep")
    assert not CATALOG["flowsep"].at_hand
    assert hub.fetched == []
    code, _, err = run(capsys, "convert", "--model", "flowsep", "-o", tmp_path / "one.safetensors")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "fetch it there and give it with --weights" in err
    code, out, _ = run(capsys, "models")
    assert code == 0
    assert "flowsep" in out


def test_convert_and_extract(
    system: FlowSep, file: Path, tokenizer: Path, tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = tmp_path / "one.safetensors"
    assert run(capsys, "convert", file, "--tokenizer", tokenizer, "-o", one) == (0, f"{one}\n", "")
    equal(load_system(one), system)
    for weights in (one, file):
        options = ["--model", "flowsep", "--weights", weights, "-o", tmp_path / weights.suffix[1:], "--quiet"]
        options += [] if weights is one else ["--tokenizer", tokenizer]
        code, out, err = run(capsys, "extract", "a dog", clips / "dog.wav", *options)
        assert code == 0, err
        assert Path(out.splitlines()[0]).is_file()
