import math
import warnings

import pytest
import torch

from soundsieve.metrics import filtered_sdr, filtered_sdr_improvement, sdr, si_sdr

LENGTH = 4000


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def signals() -> tuple[torch.Tensor, torch.Tensor]:
    """References of three colours, and estimates with an echo and noise."""
    white = noise(2, LENGTH)
    low = torch.nn.functional.conv1d(
        white[:1, None], torch.hann_window(63, dtype=torch.float64)[None, None], padding=31
    )
    tone = torch.sin(2 * torch.pi * 0.03 * torch.arange(LENGTH, dtype=torch.float64))[None]
    reference = torch.cat([white, low[:, 0], tone])
    echo = torch.nn.functional.pad(reference, (9, 0))[:, :LENGTH]
    return 0.6 * reference + 0.3 * echo + 0.2 * noise(4, LENGTH, seed=1), reference


def filtered(reference: torch.Tensor, *taps: float) -> torch.Tensor:
    """A reference with room behind it, through a filter, of which nothing is cut off."""
    delayed = [torch.nn.functional.pad(reference, (k, 0))[..., : reference.shape[-1]] for k in range(len(taps))]
    return sum(tap * signal for tap, signal in zip(taps, delayed, strict=True))


def test_agrees_with_mir_eval():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mir_eval.separation import bss_eval_sources

        estimate, reference = signals()
        each = zip(estimate[:, None].numpy(), reference[:, None].numpy(), strict=True)
        expected = [bss_eval_sources(s, e, False)[0][0] for e, s in each]
    assert filtered_sdr(estimate, reference).tolist() == pytest.approx(expected, abs=1e-6)
    assert (filtered_sdr(estimate, reference) > sdr(estimate, reference) + 1).all()  # not the plain ratio


def test_agrees_with_torchmetrics():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchmetrics.functional.audio import signal_distortion_ratio

    estimate, reference = signals()
    expected = signal_distortion_ratio(estimate, reference)
    torch.testing.assert_close(filtered_sdr(estimate, reference), expected, atol=1e-6, rtol=0)
    expected = signal_distortion_ratio(estimate, reference, filter_length=100)
    torch.testing.assert_close(filtered_sdr(estimate, reference, taps=100), expected, atol=1e-6, rtol=0)


def test_agrees_with_a_projection_on_all_delays():
    estimate, reference = noise(300, seed=1), noise(300)
    delays = torch.stack([torch.nn.functional.pad(reference, (k, 15 - k)) for k in range(16)], dim=1)
    padded = torch.nn.functional.pad(estimate, (0, 15))[:, None]
    rest = padded - delays @ torch.linalg.lstsq(delays, padded).solution
    expected = 10 * torch.log10((padded - rest).square().sum() / rest.square().sum())
    assert filtered_sdr(estimate, reference, taps=16).item() == pytest.approx(expected.item(), abs=1e-9)


def test_one_tap_is_si_sdr():
    estimate, reference = signals()
    torch.testing.assert_close(filtered_sdr(estimate, reference, taps=1), si_sdr(estimate, reference))


def test_one_value_per_signal_in_float64():
    estimate, reference = (x.reshape(2, 2, -1).float() for x in signals())
    found = filtered_sdr(estimate, reference)
    assert found.shape == (2, 2)
    assert found.dtype == torch.float64
    for i in range(2):
        torch.testing.assert_close(found[i, 1], filtered_sdr(estimate[i, 1], reference[i, 1]), atol=1e-6, rtol=0)


def test_a_filter_within_reach_is_no_distortion():
    reference = torch.nn.functional.pad(noise(2, LENGTH), (0, 600))
    for answer in (reference, 1e-6 * reference, filtered(reference, 0.0, 0.5, -0.2)):
        assert (filtered_sdr(answer, reference) == math.inf).all()
    assert (filtered_sdr(reference.roll(511, -1), reference) == math.inf).all()
    assert (filtered_sdr(reference.roll(512, -1), reference) < 0).all()  # one sample too late
    assert (filtered_sdr(reference[:, 5:], reference[:, :-5]) < 0).all()  # too early: filters look back only


@pytest.mark.parametrize("fade", [0, 1, 4])
def test_pure_tones_have_values_too(fade: int):
    """Their normal equations are as good as singular."""
    window = torch.hann_window(LENGTH, dtype=torch.float64) ** fade
    reference = window * torch.sin(2 * torch.pi * 0.03 * torch.arange(LENGTH))
    assert filtered_sdr(reference, reference).item() == math.inf
    estimate = reference + 0.1 * noise(LENGTH)
    assert si_sdr(estimate, reference).item() < filtered_sdr(estimate, reference).item() < math.inf


def test_a_reference_of_few_samples():
    assert filtered_sdr(torch.tensor([0.3]), torch.tensor([1.0])).item() == math.inf
    assert filtered_sdr(torch.tensor([0.3, 0.4]), torch.tensor([0.0, 1.0])).item() < 10
    constant = torch.ones(2000)
    assert filtered_sdr(constant, constant).item() == math.inf


def test_silence_and_what_is_undefined():
    estimate, reference = signals()
    assert (filtered_sdr(0 * estimate, reference) == -math.inf).all()
    with pytest.raises(ValueError, match="silent"):
        filtered_sdr(estimate, 0 * reference)
    with pytest.raises(ValueError, match="differ in shape"):
        filtered_sdr(estimate[..., 1:], reference)
    with pytest.raises(ValueError, match="at least one tap"):
        filtered_sdr(estimate, reference, taps=0)
    with pytest.raises(ValueError, match="nothing to improve"):
        filtered_sdr_improvement(estimate, reference, mixture=reference)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_sample_that_is_not_finite_spoils_its_own_signal_alone(broken: float):
    estimate, reference = signals()
    spoilt = estimate.clone()
    spoilt[2, 7] = broken
    for found in (filtered_sdr(spoilt, reference), filtered_sdr(reference, spoilt)):
        assert found.isnan().tolist() == [False, False, True, False]
    expected = filtered_sdr(estimate, reference)[[0, 1, 3]]
    torch.testing.assert_close(filtered_sdr(spoilt, reference)[[0, 1, 3]], expected)


def test_improvement_is_a_difference_and_not_the_plain_one():
    estimate, reference = signals()
    mixture = reference + reference.square().mean(1, keepdim=True).sqrt() * noise(4, LENGTH, seed=2)  # at 0 dB
    found = filtered_sdr_improvement(estimate, reference, mixture=mixture)
    torch.testing.assert_close(found, filtered_sdr(estimate, reference) - filtered_sdr(mixture, reference))
    half = filtered_sdr_improvement(mixture / 2, reference, mixture=mixture)
    torch.testing.assert_close(half, torch.zeros(4, dtype=torch.float64))  # a change of level gains nothing
    assert (sdr(mixture / 2, reference) - sdr(mixture, reference)).tolist() == [pytest.approx(3, abs=0.2)] * 4
