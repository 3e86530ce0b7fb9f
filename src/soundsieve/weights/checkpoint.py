"""One safetensors file that rebuilds its own system: weights, config and tokenizer together.

The file's metadata holds ``format`` (the version of this layout), ``system`` (its name), ``config`` (the config
dataclass as JSON), ``assets`` (texts that the system needs beside its weights, such as a tokenizer, as JSON),
``twins`` (where there are any: name -> name of the equal tensor that is stored in its place, as JSON) and ``digest``
(SHA-256 over all of these and every tensor), so a damaged or edited file is noticed before it is used.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias
from weakref import WeakKeyDictionary

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from soundsieve.errors import ConfigError, UnreadableError, WeightsError
from soundsieve.files import replacing
from soundsieve.nn.precision import is_rounded
from soundsieve.systems.base import System
from soundsieve.weights.config import from_dict, to_dict
from soundsieve.weights.foreign import enough_memory

FORMAT = "soundsieve-1"

SYSTEMS: dict[str, tuple[str, str, str]] = {
    "sieve": ("soundsieve.systems.sieve", "Sieve", "SieveConfig"),
    "clapsep": ("soundsieve.systems.clapsep", "CLAPSep", "CLAPSepConfig"),
    "audiosep": ("soundsieve.systems.audiosep", "AudioSep", "AudioSepConfig"),
    "lassnet": ("soundsieve.systems.lassnet", "LASSNet", "LASSNetConfig"),
    "uss": ("soundsieve.systems.uss", "USS", "USSConfig"),
    "flowsep": ("soundsieve.systems.flowsep.flowsep", "FlowSep", "FlowSepConfig"),
}
"""Name in a file -> (module, class, config class); a module is imported when a file first asks for it."""

StoredAs: TypeAlias = Literal["float32", "float16", "int8"]

_SCALE = ".scale"
_WORTH_SHARING = 1 << 14
"""Elements from which on a tensor that equals another one is stored once."""


def pick_device(device: str | torch.device) -> torch.device:
    """The torch device of that name, never another one in its place.

    Raises:
        ConfigError: there is no such device on this machine.
    """
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"device '{device}' cannot be used on this machine; 'cpu' always can") from error
    return chosen


def save_system(path: str | Path, system: System, *, dtypes: Mapping[str, StoredAs] | None = None) -> None:
    """Write a system to one file, whole or not at all.

    Args:
        path: the ``.safetensors`` file to write.
        system: a system with a ``config`` dataclass; its ``assets()``, if it has any, travel along.
        dtypes: how floating-point tensors are stored, by prefix of their name; the longest prefix that fits wins,
            ``""`` fits all, and what nothing fits is ``float32``. ``int8`` keeps one float32 scale per row (first
            dimension), largest error scale / 2 = max|row| / 254; vectors and scalars stay float32 under it.

    Raises:
        WeightsError: the system cannot be named or stored, or the file cannot be written.
    """
    if is_rounded(system):
        raise WeightsError("a system in precision int8 or bf16 has let go of its weights: save it before, as float32")
    if system.name not in SYSTEMS:
        raise WeightsError(f"system '{system.name}' is not known; known: {', '.join(sorted(SYSTEMS))}")
    tensors: dict[str, Tensor] = {}
    for name, tensor in system.state_dict().items():
        tensors.update(_pack(name, tensor.detach().cpu(), _stored_as(name, dtypes or {})))
    twins = _twins(tensors)
    for name in twins:
        del tensors[name]
    tensors = _apart(tensors)
    metadata = {
        "format": FORMAT,
        "system": system.name,
        "config": json.dumps(to_dict(system.config)),
        "assets": json.dumps(_assets(system)),
    }
    if twins:
        metadata["twins"] = json.dumps(twins)
    metadata["digest"] = _digest(metadata, tensors)
    try:
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot write {path}: {_one_line(error)}") from error


def load_system(path: str | Path, device: str | torch.device = "cpu") -> System:
    """Rebuild the system that `save_system` wrote, in evaluation mode.

    What is stored as float32 is not read here, only mapped: memory is taken as weights are used, part by part, and
    is shared with every other process that uses the same file. Writing to a weight, as training does, changes this
    system's own copy and never the file. The whole file is read once in passing, to compare its digest.

    Raises:
        WeightsError: the file is missing, damaged, altered, of another kind, or does not fit its system; where memory
            does not suffice or the file cannot be read, it is the subclass UnreadableError.
        ConfigError: there is no such device.
    """
    target = pick_device(device)
    path = Path(path)
    metadata = read_metadata(path)
    mappings = 3 if "twins" in metadata else 1
    with enough_memory(f"loading {path}", mappings * path.stat().st_size):
        _verify(path, metadata)
        system = _build(metadata, path)
        state = _unpack(_mapped(path, metadata), path)
        _check_fit(system.state_dict(), state, path)
        system.load_state_dict(state, strict=True, assign=True)
        _TWINS[system] = json.loads(metadata.get("twins", "{}"))
        return system.to(target).eval()


_TWINS: WeakKeyDictionary[System, dict[str, str]] = WeakKeyDictionary()


def share_twins(system: System) -> None:
    """Let frozen weights that their file holds once be one in memory too; buffers stay apart.

    For a system as `load_system` made it that will only answer: what is written to one is written to both.
    """
    parameters = dict(system.named_parameters())
    for names in _TWINS.pop(system, {}).items():
        both = [parameters[name] for name in names if name in parameters and not parameters[name].requires_grad]
        if len(both) == 2:
            both[0].data = both[1].data


def read_metadata(path: str | Path) -> dict[str, str]:
    """The texts stored in a checkpoint (``format``, ``system``, ``config``, ``assets``, ``digest``), not its tensors.

    Raises:
        WeightsError: the file is missing, damaged or of another kind.
        UnreadableError: it cannot be read now.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise WeightsError(f"no weights at {path}")
    try:
        # The whole file is mapped for it.
        with enough_memory(f"loading {path}", path.stat().st_size), safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {_one_line(error)}") from error
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged or not a safetensors file: {_one_line(error)}") from error
    found = metadata.get("format")
    if found is None:
        raise WeightsError(f"{path} was not written by soundsieve: its metadata names no format")
    if found.startswith("soundsieve-part-"):
        raise WeightsError(f"{path} holds a trained part alone: name the CLAP that it was trained on too (clap)")
    if found != FORMAT:
        raise WeightsError(f"{path} has format '{found}', this version reads '{FORMAT}': update soundsieve")
    missing = {"system", "config", "assets", "digest"} - metadata.keys()
    if missing:
        raise WeightsError(f"{path} is damaged: its metadata lacks {', '.join(sorted(missing))}")
    return metadata


_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32"}
_DTYPES |= {"I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"}
"""safetensors' names of number formats, and torch's."""


def _verify(path: Path, metadata: Mapping[str, str]) -> None:
    """Compare the digest of what the file holds with the one it names, reading it in blocks: no memory is taken."""
    try:
        with path.open("rb", buffering=0) as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(start - 8))
            header.pop("__metadata__", None)
            digest = _head(metadata)
            block = memoryview(bytearray(1 << 20))
            for name, entry in sorted(header.items()):
                dtype = f"torch.{_DTYPES.get(entry['dtype'], entry['dtype'])}"
                digest.update(f"{name}\0{dtype}\0{tuple(entry['shape'])}\0".encode())
                begin, end = entry["data_offsets"]
                file.seek(start + begin)
                while begin < end:
                    read = file.readinto(block[: min(len(block), end - begin)])
                    if not read:
                        raise WeightsError(f"{path} is damaged: it ends too early")
                    digest.update(block[:read])
                    begin += read
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {_one_line(error)}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} is damaged: {_one_line(error)}") from error
    if digest.hexdigest() != metadata["digest"]:
        raise WeightsError(f"{path} is damaged or was altered: its contents do not match its digest")


def _mapped(path: Path, metadata: Mapping[str, str]) -> dict[str, Tensor]:
    """Every tensor of the file, mapped: none of their pages is read, and a write makes a copy of the page.

    Twins are mapped apart, as writing to one must not change the other; and either apart from all else: what int8 has
    let go of is given back when nothing needs its mapping any more.
    """
    try:
        twins = json.loads(metadata.get("twins", "{}"))
        stored = set(twins.values())
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys() if name not in stored}  # noqa: SIM118
        for names in ({name: name for name in stored}, twins) if twins else ():
            with safe_open(path, framework="pt") as file:
                tensors.update({name: file.get_tensor(twin) for name, twin in names.items()})
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {_one_line(error)}") from error
    except (ValueError, AttributeError, SafetensorError) as error:
        raise WeightsError(f"{path} is damaged: {_one_line(error)}") from error
    return tensors


def _build(metadata: Mapping[str, str], path: Path) -> System:
    name = metadata["system"]
    if name not in SYSTEMS:
        raise WeightsError(f"{path} holds the system '{name}'; this version knows {', '.join(sorted(SYSTEMS))}")
    module_name, class_name, config_name = SYSTEMS[name]
    module = importlib.import_module(module_name)
    try:
        config = from_dict(getattr(module, config_name), json.loads(metadata["config"]))
        assets = json.loads(metadata["assets"])
        with _NoRandomInit(), _no_parameters():
            system = getattr(module, class_name)(config, assets=assets)
    except (ConfigError, ValueError) as error:
        raise WeightsError(f"{path} does not fit the system '{name}': {_one_line(error)}") from error
    assert isinstance(system, System)
    return system


@contextmanager
def _no_parameters() -> Iterator[None]:
    """Modules built in here, by this thread, get parameters without memory; their buffers are real."""
    thread = threading.get_ident()

    def without_memory(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is None or parameter.is_meta or threading.get_ident() != thread:
            return None
        return nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)

    handle = register_module_parameter_registration_hook(without_memory)  # type: ignore[arg-type]  # torch's None
    try:
        yield
    finally:
        handle.remove()


class _NoRandomInit(TorchFunctionMode):
    """Zeros in place of random initial values, which loading overwrites: faster, and the random state is not moved.

    Zeros and not whatever the memory held: truncated normals are drawn until they lie within bounds.
    """

    _skipped = frozenset({"uniform_", "normal_", "trunc_normal_", "erfinv_"})
    _skipped_families = ("kaiming_", "xavier_", "orthogonal_")

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in self._skipped or name.startswith(self._skipped_families):
            tensor = args[0] if args else kwargs["tensor"]  # torch.nn.init names its first argument so
            return tensor.data.zero_() if tensor.requires_grad else tensor.zero_()
        return func(*args, **(kwargs or {}))


def _stored_as(name: str, dtypes: Mapping[str, StoredAs]) -> StoredAs:
    fitting = [prefix for prefix in dtypes if name.startswith(prefix)]
    return dtypes[max(fitting, key=len)] if fitting else "float32"


def _pack(name: str, tensor: Tensor, stored_as: StoredAs) -> dict[str, Tensor]:
    if tensor.dtype == torch.int8:
        raise WeightsError(f"{name} is int8: that is how quantised weights are stored, so it could not be read back")
    if not tensor.is_floating_point():
        return {name: tensor.contiguous()}
    tensor = tensor.float()
    if not torch.isfinite(tensor).all():
        raise WeightsError(f"{name} has values that are not finite: these weights are broken and were not saved")
    if stored_as == "int8" and tensor.ndim >= 2:
        rows = tensor.flatten(1)
        scale = rows.abs().amax(dim=1) / 127 if rows.shape[1] else rows.new_zeros(len(rows))
        # A row of zeros keeps a zero scale: 0 / 1 on the way in, 0 * 0 on the way out.
        codes = (rows / torch.where(scale > 0, scale, 1)[:, None]).round().clamp(-127, 127).to(torch.int8)
        return {name: codes.reshape(tensor.shape), name + _SCALE: scale}
    if stored_as == "float16":
        half = tensor.half()
        if not torch.isfinite(half).all():
            raise WeightsError(f"{name} has values past 65504, the largest float16: store it as float32")
        return {name: half.contiguous()}
    if stored_as not in ("float32", "int8"):
        raise WeightsError(f"'{stored_as}' is not a way to store weights; choose float32, float16 or int8")
    return {name: tensor.contiguous()}


def _twins(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Large tensors that equal an earlier one (a frozen tower's and its copy's): name -> name of the earlier one."""
    found: dict[str, str] = {}
    seen: dict[object, list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.numel() < _WORTH_SHARING or tensor.dtype != torch.float32:
            continue
        alike = seen.setdefault((tensor.shape, tensor.flatten()[:: tensor.numel() // 16].numpy().tobytes()), [])
        twin = next((other for other in alike if torch.equal(tensor, tensors[other])), None)
        if twin is None:
            alike.append(name)
        else:
            found[name] = twin
    return found


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same, with copies of those that lie in the memory of an earlier one: such cannot be written."""
    places: set[int] = set()
    apart: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if place in places else tensor
        places.add(place)
    return apart


def _unpack(stored: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    scales = {name + _SCALE for name, tensor in stored.items() if tensor.dtype == torch.int8}
    for name, tensor in stored.items():
        if name in scales:
            continue
        if tensor.dtype != torch.int8:
            state[name] = tensor.float() if tensor.is_floating_point() else tensor
            continue
        scale = stored.get(name + _SCALE)
        if scale is None or scale.shape != tensor.shape[:1]:
            raise WeightsError(f"{path} is damaged: {name} is int8 and lacks one scale per row")
        state[name] = tensor.float() * scale.float().reshape(-1, *[1] * (tensor.ndim - 1))
    return state


def _check_fit(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    missing, unexpected = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or unexpected:
        raise WeightsError(f"{path} does not fit: missing {_names(missing)}; unexpected {_names(unexpected)}")
    for name, tensor in found.items():
        if tensor.shape != expected[name].shape:
            shapes = f"{tuple(tensor.shape)}, the config asks for {tuple(expected[name].shape)}"
            raise WeightsError(f"{path} does not fit: {name} has shape {shapes}")


def _names(names: Iterable[str], shown: int = 8) -> str:
    listed = list(names)
    return (", ".join(listed[:shown]) + (f" and {len(listed) - shown} more" if len(listed) > shown else "")) or "none"


def _assets(system: System) -> dict[str, str]:
    assets = getattr(system, "assets", None)
    return dict(assets()) if callable(assets) else {}


def _digest(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    digest = _head(metadata)
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _head(metadata: Mapping[str, str]) -> hashlib._Hash:
    """The digest's beginning: the texts that it covers (``twins`` only in files that have some)."""
    digest = hashlib.sha256()
    for key in ("format", "system", "config", "assets", "twins"):
        if key in metadata:
            digest.update(f"{key}\0{metadata[key]}\0".encode())
    return digest


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
