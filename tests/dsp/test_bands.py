"""The band bank: a partition of unity, so nothing is lost on the way to bands and back."""

import numpy as np
import pytest
import torch

from soundsieve.dsp.bands import band_centres, band_matrix

SHAPE = {"sample_rate": 32000, "n_fft": 2048, "n_bands": 64, "fmin_hz": 40.0, "fmax_hz": 15500.0}


def test_every_bin_is_shared_out_whole() -> None:
    weights = band_matrix(**SHAPE)
    assert weights.shape == (1025, 64)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(1025))


def test_centres_are_where_they_were_asked_and_far_enough_apart() -> None:
    centres = band_centres(**SHAPE)
    bin_hz = 32000 / 2048
    assert centres[0] * bin_hz == pytest.approx(40.0)
    assert centres[-1] * bin_hz == pytest.approx(15500.0)
    steps = np.diff(centres)
    assert steps.min() >= 1.5 - 1e-9
    assert (np.diff(steps) > -1e-9).all()  # never narrower towards the top


def test_a_tone_lands_in_its_band() -> None:
    weights, centres = band_matrix(**SHAPE), band_centres(**SHAPE)
    assert weights[round(centres[40])].argmax() == 40


def test_too_many_bands_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        band_matrix(32000, 128, 64, 40.0, 15500.0)
