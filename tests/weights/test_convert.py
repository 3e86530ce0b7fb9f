from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from published_files import as_debug, came_along, debug_system, laion_file, lightning_file, slim_file
from torch import Tensor

import soundsieve
from soundsieve.encoders.clap import CLAP, CLAPConfig
from soundsieve.errors import ConfigError, QueryError, WeightsError
from soundsieve.query import Query
from soundsieve.systems.clapsep import CLAPSep, CLAPSepConfig
from soundsieve.weights.catalog import load_named
from soundsieve.weights.checkpoint import load_system, save_system
from soundsieve.weights.clap import clap_digest, find_tokenizer, load_clap, save_clap
from soundsieve.weights.convert import needs_clap, read_system, write_published, write_system
from soundsieve.weights.trained_part import save_trained_part


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    as_debug(monkeypatch)


@pytest.fixture(scope="module")
def system() -> CLAPSep:
    return debug_system()


@pytest.fixture
def tokenizer(system: CLAPSep, tmp_path: Path) -> Path:
    path = tmp_path / "tokenizer.json"
    path.write_text(system.clap.assets()["tokenizer.json"], "utf-8")
    return path


@pytest.fixture
def pair(system: CLAPSep, tmp_path: Path) -> tuple[Path, Path]:
    return slim_file(tmp_path / "best_model.ckpt", system), laion_file(tmp_path / "clap.pt", system)


def answer(system: soundsieve.Separator | CLAPSep) -> Tensor:
    separator = system if isinstance(system, soundsieve.Separator) else soundsieve.Separator(system)
    time = np.arange(20000) / 32000
    mixture = (0.2 * np.sin(2000 * time) + 0.1 * np.sin(9000 * time)).astype(np.float32)
    return torch.from_numpy(separator.separate(mixture, "a dog", exclude="rain", sample_rate=32000).target)


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert expected.abs().max() > 1e-3
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def equal(found: CLAPSep, expected: CLAPSep) -> None:
    assert found.config == expected.config
    mine = found.state_dict()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(mine[name], tensor), name
    assert mine.keys() == expected.state_dict().keys()


# --- in ---


def test_the_pair_becomes_the_system(system: CLAPSep, pair: tuple[Path, Path], tokenizer: Path) -> None:
    found = read_system(*pair, tokenizer)
    assert isinstance(found, CLAPSep)
    assert not found.training
    assert found.assets() == system.assets()
    equal(found, system)
    close(answer(found), answer(system))
    trained = {name for name, parameter in system.named_parameters() if parameter.requires_grad}
    assert {name for name, parameter in found.named_parameters() if parameter.requires_grad} == trained


def test_a_whole_checkpoint_equals_the_pair(
    system: CLAPSep, pair: tuple[Path, Path], tokenizer: Path, tmp_path: Path
) -> None:
    whole = lightning_file(tmp_path / "epoch=1-step=4.ckpt", system)
    assert needs_clap(pair[0])
    assert not needs_clap(whole)
    for clap in (None, pair[1]):
        found = read_system(whole, clap, tokenizer)
        assert isinstance(found, CLAPSep)
        equal(found, system)
    other = laion_file(tmp_path / "other.pt", debug_system(seed=1))
    with pytest.raises(WeightsError, match="holds another CLAP than the one given beside it"):
        read_system(whole, other, tokenizer)
    with pytest.raises(WeightsError, match="was made with another CLAP than the one given"):
        read_system(pair[0], other, tokenizer)


def test_a_clap_of_soundsieves_own_file(
    system: CLAPSep, pair: tuple[Path, Path], tokenizer: Path, tmp_path: Path
) -> None:
    save_clap(tmp_path / "clap.safetensors", system.clap)
    found = read_system(pair[0], tmp_path / "clap.safetensors")
    assert isinstance(found, CLAPSep)
    assert found.assets() == system.assets()
    equal(found, system)


def test_nothing_of_the_files_is_written_to(system: CLAPSep, pair: tuple[Path, Path], tokenizer: Path) -> None:
    """Tensors stay mapped to the files; what is done to the system must not reach them."""
    before = [path.read_bytes() for path in pair]
    found = read_system(*pair, tokenizer)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(1)
    assert [path.read_bytes() for path in pair] == before
    equal(read_system(*pair, tokenizer), system)  # type: ignore[arg-type]


# --- one file ---


@pytest.mark.parametrize("merge", [True, False])
def test_one_file_of_it(system: CLAPSep, pair: tuple[Path, Path], tokenizer: Path, tmp_path: Path, merge: bool) -> None:
    write_system(tmp_path / "one.safetensors", read_system(*pair, tokenizer), merge=merge)
    found = load_system(tmp_path / "one.safetensors")
    assert isinstance(found, CLAPSep)
    assert found.config.lora_rank == (0 if merge else system.config.lora_rank)
    if not merge:
        equal(found, system)
    close(answer(found), answer(system))
    close(answer(soundsieve.load(tmp_path / "one.safetensors")), answer(system))


def test_half_the_size(system: CLAPSep, pair: tuple[Path, Path], tokenizer: Path, tmp_path: Path) -> None:
    for dtype in ("float32", "float16"):
        write_system(tmp_path / f"{dtype}.safetensors", read_system(*pair, tokenizer), dtype=dtype)
    sizes = [(tmp_path / f"{dtype}.safetensors").stat().st_size for dtype in ("float32", "float16")]
    assert sizes[1] < 0.7 * sizes[0]
    close(answer(soundsieve.load(tmp_path / "float16.safetensors")), answer(system), 5e-3)


def test_a_trained_part(system: CLAPSep, pair: tuple[Path, Path], tokenizer: Path, tmp_path: Path) -> None:
    part = tmp_path / "part.safetensors"
    save_trained_part(part, system, clap_digest(system.clap))
    with pytest.raises(WeightsError, match=r"part\.safetensors holds only what was trained: give the CLAP"):
        soundsieve.load(part)
    close(answer(soundsieve.load(part, clap=pair[1], tokenizer=tokenizer)), answer(system))
    write_system(tmp_path / "one.safetensors", read_system(part, pair[1], tokenizer))
    close(answer(soundsieve.load(tmp_path / "one.safetensors")), answer(system))


# --- out ---


def test_what_is_trained_here_is_read_there(
    system: CLAPSep, pair: tuple[Path, Path], tokenizer: Path, tmp_path: Path
) -> None:
    write_published(tmp_path / "out.ckpt", system)
    published = torch.load(tmp_path / "out.ckpt", weights_only=True)
    expected = torch.load(pair[0], weights_only=True)
    assert published.keys() == expected.keys() - came_along(system).keys()
    equal(read_system(tmp_path / "out.ckpt", pair[1], tokenizer), system)  # type: ignore[arg-type]


def test_another_alpha_sounds_the_same_there(pair: tuple[Path, Path], tokenizer: Path, tmp_path: Path) -> None:
    trained = read_system(*pair, tokenizer)
    louder = CLAPSep(replace(trained.config, lora_alpha=16.0)).eval()
    louder.load_state_dict(trained.state_dict())
    expected = answer(louder)
    assert (expected - answer(trained)).abs().max() > 1e-3 * expected.abs().max()  # type: ignore[arg-type]
    write_published(tmp_path / "out.ckpt", louder)
    close(answer(read_system(tmp_path / "out.ckpt", pair[1], tokenizer)), expected)  # type: ignore[arg-type]


def test_what_cannot_be_published(system: CLAPSep, tmp_path: Path) -> None:
    path = tmp_path / "out.ckpt"
    with pytest.raises(WeightsError, match="written for a clapsep alone, and this is a sieve"):
        write_published(path, load_named("debug"))
    merged = debug_system()
    merged.merge_lora()
    with pytest.raises(WeightsError, match="its LoRA has been merged"):
        write_published(path, merged)
    moved = debug_system()
    with torch.no_grad():
        moved.tower.norm.bias.add_(1)
    with pytest.raises(WeightsError, match=r"the tower is not its CLAP's.*norm\.bias differs"):
        write_published(path, moved)
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot write"):
        write_published(tmp_path / "file" / "out.ckpt", system)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file"]


# --- tokenizers ---


def test_without_a_tokenizer(
    system: CLAPSep, pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that can be asked by clips; as soon as it is given a tokenizer, by text too."""
    found = read_system(*pair, "none")
    assert isinstance(found, CLAPSep)
    assert found.assets() == {}
    clip = (np.random.default_rng(0).standard_normal(8000).astype(np.float32), 32000)
    close(found.encode_query(Query(like=clip)).positive, system.encode_query(Query(like=clip)).positive)
    with pytest.raises(QueryError, match=r"no tokenizer.*--tokenizer.*--like"):
        found.encode_query(Query(text="rain"))


def test_a_tokenizer_for_a_file_without_one(
    system: CLAPSep, pair: tuple[Path, Path], tokenizer: Path, tmp_path: Path
) -> None:
    write_system(tmp_path / "one.safetensors", read_system(*pair, "none"))
    close(answer(soundsieve.load(tmp_path / "one.safetensors", tokenizer=tokenizer)), answer(system))
    close(answer(soundsieve.load(tmp_path / "one.safetensors", tokenizer=tokenizer.parent)), answer(system))


def test_a_tokenizer_that_is_not_the_towers(tokenizer: Path, tmp_path: Path) -> None:
    text = CLAPConfig.debug().text
    assert find_tokenizer(tokenizer, text) is not None
    with pytest.raises(WeightsError, match=r"has 108 tokens, and the text tower was trained with 109"):
        find_tokenizer(tokenizer, replace(text, vocab_size=109))
    with pytest.raises(WeightsError, match=r"no tokenizer at .*x\.json"):
        find_tokenizer(tmp_path / "x.json", text)
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(WeightsError, match="the tokenizer cannot be read"):
        find_tokenizer(tmp_path / "x.json", text)
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="give a tokenizer.json, or a folder that holds one".replace(".", r"\.")):
        find_tokenizer(tmp_path / "empty", text)


# --- what is given wrongly ---


def test_files_in_each_others_place(pair: tuple[Path, Path], tokenizer: Path, tmp_path: Path) -> None:
    weights, clap = pair
    with pytest.raises(WeightsError, match=r"clap\.pt is a CLAP file \(--clap\)"):
        read_system(clap, weights, tokenizer)
    with pytest.raises(WeightsError, match=r"best_model\.ckpt is a file of CLAPSep \(--weights\)"):
        read_system(weights, weights, tokenizer)
    with pytest.raises(WeightsError, match=r"best_model\.ckpt is a file of CLAPSep \(--weights\)"):
        load_clap(weights, tokenizer="none")
    torch.save({"w": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=r"other\.pt holds none of CLAPSep, AudioSep, LASS-Net, USS, FlowSep"):
        read_system(tmp_path / "other.pt", clap, tokenizer)
    with pytest.raises(WeightsError, match=r"other\.pt holds no CLAP"):
        read_system(weights, tmp_path / "other.pt", tokenizer)
    with pytest.raises(WeightsError, match=r"best_model\.ckpt holds only what was trained"):
        read_system(weights, None, tokenizer)
    with pytest.raises(WeightsError, match="no weights at"):
        read_system(weights, tmp_path / "none.pt", tokenizer)


def test_what_a_model_has_no_use_for(system: CLAPSep, pair: tuple[Path, Path], tokenizer: Path, tmp_path: Path) -> None:
    write_system(tmp_path / "one.safetensors", read_system(*pair, tokenizer))
    save_system(tmp_path / "sieve.safetensors", load_named("debug"))
    with pytest.raises(ConfigError, match=r"one\.safetensors is whole: leave the CLAP"):
        soundsieve.load(tmp_path / "one.safetensors", clap=pair[1])
    with pytest.raises(ConfigError, match="a sieve, which takes no tokenizer: leave --tokenizer out"):
        soundsieve.load(tmp_path / "sieve.safetensors", tokenizer=tokenizer)
    with pytest.raises(ConfigError, match="'starter' has its own"):
        soundsieve.load("starter", clap=pair[1])
    with pytest.raises(ConfigError, match="given twice"):
        soundsieve.load(pair[0], weights=pair[0], clap=pair[1])
    with pytest.raises(ConfigError, match="device 'gramophone'"):
        soundsieve.load("clapsep", "gramophone", weights=pair[0], clap=pair[1])


def test_local_files_by_name_and_by_path(system: CLAPSep, pair: tuple[Path, Path], tokenizer: Path) -> None:
    expected = answer(system)
    close(answer(soundsieve.load("clapsep", weights=pair[0], clap=pair[1], tokenizer=tokenizer)), expected)
    close(answer(soundsieve.load(str(pair[0]), clap=str(pair[1]), tokenizer=str(tokenizer))), expected)


# --- the CLAP alone ---


def test_the_published_clap_and_ours_are_the_same(
    system: CLAPSep, pair: tuple[Path, Path], tokenizer: Path, tmp_path: Path
) -> None:
    found = load_clap(pair[1], tokenizer=tokenizer)
    assert not found.training
    torch.testing.assert_close(found.embed_text(["rain"]), system.clap.embed_text(["rain"]))
    save_clap(tmp_path / "clap.safetensors", found)
    again = load_clap(tmp_path / "clap.safetensors")
    assert clap_digest(again) == clap_digest(found) == clap_digest(system.clap)
    assert again.assets() == system.clap.assets()
    assert load_clap(tmp_path / "clap.safetensors", tokenizer="none").tokenizer is None
    assert clap_digest(debug_system(seed=1).clap) != clap_digest(found)


def test_files_that_hold_no_clap(tmp_path: Path) -> None:
    save_system(tmp_path / "sieve.safetensors", load_named("debug"))
    with pytest.raises(WeightsError, match="does not hold a CLAP"):
        load_clap(tmp_path / "sieve.safetensors")
    clap = CLAP(CLAPConfig.debug())
    save_clap(tmp_path / "clap.safetensors", clap)
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "clap.safetensors").read_bytes()[:-100])
    with pytest.raises(WeightsError, match="is damaged"):
        load_clap(tmp_path / "cut.safetensors")
    with pytest.raises(WeightsError, match="no weights at"):
        load_clap(tmp_path / "none.safetensors")


def test_too_little_memory_to_load(
    pair: tuple[Path, Path], tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    system = read_system(*pair, tokenizer)
    monkeypatch.setattr(CLAPSep, "merge_lora", fail)
    with pytest.raises(WeightsError, match=r"too little memory for writing .*one\.safetensors: it needs about 1 MB"):
        write_system(tmp_path / "one.safetensors", system)
    monkeypatch.setattr("soundsieve.weights.releases.clapsep_state", fail)
    with pytest.raises(WeightsError, match="too little memory for loading"):
        read_system(*pair, tokenizer)
    assert not (tmp_path / "one.safetensors").exists()


def test_debug_size_stands_for_base(tmp_path: Path) -> None:
    """What the tests patch is what the library asks."""
    assert CLAPSepConfig.base() == CLAPSepConfig.debug()
    assert CLAPConfig.base() == CLAPConfig.debug()
