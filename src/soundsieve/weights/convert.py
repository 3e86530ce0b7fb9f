"""Systems out of the files that they come in, and into those that others read.

A file of weights is one of: what a system's authors published (see `soundsieve.weights.releases`), such as CLAPSep's
``best_model.ckpt`` or a checkpoint of its training; the part that soundsieve trained of a CLAPSep; or a whole system of
soundsieve's. ``best_model.ckpt`` and the part need the file of the CLAP that they build on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from soundsieve.encoders.tokens import JSONTokenizer
from soundsieve.errors import ConfigError, WeightsError
from soundsieve.files import replacing
from soundsieve.systems.base import System
from soundsieve.systems.clapsep import CLAPSep
from soundsieve.weights.checkpoint import (
    StoredAs,
    _no_parameters,
    _NoRandomInit,
    load_system,
    read_metadata,
    save_system,
)
from soundsieve.weights.clap import TokenizerSource, find_tokenizer, load_clap, read_clap_state
from soundsieve.weights.foreign import enough_memory, is_safetensors, read_state
from soundsieve.weights.layouts.account import check_equal
from soundsieve.weights.layouts.clap import is_clap
from soundsieve.weights.layouts.clapsep import published_state
from soundsieve.weights.layouts.flowsep import flowsep_part
from soundsieve.weights.releases import RELEASES, Release, release_of
from soundsieve.weights.trained_part import is_trained_part, load_trained_part

File: TypeAlias = "str | Path"


def read_system(
    weights: File, clap: File | None = None, tokenizer: TokenizerSource = None, *, expected: str | None = None
) -> System:
    """A system out of its file or files, in evaluation mode, LoRA as it is.

    Args:
        weights: any of the files that this module's text lists.
        clap: the CLAP that it builds on, published or soundsieve's; only for files that do not hold it.
        tokenizer: see `find_tokenizer`; in place of the one in soundsieve's own files, which need none.
        expected: name of the system that it must be.

    Raises:
        WeightsError: a file is missing, damaged, of another kind, or they do not belong together.
        ConfigError: something is given that the file has no use for.
    """
    if is_safetensors(weights):
        return _read_own(weights, clap, tokenizer, expected)
    published = read_state(weights)
    release = release_of(published)
    if release is None:
        if is_clap(published):
            raise WeightsError(
                f"{weights} is a CLAP file (--clap): the weights of a system are another one (--weights)"
            )
        if (part := flowsep_part(published)) is not None:
            raise WeightsError(f"{weights} is FlowSep's {part} alone: the whole model is another file, v2_100k.ckpt")
        titles = ", ".join(each.title for each in RELEASES.values())
        raise WeightsError(f"{weights} holds none of {titles}: its entries are called otherwise")
    _check_expected(weights, release.name, expected)
    if clap is not None and not release.takes_clap:
        raise ConfigError(f"{weights} is whole: leave the CLAP ({clap}) out")
    config = release.config.base()
    found: JSONTokenizer | None = None
    frozen: dict[str, Tensor] | None = None
    if clap is not None and is_safetensors(clap):
        module = load_clap(clap, tokenizer=tokenizer)
        found, frozen = module.tokenizer, dict(module.state_dict())  # type: ignore[assignment]
    else:
        if clap is not None:
            frozen = read_clap_state(clap, config.clap)
        elif release.lacks_clap(published):
            raise WeightsError(
                f"{weights} holds only what was trained: give the CLAP file that it builds on too (--clap)"
            )
        found = _tokenizer_for(release, config, tokenizer)
    with enough_memory(f"loading {weights}", 4 * _numbers(published, frozen or {})):
        return _build(release, config, release.state(published, frozen, config, str(weights)), found)


def needs_clap(weights: File) -> bool:
    """Whether a file of weights asks for the file of a CLAP beside it.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    if is_safetensors(weights):
        return is_trained_part(weights)
    published = read_state(weights)
    release = release_of(published)
    return release is not None and release.lacks_clap(published)


def _read_own(weights: File, clap: File | None, tokenizer: TokenizerSource, expected: str | None) -> System:
    if is_trained_part(weights):
        _check_expected(weights, CLAPSep.name, expected)
        if clap is None:
            raise WeightsError(
                f"{weights} holds only what was trained: give the CLAP that it was trained on too (--clap)"
            )
        return load_trained_part(weights, load_clap(clap, tokenizer=tokenizer))
    _check_expected(weights, read_metadata(weights)["system"], expected)
    if clap is not None:
        raise ConfigError(f"{weights} is whole: leave the CLAP ({clap}) out")
    system = load_system(weights)
    if tokenizer is not None:
        release = RELEASES.get(system.name)
        if release is None or release.reader is None or not hasattr(release.reader.module(system), "tokenizer"):
            raise ConfigError(f"{weights} holds a {system.name}, which takes no tokenizer: leave --tokenizer out")
        release.reader.module(system).tokenizer = _tokenizer_for(release, system.config, tokenizer)
    return system


def _check_expected(weights: File, found: str, expected: str | None) -> None:
    if expected is not None and found != expected:
        raise WeightsError(f"{weights} holds the system {found}, and {expected} was asked for: name that model")


def _tokenizer_for(release: Release, config: Any, tokenizer: TokenizerSource) -> JSONTokenizer | None:
    if release.reader is None:
        if tokenizer is not None:
            raise ConfigError(f"{release.name} takes no tokenizer: leave --tokenizer out")
        return None
    found = find_tokenizer(tokenizer, release.reader.sizes(config), release.reader.usual)
    if found is None and "audio" not in release.system.queries:
        raise ConfigError(f"{release.name} is asked in words alone: it needs a tokenizer (--tokenizer)")
    return found


def _build(release: Release, config: Any, state: Mapping[str, Tensor], tokenizer: JSONTokenizer | None) -> System:
    """A system that takes over the tensors of a state dict as they lie, in evaluation mode."""
    with _NoRandomInit(), _no_parameters():
        system = release.system(config)
    system.load_state_dict(state, strict=True, assign=True)
    if release.reader is not None:
        release.reader.module(system).tokenizer = tokenizer
    return system.eval()


def write_system(
    path: File, system: System, *, merge: bool = True, dtype: Literal["float32", "float16"] = "float32"
) -> None:
    """Write a system as one file that brings along all it needs.

    Args:
        path: the ``.safetensors`` file to write.
        system: what to write; with ``merge`` it is changed.
        merge: whether to merge the LoRA of a CLAPSep that has one: same output, less to compute.
        dtype: of the weights; batch norms, whose statistics may be too small for float16, stay float32.

    Raises:
        WeightsError: it cannot be written, or memory does not suffice.
    """
    needed = 2 * sum(tensor.nbytes for tensor in system.state_dict().values())
    with enough_memory(f"writing {path}", needed):
        if merge and isinstance(system, CLAPSep) and system.config.lora_rank:
            system.merge_lora()
        norms: dict[str, StoredAs] = {
            f"{name}.": "float32"
            for name, module in system.named_modules()
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))
        }
        save_system(path, system, dtypes={"": dtype, **norms})


def write_published(path: File, system: System) -> None:
    """Write what was trained of a CLAPSep as the authors' code reads it, the slim layout.

    Raises:
        WeightsError: the system is no CLAPSep, its LoRA is merged, its tower is not its CLAP's beneath the LoRA (which
            the layout has no place for), or the file cannot be written.
    """
    if not isinstance(system, CLAPSep):
        raise WeightsError(f"the published layout is written for a clapsep alone, and this is a {system.name}")
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
