from __future__ import annotations

import math

import pytest
import torch

from soundsieve.dsp.loudness import loudness_lufs
from soundsieve.evaluation.listening.level import LOUDNESS_LUFS, PEAK, matched

RATE = 16000


def noise(level: float, seed: int = 0) -> torch.Tensor:
    return level * torch.randn(RATE, generator=torch.Generator().manual_seed(seed))


def test_all_sounds_get_one_loudness() -> None:
    both = matched([noise(0.01), noise(0.2, 1)], RATE)
    assert [round(loudness_lufs(one, RATE), 3) for one in both] == [LOUDNESS_LUFS] * 2


def test_peaks_of_one_turn_all_down() -> None:
    clicks = noise(0.001)
    clicks[::4000] = 0.9
    both = matched([noise(0.1, 1), clicks], RATE)
    levels = [loudness_lufs(one, RATE) for one in both]
    assert levels[0] == pytest.approx(levels[1], abs=1e-3)
    assert levels[0] < LOUDNESS_LUFS
    assert float(both[1].abs().max()) == pytest.approx(PEAK)


def test_silence_stays_silent_and_turns_nothing_down() -> None:
    quiet = noise(1e-6)
    silent, faint, loud = matched([torch.zeros(RATE), quiet, noise(0.1)], RATE)
    assert not silent.any()
    assert torch.equal(faint, quiet)  # -120 dB: below the gate of the measure
    assert loudness_lufs(loud, RATE) == pytest.approx(LOUDNESS_LUFS, abs=1e-3)
    assert matched([torch.zeros(RATE)], RATE)[0].shape == (RATE,)


def test_what_cannot_be_measured_is_an_error() -> None:
    with pytest.raises(ValueError, match="from 8000 Hz"):
        matched([noise(0.1)], 4000)
    assert math.isfinite(float(matched([noise(0.1)[:10]], RATE)[0].sum()))
