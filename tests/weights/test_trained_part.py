"""The file of a trained part: what is in it, what it gives back, with what it is refused."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from soundsieve.encoders.clap import CLAP
from soundsieve.errors import WeightsError
from soundsieve.nn.int8 import Int8Linear
from soundsieve.nn.lora import LoRALinear
from soundsieve.query import Query
from soundsieve.systems.clapsep import CLAPSep, CLAPSepConfig
from soundsieve.weights.checkpoint import load_system, save_system
from soundsieve.weights.clap import clap_digest
from soundsieve.weights.trained_part import is_trained_part, load_trained_part, save_trained_part


def copy_of(clap: CLAP) -> CLAP:
    again = CLAP(clap.config)
    again.load_state_dict(clap.state_dict())
    return again


@pytest.fixture
def system() -> CLAPSep:
    """Every trained weight away from its initial value, statistics of the mask network included."""
    torch.manual_seed(0)
    system = CLAPSep(CLAPSepConfig.debug())
    for parameter in system.trainable_parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    system(0.1 * torch.randn(2, 8000), system.encode_query(Query(text="rain")))
    return system.eval()


@pytest.fixture
def path(system: CLAPSep, tmp_path: Path) -> Path:
    save_trained_part(tmp_path / "part.safetensors", system, clap_digest(system.clap))
    return tmp_path / "part.safetensors"


def test_it_holds_what_is_trained_and_nothing_frozen(system: CLAPSep, path: Path) -> None:
    trained = {name for name, parameter in system.named_parameters() if parameter.requires_grad}
    buffers = {name for name in system.state_dict() if name not in dict(system.named_parameters())}
    own = {name for name in buffers if name.startswith(("decoder.", "mask_net."))}
    assert any("running_mean" in name for name in own)
    stored = load_file(path)
    assert stored.keys() == trained | own
    for name, value in stored.items():
        assert torch.equal(value, system.state_dict()[name])
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "soundsieve-part-1"
    assert metadata["system"] == "clapsep"
    assert clap_digest(system.clap) in metadata["frozen"]


def test_it_gives_the_same_answers(system: CLAPSep, path: Path) -> None:
    random = torch.get_rng_state()
    clap = copy_of(system.clap)
    torch.set_rng_state(random)
    again = load_trained_part(path, clap)
    assert torch.equal(torch.get_rng_state(), random)
    assert again.clap is clap
    assert not again.training
    assert {n for n, p in again.named_parameters() if p.requires_grad} == {
        n for n, p in system.named_parameters() if p.requires_grad
    }
    x, query = 0.1 * torch.randn(1, 38400), Query(text="rain", exclude="wind")
    with torch.no_grad():
        assert torch.equal(again(x, again.encode_query(query)), system(x, system.encode_query(query)))


def test_an_average_that_trains_nothing_is_saved_too(system: CLAPSep, path: Path, tmp_path: Path) -> None:
    system.requires_grad_(False)
    save_trained_part(tmp_path / "again.safetensors", system, clap_digest(system.clap))
    again, first = load_file(tmp_path / "again.safetensors"), load_file(path)
    assert again.keys() == first.keys()
    assert all(torch.equal(value, first[name]) for name, value in again.items())


def test_another_clap_is_refused_by_name(system: CLAPSep, path: Path) -> None:
    clap = copy_of(system.clap)
    with torch.no_grad():
        clap.text_projection[0].bias[0] += 1e-3
    found, needed = clap_digest(clap)[:12], clap_digest(system.clap)[:12]
    assert found != needed
    with pytest.raises(WeightsError, match=f"trained on the CLAP {needed}, and the given one is {found}$"):
        load_trained_part(path, clap)


def test_what_could_not_be_read_back_is_not_saved(system: CLAPSep, tmp_path: Path) -> None:
    digest, path = clap_digest(system.clap), tmp_path / "x.safetensors"
    with torch.no_grad():
        system.decoder.norm.bias[0] = torch.nan
    with pytest.raises(WeightsError, match=r"decoder\.norm\.bias has values that are not finite"):
        save_trained_part(path, system, digest)
    assert any(isinstance(layer, LoRALinear) for layer in system.tower.modules())
    system.merge_lora()
    with pytest.raises(WeightsError, match="is not its CLAP's"):
        save_trained_part(path, system, digest)
    system.mask_net.into = Int8Linear(torch.ones(64, 64), None)
    with pytest.raises(WeightsError, match="has let go of its weights"):
        save_trained_part(path, system, digest)
    assert not list(tmp_path.iterdir())


def test_other_and_damaged_files_are_refused(system: CLAPSep, path: Path, tmp_path: Path) -> None:
    clap, whole, bad = system.clap, tmp_path / "whole.safetensors", tmp_path / "bad.safetensors"
    assert is_trained_part(path)
    assert not is_trained_part(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="no weights at"):
        load_trained_part(tmp_path / "none.safetensors", clap)
    with pytest.raises(WeightsError, match="holds a trained part alone: name the CLAP"):
        load_system(path)
    save_system(whole, system)
    assert not is_trained_part(whole)
    with pytest.raises(WeightsError, match="has format 'soundsieve-1'"):
        load_trained_part(whole, clap)
    bad.write_bytes(b"no")
    assert not is_trained_part(bad)
    with pytest.raises(WeightsError, match="damaged or not a safetensors file"):
        load_trained_part(bad, clap)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors["decoder.norm.bias"] += 1
    save_file(tensors, bad, metadata)
    with pytest.raises(WeightsError, match="damaged or was altered"):
        load_trained_part(bad, clap)
    save_file(load_file(path), bad, metadata | {"system": "sieve"})
    with pytest.raises(WeightsError, match="part of the system 'sieve'"):
        load_trained_part(bad, clap)
