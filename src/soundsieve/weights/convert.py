"""CLAPSep out of the files that it comes in, and into those that others read.

A file of weights is one of: the authors' ``best_model.ckpt`` or a checkpoint of their training (see
`soundsieve.weights.layouts.clapsep`), the part that soundsieve trained, or a whole system of soundsieve's. The first
and the third need the file of the CLAP that they build on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from soundsieve.encoders.clap import CLAPConfig
from soundsieve.encoders.tokens import JSONTokenizer
from soundsieve.errors import ConfigError, WeightsError
from soundsieve.files import replacing
from soundsieve.systems.base import System
from soundsieve.systems.clapsep import CLAPSep, CLAPSepConfig
from soundsieve.weights.checkpoint import StoredAs, _no_parameters, _NoRandomInit, load_system, save_system
from soundsieve.weights.clap import TokenizerSource, find_tokenizer, load_clap
from soundsieve.weights.foreign import enough_memory, is_safetensors, read_state
from soundsieve.weights.layouts.account import check_equal
from soundsieve.weights.layouts.clap import clap_state, is_clap
from soundsieve.weights.layouts.clapsep import clapsep_state, holds_clap, is_clapsep, published_state
from soundsieve.weights.trained_part import is_trained_part, load_trained_part

File: TypeAlias = "str | Path"

NORMS: Mapping[str, StoredAs] = {
    name: "float32" for name in ("clap.audio.bands_norm", "tower.bands_norm", "mask_net.bins_norm")
}
"""Statistics over spectra, too small for float16."""


def read_system(weights: File, clap: File | None = None, tokenizer: TokenizerSource = None) -> System:
    """A system out of its file or files, in evaluation mode, LoRA as it is.

    Args:
        weights: any of the files that this module's text lists.
        clap: the CLAP that it builds on, published or soundsieve's; only for files that do not hold it.
        tokenizer: see `find_tokenizer`; in place of the one in soundsieve's own files, which need none.

    Raises:
        WeightsError: a file is missing, damaged, of another kind, or they do not belong together.
        ConfigError: something is given that the file has no use for.
    """
    if is_safetensors(weights):
        return _read_own(weights, clap, tokenizer)
    published = read_state(weights)
    if not is_clapsep(published):
        if is_clap(published):
            raise WeightsError(f"{weights} is a CLAP file (--clap): the weights of CLAPSep are another one (--weights)")
        raise WeightsError(f"{weights} holds no CLAPSep: its entries are called otherwise")
    config = CLAPSepConfig.base()
    found: JSONTokenizer | None = None
    frozen: dict[str, Tensor] | None = None
    if clap is not None and is_safetensors(clap):
        module = load_clap(clap, tokenizer=tokenizer)
        found, frozen = module.tokenizer, dict(module.state_dict())  # type: ignore[assignment]
    else:
        if clap is not None:
            frozen = _read_clap(clap, config.clap)
        elif not holds_clap(published):
            raise WeightsError(
                f"{weights} holds only what was trained: give the CLAP file that it builds on too (--clap)"
            )
        found = find_tokenizer(tokenizer, config.clap.text)
    with enough_memory(f"loading {weights}", 4 * _numbers(published, frozen or {})):
        return build_clapsep(config, clapsep_state(published, frozen, config, what=str(weights)), found)


def needs_clap(weights: File) -> bool:
    """Whether a file of weights asks for the file of a CLAP beside it.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    if is_safetensors(weights):
        return is_trained_part(weights)
    published = read_state(weights)
    return is_clapsep(published) and not holds_clap(published)


def _read_clap(path: File, config: CLAPConfig) -> dict[str, Tensor]:
    published = read_state(path)
    if is_clapsep(published):
        raise WeightsError(f"{path} is a file of CLAPSep (--weights), not the CLAP that it builds on (--clap)")
    if not is_clap(published):
        raise WeightsError(f"{path} holds no CLAP: its entries are called otherwise")
    return clap_state(published, config, what=str(path))


def _read_own(weights: File, clap: File | None, tokenizer: TokenizerSource) -> System:
    if is_trained_part(weights):
        if clap is None:
            raise WeightsError(
                f"{weights} holds only what was trained: give the CLAP that it was trained on too (--clap)"
            )
        return load_trained_part(weights, load_clap(clap, tokenizer=tokenizer))
    if clap is not None:
        raise ConfigError(f"{weights} is whole: leave the CLAP ({clap}) out")
    system = load_system(weights)
    if tokenizer is not None:
        if not isinstance(system, CLAPSep):
            raise ConfigError(f"{weights} holds a {system.name}, which has its own tokenizer: leave --tokenizer out")
        system.clap.tokenizer = find_tokenizer(tokenizer, system.config.clap.text)
    return system


def build_clapsep(config: CLAPSepConfig, state: Mapping[str, Tensor], tokenizer: JSONTokenizer | None) -> CLAPSep:
    """A CLAPSep that takes over the tensors of a state dict as they lie, in evaluation mode."""
    with _NoRandomInit(), _no_parameters():
        system = CLAPSep(config)
    system.load_state_dict(state, strict=True, assign=True)
    system.clap.tokenizer = tokenizer
    return system.eval()


def write_system(
    path: File, system: System, *, merge: bool = True, dtype: Literal["float32", "float16"] = "float32"
) -> None:
    """Write a system as one file that brings along all it needs.

    Args:
        path: the ``.safetensors`` file to write.
        system: what to write; with ``merge`` it is changed.
        merge: whether to merge the LoRA of a CLAPSep that has one: same output, less to compute.
        dtype: of the weights; spectral statistics stay float32.

    Raises:
        WeightsError: it cannot be written, or memory does not suffice.
    """
    needed = 2 * sum(tensor.nbytes for tensor in system.state_dict().values())
    with enough_memory(f"writing {path}", needed):
        if merge and isinstance(system, CLAPSep) and system.config.lora_rank:
            system.merge_lora()
        save_system(path, system, dtypes={"": dtype, **NORMS})


def write_published(path: File, system: System) -> None:
    """Write what was trained of a CLAPSep as the authors' code reads it, the slim layout.

    Raises:
        WeightsError: the system is no CLAPSep, its LoRA is merged, its tower is not its CLAP's beneath the LoRA (which
            the layout has no place for), or the file cannot be written.
    """
    if not isinstance(system, CLAPSep):
        raise WeightsError(f"a {system.name} has no published layout; a clapsep does")
    state = system.state_dict()
    entries = published_state(state, system.config)
    tower = {name.removeprefix("tower."): tensor for name, tensor in state.items() if name.startswith("tower.")}
    beneath = {name: tensor for name, tensor in tower.items() if not name.endswith(("qkv.bias", "proj.bias"))}
    check_equal(
        beneath, system.clap.audio.state_dict(), "the tower is not its CLAP's, so the published layout lacks it"
    )
    plain = {key: tensor.detach().cpu().clone() for key, tensor in entries.items()}
    try:
        with replacing(path) as temporary:
            torch.save(plain, temporary)
    except (OSError, RuntimeError) as error:  # torch's writer says RuntimeError
        raise WeightsError(f"cannot write {path}: {' '.join(str(error).split())[:160]}") from error


def _numbers(*states: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() for state in states for tensor in state.values())
