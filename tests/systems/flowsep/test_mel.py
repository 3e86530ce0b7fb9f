from __future__ import annotations

import math

import pytest
import torch

from soundsieve.dsp.mel import mel_to_hz
from soundsieve.errors import ConfigError
from soundsieve.systems.flowsep.mel import LogMel, MelConfig


@pytest.fixture(scope="module")
def mel() -> LogMel:
    return LogMel(MelConfig.base())


def tone(hz: float, samples: int = 16000) -> torch.Tensor:
    return 0.5 * torch.sin(2 * math.pi * hz * torch.arange(samples) / 16000)[None]


@pytest.mark.parametrize(("samples", "frames"), [(163840, 1024), (160, 1), (161, 2), (1, 1), (16000, 100)])
def test_a_frame_for_every_hop(mel: LogMel, samples: int, frames: int) -> None:
    assert mel.frames(samples) == frames
    assert mel(torch.zeros(2, samples)).shape == (2, 1, frames, 64)


def test_silence_is_at_the_floor(mel: LogMel) -> None:
    assert torch.equal(mel(torch.zeros(1, 1600)), torch.full((1, 1, 10, 64), 1e-5).log())


@pytest.mark.parametrize("hz", [200.0, 1000.0, 6000.0])
def test_a_tone_is_loudest_in_its_band(mel: LogMel, hz: float) -> None:
    edges = mel_to_hz(torch.linspace(0, 45.245640, 66).double().numpy())  # 8 kHz is 15 + 27 ln 8 / ln 6.4 mels
    band = int(mel(tone(hz))[0, 0, 50].argmax())
    assert edges[band] < hz < edges[band + 2]


def test_twice_the_amplitude_is_ln_2_more(mel: LogMel) -> None:
    loud, quiet = mel(tone(1000)), mel(tone(1000) / 2)
    audible = quiet > math.log(1e-4)
    assert audible.sum() > 500
    torch.testing.assert_close((loud - quiet)[audible], torch.full_like(loud, math.log(2))[audible], atol=1e-4, rtol=0)


def test_what_exceeds_full_scale_is_clipped(mel: LogMel) -> None:
    x = 4 * tone(300)
    assert torch.equal(mel(x), mel(x.clamp(-1, 1)))


def test_autocast_makes_no_difference(mel: LogMel) -> None:
    x = tone(1000)
    with torch.autocast("cpu", torch.bfloat16):
        found = mel(x)
    assert found.dtype == torch.float32
    assert torch.equal(found, mel(x))


@pytest.mark.parametrize(
    "wrong", [{"hop_length": 0}, {"hop_length": 600}, {"fmax_hz": 8001.0}, {"fmin_hz": 9000.0}, {"floor": 0.0}]
)
def test_wrong_sizes(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="mel: "):
        MelConfig(**wrong)  # type: ignore[arg-type]
