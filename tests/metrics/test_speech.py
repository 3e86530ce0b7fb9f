import importlib.util
import math
import sys
import types
import warnings

import numpy as np
import pytest
import torch

from soundsieve.errors import ConfigError
from soundsieve.metrics import pesq, segmental_snr
from soundsieve.metrics.speech import MAX_DB, MIN_DB

RATE = 16000
real = pytest.mark.skipif(importlib.util.find_spec("pesq") is None, reason="pesq is not installed")


def speech(seed: int = 0, seconds: float = 1.5) -> torch.Tensor:
    """Something that PESQ takes for speech: a buzz with formants and syllables."""
    time = torch.arange(round(seconds * RATE)) / RATE
    generator = torch.Generator().manual_seed(seed)
    harmonics = torch.arange(1, 30)
    weight = torch.exp(-((harmonics * 120.0 - 600) / 500).square()) + 0.3 * torch.exp(
        -((harmonics * 120.0 - 2000) / 400).square()
    )
    phase = 2 * torch.pi * torch.rand(29, generator=generator)
    buzz = (weight[:, None] * torch.sin(2 * torch.pi * 120 * harmonics[:, None] * time + phase[:, None])).sum(0)
    syllables = torch.sin(2 * torch.pi * 3 * time).clamp_min(0) + 0.01
    return 0.1 * buzz * syllables


def noisy(reference: torch.Tensor, level: float = 0.05, seed: int = 1) -> torch.Tensor:
    return reference + level * torch.randn(reference.shape, generator=torch.Generator().manual_seed(seed))


def slow_ssnr(estimate: np.ndarray, reference: np.ndarray, rate: int) -> float:
    """The published MATLAB code, line by line."""
    eps = np.finfo(float).eps
    size = round(30 * rate / 1000)
    skip = math.floor(size / 4)
    count = math.floor(len(reference) / skip - size / skip)
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(1, size + 1) / (size + 1)))
    values = []
    for start in range(0, count * skip, skip):
        clean = reference[start : start + size] * window
        error = clean - estimate[start : start + size] * window
        ratio = 10 * np.log10((clean**2).sum() / ((error**2).sum() + eps) + eps)
        values.append(min(max(ratio, -10), 35))
    return float(np.mean(values))


@pytest.mark.parametrize(("rate", "length"), [(16000, 16000), (16000, 12345), (8000, 4001), (44100, 9999)])
def test_segmental_snr_agrees_with_the_published_loop(rate: int, length: int):
    reference = speech()[:length].double()
    reference[2000:3000] = 0  # frames without sound
    estimate = noisy(reference, 0.02)
    expected = slow_ssnr(estimate.numpy(), reference.numpy(), rate)
    assert segmental_snr(estimate, reference, sample_rate=rate).item() == pytest.approx(expected, abs=1e-9)


def test_segmental_snr_is_kept_within_its_bounds():
    reference = torch.randn(3, 2, 4000, generator=torch.Generator().manual_seed(0))
    assert (segmental_snr(reference, reference, sample_rate=RATE) == MAX_DB).all()
    assert (segmental_snr(100 * reference, reference, sample_rate=RATE) == MIN_DB).all()
    assert segmental_snr(0 * reference, reference, sample_rate=RATE).abs().max() == 0
    assert segmental_snr(reference, reference, sample_rate=RATE).shape == (3, 2)
    half_silent = reference.clone()
    half_silent[..., :2000] = 0
    found = segmental_snr(half_silent, half_silent, sample_rate=RATE)
    assert (found < 20).all()  # what is silent in the reference counts as -10 dB, as published


def test_segmental_snr_refuses_what_has_no_value():
    reference = torch.ones(4000)
    with pytest.raises(ValueError, match="silent"):
        segmental_snr(reference, 0 * reference, sample_rate=RATE)
    with pytest.raises(ValueError, match="differ in shape"):
        segmental_snr(reference[1:], reference, sample_rate=RATE)
    for length in (1, 479, 480):
        with pytest.raises(ValueError, match="too short for a frame"):
            segmental_snr(reference[:length], reference[:length], sample_rate=RATE)
    spoilt = reference.repeat(2, 1)
    spoilt[0, 5] = math.nan
    assert segmental_snr(spoilt, reference.repeat(2, 1), sample_rate=RATE).isnan().tolist() == [True, False]


@real
def test_pesq_agrees_with_torchmetrics():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchmetrics.functional.audio.pesq import perceptual_evaluation_speech_quality as expected

    reference = torch.stack([speech(0), speech(1)])
    estimate = noisy(reference)
    for mode, rate in (("wb", 16000), ("nb", 16000), ("nb", 8000)):
        found = pesq(estimate, reference, sample_rate=rate, wide_band=mode == "wb")
        torch.testing.assert_close(found, expected(estimate, reference, rate, mode).double(), atol=1e-4, rtol=0)
        assert found.dtype == torch.float64


@real
def test_pesq_falls_with_noise():
    reference = speech()
    clean, light, heavy = (pesq(noisy(reference, level), reference).item() for level in (0, 0.002, 0.05))
    assert clean == pytest.approx(4.64, abs=0.01)
    assert clean > light > heavy >= 1
    assert pesq(0.1 * reference, reference).item() == pytest.approx(clean, abs=0.01)  # it aligns levels itself


@real
def test_pesq_decides_what_has_no_speech():
    reference = torch.stack([speech(), speech(1)])
    for hardly in (0.0, 1e-30, 1e-16):
        assert pesq(torch.stack([hardly * reference[0], reference[1]]), reference)[0].item() == 1
    assert pesq(1e-12 * reference, reference)[0].item() > 1
    spoilt = reference.clone()
    spoilt[1, 3] = math.nan
    assert pesq(spoilt, reference).isnan().tolist() == [False, True]
    with pytest.raises(ValueError, match="too short"):
        pesq(reference[..., :100], reference[..., :100] + 0.1)


def test_pesq_refuses_what_it_is_not_defined_for(monkeypatch: pytest.MonkeyPatch):
    reference = speech()
    for rate, wide in ((8000, True), (44100, True), (44100, False)):
        with pytest.raises(ValueError, match=r"resample both"):
            pesq(reference, reference, sample_rate=rate, wide_band=wide)
    with pytest.raises(ValueError, match="silent"):
        pesq(reference, 0 * reference)
    monkeypatch.setitem(sys.modules, "pesq", None)
    with pytest.raises(ConfigError, match=r"pip install 'soundsieve\[eval\]'"):
        pesq(reference, reference)


def test_pesq_is_asked_in_the_order_that_its_package_takes(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def fake(rate: int, clean: np.ndarray, answer: np.ndarray, mode: str) -> float:
        if len(clean) < 5:
            raise package.BufferTooShortError
        if answer[0] > 1:
            raise package.NoUtterancesError
        asked.append((rate, clean[0], answer[0], mode))
        return 2.5

    package = types.SimpleNamespace(
        pesq=fake, BufferTooShortError=type("A", (RuntimeError,), {}), NoUtterancesError=type("B", (RuntimeError,), {})
    )
    monkeypatch.setitem(sys.modules, "pesq", package)
    found = pesq(torch.full((1, 2, 10), 0.25), torch.full((1, 2, 10), 0.5), sample_rate=8000, wide_band=False)
    assert asked == [(8000, 0.5, 0.25, "nb")] * 2
    assert found.tolist() == [[2.5, 2.5]]
    with pytest.raises(ValueError, match=r"needs 0\.25 s"):
        pesq(torch.ones(3), torch.ones(3))
    with pytest.raises(ValueError, match="no speech"):
        pesq(torch.full((10,), 2.0), torch.ones(10))
