from __future__ import annotations

import numpy as np
import pytest
import torch

from soundsieve.dsp.mel import FLOOR_DB, hz_to_mel, mel_filterbank, mel_to_hz, power_to_db
from soundsieve.errors import ConfigError


def test_scale_is_linear_to_1_khz_and_27_mels_for_every_factor_of_6_4_above() -> None:
    np.testing.assert_allclose(hz_to_mel(np.array([0, 200, 1000, 6400, 40960])), [0, 3, 15, 42, 69])
    hz = np.linspace(0, 20000, 101)
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz)), hz, atol=1e-9)


@pytest.mark.parametrize("sample_rate", [32000, 48000])
def test_equals_an_independent_implementation(sample_rate: int) -> None:
    from transformers.audio_utils import mel_filter_bank

    theirs = mel_filter_bank(513, 64, 50, 14000, sample_rate, norm="slaney", mel_scale="slaney")
    np.testing.assert_allclose(mel_filterbank(sample_rate, 1024, 64, 50, 14000).numpy(), theirs, atol=1e-8)


def test_wide_bands_have_area_one() -> None:
    # Only wide ones: a narrow triangle is seen at too few bins for the sum to be its area.
    areas = mel_filterbank(48000, 16384, 64, 50, 14000).sum(0) * 48000 / 16384
    torch.testing.assert_close(areas[10:], torch.ones(54), atol=0.01, rtol=0)


def test_a_tone_lands_in_the_band_around_it() -> None:
    bank = mel_filterbank(32000, 1024, 64, 50, 14000)
    edges = mel_to_hz(np.linspace(*hz_to_mel(np.array([50, 14000])), 66))
    for band in (20, 40, 60):
        nearest_bin = round(edges[band + 1] * 1024 / 32000)
        assert int(bank[nearest_bin].argmax()) == band


def test_silence_is_minus_100_db() -> None:
    torch.testing.assert_close(power_to_db(torch.tensor([0.0, 1e-10, 1.0, 100.0])), torch.tensor([-100.0, -100, 0, 20]))
    assert FLOOR_DB == -100


@pytest.mark.parametrize(("fmin_hz", "fmax_hz"), [(50, 16001), (-1, 8000), (8000, 8000)])
def test_edges_out_of_range(fmin_hz: float, fmax_hz: float) -> None:
    with pytest.raises(ConfigError, match="mel edges need 0 <= fmin < fmax <= 16000 Hz"):
        mel_filterbank(32000, 1024, 64, fmin_hz, fmax_hz)
