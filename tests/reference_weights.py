"""Made-up weights that anyone can draw again, for every entry of CLAP's and CLAPSep's published files.

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

import numpy as np
import torch
from torch import Tensor

from soundsieve.weights.layouts import clap as clap_layout
from soundsieve.weights.layouts.clap import PREFIX


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


def clap_key(name: str) -> str:
    """Our parameter of `CLAP` -> its key in the published CLAP file."""
    return PREFIX + clap_layout.clap_key(name)
