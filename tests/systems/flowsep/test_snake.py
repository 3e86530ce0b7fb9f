from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from soundsieve.systems.flowsep import snake
from soundsieve.systems.flowsep.snake import REACH, TAPS, SmoothSnake, lowpass


def made(channels: int, seed: int = 0) -> SmoothSnake:
    torch.manual_seed(seed)
    act = SmoothSnake(channels)
    with torch.no_grad():
        act.alpha.normal_()
        act.beta.normal_()
    return act


def by_definition(act: SmoothSnake, x: Tensor) -> Tensor:
    """Zeros between the samples, one long convolution, the formula, another convolution, every second sample."""
    channels, h = x.shape[1], torch.tensor(lowpass(), dtype=torch.float64)
    kernel = h.expand(channels, 1, TAPS)
    x = F.pad(x[:, :, 0].double(), (TAPS, TAPS), mode="replicate")
    stuffed = torch.stack([x, torch.zeros_like(x)], dim=-1).flatten(-2)
    doubled = 2 * F.conv1d(F.pad(stuffed, (6, 5)), kernel, groups=channels)[..., 2 * TAPS : -2 * TAPS]
    alpha, beta = act.alpha.double().exp()[:, None], act.beta.double().exp()[:, None]
    bent = F.pad(doubled + torch.sin(alpha * doubled) ** 2 / (beta + 1e-9), (5, 6), mode="replicate")
    return F.conv1d(bent, kernel, groups=channels)[..., ::2][:, :, None]


def test_the_filter() -> None:
    taps = torch.tensor(lowpass(), dtype=torch.float64)
    assert taps.shape == (TAPS,)
    assert taps.sum().item() == pytest.approx(1)
    torch.testing.assert_close(taps, taps.flip(0))
    response = torch.fft.rfft(taps, 1200).abs()  # bins of 1/1200 of the higher rate
    assert response[:60].min() > 0.98  # up to a fifth of the lower rate's end all passes,
    assert response[300].item() == pytest.approx(0.5, abs=0.02)  # half at the end,
    assert response[480:].max() < 0.005  # and nothing well beyond


@pytest.mark.parametrize("length", [1, 2, 3, 8, 40, 333])
@pytest.mark.parametrize("grad", [False, True])
def test_it_is_what_is_defined(length: int, grad: bool) -> None:
    act = made(3)
    x = 2 * torch.randn(2, 3, 1, length)
    with torch.set_grad_enabled(grad):
        found = act(x)
    torch.testing.assert_close(found.double(), by_definition(act, x), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [1, 17, 64, 1000])
@pytest.mark.parametrize("channels_last", [False, True])
def test_strips_change_nothing(length: int, channels_last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    act = made(4)
    x = torch.randn(2, 4, 1, length)
    x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    plain = act(x).detach()
    with torch.no_grad():
        whole = act(x)
        for strip in (4 * 16, 4 * 23, 4 * 100):
            monkeypatch.setattr(snake, "_STRIP", strip)
            torch.testing.assert_close(act(x), whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(whole, plain, atol=1e-5, rtol=1e-5)


def test_a_constant_is_bent_as_it_is() -> None:
    act = made(2)
    x = torch.tensor([0.7, -1.3]).view(1, 2, 1, 1).expand(1, 2, 1, 50)
    alpha, beta = act.alpha.exp(), act.beta.exp()
    expected = x[0, :, 0, 0] + torch.sin(alpha * x[0, :, 0, 0]) ** 2 / beta
    with torch.no_grad():
        torch.testing.assert_close(act(x)[0, :, 0], expected[:, None].expand(2, 50), atol=1e-5, rtol=1e-5)


def test_a_high_tone_folds_back_much_less() -> None:
    """sin^2 of a tone at 0.35 of the rate is one at 0.7; sampled as it is, it appears at 0.3. The filters are short."""
    act = SmoothSnake(1)
    x = torch.sin(2 * math.pi * 0.35 * torch.arange(2000.0)).view(1, 1, 1, -1)
    bent = x + torch.sin(x) ** 2
    with torch.no_grad():
        smooth = act(x)
    spectra = [torch.fft.rfft(y.flatten()[500:1500] * torch.hann_window(1000)).abs() for y in (bent, smooth)]
    assert spectra[0][300] > 50
    assert spectra[1][300] < 0.3 * spectra[0][300]


def test_what_it_depends_on() -> None:
    act = made(1)
    x = torch.randn(1, 1, 1, 60, requires_grad=True)
    act(x)[..., 30].sum().backward()
    assert x.grad is not None
    heard = x.grad.flatten().nonzero().flatten()
    assert heard.min() >= 30 - REACH
    assert heard.max() <= 30 + REACH


def test_gradients() -> None:
    act = made(2).double()
    act.taps = act.taps.double()
    x = torch.randn(1, 2, 1, 9, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        return torch.func.functional_call(act, {"alpha": alpha, "beta": beta}, (x,))

    assert torch.autograd.gradcheck(run, (x, act.alpha, act.beta))
    with torch.no_grad():
        assert act(x).dtype == torch.float64  # not the strips, which are for float32
