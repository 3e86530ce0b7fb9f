import math

import pytest
import torch

from soundsieve.dsp.mixing import (
    energy_db,
    fit_length,
    gain_db,
    loudest_offset,
    mix_at_snr,
    rms_db,
    scale_to_rms_db,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_levels_by_hand():
    x = torch.tensor([[0.1, -0.1, 0.1, -0.1], [1.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(rms_db(x), torch.tensor([-20.0, 10 * math.log10(1 / 4)]).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(energy_db(x), torch.tensor([10 * math.log10(0.04), 0.0]).double(), atol=1e-6, rtol=0)
    assert rms_db(torch.zeros(3)).item() == -math.inf


def test_gain_of_20_db_is_a_factor_of_ten():
    torch.testing.assert_close(gain_db(torch.ones(2, 3), torch.tensor([20.0, -20.0]))[:, 0], torch.tensor([10.0, 0.1]))


def test_scaling_reaches_the_level():
    levels = torch.tensor([-26.0, -3.0])
    torch.testing.assert_close(rms_db(scale_to_rms_db(noise(2, 1000), levels)), levels.double(), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="silent"):
        scale_to_rms_db(torch.zeros(4), -20.0)


@pytest.mark.parametrize("snr_db", [-30.0, -5.0, 0.0, 12.5])
def test_a_mixture_measures_the_ratio_asked_for(snr_db):
    target, interferer = noise(3, 4001), 17 * noise(3, 4001, seed=1)
    mixture, same, scaled = mix_at_snr(target, interferer, snr_db)
    assert torch.equal(same, target)
    assert torch.equal(mixture, target + scaled)
    assert mixture.dtype == torch.float32
    measured = energy_db(same) - energy_db(scaled)
    torch.testing.assert_close(measured, torch.full((3,), snr_db).double(), atol=1e-5, rtol=0)


def test_each_mixture_of_a_batch_has_its_own_ratio():
    asked = torch.tensor([-3.0, 6.0])
    _, target, scaled = mix_at_snr(noise(2, 500), noise(2, 500, seed=1), asked)
    torch.testing.assert_close(energy_db(target) - energy_db(scaled), asked.double(), atol=1e-5, rtol=0)


def test_silence_and_shapes_are_refused():
    with pytest.raises(ValueError, match="target is silent"):
        mix_at_snr(torch.zeros(5), torch.ones(5), 0.0)
    with pytest.raises(ValueError, match="interferer is silent"):
        mix_at_snr(torch.ones(5), torch.zeros(5), 0.0)
    with pytest.raises(ValueError, match="differ in shape"):
        mix_at_snr(torch.ones(5), torch.ones(4), 0.0)


def test_fitting_crops_places_and_repeats():
    x = torch.arange(1.0, 5.0)
    assert fit_length(x, 2, offset=1).tolist() == [2, 3]
    assert fit_length(x, 6, offset=2).tolist() == [0, 0, 1, 2, 3, 4]
    assert fit_length(x, 6, offset=3, repeat=True).tolist() == [4, 1, 2, 3, 4, 1]
    assert fit_length(x, 4).tolist() == x.tolist()
    assert fit_length(noise(2, 3, 7), 5, offset=2).shape == (2, 3, 5)


@pytest.mark.parametrize(
    ("length", "offset", "repeat"), [(2, 3, False), (6, 3, False), (6, 4, True), (6, -1, False), (0, 0, False)]
)
def test_an_offset_out_of_range_is_refused(length, offset, repeat):
    with pytest.raises(ValueError, match=r"offset|cannot fit"):
        fit_length(torch.ones(4), length, offset=offset, repeat=repeat)


def test_the_loudest_crop_holds_the_burst():
    x = torch.zeros(1000)
    x[620:660] = 1.0
    start = loudest_offset(x, 100, step=10)
    assert start <= 620 < 660 <= start + 100
    assert loudest_offset(x[:90], 100, step=10) == 0
    assert loudest_offset(x[:101], 100, step=10) == 0


def test_the_loudest_crop_agrees_with_a_search_by_hand():
    x = noise(997)
    best = max(range(0, 997 - 200 + 1, 7), key=lambda start: x[start : start + 200].double().square().sum().item())
    assert loudest_offset(x, 200, step=7) == best
