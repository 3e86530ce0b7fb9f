"""CLAPSep's published files: their entries to the names of `soundsieve.systems.clapsep.CLAPSep`.

Two layouts are in use:

- slim, that of ``best_model.ckpt``: what was trained, 264 entries. All of ``decoder_model.``, and of ``audio_branch.``
  the LoRA factors and the biases beside them; the rest is the CLAP file's. Entries were chosen by a part of their name,
  so the same biases of the frozen CLAP may have come along (``clap_model.model.audio_branch...``, 36 entries; by its
  size the released file has them);
- whole, that of a Lightning checkpoint of the authors' training: 1024 entries, the CLAP among them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from soundsieve.errors import WeightsError
from soundsieve.nn.swin import relative_position_index
from soundsieve.systems.clapsep import CLAPSep, CLAPSepConfig
from soundsieve.weights.layouts.account import Rules, check_constants, check_equal, check_names, rename, taken
from soundsieve.weights.layouts.clap import (
    BLOCK,
    COUNTER,
    clap_key,
    clap_state,
    stft_basis,
    taken_or_zero,
    tower_constants,
    tower_key,
    unused_tower_keys,
    without_prefix,
)

_CLAP, _TOWER, _DECODER = "clap_model.model.", "audio_branch.", "decoder_model."
_STFT = ("stft.conv_real.weight", "stft.conv_imag.weight")
_ISTFT = ("istft.ola_window", "istft.conv_real.weight", "istft.conv_imag.weight")

_RULES: Rules = (
    (r"^decoder\.bottom\.", "decoder_model.film."),
    (r"^decoder\.levels\.(\d+)\.expanding\.expansion\.", r"decoder_model.layers.\1.downsample.expand."),
    (r"^decoder\.levels\.(\d+)\.expanding\.", r"decoder_model.layers.\1.downsample."),
    (r"^decoder\.levels\.(\d+)\.block\.", r"decoder_model.layers.\1.blocks.0."),
    (r"^decoder\.levels\.(\d+)\.skip\.", r"decoder_model.skip.\1."),
    *BLOCK,
    (r"\.film\.(gamma|beta)\.", r".skip_conv.\1."),
    (r"\.project\.", ".feature_proj."),
    (r"^decoder\.norm\.", "decoder_model.inverse_patch_embed.norm."),
    (r"^decoder\.unpatch\.", "decoder_model.inverse_patch_embed.proj."),
    (r"^mask_net\.bins_norm\.", "decoder_model.spec_norm."),
    (r"^mask_net\.into\.", "decoder_model.mask_net.0."),
    (r"^mask_net\.norm\.", "decoder_model.mask_net.1."),
    (r"^mask_net\.layers\.", "decoder_model.mask_net.2.layers."),
    (r"^mask_net\.out\.", "decoder_model.mask_net.3."),
)


def clapsep_key(name: str) -> str:
    """Our parameter of `CLAPSep` -> its key in a whole checkpoint."""
    if name.startswith("clap."):
        return _CLAP + clap_key(name.removeprefix("clap."))
    if name.startswith("tower."):
        return _TOWER + tower_key(name.removeprefix("tower."))
    return rename(name, _RULES)


def is_trained(key: str) -> bool:
    """Whether the slim file holds this key of a whole checkpoint (beside what came along by its name)."""
    adapted = key.startswith(_TOWER) and re.search(r"\.lora_[AB]$|\.attn\.(qkv|proj)\.bias$", key)
    return key.startswith(_DECODER) or bool(adapted)


def is_clapsep(published: Mapping[str, Tensor]) -> bool:
    """Whether this looks like a file of CLAPSep, in either layout, whole or not."""
    return any(key.removeprefix("module.").startswith(_DECODER) for key in published)


def holds_clap(published: Mapping[str, Tensor]) -> bool:
    """Whether this is a whole checkpoint, with the CLAP in it (its text tower tells)."""
    return any(key.removeprefix("module.").startswith(_CLAP + "text_branch.") for key in published)


def clapsep_state(
    published: Mapping[str, Tensor],
    clap: Mapping[str, Tensor] | None = None,
    config: CLAPSepConfig | None = None,
    *,
    what: str = "the CLAPSep file",
) -> dict[str, Tensor]:
    """The state dict of a `CLAPSep` with LoRA out of a published one.

    Args:
        published: its state dict, slim or whole.
        clap: state dict of the `CLAP` it builds on (see `clap_state`); a whole one brings its own.
        config: its sizes; the published base model's unless given.
        what: the file, for messages.

    Raises:
        WeightsError: an entry is missing, unexpected, misshapen or broken; a slim file without a CLAP; or the file was
            made with another CLAP than the given one.
    """
    config = config or CLAPSepConfig.base()
    published = without_prefix(published)
    if holds_clap(published):
        return _whole(published, clap, config, what)
    if clap is None:
        raise WeightsError(f"{what} holds only what was trained: give the CLAP file that it builds on too (--clap)")
    return _slim(published, clap, config, what)


def _whole(
    published: Mapping[str, Tensor], clap: Mapping[str, Tensor] | None, config: CLAPSepConfig, what: str
) -> dict[str, Tensor]:
    own = {key.removeprefix(_CLAP): tensor for key, tensor in published.items() if key.startswith(_CLAP)}
    own_clap = clap_state(own, config.clap, what=f"{what}, its CLAP")
    if clap is not None:
        check_equal(own_clap, clap, f"{what} holds another CLAP than the one given beside it (leave that out)")
    rest = {key: tensor for key, tensor in published.items() if not key.startswith(_CLAP)}
    ours = _ours(config)
    keys = {name: clapsep_key(name) for name in ours}
    constants = _decoder_constants(config) | dict(zip(_STFT, stft_basis(config.n_fft), strict=True))
    constants |= {_TOWER + key: tensor for key, tensor in tower_constants(config.clap.audio).items()}
    _check(rest, keys, constants, {*_ISTFT, *(_TOWER + key for key in unused_tower_keys())}, what)
    return _with_clap(own_clap) | {name: taken_or_zero(rest, key, ours[name], what) for name, key in keys.items()}


def _slim(
    published: Mapping[str, Tensor], clap: Mapping[str, Tensor], config: CLAPSepConfig, what: str
) -> dict[str, Tensor]:
    ours = _ours(config)
    keys = {name: key for name in ours if is_trained(key := clapsep_key(name))}
    came_along = {
        _CLAP + key: clap["audio." + name.removeprefix("tower.")]
        for name, key in keys.items()
        if key.endswith(("attn.qkv.bias", "attn.proj.bias")) and key.startswith(_TOWER)
    }
    constants = _decoder_constants(config)
    _check(published, keys, constants, came_along.keys(), what)
    theirs = {key: taken(published, key, like, what) for key, like in came_along.items() if key in published}
    check_equal(theirs, came_along, f"{what} was made with another CLAP than the one given")
    state = _with_clap(clap)
    for name in ours:
        if name in keys:
            state[name] = taken_or_zero(published, keys[name], ours[name], what)
        else:
            state[name] = clap["audio." + name.removeprefix("tower.")]
    return state


def _ours(config: CLAPSepConfig) -> dict[str, Tensor]:
    """All our names but the CLAP's, with tensors that hold no data."""
    if not config.lora_rank:
        raise WeightsError("the published layout is that of a system whose LoRA is not merged: lora_rank is above 0")
    with torch.device("meta"):
        state = CLAPSep(config).state_dict()
    return {name: tensor for name, tensor in state.items() if not name.startswith("clap.")}


def _decoder_constants(config: CLAPSepConfig) -> dict[str, Tensor]:
    tower = config.clap.audio
    windows = [min(tower.window, tower.grid(k)) for k in reversed(range(len(tower.depths)))]
    return {
        f"{_DECODER}layers.{level}.blocks.0.attn.relative_position_index": relative_position_index(window)
        for level, window in enumerate(windows)
    }


def _check(
    published: Mapping[str, Tensor],
    keys: Mapping[str, str],
    constants: Mapping[str, Tensor],
    unused: Collection[str],
    what: str,
) -> None:
    counters = {key for key in keys.values() if key.endswith(COUNTER)}
    known = counters | constants.keys() | set(unused)
    check_names(published, needed=set(keys.values()) - counters, known=known, what=what)
    check_constants(published, constants, what)


def _with_clap(clap: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"clap.{name}": tensor for name, tensor in clap.items()}


def published_state(state: Mapping[str, Tensor], config: CLAPSepConfig) -> dict[str, Tensor]:
    """The slim file of a trained `CLAPSep`: the inverse of `clapsep_state`, for the authors' code to load.

    Their LoRA is always scaled by 1 / rank, so a ``lora_alpha`` other than 1 goes into the factor B.

    Args:
        state: its state dict; of it, the decoder, the mask network, and in the tower the LoRA factors and the biases
            beside them are read.
        config: its sizes.

    Raises:
        WeightsError: its LoRA has been merged, which cannot be undone.
    """
    if not config.lora_rank:
        raise WeightsError("its LoRA has been merged, so the published layout, which keeps it apart, cannot be made")
    found = {}
    for name, tensor in state.items():
        key = clapsep_key(name)
        if is_trained(key):
            found[key] = tensor * config.lora_alpha if key.endswith(".lora_B") else tensor
    return found | _decoder_constants(config)
