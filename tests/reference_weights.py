"""Made-up weights that anyone can draw again, and where CLAP's and CLAPSep's published files keep each of ours.

A published entry ``key`` of shape S and seed s has its own random stream: SHA-256 of "s:key", its first eight bytes as
a little-endian number, PCG64 seeded by it, standard normal numbers n of shape S rounded to float32. Its value is

    1 + 0.1 |n|          for a running variance
    n / sqrt(S[1] S[2] ...)   for two or more dimensions
    1 + 0.1 n            for other weights
    0.1 n                for all else (biases, running means, scalars)

The reference vectors beside the tests were measured with the published implementations filled in this way.
"""

from __future__ import annotations

import hashlib
import math
import re

import numpy as np
import torch
from torch import Tensor


def rng(text: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")))


def drawn(key: str, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    n = rng(f"{seed}:{key}").standard_normal(shape).astype(np.float32)
    if key.endswith("running_var"):
        value = np.float32(1) + np.float32(0.1) * np.abs(n)
    elif len(shape) >= 2:
        value = n * np.float32(1 / math.sqrt(math.prod(shape[1:])))
    elif len(shape) == 1 and key.endswith("weight"):
        value = np.float32(1) + np.float32(0.1) * n
    else:
        value = np.float32(0.1) * n
    return torch.from_numpy(np.asarray(value, dtype=np.float32))


def signal(name: str, samples: int, sample_rate: int, f0_hz: float = 220, seed: int = 0) -> Tensor:
    t = np.arange(samples) / sample_rate
    noise = rng(f"{seed}:input:{name}").standard_normal(samples)
    tone = 0.25 * np.sin(2 * np.pi * f0_hz * t) + 0.15 * np.sin(2 * np.pi * (2 * f0_hz * t + 150 * t**2))
    x = tone + 0.1 * noise * (0.5 + 0.5 * np.sin(2 * np.pi * 0.7 * t))
    return torch.from_numpy(x.astype(np.float32))[None]


def unit(name: str, width: int, seed: int = 0) -> Tensor:
    x = rng(f"{seed}:embed:{name}").standard_normal(width)
    return torch.from_numpy((x / np.linalg.norm(x)).astype(np.float32))[None]


_TOWER = [
    (r"bands_norm\.", "bn0."),
    (r"patches\.", "patch_embed."),
    (r"stages\.", "layers."),
    (r"\.attention\.bias_table", ".attn.relative_position_bias_table"),
    (r"\.attention\.", ".attn."),
    (r"\.merging\.", ".downsample."),
    (r"\.lora_a", ".lora_A"),
    (r"\.lora_b", ".lora_B"),
]
_DECODER = [
    (r"^decoder\.bottom\.", "decoder_model.film."),
    (r"^decoder\.levels\.(\d+)\.expanding\.expansion\.", r"decoder_model.layers.\1.downsample.expand."),
    (r"^decoder\.levels\.(\d+)\.expanding\.", r"decoder_model.layers.\1.downsample."),
    (r"^decoder\.levels\.(\d+)\.block\.", r"decoder_model.layers.\1.blocks.0."),
    (r"^decoder\.levels\.(\d+)\.skip\.", r"decoder_model.skip.\1."),
    (r"\.attention\.bias_table", ".attn.relative_position_bias_table"),
    (r"\.attention\.", ".attn."),
    (r"\.film\.(gamma|beta)\.", r".skip_conv.\1."),
    (r"\.project\.", ".feature_proj."),
    (r"^decoder\.norm\.", "decoder_model.inverse_patch_embed.norm."),
    (r"^decoder\.unpatch\.", "decoder_model.inverse_patch_embed.proj."),
    (r"^mask_net\.bins_norm\.", "decoder_model.spec_norm."),
    (r"^mask_net\.into\.", "decoder_model.mask_net.0."),
    (r"^mask_net\.norm\.", "decoder_model.mask_net.1."),
    (r"^mask_net\.layers\.", "decoder_model.mask_net.2.layers."),
    (r"^mask_net\.out\.", "decoder_model.mask_net.3."),
]


def _rename(name: str, rules: list[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def clap_key(name: str) -> str:
    """Our parameter of `CLAP` -> its key in the published CLAP file."""
    if name == "logit_scale":
        return "module.logit_scale_a"
    if name.startswith("audio."):
        return "module.audio_branch." + _rename(name.removeprefix("audio."), _TOWER)
    return "module." + name.replace("text.roberta.", "text_branch.")


def clapsep_key(name: str) -> str:
    """Our parameter of `CLAPSep` (but for its ``clap``) -> its key in the published training checkpoint."""
    if name.startswith("tower."):
        return "audio_branch." + _rename(name.removeprefix("tower."), _TOWER)
    return _rename(name, _DECODER)


def in_clapsep_file(key: str) -> bool:
    """Whether the published CLAPSep file holds this key; the rest of its tower is that of the CLAP file."""
    return key.startswith("decoder_model.") or re.search(r"lora|attn\.(qkv|proj)\.bias", key) is not None
