from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from soundsieve.nn.winograd import TILE, convolve, transformed


def given(rows: int, inputs: int = 5, outputs: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(1, inputs, rows + 2, 7, generator=generator).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(outputs, inputs, 3, 3, generator=generator)
    return x, weight, torch.randn(outputs, generator=generator)


@pytest.mark.parametrize("rows", [1, TILE - 1, TILE, TILE + 1, 30])
def test_is_the_convolution(rows: int) -> None:
    x, weight, bias = given(rows)
    with torch.inference_mode():
        y = convolve(x, transformed(weight), bias)
        exact = F.conv2d(x.double(), weight.double(), bias.double(), padding=(0, 1))
    assert y.shape == exact.shape
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert (y - exact).abs().max() <= 2e-6 * exact.abs().max()


def test_a_convolution_without_bias() -> None:
    x, weight, _ = given(8)
    with torch.inference_mode():
        assert torch.equal(convolve(x, transformed(weight)), convolve(x, transformed(weight), torch.zeros(len(weight))))


def test_the_error_stays_that_of_float32_where_channels_are_many() -> None:
    x, weight, _ = given(16, 256, 128)
    with torch.inference_mode():
        y = convolve(x, transformed(weight))
        exact = F.conv2d(x.double(), weight.double(), padding=(0, 1))
    assert (y - exact).norm() <= 2e-6 * exact.norm()


def test_filters_by_hand() -> None:
    """A filter that looks one row down moves the map up; its weights are the last column of G."""
    x = torch.arange(12.0).reshape(1, 1, 6, 2).contiguous(memory_format=torch.channels_last)
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 2, 1] = 1
    six = transformed(weight)
    assert torch.allclose(six[:, 0, 0, 0, 1], torch.tensor([0, -1 / 6, -1 / 6, 1 / 6, 1 / 6, 1]))
    with torch.inference_mode():
        assert torch.allclose(convolve(x, six), x[:, :, 2:], atol=1e-5)
