"""A CLAP in a file of its own: soundsieve's, or the one that LAION published."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from soundsieve.encoders.clap import CLAP, CLAPConfig
from soundsieve.encoders.t5 import T5Config, t5_tokenizer
from soundsieve.encoders.tokens import JSONTokenizer, tokenizer_json
from soundsieve.errors import ConfigError, WeightsError
from soundsieve.files import replacing
from soundsieve.weights.checkpoint import _no_parameters, _NoRandomInit
from soundsieve.weights.config import from_dict, to_dict
from soundsieve.weights.foreign import enough_memory, is_safetensors, read_state
from soundsieve.weights.hub import TOKENIZER, Source, fetch
from soundsieve.weights.layouts.clap import clap_state, is_clap
from soundsieve.weights.releases import release_of

TokenizerSource: TypeAlias = "str | Path | None"
"""A ``tokenizer.json``, a folder that holds it, a repository on the hub, or ``none``; None stands for the usual one."""


class TextSizes(Protocol):
    """What a text encoder asks of its tokenizer."""

    @property
    def vocab_size(self) -> int:
        """Tokens known."""

    @property
    def pad_id(self) -> int:
        """Token id of padding."""

    @property
    def max_tokens(self) -> int:
        """Longest text in tokens, its start and end included."""


def save_clap(path: str | Path, clap: CLAP) -> None:
    """Write a CLAP as one safetensors file with its config and tokenizer inside.

    Raises:
        WeightsError: it cannot be written.
    """
    metadata = {"clap": json.dumps(to_dict(clap.config)), "assets": json.dumps(clap.assets())}
    state = {name: value.detach().cpu().contiguous().clone() for name, value in clap.state_dict().items()}
    try:
        with replacing(path) as temporary:
            save_file(state, temporary, metadata)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot write {path}: {' '.join(str(error).split())}") from error


def load_clap(path: str | Path, *, tokenizer: TokenizerSource = None) -> CLAP:
    """Read a CLAP, in evaluation mode.

    Args:
        path: what `save_clap` wrote, or the published ``.pt`` file (of base size); the contents tell which.
        tokenizer: in place of the one in the file; the published file has none, and RoBERTa's is fetched unless given.

    Raises:
        WeightsError: the file or the tokenizer is missing, damaged, or of another kind.
    """
    if not is_safetensors(path):
        return _load_published(path, tokenizer)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is damaged: {' '.join(str(error).split())}") from error
    if "clap" not in metadata:
        raise WeightsError(f"{path} does not hold a CLAP")
    try:
        config, assets = from_dict(CLAPConfig, json.loads(metadata["clap"])), json.loads(metadata["assets"])
        clap = build_clap(config, state, assets=assets)
    except (ConfigError, ValueError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{path} does not fit its own config: {' '.join(str(error).split())[:200]}") from error
    if tokenizer is not None:
        clap.tokenizer = find_tokenizer(tokenizer, config.text)
    return clap


def _load_published(path: str | Path, tokenizer: TokenizerSource) -> CLAP:
    config = CLAPConfig.base()
    state = read_clap_state(path, config)
    found = find_tokenizer(tokenizer, config.text)
    with enough_memory(f"loading {path}", 2 * sum(tensor.nbytes for tensor in state.values())):
        return build_clap(config, state, tokenizer=found)


def read_clap_state(path: str | Path, config: CLAPConfig) -> dict[str, Tensor]:
    """The state dict of a `CLAP` of these sizes out of the published file.

    Raises:
        WeightsError: the file is missing, damaged, or of another kind.
    """
    published = read_state(path)
    if (release := release_of(published)) is not None:
        raise WeightsError(f"{path} is a file of {release.title} (--weights), not the CLAP that it builds on (--clap)")
    if not is_clap(published):
        raise WeightsError(f"{path} holds no CLAP: its entries are called otherwise")
    with enough_memory(f"loading {path}", 2 * sum(tensor.nbytes for tensor in published.values())):
        return clap_state(published, config, what=str(path))


def build_clap(
    config: CLAPConfig,
    state: dict[str, Tensor],
    *,
    tokenizer: JSONTokenizer | None = None,
    assets: dict[str, str] | None = None,
) -> CLAP:
    """A CLAP that takes over the tensors of a state dict as they lie, in evaluation mode."""
    with _NoRandomInit(), _no_parameters():
        clap = CLAP(config, tokenizer=tokenizer, assets=assets)
    clap.load_state_dict(state, strict=True, assign=True)
    return clap.eval()


def find_tokenizer(
    source: TokenizerSource, text: TextSizes | T5Config, usual: Source = TOKENIZER
) -> JSONTokenizer | None:
    """The tokenizer that a text tower was trained with.

    Args:
        source: where it is; None for the usual one, ``none`` for no tokenizer.
        text: the tower's sizes; a T5 may have more vectors than its tokenizer has tokens.
        usual: where the usual one is.

    Raises:
        WeightsError: it cannot be had, or does not belong to a tower of this size.
    """
    if source is not None and str(source).casefold() == "none":
        return None
    path = fetch(usual) if source is None else Path(source)
    if source is not None and not path.exists() and str(source).count("/") == 1 and path.suffix != ".json":
        path = fetch(replace(usual, repository=str(source)))
    contents = tokenizer_json(path)
    if isinstance(text, T5Config):
        try:
            return t5_tokenizer(contents, text)
        except ConfigError as error:
            raise WeightsError(f"{path}: {error}") from error
    tokenizer = JSONTokenizer(contents, pad_id=text.pad_id, max_tokens=text.max_tokens)
    if tokenizer.vocab_size != text.vocab_size:
        raise WeightsError(
            f"{path} has {tokenizer.vocab_size} tokens, and the text tower was trained with {text.vocab_size}: "
            "give the tokenizer that belongs to it"
        )
    return tokenizer


def clap_digest(clap: CLAP) -> str:
    """What a CLAP computes with, as one number: `state_digest` of its state dict.

    The same for the published file and for soundsieve's: the contents count, not the container.
    """
    return state_digest(clap.state_dict())


def state_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, kinds, shapes and values of tensors, whatever their order and device."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
