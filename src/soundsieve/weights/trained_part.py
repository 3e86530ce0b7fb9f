"""The part of a CLAPSep that training changes, in a file of its own; what it was trained on is named by its hash.

Six sevenths of a CLAPSep of base size stay as they are in CLAP. The file holds the rest: the decoder, the mask
network, and the tower's LoRA factors and the biases beside them, in float32. Its metadata holds ``format``,
``system``, ``config`` (JSON), ``frozen`` (JSON: ``{"clap": digest}``) and ``digest`` (SHA-256 over all of these and
every tensor).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from soundsieve.encoders.clap import CLAP
from soundsieve.errors import ConfigError, WeightsError
from soundsieve.files import replacing
from soundsieve.nn.lora import LoRALinear
from soundsieve.nn.precision import is_rounded
from soundsieve.systems.clapsep import CLAPSep, CLAPSepConfig
from soundsieve.weights.checkpoint import _NoRandomInit
from soundsieve.weights.clap import clap_digest as digest_of
from soundsieve.weights.config import from_dict, to_dict
from soundsieve.weights.foreign import enough_memory

FORMAT = "soundsieve-part-1"

_METADATA = ("format", "system", "config", "frozen")


def trained_names(system: CLAPSep) -> list[str]:
    """Names in the state dict of what training changes, sorted; everything else follows from the CLAP."""
    names = [name for name in system.state_dict() if name.startswith(("decoder.", "mask_net."))]
    for name, layer in system.tower.named_modules():
        if isinstance(layer, LoRALinear):
            parts = ("lora_a", "lora_b") if layer.bias is None else ("lora_a", "lora_b", "bias")
            names += [f"tower.{name}.{part}" for part in parts]
    return sorted(names)


def is_trained_part(path: str | Path) -> bool:
    """Whether a file calls itself a trained part, of whatever version; False where it cannot be read.

    Raises:
        UnreadableError: too little memory.
    """
    try:
        with _open(path) as file:
            return str((file.metadata() or {}).get("format")).startswith("soundsieve-part-")
    except (OSError, SafetensorError):
        return False


def save_trained_part(path: str | Path, system: CLAPSep, clap_digest: str) -> None:
    """Write the trained part, whole or not at all.

    Args:
        path: the ``.safetensors`` file to write.
        system: trained on a CLAP that it still holds; its LoRA is not merged.
        clap_digest: of that CLAP, as `soundsieve.weights.clap.clap_digest` makes it.

    Raises:
        WeightsError: the tower's frozen weights are not those of the CLAP, so the file could not be read back; weights
            are broken; or the file cannot be written.
    """
    if is_rounded(system):
        raise WeightsError("a system in precision int8 or bf16 has let go of its weights: save it before, as float32")
    state, names = system.state_dict(), trained_names(system)
    audio = system.clap.audio.state_dict()
    for name, value in system.tower.state_dict().items():
        if f"tower.{name}" not in names and not torch.equal(value, audio[name]):
            raise WeightsError(f"tower.{name} is not its CLAP's (was LoRA merged?): save the whole system instead")
    tensors = {name: state[name].detach().cpu().clone().contiguous() for name in names}
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise WeightsError(f"{name} has values that are not finite: these weights are broken and were not saved")
    metadata = {
        "format": FORMAT,
        "system": system.name,
        "config": json.dumps(to_dict(system.config)),
        "frozen": json.dumps({"clap": clap_digest}),
    }
    metadata["digest"] = _digest(metadata, tensors)
    try:
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot write {path}: {_one_line(error)}") from error


def load_trained_part(path: str | Path, clap: CLAP) -> CLAPSep:
    """Rebuild the system that `save_trained_part` wrote, in evaluation mode.

    Args:
        path: the file.
        clap: the CLAP that it was trained on; it becomes part of the system.

    Raises:
        WeightsError: the file is missing, damaged, of another kind, or was trained on another CLAP.
    """
    metadata, tensors = _read(Path(path))
    try:
        config = from_dict(CLAPSepConfig, json.loads(metadata["config"]))
        needed = str(json.loads(metadata["frozen"])["clap"])
    except (ConfigError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} does not fit its system: {_one_line(error)}") from error
    found = digest_of(clap)
    if found != needed:
        raise WeightsError(f"{path} was trained on the CLAP {needed[:12]}, and the given one is {found[:12]}")
    if config.clap != clap.config:
        raise WeightsError(f"{path} is damaged: the CLAP it names has other sizes than its config")
    with _NoRandomInit():
        system = CLAPSep(config, clap=clap)
    state, names = system.state_dict(), trained_names(system)
    if set(names) != tensors.keys() or any(state[name].shape != tensors[name].shape for name in names):
        wrong = sorted(
            {n for n in names if n not in tensors or state[n].shape != tensors[n].shape} | (tensors.keys() - set(names))
        )
        raise WeightsError(f"{path} does not fit its config: {', '.join(wrong[:4])} missing, unexpected or misshapen")
    with torch.no_grad():
        for name in names:  # exactly these: just checked
            state[name].copy_(tensors[name])
    return system.eval()


@contextmanager
def _open(path: str | Path) -> Iterator[Any]:
    """A safetensors file, all of which is mapped."""
    with enough_memory(f"loading {path}", Path(path).stat().st_size), safe_open(path, framework="pt") as file:
        yield file


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise WeightsError(f"no weights at {path}")
    try:
        with _open(path) as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is damaged or not a safetensors file: {_one_line(error)}") from error
    if metadata.get("format") != FORMAT:
        raise WeightsError(f"{path} has format '{metadata.get('format')}', and not '{FORMAT}', that of a trained part")
    if metadata.get("system") != CLAPSep.name:
        raise WeightsError(f"{path} holds a part of the system '{metadata.get('system')}', not of a clapsep")
    if not metadata.keys() >= {*_METADATA, "digest"} or _digest(metadata, tensors) != metadata["digest"]:
        raise WeightsError(f"{path} is damaged or was altered: its contents do not match its digest")
    return metadata, tensors


def _digest(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key in _METADATA:
        digest.update(f"{key}\0{metadata[key]}\0".encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
