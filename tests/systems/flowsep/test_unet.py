from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from soundsieve.errors import ConfigError
from soundsieve.systems.flowsep import blocks
from soundsieve.systems.flowsep.unet import FlowUNet, FlowUNetConfig, TimeEmbedding

DEEP = FlowUNetConfig(
    latent_channels=2,
    outputs=3,
    channels=4,
    multipliers=(1, 2, 3),
    blocks=2,
    attention=(True, False, True),
    head_width=2,
    context_width=6,
    groups=2,
)


def grown(config: FlowUNetConfig) -> FlowUNet:
    """A network of which nothing is zero, as after some training."""
    torch.manual_seed(0)
    net = FlowUNet(config).eval()
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    return net


@pytest.fixture(scope="module", params=["debug", "deep"])
def unet(request: pytest.FixtureRequest) -> FlowUNet:
    return grown(FlowUNetConfig.debug() if request.param == "debug" else DEEP)


def inputs(net: FlowUNet, batch: int = 1, frames: int = 8, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, mixture = torch.randn(2, batch, net.config.latent_channels, frames, 4, generator=generator)
    tokens = torch.randn(batch, 5, net.config.context_width, generator=generator)
    return x, mixture, torch.rand(batch, generator=generator), tokens


@pytest.mark.parametrize("frames", [4, 8, 20, 36])
def test_any_length(unet: FlowUNet, frames: int) -> None:
    with torch.no_grad():
        assert unet(*inputs(unet, 2, frames)).shape == (2, 2, frames, 4)


def test_no_length_that_cannot_be_halved(unet: FlowUNet) -> None:
    with pytest.raises(ConfigError, match=f"multiples of {unet.config.factor}"):
        unet(*inputs(unet, 1, 9))


def test_nothing_moves_at_first() -> None:
    net = FlowUNet(FlowUNetConfig.debug())
    assert not net(*inputs(net)).any()


def test_a_batch_is_its_members(unet: FlowUNet) -> None:
    given = inputs(unet, 3)
    with torch.no_grad():
        apart = torch.cat([unet(*(part[i : i + 1] for part in given)) for i in range(3)])
        torch.testing.assert_close(unet(*given), apart, atol=1e-5, rtol=1e-4)


def test_texts_are_read_once(unet: FlowUNet) -> None:
    x, mixture, t, tokens = inputs(unet, 2)
    with torch.no_grad():
        torch.testing.assert_close(unet.velocity(x, mixture, t, unet.read(tokens)), unet(x, mixture, t, tokens))
        one = unet.velocity(x, mixture, t, unet.read(tokens[:1]))  # one text for all
        torch.testing.assert_close(one, unet(x, mixture, t, tokens[:1].expand(2, -1, -1)), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("part", range(4))
def test_everything_given_counts(unet: FlowUNet, part: int) -> None:
    given = list(inputs(unet))
    with torch.no_grad():
        before = unet(*given)
        given[part] = given[part] + 0.5
        assert (unet(*given) - before).abs().max() > 1e-3


def test_padding_does_not_count(unet: FlowUNet) -> None:
    x, mixture, t, tokens = inputs(unet, 2)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]])
    with torch.no_grad():
        found = unet(x, mixture, t, tokens, mask)
        other = torch.where(mask.bool()[..., None], tokens, 100.0)
        torch.testing.assert_close(unet(x, mixture, t, other, mask), found)
        alone = unet(x[:1], mixture[:1], t[:1], tokens[:1, :3])
        torch.testing.assert_close(found[:1], alone, atol=1e-5, rtol=1e-4)
        assert (unet(x, mixture, t, tokens) - found).abs().max() > 1e-4


def test_a_text_of_padding_alone(unet: FlowUNet) -> None:
    x, mixture, t, tokens = inputs(unet, 2)
    mask = torch.tensor([[0, 0, 0, 0, 0], [1, 1, 1, 1, 0]])
    with torch.no_grad():
        found = unet(x, mixture, t, 0 * tokens, mask)
    assert found.isfinite().all()


def test_gradients_reach_everything(unet: FlowUNet) -> None:
    net = FlowUNet(replace(unet.config, dropout=0.1))
    net.load_state_dict(unet.state_dict())
    x, mixture, t, tokens = inputs(net, 2)
    tokens.requires_grad_()
    (net(x, mixture, t, tokens) - x).square().mean().backward()
    unused = net.config.outputs > net.config.latent_channels
    missed = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert missed == []
    assert tokens.grad is not None
    if unused:
        assert net.out.bias.grad[net.config.latent_channels :].eq(0).all()  # type: ignore[index, union-attr]


def test_large_maps_make_no_difference(unet: FlowUNet, monkeypatch: pytest.MonkeyPatch) -> None:
    given = inputs(unet, 2, 40)
    plain = unet(*given).detach()
    monkeypatch.setattr(blocks, "_LARGE", 1)
    monkeypatch.setattr(blocks, "MANY", 1)
    monkeypatch.setattr("soundsieve.nn.strips.MANY", 1)
    monkeypatch.setattr(blocks, "has_fast_products", lambda _x: True)
    with torch.inference_mode():
        torch.testing.assert_close(unet(*given), plain, atol=2e-5 * float(plain.abs().max()), rtol=0)


def test_times_are_cosines_then_sines() -> None:
    embedding = TimeEmbedding(6, 5)
    with torch.no_grad():
        nn.init.eye_(embedding.hidden.weight)
        nn.init.zeros_(embedding.hidden.bias)
        waves: list[Tensor] = []
        embedding.hidden.register_forward_pre_hook(lambda _m, given: waves.append(given[0]))
        embedding(torch.tensor([0.7]))
    slower = [0.7 * 10000 ** (-k / 3) for k in range(3)]
    torch.testing.assert_close(waves[0][0], torch.tensor([*map(math.cos, slower), *map(math.sin, slower)]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": 0},
        {"multipliers": ()},
        {"outputs": 7},
        {"attention": (True,)},
        {"groups": 48},
        {"head_width": 48},
        {"dropout": 1.0},
    ],
)
def test_wrong_sizes(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="FlowSep's UNet: "):
        replace(FlowUNetConfig.base(), **wrong)  # type: ignore[arg-type]
