"""The level of a generated sound, found again in a mixture, and a generated sound as a mask."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from soundsieve.dsp.stft import istft, stft
from soundsieve.metrics import sdr
from soundsieve.systems.flowsep.level import matching_gain
from soundsieve.systems.flowsep.project import project

RATE = 16000
T = 2 * RATE


def bursts() -> Tensor:
    """Tones that come and go."""
    t = torch.arange(T) / RATE
    tones = sum(torch.sin(2 * math.pi * f * t) for f in (440, 880, 1320, 3000))
    return (0.1 * tones * (torch.sin(2 * math.pi * 3 * t) > 0)).float()[None]  # type: ignore[union-attr]


def hiss(seed: int = 0) -> Tensor:
    return 0.05 * torch.randn(1, T, generator=torch.Generator().manual_seed(seed))


def made_anew(sound: Tensor, seed: int = 1) -> Tensor:
    """The same spectrogram in phases that have nothing to do with the sound's."""
    spectrum = stft(sound, n_fft=1024, hop_length=256)
    phases = 2 * math.pi * torch.rand(spectrum.shape, generator=torch.Generator().manual_seed(seed))
    for _ in range(10):  # Griffin and Lim: to phases that go together
        again = istft(torch.polar(spectrum.abs(), phases), n_fft=1024, hop_length=256, length=T)
        phases = stft(again, n_fft=1024, hop_length=256).angle()
    return again


def db(gain: Tensor) -> float:
    return float(20 * torch.log10(gain))


@pytest.mark.parametrize("snr_db", [15.0, 0.0, -10.0])
@pytest.mark.parametrize("wrong_db", [-5.0, 3.0, 20.0])
def test_the_level_is_found_under_another_sound(snr_db: float, wrong_db: float) -> None:
    sound, other = bursts(), hiss()
    other = other * (sound.norm() / other.norm()) * 10 ** (-snr_db / 20)
    answer = made_anew(sound) * 10 ** (wrong_db / 20)
    assert db(matching_gain(answer, sound + other, RATE)) == pytest.approx(-wrong_db, abs=2.5)


def test_an_answer_next_to_silence_is_not_blown_up() -> None:
    gain = matching_gain(1e-4 * made_anew(bursts()), hiss(), RATE)
    assert db(gain) == pytest.approx(6.0, abs=1e-3)


def test_silence_has_no_level() -> None:
    assert matching_gain(torch.zeros(2, T), hiss().expand(2, -1), RATE).tolist() == [1.0, 1.0]


def test_each_answer_has_its_own_level() -> None:
    answers = torch.cat([made_anew(bursts()), 0.5 * made_anew(bursts())])
    gains = matching_gain(answers, bursts().expand(2, -1), RATE)
    assert float(gains[1] / gains[0]) == pytest.approx(2.0, rel=1e-3)


def test_a_projected_sound_is_a_part_of_the_mixture() -> None:
    """Made anew it has no SDR to speak of; as a mask it takes the sound out."""
    sound, other = bursts(), hiss()
    mixture, answer = sound + other, made_anew(bursts())
    projected = project(mixture, answer)
    assert float(sdr(answer, sound)) < 3
    assert float(sdr(projected, sound)) > float(sdr(mixture, sound)) + 4
    assert projected.abs().max() <= 1.5 * mixture.abs().max()


def test_what_was_generated_as_loud_as_the_mixture_leaves_nothing() -> None:
    mixture = hiss()
    assert torch.allclose(project(mixture, 3 * mixture), mixture, atol=1e-6)
    assert project(mixture, torch.zeros_like(mixture)).abs().max() == 0


@pytest.mark.parametrize("samples", [1, 100, 1000])
def test_short_sounds(samples: int) -> None:
    mixture = hiss()[:, :samples]
    assert project(mixture, mixture).shape == mixture.shape
    assert torch.isfinite(matching_gain(mixture, mixture, RATE)).all()
