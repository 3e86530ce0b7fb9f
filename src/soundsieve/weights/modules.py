"""One module of a system in a file of its own, with its config inside: a VAE or a vocoder that is trained by itself.

The metadata holds ``format``, ``module`` (what it is) and ``config`` (JSON); the tensors are float32. FlowSep's authors
publish two such files of their own, which are read as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from soundsieve.errors import ConfigError, WeightsError
from soundsieve.files import replacing
from soundsieve.weights.config import from_dict, to_dict
from soundsieve.weights.foreign import is_safetensors, read_state
from soundsieve.weights.layouts.flowsep import vae_state, vocoder_state

FORMAT = "soundsieve-module-1"

_PUBLISHED: dict[str, Callable[..., dict[str, Tensor]]] = {"flowsep-vae": vae_state, "flowsep-vocoder": vocoder_state}
"""What the published file of a kind is to our module of the published size: ``vae.ckpt`` and ``g_01000000``."""

M = TypeVar("M", bound=nn.Module)


def save_module(path: str | Path, kind: str, module: nn.Module) -> None:
    """Write a module that has a ``config``, whole or not at all.

    Args:
        path: the ``.safetensors`` file to write.
        kind: what it is, such as ``flowsep-vae``; `load_module` asks for it by that name.
        module: whose ``config`` is a dataclass that it can be built from.

    Raises:
        WeightsError: it cannot be written.
    """
    metadata = {"format": FORMAT, "module": kind, "config": json.dumps(to_dict(module.config))}
    state = {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}
    try:
        with replacing(path) as temporary:
            save_file(state, temporary, metadata)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot write {path}: {' '.join(str(error).split())}") from error


def load_module(path: str | Path, kind: str, cls: Callable[[Any], M], config_class: type[Any]) -> M:
    """Read what `save_module` wrote, or FlowSep's authors, in evaluation mode.

    Args:
        path: the file.
        kind: what it has to be.
        cls: makes the module from its config.
        config_class: of that config; a published file is of its ``base()``.

    Raises:
        WeightsError: the file is missing, damaged, or holds something else.
    """
    if kind in _PUBLISHED and Path(path).is_file() and not is_safetensors(path):
        module = cls(config_class.base())
        module.load_state_dict(_PUBLISHED[kind](read_state(path), what=str(path)))
        return module.eval()
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError as error:
        raise WeightsError(f"no {kind} at {path}: train one with its recipe first") from error
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is damaged or no safetensors file: {' '.join(str(error).split())}") from error
    if metadata.get("format") != FORMAT or metadata.get("module") != kind:
        raise WeightsError(f"{path} holds no {kind}")
    try:
        module = cls(from_dict(config_class, json.loads(metadata["config"])))
        module.load_state_dict(state)
    except (ConfigError, KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path} does not fit its own config: {' '.join(str(error).split())[:200]}") from error
    return module.eval()
