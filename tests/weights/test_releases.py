"""AudioSep, LASS-Net and USS out of made-up published files of debug size: by path, by name, converted and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_hub import FakeHub, hub, publish_debug, publish_resunet
from huggingface_hub import errors
from published_files import as_debug, debug_resunet, debug_system, laion_file, resunet_file, slim_file
from torch import Tensor

import soundsieve
from soundsieve.cli.main import main
from soundsieve.encoders.bert import BERTConfig
from soundsieve.errors import ConfigError, QueryError, WeightsError
from soundsieve.query import Query
from soundsieve.weights.catalog import CATALOG
from soundsieve.weights.checkpoint import load_system
from soundsieve.weights.clap import load_clap
from soundsieve.weights.convert import needs_clap, read_system, write_published, write_system
from soundsieve.weights.hub import BERT_TOKENIZER, TOKENIZER, fetch
from soundsieve.weights.releases import RELEASES, release_of

__all__ = ["hub"]  # a fixture

NAMES = ("audiosep", "lassnet", "uss")
FETCHED = ("audiosep", "uss")
READING = ("audiosep", "lassnet")
CLIP = (0.3 * np.random.default_rng(1).standard_normal(32000).astype(np.float32), 32000)
MIXTURE = 0.1 * np.random.default_rng(0).standard_normal(20000).astype(np.float32)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    as_debug(monkeypatch)


def tokenizer_of(system: Any, folder: Path) -> Path | None:
    """The file of a system's tokenizer; None for USS."""
    if not system.assets():
        return None
    path = folder / "tokenizer.json"
    path.write_text(system.assets()["tokenizer.json"], "utf-8")
    return path


def answer(system: Any) -> Tensor:
    separator = system if isinstance(system, soundsieve.Separator) else soundsieve.Separator(system)
    how: dict[str, Any] = {"like": CLIP} if separator.system.name == "uss" else {"text": "a dog"}
    return torch.from_numpy(separator.separate(MIXTURE, sample_rate=32000, **how).target)


def close(found: Any, expected: Any, tolerance: float = 1e-5) -> None:
    found, expected = answer(found), answer(expected)
    assert expected.abs().max() > 1e-4
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def equal(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    assert not found.training
    assert found.config == expected.config
    assert found.assets() == expected.assets()
    mine, others = found.state_dict(), expected.state_dict()
    assert mine.keys() == others.keys()
    assert all(torch.equal(mine[name], others[name]) for name in others)
    trained = [name for name, parameter in expected.named_parameters() if parameter.requires_grad]
    assert [name for name, parameter in found.named_parameters() if parameter.requires_grad] == trained


# --- from files ---


@pytest.mark.parametrize("name", NAMES)
def test_the_published_file_becomes_the_system(name: str, tmp_path: Path) -> None:
    system = debug_resunet(name)
    file, tokenizer = resunet_file(tmp_path, system), tokenizer_of(system, tmp_path)
    assert not needs_clap(file)
    before = file.read_bytes()
    found = read_system(file, None, tokenizer)
    equal(found, system)
    for loaded in (
        soundsieve.load(file, tokenizer=tokenizer),
        soundsieve.load(name, weights=file, tokenizer=tokenizer),
    ):
        equal(loaded.system, system)
        close(loaded, system)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(1)
    assert file.read_bytes() == before


@pytest.mark.parametrize("name", NAMES)
def test_one_file_of_it(name: str, tmp_path: Path) -> None:
    system = debug_resunet(name)
    source = read_system(resunet_file(tmp_path, system), None, tokenizer_of(system, tmp_path))
    for dtype in ("float32", "float16"):
        write_system(tmp_path / f"{dtype}.safetensors", source, dtype=dtype)  # type: ignore[arg-type]
    equal(load_system(tmp_path / "float32.safetensors"), system)
    half = load_system(tmp_path / "float16.safetensors")
    close(half, system, 2e-2)
    for key, tensor in system.state_dict().items():
        if "running" in key:  # too small for float16 in real weights
            assert torch.equal(half.state_dict()[key], tensor), key
    close(soundsieve.load(name, weights=tmp_path / "float32.safetensors"), system)
    with pytest.raises(WeightsError, match=f"written for a clapsep alone, and this is a {name}"):
        write_published(tmp_path / "out.ckpt", source)


@pytest.mark.parametrize("name", NAMES)
def test_int8(name: str, tmp_path: Path) -> None:
    system = debug_resunet(name)
    file, tokenizer = resunet_file(tmp_path, system), tokenizer_of(system, tmp_path)
    close(soundsieve.load(file, tokenizer=tokenizer, precision="int8"), system, 0.2)


@pytest.mark.parametrize("name", [*NAMES, "clapsep", "starter", "nowhere.ckpt"])
def test_a_bad_precision_is_told_before_anything_is_loaded(
    name: str, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soundsieve.weights.catalog.load_model", None)
    with pytest.raises(ConfigError, match="precision is 'loud': choose one of float32, int8"):
        soundsieve.load(name, precision="loud")
    with pytest.raises(ConfigError, match="precision int8 is for the CPU"):
        soundsieve.nn.precision.check_precision("int8", "meta")
    assert hub.fetched == []


def test_each_is_told_from_the_others(tmp_path: Path) -> None:
    files = {name: resunet_file(tmp_path, debug_resunet(name)) for name in NAMES}
    files["clapsep"] = slim_file(tmp_path / "best_model.ckpt", debug_system())
    assert files.keys() == RELEASES.keys() - {"flowsep"}  # which has a file of tests of its own
    for name, file in files.items():
        contents = torch.load(file, weights_only=True)
        state = contents.get("state_dict", contents.get("model", contents))
        assert [each.name for each in RELEASES.values() if each.recognises(state)] == [name]
        release = release_of(state)
        assert release is not None
        assert release.name == name
        for other in files.keys() - {name}:
            with pytest.raises(WeightsError, match=f"holds the system {name}, and {other} was asked for"):
                soundsieve.load(other, weights=file)
        with pytest.raises(WeightsError, match=rf"is a file of {release.title} \(--weights\), not the CLAP"):
            load_clap(file, tokenizer="none")
    assert release_of({"w": torch.ones(2)}) is None
    write_system(tmp_path / "uss.safetensors", debug_resunet("uss"))
    with pytest.raises(WeightsError, match="holds the system uss, and audiosep was asked for"):
        soundsieve.load("audiosep", weights=tmp_path / "uss.safetensors")


# --- tokenizers ---


def test_audiosep_without_a_tokenizer_is_asked_by_clips(tmp_path: Path) -> None:
    system = debug_resunet("audiosep")
    found = read_system(resunet_file(tmp_path, system), None, "none")
    assert found.assets() == {}
    torch.testing.assert_close(
        found.encode_query(Query(like=CLIP)).positive, system.encode_query(Query(like=CLIP)).positive
    )
    with pytest.raises(QueryError, match=r"no tokenizer.*--tokenizer.*--like"):
        found.encode_query(Query(text="rain"))


def test_lassnet_needs_a_tokenizer(tmp_path: Path) -> None:
    file = resunet_file(tmp_path, debug_resunet("lassnet"))
    with pytest.raises(ConfigError, match="lassnet is asked in words alone: it needs a tokenizer"):
        soundsieve.load(file, tokenizer="none")


@pytest.mark.parametrize("name", READING)
def test_a_tokenizer_for_a_file_of_soundsieves(name: str, tmp_path: Path) -> None:
    system = debug_resunet(name)
    tokenizer = tokenizer_of(system, tmp_path)
    write_system(tmp_path / "one.safetensors", system)
    close(soundsieve.load(tmp_path / "one.safetensors", tokenizer=tokenizer), system)
    with pytest.raises(WeightsError, match="no tokenizer at"):
        soundsieve.load(tmp_path / "one.safetensors", tokenizer=tmp_path / "x.json")


def test_a_tokenizer_of_another_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from soundsieve.weights.clap import find_tokenizer

    tokenizer = tokenizer_of(debug_resunet("lassnet"), tmp_path)
    sizes = BERTConfig.debug()
    found = find_tokenizer(tokenizer, sizes, BERT_TOKENIZER)
    assert found is not None
    assert (found.max_tokens, found.pad_id) == (sizes.positions, sizes.pad_id)
    with pytest.raises(WeightsError, match="tokens, and the text tower was trained with 9"):
        find_tokenizer(tokenizer, replace(sizes, vocab_size=9), BERT_TOKENIZER)


# --- what is given wrongly ---


@pytest.mark.parametrize("name", NAMES)
def test_what_it_has_no_use_for(name: str, tmp_path: Path, hub: FakeHub) -> None:
    file = resunet_file(tmp_path, debug_resunet(name))
    clap = laion_file(tmp_path / "clap.pt", debug_system())
    with pytest.raises(ConfigError, match=r"is whole: leave the CLAP \(.*clap\.pt\) out"):
        soundsieve.load(file, clap=clap)
    for weights in (file, None):  # told before anything is fetched
        with pytest.raises(ConfigError, match=rf"{name} is whole: leave the CLAP \(.*clap\.pt\) out"):
            soundsieve.load(name, weights=weights, clap=clap)
    with pytest.raises(ConfigError, match="given twice"):
        soundsieve.load(file, weights=file)
    with pytest.raises(ConfigError, match="device 'gramophone'"):
        soundsieve.load(name, "gramophone", weights=file)
    assert hub.fetched == []


def test_uss_takes_no_tokenizer(tmp_path: Path, hub: FakeHub) -> None:
    system = debug_resunet("uss")
    file = resunet_file(tmp_path, system)
    write_system(tmp_path / "one.safetensors", system)
    for given in ({"name_or_path": "uss"}, {"name_or_path": "uss", "weights": file}, {"name_or_path": file}):
        with pytest.raises(ConfigError, match="uss takes no tokenizer: leave --tokenizer out"):
            soundsieve.load(**given, tokenizer="roberta-base/")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="holds a uss, which takes no tokenizer"):
        soundsieve.load(tmp_path / "one.safetensors", tokenizer="roberta-base/")


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_damaged(name: str, tmp_path: Path) -> None:
    system = debug_resunet(name)
    file, tokenizer = resunet_file(tmp_path, system), tokenizer_of(system, tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="is cut short"):
        soundsieve.load(name, weights=file, tokenizer=tokenizer)
    file.write_bytes(b"<!DOCTYPE html><html>")
    with pytest.raises(WeightsError, match="is a web page"):
        soundsieve.load(name, weights=file, tokenizer=tokenizer)
    file.write_bytes(whole)
    contents = torch.load(file, weights_only=True)
    state = contents.get("state_dict", contents.get("model"))
    gone = next(key for key in state if key.endswith("decoder_block1.bn1.weight"))
    del state[gone]
    torch.save(contents, file)
    with pytest.raises(WeightsError, match="does not fit: missing") as caught:
        soundsieve.load(name, weights=file, tokenizer=tokenizer)
    assert gone.removeprefix("module.") in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match="no weights at"):
        soundsieve.load(name, weights=tmp_path / "none.ckpt", tokenizer=tokenizer)


# --- by name ---


@pytest.mark.parametrize("name", FETCHED)
def test_by_name_fetched_and_converted_once(
    name: str, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = publish_resunet(hub, tmp_path / "published", monkeypatch, name)
    assert not CATALOG[name].at_hand
    first = soundsieve.load(name).system
    assert hub.fetched == [source.file for source in sources]
    assert CATALOG[name].at_hand
    equal(first, debug_resunet(name))
    (made,) = (tmp_path / "cache" / "weights").iterdir()
    assert made.name.startswith(f"{name}-")
    for source in sources:  # the converted file serves alone
        hub.place(source.repository, source.file, source.kind).unlink()
        hub.publish(source, errors.OfflineModeIsEnabled("offline"))
    monkeypatch.setattr("soundsieve.weights.convert.read_system", None)  # not needed again
    assert CATALOG[name].at_hand
    equal(soundsieve.load(name).system, debug_resunet(name))
    assert len(hub.fetched) == len(sources)


@pytest.mark.parametrize("name", FETCHED)
def test_files_in_the_clients_cache_suffice(
    name: str, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source in publish_resunet(hub, tmp_path / "published", monkeypatch, name):
        assert not CATALOG[name].at_hand
        fetch(source)
    assert CATALOG[name].at_hand


@pytest.mark.parametrize("name", FETCHED)
def test_what_cannot_be_fetched(name: str, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, *_ = publish_resunet(hub, tmp_path / "published", monkeypatch, name)
    hub.publish(source, errors.LocalEntryNotFoundError("no network"))
    with pytest.raises(WeightsError) as caught:
        soundsieve.load(name)
    said = str(caught.value)
    assert said.startswith(f"cannot fetch {source.file} of {source.repository}: the hub cannot be reached")
    assert said.endswith("or give a copy with --weights")
    hub.publish(source, slim_file(tmp_path / "other.ckpt", debug_system()))
    with pytest.raises(WeightsError, match=f"holds the system clapsep, and {name} was asked for"):
        soundsieve.load(name)
    assert not (tmp_path / "cache").exists()


def test_audiosep_and_clapsep_keep_apart(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_debug(hub, tmp_path / "clapsep", monkeypatch)
    publish_resunet(hub, tmp_path / "audiosep", monkeypatch, "audiosep")
    assert [soundsieve.load(name).system.name for name in ("clapsep", "audiosep") * 2] == ["clapsep", "audiosep"] * 2
    assert len(list((tmp_path / "cache" / "weights").iterdir())) == 2


def test_lassnet_has_to_be_fetched_by_hand(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_resunet(hub, tmp_path / "published", monkeypatch, "lassnet")
    for tokenizer in (None, tmp_path / "published" / "tokenizer.json"):
        with pytest.raises(
            WeightsError, match=r"lassnet cannot be fetched: .*Google Drive alone, linked at https://git"
        ):
            soundsieve.load("lassnet", tokenizer=tokenizer)
    assert not CATALOG["lassnet"].at_hand
    assert hub.fetched == []
    found = soundsieve.load("lassnet", weights=tmp_path / "published" / "LASSNet.pt").system
    assert hub.fetched == ["tokenizer.json"]
    equal(found, debug_resunet("lassnet"))
    assert hub.place(BERT_TOKENIZER.repository, "tokenizer.json", "model").is_file()
    assert not hub.place(TOKENIZER.repository, "tokenizer.json", "model").exists()


def test_a_tokenizer_of_another_repository(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    publish_resunet(hub, tmp_path / "published", monkeypatch, "lassnet")
    hub.publish(replace(BERT_TOKENIZER, repository="someone/bert"), tmp_path / "published" / "tokenizer.json")
    soundsieve.load("lassnet", weights=tmp_path / "published" / "LASSNet.pt", tokenizer="someone/bert")
    assert hub.place("someone/bert", "tokenizer.json", "model").is_file()


# --- commands ---


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


@pytest.mark.parametrize("name", NAMES)
def test_convert_tells_whose_weights_they_are(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    system = debug_resunet(name)
    file, tokenizer = resunet_file(tmp_path, system), tokenizer_of(system, tmp_path)
    options = [] if tokenizer is None else ["--tokenizer", tokenizer]
    one = tmp_path / "one.safetensors"
    assert run(capsys, "convert", "--weights", file, *options, "-o", one) == (0, f"{one}\n", "")
    equal(load_system(one), system)
    assert run(capsys, "convert", file, "--model", name, *options, "-o", one, "--force")[0] == 0
    code, _, err = run(capsys, "convert", file, "--model", "clapsep", "-o", one, "--force")
    assert (code, len(err.splitlines())) == (2, 1)
    assert f"holds the system {name}, and clapsep was asked for" in err


def test_convert_fetches_by_name(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = tmp_path / "one.safetensors"
    for name in FETCHED:
        publish_resunet(hub, tmp_path / name, monkeypatch, name)
        assert run(capsys, "convert", "--model", name, "-o", one, "--force") == (0, f"{one}\n", "")
        equal(load_system(one), debug_resunet(name))
    for name, said in (
        ("lassnet", "lassnet cannot be fetched: its authors"),
        ("debug", "'debug' is no published model"),
    ):
        code, _, err = run(capsys, "convert", "--model", name, "-o", one, "--force")
        assert (code, len(err.splitlines())) == (2, 1)
        assert said in err


@pytest.mark.parametrize("name", NAMES)
def test_extract_with_a_local_file(name: str, tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    system = debug_resunet(name)
    file, tokenizer = resunet_file(tmp_path, system), tokenizer_of(system, tmp_path)
    options = ["--model", name, "--weights", file, "-o", tmp_path / "out", "--quiet"]
    options += [] if tokenizer is None else ["--tokenizer", tokenizer]
    query = ["--like", clips / "sheep.flac"] if name == "uss" else ["a dog"]
    code, out, err = run(capsys, "extract", *query, clips / "dog.wav", *options)
    assert (code, err) == (0, "")
    assert Path(out.strip()).is_file()
