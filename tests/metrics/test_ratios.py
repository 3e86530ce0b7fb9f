import math
import warnings

import pytest
import torch

from soundsieve.metrics import (
    sdr,
    sdr_improvement,
    si_sdr,
    si_sdr_improvement,
    si_snr,
    si_snr_improvement,
    snr,
    snr_improvement,
)


def signals(seed: int = 0, error: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    reference = torch.randn(4, 2, 2000, generator=g)
    return 0.7 * reference + error * torch.randn(4, 2, 2000, generator=g), reference


def test_values_by_hand():
    estimate, reference = torch.tensor([1.1, 0.9]), torch.tensor([1.0, 1.0])
    assert sdr(estimate, reference).item() == pytest.approx(20, abs=1e-5)
    assert si_sdr(estimate, reference).item() == pytest.approx(20, abs=1e-5)
    assert sdr(2 * reference, reference).item() == 0


def test_one_value_per_signal_in_float64():
    estimate, reference = signals()
    for metric in (sdr, si_sdr, si_snr):
        assert metric(estimate, reference).shape == (4, 2)
        assert metric(estimate.half(), reference.half()).dtype == torch.float64
        torch.testing.assert_close(metric(estimate, reference)[1, 1], metric(estimate[1, 1], reference[1, 1]))
    assert snr is sdr
    assert snr_improvement is sdr_improvement


def test_agrees_with_torchmetrics():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchmetrics.functional.audio import (
            scale_invariant_signal_distortion_ratio,
            scale_invariant_signal_noise_ratio,
            signal_noise_ratio,
        )

    estimate, reference = (x.double() for x in signals())
    estimate, reference = estimate + 0.2, reference - 0.1
    torch.testing.assert_close(sdr(estimate, reference), signal_noise_ratio(estimate, reference))
    torch.testing.assert_close(
        si_sdr(estimate, reference), scale_invariant_signal_distortion_ratio(estimate, reference)
    )
    torch.testing.assert_close(si_snr(estimate, reference), scale_invariant_signal_noise_ratio(estimate, reference))
    assert not torch.allclose(si_snr(estimate, reference), si_sdr(estimate, reference), atol=0.1)


def test_si_sdr_agrees_with_mir_eval_where_its_filter_has_one_tap():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mir_eval.separation import _bss_decomp_mtifilt, _bss_source_crit

    estimate, reference = (x[0, 0].double().numpy() for x in signals())
    parts = _bss_decomp_mtifilt(reference[None], estimate, 0, 1)  # true, spatial, interference, artefacts
    expected = _bss_source_crit(*parts)[0]
    assert si_sdr(torch.from_numpy(estimate), torch.from_numpy(reference)).item() == pytest.approx(expected, abs=1e-9)


def test_si_sdr_ignores_scale_and_sdr_does_not():
    estimate, reference = signals()
    torch.testing.assert_close(si_sdr(1000 * estimate, reference), si_sdr(estimate, reference), atol=1e-4, rtol=0)
    torch.testing.assert_close(si_sdr(estimate, 0.01 * reference), si_sdr(estimate, reference), atol=1e-4, rtol=0)
    torch.testing.assert_close(sdr(3 * estimate, 3 * reference), sdr(estimate, reference), atol=1e-4, rtol=0)
    assert (sdr(3 * estimate, reference) < sdr(estimate, reference)).all()


def test_perfect_and_silent_estimates():
    reference = signals()[1]
    assert (sdr(reference, reference) == math.inf).all()
    assert (si_sdr(reference, reference) == math.inf).all()
    assert (si_sdr(2 * reference, reference) == math.inf).all()
    silent = torch.zeros_like(reference)
    assert (sdr(silent, reference) == 0).all()
    assert (si_sdr(silent, reference) == -math.inf).all()
    assert si_sdr(torch.tensor([1.0, -1.0]), torch.tensor([1.0, 1.0])).item() == -math.inf


def test_undefined_ratios_are_refused():
    estimate, reference = signals()
    with pytest.raises(ValueError, match="silent"):
        sdr(estimate, 0 * reference)
    with pytest.raises(ValueError, match="silent"):
        si_sdr(estimate, 0 * reference)
    with pytest.raises(ValueError, match="differ in shape"):
        sdr(estimate[..., 1:], reference)
    with pytest.raises(ValueError, match="nothing to improve"):
        sdr_improvement(estimate, reference, mixture=reference)
    with pytest.raises(ValueError, match="nothing to improve"):
        si_sdr_improvement(estimate, reference, mixture=reference)


def test_improvements_are_differences():
    estimate, reference = signals()
    mixture = reference + torch.flip(reference, dims=(-1,))
    assert (sdr_improvement(mixture, reference, mixture=mixture) == 0).all()
    torch.testing.assert_close(
        sdr_improvement(estimate, reference, mixture=mixture), sdr(estimate, reference) - sdr(mixture, reference)
    )
    torch.testing.assert_close(
        si_sdr_improvement(estimate, reference, mixture=mixture),
        si_sdr(estimate, reference) - si_sdr(mixture, reference),
    )
    torch.testing.assert_close(
        si_snr_improvement(estimate, reference, mixture=mixture),
        si_snr(estimate, reference) - si_snr(mixture, reference),
    )


def test_si_snr_ignores_offsets():
    estimate, reference = signals()
    torch.testing.assert_close(si_snr(estimate + 3, reference - 5), si_snr(estimate, reference), atol=1e-4, rtol=0)
    assert (si_snr(2 * reference + 1, reference) > 100).all()  # the offset is rounded to float32
    assert si_snr(torch.full((1000,), 0.1), reference[0, 0, :1000]).item() == -math.inf  # a constant is silence
    with pytest.raises(ValueError, match="silent"):
        si_snr(reference[0, 0, :1000], torch.full((1000,), 0.1))
    with pytest.raises(ValueError, match="silent"):
        si_snr(torch.tensor([0.5]), torch.tensor([0.5]))


def test_one_sample_has_a_ratio():
    assert sdr(torch.tensor([0.9]), torch.tensor([1.0])).item() == pytest.approx(20, abs=1e-5)
    assert si_sdr(torch.tensor([0.9]), torch.tensor([1.0])).item() == math.inf


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_sample_that_is_not_finite_spoils_its_own_signal_alone(broken):
    estimate, reference = signals()
    spoilt = estimate.clone()
    spoilt[1, 0, 7] = broken
    for metric in (sdr, si_sdr, si_snr):
        for found in (metric(spoilt, reference), metric(reference, spoilt)):
            assert found.isnan().nonzero().tolist() == [[1, 0]]
        kept = metric(spoilt, reference).isfinite()
        assert torch.equal(metric(spoilt, reference)[kept], metric(estimate, reference)[kept])
