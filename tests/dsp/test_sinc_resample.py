from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from soundsieve.dsp.sinc_resample import sinc_resample


def tone(hz: float, sample_rate: int, seconds: float = 0.1) -> Tensor:
    return torch.sin(2 * math.pi * hz * torch.arange(round(seconds * sample_rate), dtype=torch.float64) / sample_rate)[
        None
    ]


def direct(x: list[float], old: int, new: int) -> list[float]:
    """The formula of the module's head, sample by sample."""

    def pulse(t: float) -> float:
        u = 0.99 * min(old, new) * t
        if abs(u) >= 6:
            return 0.0
        sinc = 1.0 if u == 0 else math.sin(math.pi * u) / (math.pi * u)
        return 0.99 * min(old, new) / old * sinc * math.cos(math.pi * u / 12) ** 2

    n = math.ceil(len(x) * new / old)
    return [sum(v * pulse(k / old - j / new) for k, v in enumerate(x)) for j in range(n)]


@pytest.mark.parametrize(("old", "new"), [(2, 3), (3, 2), (1, 2), (147, 160)])
@pytest.mark.parametrize("samples", [1, 7, 100])
def test_equals_the_formula(old: int, new: int, samples: int) -> None:
    x = torch.randn(samples, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.tensor(direct(x.tolist(), old, new), dtype=torch.float64)
    torch.testing.assert_close(sinc_resample(x[None], 100 * old, 100 * new)[0], expected, atol=1e-12, rtol=0)


def test_equal_rates_change_nothing() -> None:
    x = torch.randn(2, 10)
    assert sinc_resample(x, 32000, 32000) is x


def test_a_tone_keeps_its_pitch_and_level() -> None:
    up = sinc_resample(tone(1000, 32000), 32000, 48000)
    inner = slice(100, -100)
    torch.testing.assert_close(up[:, inner], tone(1000, 48000)[:, inner], atol=2e-3, rtol=0)


def test_a_tone_above_the_new_limit_vanishes() -> None:
    down = sinc_resample(tone(21000, 48000), 48000, 32000)
    assert down[:, 100:-100].abs().max() < 0.01


def test_gradients_pass() -> None:
    x = torch.randn(2, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: sinc_resample(x, 2, 3), x)
