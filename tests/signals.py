"""Seeded signals for tests."""

from __future__ import annotations

import numpy as np


def tone_and_noise(seconds: float, sample_rate: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """A tone of its own pitch per channel in seeded noise, shape ``(C, T)``, float32, peak at most 0.5."""
    samples = round(seconds * sample_rate)
    time = np.arange(samples) / sample_rate
    noise = np.random.default_rng(seed).uniform(-0.1, 0.1, (channels, samples))
    tones = [0.4 * np.sin(2 * np.pi * 220 * (channel + 1) * time) for channel in range(channels)]
    return (np.stack(tones) + noise).astype(np.float32)


def tone(hz: float, seconds: float, sample_rate: int) -> np.ndarray:
    """A sine of amplitude 0.5 that fades in and out over 50 ms, shape ``(1, T)``, float32."""
    samples = round(seconds * sample_rate)
    fade = np.minimum(1, np.minimum(np.arange(samples), np.arange(samples)[::-1]) / (0.05 * sample_rate))
    return (0.5 * fade * np.sin(2 * np.pi * hz * np.arange(samples) / sample_rate)).astype(np.float32)[None]
