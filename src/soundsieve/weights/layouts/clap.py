"""The LAION-CLAP file (HTSAT-base, RoBERTa, no fusion): its entries to the names of `soundsieve.encoders.clap.CLAP`.

The released files hold 505 entries, each behind ``module.``, which other tools strip. Of these

- 462 are read: the towers, the two projections, the scale of the logits, and how many batches the batch norm saw;
- 13 are not used by anything here: class heads, the transforms of the training, and their scale;
- 30 are constants (STFT bases, the mel filterbank, indices and masks of attention windows, position numbers), which are
  computed here, and compared with the file's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from soundsieve.dsp.mel import mel_filterbank
from soundsieve.encoders.clap import CLAP, CLAPConfig
from soundsieve.nn.htsat import HTSAT, HTSATConfig
from soundsieve.nn.swin import SwinBlock, relative_position_index, shift_mask
from soundsieve.weights.layouts.account import Rules, check_constants, check_names, rename, taken

PREFIX = "module."

BLOCK: Rules = (
    (r"\.attention\.bias_table$", ".attn.relative_position_bias_table"),
    (r"\.attention\.", ".attn."),
)
"""Of a Swin block, wherever it stands."""

_TOWER: Rules = (
    (r"^bands_norm\.", "bn0."),
    (r"^patches\.", "patch_embed."),
    (r"^stages\.", "layers."),
    *BLOCK,
    (r"\.merging\.", ".downsample."),
    (r"\.lora_a$", ".lora_A"),
    (r"\.lora_b$", ".lora_B"),
)

_HEADS = tuple(f"{layer}.{part}" for layer in ("tscam_conv", "head") for part in ("weight", "bias"))
_TRANSFORMS = tuple(
    f"{side}_transform.sequential.{layer}.{part}"
    for side in ("text", "audio")
    for layer in (0, 3)
    for part in ("weight", "bias")
)
_POSITIONS = "text_branch.embeddings.position_ids"
COUNTER = "num_batches_tracked"
"""Ends the names of what inference does not use and a file may lack: 0 is put there."""


def tower_key(name: str) -> str:
    """Our parameter of `HTSAT` -> its key under ``audio_branch.``."""
    return rename(name, _TOWER)


def clap_key(name: str) -> str:
    """Our parameter of `CLAP` -> its key in the file, without ``module.``."""
    if name == "logit_scale":
        return "logit_scale_a"
    if name.startswith("audio."):
        return "audio_branch." + tower_key(name.removeprefix("audio."))
    return name.replace("text.roberta.", "text_branch.", 1)


def unused_tower_keys() -> set[str]:
    """Under ``audio_branch.``: the class heads."""
    return set(_HEADS)


def tower_constants(config: HTSATConfig) -> dict[str, Tensor]:
    """What a tower's file holds beside weights, by key under ``audio_branch.``."""
    real, imaginary = stft_basis(config.n_fft)
    filterbank = mel_filterbank(config.sample_rate, config.n_fft, config.n_mels, config.fmin_hz, config.fmax_hz)
    constants = {
        "spectrogram_extractor.stft.conv_real.weight": real,
        "spectrogram_extractor.stft.conv_imag.weight": imaginary,
        "logmel_extractor.melW": filterbank,
    }
    with torch.device("meta"):
        tower = HTSAT(config)
    for k, stage in enumerate(tower.stages):
        grid = config.grid(k)
        for name, block in stage.named_modules():
            if isinstance(block, SwinBlock):
                key = f"layers.{k}.{name}"
                constants[f"{key}.attn.relative_position_index"] = relative_position_index(block.window)
                if block.shift:
                    constants[f"{key}.attn_mask"] = shift_mask(grid, grid, block.window, block.shift)
    return constants


def stft_basis(n_fft: int) -> tuple[Tensor, Tensor]:
    """Rows w(n) cos(2 pi k n / N) and -w(n) sin(2 pi k n / N), shape ``(N / 2 + 1, 1, N)`` each, w a periodic Hann."""
    n = torch.arange(n_fft, dtype=torch.float64)
    phase = 2 * math.pi * torch.outer(n[: n_fft // 2 + 1], n) / n_fft
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * n / n_fft)
    return (window * phase.cos())[:, None].float(), (-window * phase.sin())[:, None].float()


def without_prefix(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries without the ``module.`` that parallel training puts before all of them."""
    if all(key.startswith(PREFIX) for key in published):
        return {key.removeprefix(PREFIX): tensor for key, tensor in published.items()}
    return dict(published)


def is_clap(published: Mapping[str, Tensor]) -> bool:
    """Whether this looks like the CLAP file, whole or not."""
    keys = without_prefix(published).keys()
    return any(key.startswith("text_branch.") for key in keys) and any(key.startswith("audio_branch.") for key in keys)


def clap_state(
    published: Mapping[str, Tensor], config: CLAPConfig | None = None, *, what: str = "the CLAP file"
) -> dict[str, Tensor]:
    """The state dict of a `CLAP` out of a published one.

    Args:
        published: its state dict, with or without the ``module.`` before each key.
        config: its sizes; the released base model's unless given.
        what: the file, for messages.

    Raises:
        WeightsError: an entry is missing, unexpected, misshapen, broken, or a constant that is another one.
    """
    config = config or CLAPConfig.base()
    published = without_prefix(published)
    with torch.device("meta"):
        ours = CLAP(config).state_dict()
    keys = {name: clap_key(name) for name in ours}
    constants = {f"audio_branch.{key}": tensor for key, tensor in tower_constants(config.audio).items()}
    constants[_POSITIONS] = torch.arange(config.text.positions)[None]
    unused = {"logit_scale_t", *_TRANSFORMS, *(f"audio_branch.{key}" for key in unused_tower_keys())}
    check_names(
        published,
        needed={key for key in keys.values() if not key.endswith(COUNTER)},
        known={key for key in keys.values() if key.endswith(COUNTER)} | unused | constants.keys(),
        what=what,
    )
    check_constants(published, constants, what)
    return {name: taken_or_zero(published, key, ours[name], what) for name, key in keys.items()}


def taken_or_zero(published: Mapping[str, Tensor], key: str, like: Tensor, what: str) -> Tensor:
    """As `taken`; zeros for an entry that is not there, which only what `COUNTER` names may be."""
    return taken(published, key, like, what) if key in published else torch.zeros(like.shape, dtype=like.dtype)


def published_clap(state: Mapping[str, Tensor], config: CLAPConfig) -> dict[str, Tensor]:
    """The inverse of `clap_state`, constants included, without ``module.`` and without what is not used."""
    found = {clap_key(name): tensor for name, tensor in state.items()}
    found |= {f"audio_branch.{key}": tensor for key, tensor in tower_constants(config.audio).items()}
    return found | {_POSITIONS: torch.arange(config.text.positions)[None]}
