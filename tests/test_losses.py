import math
from functools import partial

import pytest
import torch

from soundsieve.losses import clapsep_loss, contrastive_loss, l1_loss, magnitude_loss, sdr_loss, si_sdr_loss
from soundsieve.metrics import sdr, si_sdr

RATIOS = (sdr_loss, si_sdr_loss, clapsep_loss)
DISTANCES = (l1_loss, partial(magnitude_loss, n_fft=256, hop_length=64))


def signals() -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    reference = 0.1 * torch.randn(3, 2000, generator=g)
    return 0.7 * reference + 0.03 * torch.randn(3, 2000, generator=g), reference


def test_losses_are_negated_metrics():
    estimate, reference = signals()
    assert sdr_loss(estimate, reference).item() == pytest.approx(-sdr(estimate, reference).mean().item(), abs=1e-3)
    assert si_sdr_loss(estimate, reference).item() == pytest.approx(
        -si_sdr(estimate, reference).mean().item(), abs=1e-3
    )
    expected = -0.9 * sdr(estimate, reference).mean() - 0.1 * si_sdr(estimate, reference).mean()
    assert clapsep_loss(estimate, reference).item() == pytest.approx(expected.item(), abs=1e-3)


def test_distances_by_hand():
    """A tone in the middle of a bin has the magnitude amplitude * n_fft / 4 there, and half of it on either side."""
    assert l1_loss(torch.tensor([[1.0, -1.0]]), torch.tensor([[0.5, 1.0]])).item() == pytest.approx(1.25)
    tone = torch.cos(2 * math.pi * 16 / 256 * torch.arange(4096.0))[None]
    louder = magnitude_loss(1.5 * tone, tone, n_fft=256, hop_length=64).item()
    assert louder == pytest.approx(0.5 * (64 + 2 * 32) / 129, rel=0.03)  # the two frames at the ends differ
    assert magnitude_loss(-tone, tone, n_fft=256, hop_length=64).item() < 1e-6  # it does not hear the phase
    assert l1_loss(-tone, tone).item() > 1


@pytest.mark.parametrize("loss", RATIOS + DISTANCES)
def test_extremes_have_finite_values_and_gradients(loss):
    estimate, reference = signals()
    for start, target in ((0 * estimate, reference), (reference.clone(), reference), (estimate, 0 * reference)):
        start = start.detach().requires_grad_()
        value = loss(start, target)
        value.backward()
        assert math.isfinite(value.item())
        assert start.grad is not None
        assert start.grad.isfinite().all()


def test_sdr_leads_out_of_silence():
    _, reference = signals()
    estimate = torch.zeros_like(reference).requires_grad_()
    clapsep_loss(estimate, reference).backward()
    assert estimate.grad is not None
    better = (estimate - 1e-3 * estimate.grad).detach()
    assert clapsep_loss(better, reference) < clapsep_loss(torch.zeros_like(reference), reference)


@pytest.mark.parametrize("loss", RATIOS)
def test_bfloat16_is_computed_in_float32(loss):
    estimate, reference = (x.bfloat16() for x in signals())
    value = loss(estimate, reference)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(estimate.float(), reference.float()).item())


@pytest.mark.parametrize("loss", RATIOS)
def test_gradient_steps_lower_the_loss(loss):
    estimate, reference = signals()
    estimate = estimate.requires_grad_()
    loss(estimate, reference).backward()
    assert estimate.grad is not None
    assert loss(estimate - 1e-4 * estimate.grad, reference) < loss(estimate, reference)


@pytest.mark.parametrize("loss", RATIOS)
def test_shapes_must_match(loss):
    with pytest.raises(ValueError, match="differ in shape"):
        loss(torch.ones(2, 4), torch.ones(2, 5))


def test_contrastive_loss_by_hand():
    pairs = torch.eye(4)
    scale = 3.0
    expected = -math.log(math.exp(scale) / (math.exp(scale) + 3))  # logits: 3 on the diagonal, 0 elsewhere
    assert contrastive_loss(pairs, 5 * pairs, scale).item() == pytest.approx(expected, abs=1e-6)
    assert contrastive_loss(torch.ones(4, 8), torch.ones(4, 8), scale).item() == pytest.approx(math.log(4), abs=1e-6)
    assert contrastive_loss(pairs, pairs.roll(1, 0), scale) > contrastive_loss(pairs, pairs, scale)


def test_contrastive_loss_is_symmetric_and_not_blurred_by_autocast():
    g = torch.Generator().manual_seed(0)
    audio, text = torch.randn(6, 16, generator=g), torch.randn(6, 16, generator=g)
    scale = torch.tensor(100.0, requires_grad=True)
    value = contrastive_loss(audio, text, scale)
    torch.testing.assert_close(value, contrastive_loss(text, audio, scale))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(contrastive_loss(audio, text, scale), value)
    value.backward()
    assert scale.grad is not None
    with pytest.raises(ValueError, match="embeddings"):
        contrastive_loss(audio, text[:5], 1.0)
