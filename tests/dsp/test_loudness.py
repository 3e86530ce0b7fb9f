from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor

from soundsieve.dsp.loudness import k_weighted, loudness_lufs


def sine(seconds: float, level_db: float, sample_rate: int, hertz: float = 1000.0) -> Tensor:
    time = torch.arange(round(seconds * sample_rate), dtype=torch.float64) / sample_rate
    return (10 ** (level_db / 20) * torch.sin(2 * math.pi * hertz * time)).float()


@pytest.mark.parametrize("sample_rate", [16000, 22050, 32000, 44100, 48000, 96000])
def test_a_tone_at_full_scale_measures_what_the_standard_says(sample_rate: int) -> None:
    """BS.1770-4, annex 1: 997 Hz at 0 dBFS in one front channel is -3.01 LKFS; at other rates 0.1 off is allowed."""
    tolerance = 0.006 if sample_rate == 48000 else 0.1
    assert loudness_lufs(sine(3, 0, sample_rate, 997), sample_rate) == pytest.approx(-3.01, abs=tolerance)


# EBU Tech 3341, table 1, cases 1 to 5: 1 kHz in both channels at these levels for so many seconds; all within 0.1 LU.
CASES = {
    1: ([(20, -23)], -23),
    2: ([(20, -33)], -33),
    3: ([(10, -36), (60, -23), (10, -36)], -23),
    4: ([(10, -72), (10, -36), (60, -23), (10, -36), (10, -72)], -23),
    5: ([(20, -26), (20.1, -20), (20, -26)], -23),
}


@pytest.mark.parametrize("case", CASES)
def test_the_signals_of_the_ebu(case: int) -> None:
    parts, expected = CASES[case]
    rate = 48000 if case < 3 else 32000
    channel = torch.cat([sine(seconds, level, rate) for seconds, level in parts])
    assert loudness_lufs(channel.expand(2, -1), rate) == pytest.approx(expected, abs=0.1)


def test_the_filters_are_those_of_the_standard() -> None:
    """The table's difference equations, sample by sample."""
    x = np.random.default_rng(0).standard_normal((2, 20000))
    shelf = [1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585]
    high_pass = [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621]
    expected = scipy.signal.sosfilt([shelf, high_pass], x)
    assert np.abs(k_weighted(torch.from_numpy(x), 48000).numpy() - expected).max() < 1e-12


@pytest.mark.parametrize("sample_rate", [16000, 32000, 44100])
@pytest.mark.parametrize("hertz", [30, 60, 200, 1000, 1682, 3000])
def test_other_rates_weigh_a_pitch_alike(sample_rate: int, hertz: float) -> None:
    levels = [loudness_lufs(sine(2, -20, rate, hertz), rate) for rate in (sample_rate, 48000)]
    assert levels[0] == pytest.approx(levels[1], abs=0.1)


def test_loudness_follows_gain_channels_and_silence() -> None:
    noise = 0.1 * torch.randn(48000, generator=torch.Generator().manual_seed(0))
    level = loudness_lufs(noise, 16000)
    assert loudness_lufs(noise * 10 ** (-6 / 20), 16000) == pytest.approx(level - 6, abs=1e-4)
    assert loudness_lufs(noise.expand(2, -1), 16000) == pytest.approx(level + 10 * math.log10(2), abs=1e-6)
    assert loudness_lufs(torch.zeros(16000), 16000) == -math.inf
    assert loudness_lufs(1e-5 * noise, 16000) == -math.inf  # below the absolute gate
    quiet_after = torch.cat([noise, torch.zeros(160000)])
    assert loudness_lufs(quiet_after, 16000) == pytest.approx(level, abs=0.3)  # pauses do not count


def test_less_than_a_block_is_one_block() -> None:
    assert loudness_lufs(sine(0.1, 0, 48000, 997), 48000) == pytest.approx(-3.01, abs=0.1)
    assert math.isfinite(loudness_lufs(torch.ones(1), 48000))


@pytest.mark.parametrize(
    ("shape", "rate", "message"), [((0,), 48000, "got"), ((4, 9), 48000, "1 to 3"), ((9,), 4000, "8000 Hz up")]
)
def test_what_cannot_be_measured_is_said(shape: tuple[int, ...], rate: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loudness_lufs(torch.zeros(shape), rate)
