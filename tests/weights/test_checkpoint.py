from __future__ import annotations

import json
import math
import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from identity_system import IdentityConfig, IdentitySystem, PartConfig
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import soundsieve
from soundsieve.encoders.clap import CLAPConfig
from soundsieve.errors import ConfigError, UnreadableError, WeightsError
from soundsieve.systems.clapsep import CLAPSep, CLAPSepConfig
from soundsieve.weights import checkpoint
from soundsieve.weights.checkpoint import load_system, read_metadata, save_system

_WIDER = replace(CLAPConfig.debug().audio, width=64, heads=(2, 4))
"""An audio tower whose larger layers are worth storing once."""


@pytest.fixture
def system() -> IdentitySystem:
    torch.manual_seed(1)
    config = IdentityConfig(segment_s=2.5, gain=0.25, presence=None, part=PartConfig(rows=7))
    return IdentitySystem(config, assets={"tokenizer": '{"a": "ü\\n"}'})


def test_a_file_rebuilds_its_system(system: IdentitySystem, tmp_path: Path) -> None:
    save_system(tmp_path / "a.safetensors", system)
    again = load_system(tmp_path / "a.safetensors")
    assert isinstance(again, IdentitySystem)
    assert again.config == system.config
    assert again.assets() == system.assets()
    assert not again.training
    for name, tensor in system.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
        assert again.state_dict()[name].dtype == tensor.dtype


def test_no_part_files_are_left(system: IdentitySystem, tmp_path: Path) -> None:
    save_system(tmp_path / "new folder" / "a.safetensors", system)
    assert [p.name for p in (tmp_path / "new folder").iterdir()] == ["a.safetensors"]


def test_same_system_same_bytes(system: IdentitySystem, tmp_path: Path) -> None:
    for name in "ab":
        save_system(tmp_path / name, system, dtypes={"linear": "int8"})
    assert read_metadata(tmp_path / "a") == read_metadata(tmp_path / "b")


def test_float16_rounds_within_half_a_step(system: IdentitySystem, tmp_path: Path) -> None:
    save_system(tmp_path / "a", system, dtypes={"": "float16"})
    weight = load_system(tmp_path / "a").state_dict()["linear.weight"]
    original = system.state_dict()["linear.weight"]
    assert weight.dtype == torch.float32
    # float16 has 11 significant bits, so rounding is off by at most 2^-11 of the value.
    assert ((weight - original).abs() <= original.abs() * 2**-11 + 2**-25).all()
    assert not torch.equal(weight, original)


def test_int8_rounds_within_half_a_step_of_each_row(system: IdentitySystem, tmp_path: Path) -> None:
    with torch.no_grad():
        system.linear.weight[2] = 0
        system.linear.weight[3] *= 1000
    save_system(tmp_path / "a", system, dtypes={"linear": "int8"})
    assert load_file(tmp_path / "a")["linear.weight"].dtype == torch.int8
    again, original = load_system(tmp_path / "a").state_dict(), system.state_dict()
    bound = original["linear.weight"].abs().amax(1, keepdim=True) / 254
    assert ((again["linear.weight"] - original["linear.weight"]).abs() <= bound * 1.0001).all()
    assert (again["linear.weight"][2] == 0).all()
    assert torch.equal(again["linear.bias"], original["linear.bias"])  # vectors stay float32


def test_the_longest_prefix_decides(system: IdentitySystem, tmp_path: Path) -> None:
    save_system(tmp_path / "a", system, dtypes={"": "float16", "linear.weight": "int8"})
    stored = load_file(tmp_path / "a")
    assert stored["linear.weight"].dtype == torch.int8
    assert stored["linear.bias"].dtype == torch.float16
    assert stored["steps"].dtype == torch.int64


@pytest.mark.parametrize(
    ("value", "dtypes", "message"),
    [
        (float("nan"), {}, "gain has values that are not finite"),
        (1e6, {"gain": "float16"}, "past 65504"),
        (1.0, {"gain": "float8"}, "choose float32, float16 or int8"),
    ],
)
def test_what_cannot_be_stored_is_refused(
    system: IdentitySystem, tmp_path: Path, value: float, dtypes: dict, message: str
) -> None:
    with torch.no_grad():
        system.gain.fill_(value)
    with pytest.raises(WeightsError, match=message):
        save_system(tmp_path / "a", system, dtypes=dtypes)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_write_leaves_the_old_file(
    system: IdentitySystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    save_system(path, system)
    before = path.read_bytes()

    def full(tensors: object, temporary: Path, metadata: object) -> None:
        Path(temporary).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(WeightsError, match=r"cannot write .*no space left"):
        save_system(path, system)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights at"):
        load_system(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="no weights at"):
        load_system(tmp_path)
    (tmp_path / "text").write_text("hello, this is not a checkpoint at all")
    with pytest.raises(WeightsError, match="damaged or not a safetensors file"):
        load_system(tmp_path / "text")
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(WeightsError, match="damaged or not a safetensors file"):
        load_system(tmp_path / "empty")
    save_file({"x": torch.zeros(2)}, tmp_path / "foreign")
    with pytest.raises(WeightsError, match="was not written by soundsieve"):
        load_system(tmp_path / "foreign")


@pytest.mark.parametrize("keep", [4, 100, 0.5, -1])
def test_a_truncated_file_is_one_line(system: IdentitySystem, tmp_path: Path, keep: float) -> None:
    path = tmp_path / "a"
    save_system(path, system)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if keep == 0.5 else int(keep)])
    with pytest.raises(WeightsError, match="damaged") as caught:
        load_system(path)
    assert "\n" not in str(caught.value)


def test_one_changed_byte_is_noticed(system: IdentitySystem, tmp_path: Path) -> None:
    path = tmp_path / "a"
    save_system(path, system)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="damaged or was altered"):
        load_system(path)


def test_a_changed_config_is_noticed(system: IdentitySystem, tmp_path: Path) -> None:
    path = tmp_path / "a"
    save_system(path, system)
    data = path.read_bytes()
    assert data.count(b"2.5") == 1
    path.write_bytes(data.replace(b"2.5", b"3.5"))
    with pytest.raises(WeightsError, match="altered"):
        load_system(path)


def _rewrite(path: Path, tensors: dict[str, torch.Tensor], **changes: str) -> None:
    """Write a file whose digest is right and whose content is not."""
    metadata = {**read_metadata(path), **changes}
    metadata["digest"] = checkpoint._digest(metadata, tensors)
    save_file(tensors, path, metadata)


def test_missing_and_unexpected_tensors_are_listed(system: IdentitySystem, tmp_path: Path) -> None:
    path = tmp_path / "a"
    save_system(path, system)
    tensors = load_file(path)
    tensors["extra"] = tensors.pop("linear.bias")
    _rewrite(path, tensors)
    with pytest.raises(WeightsError, match=re.escape("missing linear.bias; unexpected extra")):
        load_system(path)


def test_a_wrong_shape_is_named(system: IdentitySystem, tmp_path: Path) -> None:
    path = tmp_path / "a"
    save_system(path, system)
    _rewrite(path, {**load_file(path), "linear.bias": torch.zeros(3)})
    with pytest.raises(WeightsError, match=re.escape("linear.bias has shape (3,), the config asks for (7,)")):
        load_system(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "soundsieve-99"}, "this version reads 'soundsieve-1'"),
        ({"system": "sieve9000"}, "holds the system 'sieve9000'"),
        ({"config": '{"colour": 3}'}, "unknown key 'colour'"),
        ({"config": "{"}, "does not fit the system 'identity'"),
        ({"assets": "{"}, "does not fit the system 'identity'"),
    ],
)
def test_metadata_that_does_not_fit(
    system: IdentitySystem, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    path = tmp_path / "a"
    save_system(path, system)
    _rewrite(path, load_file(path), **changes)
    with pytest.raises(WeightsError, match=re.escape(message)):
        load_system(path)


def test_loading_does_not_move_the_random_state(system: IdentitySystem, tmp_path: Path) -> None:
    save_system(tmp_path / "a", system)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    load_system(tmp_path / "a")
    assert torch.equal(torch.get_rng_state(), before)


def _resident_bytes(tensor: torch.Tensor) -> int:
    """How much of a mapped tensor's memory has been read by this process."""
    first, last = tensor.data_ptr(), tensor.data_ptr() + tensor.numel() * tensor.element_size()
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = line.split()[0]
        if "-" in head and ":" not in head:
            start, stop = (int(end, 16) for end in head.split("-"))
            inside = start < last and first < stop
        elif inside and head == "Rss:":
            total += 1024 * int(line.split()[1])
    return total


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A system with 8 MB of weights."""
    save_system(tmp_path / "large.safetensors", IdentitySystem(IdentityConfig(part=PartConfig(rows=200_000))))
    return tmp_path / "large.safetensors"


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's account of memory")
def test_weights_are_not_read_before_they_are_used(large: Path) -> None:
    weight = load_system(large).state_dict()["linear.weight"]
    size = weight.numel() * weight.element_size()
    assert _resident_bytes(weight) < size // 4
    weight.sum()
    assert _resident_bytes(weight) >= size


def test_training_a_loaded_system_leaves_its_file_alone(large: Path) -> None:
    before = large.read_bytes()
    first, second = load_system(large), load_system(large)
    old = second.state_dict()["linear.weight"].clone()
    first.requires_grad_(True)
    optimiser = torch.optim.SGD(first.parameters(), lr=0.1)
    sum(parameter.sum() for parameter in first.parameters()).backward()  # type: ignore[union-attr]
    optimiser.step()
    with torch.no_grad():
        first.get_parameter("linear.bias").fill_(7)
    torch.testing.assert_close(first.state_dict()["linear.weight"], old - 0.1)
    assert torch.equal(second.state_dict()["linear.weight"], old)
    assert large.read_bytes() == before
    assert torch.equal(load_system(large).state_dict()["linear.weight"], old)


def test_a_loaded_system_outlives_its_file(large: Path) -> None:
    system = load_system(large)
    weight = system.state_dict()["linear.weight"]
    expected = load_system(large).state_dict()["linear.weight"].clone()
    save_system(large, IdentitySystem(IdentityConfig(part=PartConfig(rows=3))))
    assert torch.equal(weight, expected)
    large.unlink()
    assert torch.equal(weight, expected)


def test_a_loaded_system_can_go_over_its_own_file(large: Path) -> None:
    system = load_system(large)
    expected = {name: tensor.clone() for name, tensor in system.state_dict().items()}
    save_system(large, system)
    for name, tensor in load_system(large).state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_what_is_trained_is_as_it_was_built(system: IdentitySystem, tmp_path: Path) -> None:
    save_system(tmp_path / "a", system)
    again = load_system(tmp_path / "a")
    expected = {name: parameter.requires_grad for name, parameter in IdentitySystem(system.config).named_parameters()}
    assert {name: parameter.requires_grad for name, parameter in again.named_parameters()} == expected
    assert not any(tensor.is_meta for tensor in (*again.parameters(), *again.buffers()))


def test_building_without_memory_is_for_one_thread() -> None:
    built: list[torch.nn.Linear] = []
    with checkpoint._no_parameters():
        other = threading.Thread(target=lambda: built.append(torch.nn.Linear(2, 2)))
        other.start()
        other.join()
        assert torch.nn.Linear(2, 2).weight.is_meta
    assert not built[0].weight.is_meta
    assert not torch.nn.Linear(2, 2).weight.is_meta


def test_equal_tensors_are_stored_once_and_live_apart(tmp_path: Path) -> None:
    torch.manual_seed(0)
    clapsep = CLAPSep(CLAPSepConfig(clap=replace(CLAPConfig.debug(), audio=_WIDER), segment_s=1.2, mask_width=16))
    save_system(tmp_path / "a", clapsep)
    twins = json.loads(read_metadata(tmp_path / "a")["twins"])
    assert twins == {name: name.replace("tower.", "clap.audio.") for name in twins}
    assert twins
    with safe_open(tmp_path / "a", "pt") as file:
        assert not twins.keys() & set(file.keys())
    again = load_system(tmp_path / "a")
    for name, tensor in clapsep.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    own, other = next(iter(twins.items()))
    with torch.no_grad():
        again.get_parameter(own).zero_()
    assert torch.equal(again.state_dict()[other], clapsep.state_dict()[other])


def test_for_answers_alone_frozen_twins_are_one_in_memory(tmp_path: Path) -> None:
    torch.manual_seed(0)
    clapsep = CLAPSep(CLAPSepConfig(clap=replace(CLAPConfig.debug(), audio=_WIDER), segment_s=1.2, mask_width=16))
    save_system(tmp_path / "a.safetensors", clapsep)
    twins = json.loads(read_metadata(tmp_path / "a.safetensors")["twins"])

    def shared(system: torch.nn.Module) -> set[bool]:
        places = {name: parameter.data_ptr() for name, parameter in system.named_parameters()}
        return {places[name] == places[twin] for name, twin in twins.items()}

    assert shared(load_system(tmp_path / "a.safetensors")) == {False}
    system = soundsieve.load(tmp_path / "a.safetensors").system
    assert shared(system) == {True}
    for name, tensor in clapsep.state_dict().items():
        assert torch.equal(system.state_dict()[name], tensor), name
    unfrozen = load_system(tmp_path / "a.safetensors").requires_grad_(True)
    checkpoint.share_twins(unfrozen)
    assert shared(unfrozen) == {False}


def test_a_buffer_may_be_a_twin(system: IdentitySystem) -> None:
    system.requires_grad_(False)
    checkpoint._TWINS[system] = {"linear.weight": "steps", "linear.bias": "gain"}
    checkpoint.share_twins(system)
    assert system.linear.bias.data_ptr() == system.gain.data_ptr() != system.linear.weight.data_ptr()


def test_tensors_that_share_their_memory_can_be_saved(tmp_path: Path) -> None:
    system = IdentitySystem(IdentityConfig(part=PartConfig(rows=2000)))
    system.register_buffer("same", system.linear.weight.detach())
    system.register_buffer("part", system.linear.weight.detach()[:1900])
    save_system(tmp_path / "a", system)
    stored = load_file(tmp_path / "a")
    assert torch.equal(stored["part"], system.linear.weight[:1900])
    assert json.loads(read_metadata(tmp_path / "a")["twins"]) == {"linear.weight": "same"}


def test_a_changed_twin_is_noticed(tmp_path: Path) -> None:
    tensors = {"gain": torch.tensor(1.0)}
    metadata = {"format": "soundsieve-1", "system": "identity", "config": "{}", "assets": "{}", "twins": "{}"}
    metadata["digest"] = checkpoint._digest(metadata, tensors)
    save_file(tensors, tmp_path / "a", {**metadata, "twins": '{"other": "gain"}'})
    with pytest.raises(WeightsError, match="altered"):
        load_system(tmp_path / "a")


def test_a_twin_of_nothing(system: IdentitySystem, tmp_path: Path) -> None:
    save_system(tmp_path / "a", system)
    _rewrite(tmp_path / "a", load_file(tmp_path / "a"), twins='{"linear.weight": "nothing"}')
    with pytest.raises(WeightsError, match="is damaged"):
        load_system(tmp_path / "a")


def test_an_unknown_device_is_not_replaced(system: IdentitySystem, tmp_path: Path) -> None:
    save_system(tmp_path / "a", system)
    for device in ("gramophone", "meta", "cuda:99"):
        with pytest.raises(ConfigError, match=f"device '{device}' cannot be used"):
            load_system(tmp_path / "a", device)


def test_a_system_without_a_name_in_the_registry_is_not_saved(
    system: IdentitySystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(checkpoint.SYSTEMS, "identity")
    with pytest.raises(WeightsError, match="system 'identity' is not known"):
        save_system(tmp_path / "a", system)


def test_building_without_random_values_always_ends() -> None:
    before = torch.get_rng_state()
    with checkpoint._NoRandomInit():
        for garbage in (9.0, math.nan, math.inf):
            parameter = torch.nn.Parameter(torch.full((4, 4), garbage))
            torch.nn.init.trunc_normal_(parameter, std=0.02)
            torch.nn.init.kaiming_uniform_(parameter)
            assert not parameter.any()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("unable to mmap 9 bytes: Cannot allocate memory (12)")])
def test_too_little_memory_is_told(
    error: Exception, system: IdentitySystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise error

    save_system(tmp_path / "a", system)
    for where in ("soundsieve.weights.checkpoint.safe_open", "soundsieve.weights.checkpoint._build"):
        with monkeypatch.context() as patched:
            patched.setattr(where, failing)
            with pytest.raises(UnreadableError, match=r"too little memory for loading .*a: it needs about 1 MB"):
                load_system(tmp_path / "a")
    monkeypatch.setattr("soundsieve.weights.trained_part.safe_open", failing)
    with pytest.raises(UnreadableError, match="too little memory"):
        soundsieve.load(tmp_path / "a")


def test_a_file_without_twins_is_mapped_once(
    system: IdentitySystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_system(tmp_path / "a", system)
    opened: list[object] = []
    monkeypatch.setattr(checkpoint, "safe_open", lambda *args, **kw: opened.append(args) or safe_open(*args, **kw))
    load_system(tmp_path / "a")
    assert len(opened) == 2  # for the texts, for the tensors


def test_a_system_that_refuses_to_read_is_not_damage(
    system: IdentitySystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    save_system(tmp_path / "a", system)
    monkeypatch.setattr(checkpoint, "safe_open", refusing)
    with pytest.raises(UnreadableError, match=r"a cannot be read: .*Permission denied"):
        load_system(tmp_path / "a")
