from __future__ import annotations

import pytest
import torch
from torch import nn

from soundsieve.systems.flowsep import blocks
from soundsieve.systems.flowsep.blocks import Conv, Doubling, ResBlock, activated, scale_and_shift


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_LARGE", 1)
    monkeypatch.setattr(blocks, "MANY", 1)
    monkeypatch.setattr("soundsieve.nn.strips.MANY", 1)
    monkeypatch.setattr("soundsieve.nn.strips.STRIP", 1)  # strips of two rows


@pytest.mark.parametrize("shape", [(1, 8, 1, 1), (2, 8, 13, 5), (1, 8, 40, 2)])
@pytest.mark.parametrize("outputs", [8, 12])
def test_large_maps_are_made_in_strips(shape: tuple[int, ...], outputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    block = ResBlock(8, outputs, groups=4, eps=1e-6, time_width=6).eval()
    x, time = 3 + 2 * torch.randn(shape), torch.randn(shape[0], 6)
    kept = x.clone()
    plain = block(x, time)
    everything_is_large(monkeypatch)
    with torch.inference_mode():
        found = block(x, time)
    torch.testing.assert_close(found, plain.detach(), atol=1e-5, rtol=1e-5)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("shape", [(1, 6, 1, 1), (2, 6, 3, 4), (1, 6, 7, 2)])
def test_doubling_by_a_transposed_convolution(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = Doubling(6).eval(), torch.randn(shape)
    plain = layer(x)
    assert plain.shape == (shape[0], 6, 2 * shape[2], 2 * shape[3])
    by_hand = nn.functional.conv2d(
        x.repeat_interleave(2, 2).repeat_interleave(2, 3), layer.weight, layer.bias, padding=1
    )
    torch.testing.assert_close(plain, by_hand)
    everything_is_large(monkeypatch)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), plain.detach(), atol=2e-6, rtol=1e-5)


def test_doubling_follows_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    everything_is_large(monkeypatch)
    layer, x = Doubling(2).eval(), torch.randn(1, 2, 3, 3)
    with torch.no_grad():
        before = layer(x)
        layer.weight.mul_(2)
        layer.bias.mul_(2)  # type: ignore[union-attr]
        torch.testing.assert_close(layer(x), 2 * before)


def test_few_places_are_a_matrix_product(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = Conv(3, 40, 3).eval(), torch.randn(2, 3, 4, 2)
    plain = nn.functional.conv2d(x, layer.weight, layer.bias, padding=1).detach()
    torch.testing.assert_close(layer(x).detach(), plain)
    monkeypatch.setattr(blocks, "has_fast_products", lambda _x: True)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), plain, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_a_norm_as_scale_and_shift(offset: float) -> None:
    norm = nn.GroupNorm(4, 8, eps=1e-5).requires_grad_(False)
    norm.weight.normal_()
    norm.bias.normal_()
    x = (offset + torch.randn(1, 8, 33, 6)).contiguous(memory_format=torch.channels_last)
    scale, shift = scale_and_shift(norm, x)
    exact = nn.functional.group_norm(x.double(), 4, norm.weight.double(), norm.bias.double(), 1e-5)
    torch.testing.assert_close((scale.double() * x + shift), exact, atol=2e-6 * (1 + offset), rtol=1e-5)


def test_training_keeps_what_gradients_need() -> None:
    block, x = ResBlock(4, 4, groups=2, eps=1e-6, dropout=0.5), torch.randn(1, 4, 40, 40, requires_grad=True)
    block(x).square().sum().backward()
    assert x.grad is not None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in block.parameters())
    assert not torch.equal(block(x), block(x))  # dropout
    assert torch.equal(block.eval()(x), block(x))


def test_activation_leaves_its_input() -> None:
    norm, x = nn.GroupNorm(2, 4), torch.randn(1, 4, 3, 3)
    kept = x.clone()
    with torch.no_grad():
        torch.testing.assert_close(activated(norm, x), nn.functional.silu(norm(x)))
    assert torch.equal(x, kept)
