from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import numpy as np
import pytest
import torch
from identity_system import IdentitySystem

from soundsieve.weights import checkpoint

CLIPS = Path(__file__).parent / "data" / "clips"

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _known_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that hold the tests' own system can be read back."""
    monkeypatch.setitem(checkpoint.SYSTEMS, "identity", ("identity_system", "IdentitySystem", "IdentityConfig"))


@pytest.fixture
def identity() -> IdentitySystem:
    torch.manual_seed(0)
    return IdentitySystem().eval()


@pytest.fixture
def clips() -> Path:
    """Folder of short real recordings; CREDITS.csv there says whose they are."""
    return CLIPS


def tone_and_noise(seconds: float, sample_rate: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """A tone of its own pitch per channel in seeded noise, shape ``(C, T)``, float32, peak below 0.6."""
    samples = round(seconds * sample_rate)
    time = np.arange(samples) / sample_rate
    noise = np.random.default_rng(seed).uniform(-0.1, 0.1, (channels, samples))
    tones = [0.4 * np.sin(2 * np.pi * 220 * (channel + 1) * time) for channel in range(channels)]
    return (np.stack(tones) + noise).astype(np.float32)
