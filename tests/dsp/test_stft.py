"""STFT: the inverse returns the signal, and a tone is where it should be."""

import pytest
import torch

from soundsieve.dsp.stft import istft, n_frames, stft


@pytest.mark.parametrize(("n_fft", "hop_length"), [(2048, 640), (1024, 320), (512, 100)])
@pytest.mark.parametrize("length", [1, 5, 639, 640, 1000, 32000, 160001])
def test_the_inverse_returns_the_signal(n_fft: int, hop_length: int, length: int) -> None:
    x = torch.randn(2, 3, length, generator=torch.Generator().manual_seed(length))
    spectrum = stft(x, n_fft=n_fft, hop_length=hop_length)
    assert spectrum.shape == (2, 3, n_fft // 2 + 1, n_frames(length, hop_length))
    torch.testing.assert_close(istft(spectrum, n_fft=n_fft, hop_length=hop_length, length=length), x, atol=2e-6, rtol=0)


def test_a_tone_peaks_in_its_bin_with_half_the_windows_sum() -> None:
    t = torch.arange(32000) / 32000
    spectrum = stft(torch.cos(2 * torch.pi * 1000 * t), n_fft=1024, hop_length=320).abs()[:, 20]
    assert spectrum.argmax() == 32  # 1000 Hz / (32000 / 1024)
    assert spectrum[32].item() == pytest.approx(512 / 2, rel=1e-3)  # the Hann window adds up to n_fft / 2
