from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from soundsieve.errors import ConfigError
from soundsieve.nn import strips
from soundsieve.nn.resunet import ResUNet, ResUNetConfig
from soundsieve.nn.resunet30 import ResUNet30
from soundsieve.weights.config import from_dict, to_dict

Style = Literal["resunet30", "lassnet"]
STYLES: tuple[Style, ...] = ("resunet30", "lassnet")


def settled(module: nn.Module) -> nn.Module:
    """In evaluation, with batch norms that have seen something."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for norm in module.modules():
            if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
                for tensor in (norm.running_mean, norm.bias):
                    tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
                for tensor in (norm.running_var, norm.weight):
                    tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return module.eval()


def network(style: Style) -> nn.Module:
    torch.manual_seed(0)
    return settled(ResUNet(ResUNetConfig.debug(style)))


def inputs(frames: int = 45, batch: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(batch, frames, 33, generator=generator), torch.randn(batch, 16, generator=generator)


def close(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= 1e-5 * other.abs().max())


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("frames", [1, 3, 4, 5, 45])
def test_maps_have_the_spectrograms_size_and_are_zero_where_bins_are_left_out(style: Style, frames: int) -> None:
    net = network(style)
    with torch.inference_mode():
        maps = net(*inputs(frames))
    assert maps.shape == (1, net.config.maps, frames, 33)
    left_out = net.config.left_out
    assert (maps[..., -left_out:] == 0).all()
    assert (maps[..., :-left_out].abs() > 0).any(-1).all()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("rows", [1, 2, 8, 20, 1000])
@pytest.mark.parametrize("many", [1, 1000], ids=["winograd", "direct"])
def test_strips_and_folded_norms_change_nothing(
    style: Style, rows: int, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network(style)
    magnitude, embedding = inputs(77)
    whole = net(magnitude, embedding).detach()  # with gradients: in one piece, norm by norm
    monkeypatch.setattr(strips, "STRIP", rows * 12 * 32)  # the widest maps are 12 channels of 32 bins
    monkeypatch.setattr(strips, "MANY", many)
    made = 0
    plain = torch.empty

    def counted(*args: Any, **kwargs: Any) -> Tensor:
        nonlocal made
        made += "memory_format" in kwargs
        return plain(*args, **kwargs)

    monkeypatch.setattr(torch, "empty", counted)
    with torch.inference_mode():
        assert close(net(magnitude, embedding), whole)
    assert (made > 0) == (rows < 1000)


@pytest.mark.parametrize("style", STYLES)
def test_a_batch_of_two_is_two_batches_of_one(style: Style) -> None:
    net = network(style)
    magnitude, embedding = inputs(batch=2)
    alone = torch.cat([net(magnitude[i : i + 1], embedding[i : i + 1]) for i in range(2)]).detach()
    assert close(net(magnitude, embedding).detach(), alone)
    with torch.inference_mode():
        assert close(net(magnitude, embedding), alone)


@pytest.mark.parametrize("style", STYLES)
def test_every_parameter_learns(style: Style) -> None:
    net = network(style).train()
    magnitude, embedding = inputs(batch=2)
    (net(magnitude, embedding) ** 2).mean().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().any()]
    assert not without


@pytest.mark.parametrize("style", STYLES)
def test_what_is_folded_follows_the_weights(style: Style) -> None:
    net = network(style)
    given = inputs()
    with torch.inference_mode():
        net(*given)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.1)
        for norm in net.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_var.mul_(1.3)
                norm.running_mean.add_(0.1)
    whole = net(*given).detach()
    with torch.inference_mode():
        assert close(net(*given), whole)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("many", [1, 1000], ids=["winograd", "direct"])
def test_what_is_folded_follows_norms_that_have_heard_more(
    style: Style, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch does not count what a norm in training writes to its averages."""
    monkeypatch.setattr(strips, "MANY", many)
    net = network(style)
    given = inputs()
    with torch.inference_mode():
        net(*given)
    with torch.no_grad():
        net.train()(*inputs(batch=3))
    net.eval()
    whole = net(*given).detach()
    with torch.inference_mode():
        assert close(net(*given), whole)


def test_training_lets_go_of_what_is_folded() -> None:
    """Which also holds where an optimiser writes without being counted."""
    net = network("resunet30")
    given = inputs()
    with torch.inference_mode():
        net(*given)
    convolutions = [module for module in net.modules() if isinstance(module, strips.Conv)]
    assert any(conv._folded._entry for conv in convolutions)
    net.train()
    assert not any(conv._folded._entry or conv._transformed._entry for conv in convolutions)
    for parameter in net.parameters():
        parameter.data.mul_(1.1)
    whole = net.eval()(*given).detach()
    with torch.inference_mode():
        assert close(net(*given), whole)


@pytest.mark.parametrize("style", STYLES)
def test_nothing_is_folded_in_training(style: Style, monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms see the batch and learn from it, with and without gradients, before and after an answer."""
    monkeypatch.setattr(strips.Conv, "strip", None)
    net = network(style).train()
    given = inputs(batch=2)
    norms = [norm for norm in net.modules() if isinstance(norm, nn.BatchNorm2d)]
    for run in (torch.enable_grad(), torch.no_grad()):
        before = [norm.running_mean.clone() for norm in norms]
        with run:
            net(*given)
        assert all(bool((norm.running_mean != mean).any()) for norm, mean in zip(norms, before, strict=True))
    assert all(int(norm.num_batches_tracked) == 2 for norm in norms)


@pytest.mark.parametrize("style", STYLES)
def test_what_is_folded_is_not_saved(style: Style) -> None:
    net = network(style)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with torch.inference_mode():
        net(*inputs())
    after = net.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    net.train()
    assert all(norm.training for norm in net.modules() if isinstance(norm, nn.BatchNorm2d))


@pytest.mark.parametrize("style", STYLES)
def test_under_autocast_answers_are_as_exact_as_in_training(style: Style, monkeypatch: pytest.MonkeyPatch) -> None:
    """A validation in the middle of a bf16 training."""
    monkeypatch.setattr(strips, "MANY", 1)
    net = network(style)
    given = inputs()
    exact = net(*given).detach()
    with torch.inference_mode():
        net(*given)  # what is kept for float32 is not taken for bf16
    with torch.autocast("cpu", torch.bfloat16):
        whole = net(*given).detach()
        with torch.inference_mode():
            found = net(*given)
    assert 0 < (found - exact).norm() < 1.5 * (whole - exact).norm()


@pytest.mark.parametrize("style", STYLES)
def test_the_query_reaches_every_map(style: Style) -> None:
    net = network(style)
    magnitude, embedding = inputs()
    with torch.inference_mode():
        change = (net(magnitude, embedding) - net(magnitude, -embedding)).abs()
    assert (change.amax((0, 2, 3)) > 1e-3).all()


def test_shifts_of_the_style_of_lassnet_are_never_negative() -> None:
    net = network("lassnet")
    embedding = torch.randn(50, 16)
    shifts = [shift for block in net.center.blocks for shift in block.shifts(embedding)]
    assert all((shift >= 0).all() for shift in shifts)
    assert any((shift > 0).any() for shift in shifts)


def test_the_top_bin_is_silenced_and_the_mask_is_below_one() -> None:
    torch.manual_seed(0)
    net = settled(ResUNet30(64, 32, ResUNetConfig.debug()))
    with torch.inference_mode():
        mask = net._mask(net.net(*inputs()))
    assert mask.shape == (1, 45, 33)
    assert (mask[..., -1] == 0).all()
    assert ((mask[..., :-1].abs() > 0) & (mask[..., :-1].abs() < 1)).all()
    assert (mask.imag.abs() > 1e-3).any()  # the phase is turned


def test_silence_stays_silence() -> None:
    torch.manual_seed(0)
    net = settled(ResUNet30(64, 32, ResUNetConfig.debug()))
    with torch.inference_mode():
        assert (net(torch.zeros(1, 1000), torch.randn(1, 16)) == 0).all()


def test_shorter_than_a_window() -> None:
    net = settled(ResUNet30(64, 32, ResUNetConfig.debug()))
    with torch.inference_mode():
        for samples in (1, 2, 31, 33, 65):
            assert net(torch.randn(1, samples), torch.randn(1, 16)).shape == (1, samples)


def test_the_config_survives_the_way_through_json() -> None:
    for config in (ResUNetConfig(), ResUNetConfig.debug("lassnet")):
        assert from_dict(ResUNetConfig, to_dict(config)) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": ()}, "one entry a level"),
        ({"channels": (4, 8)}, "one entry a level"),
        ({"channels": (4, 8, 0, 8, 8, 8)}, "at least 1"),
        ({"condition": 0}, "at least 1"),
        ({"maps": 0}, "at least 1"),
        ({"style": "lassnet"}, r"every stride is \(2, 2\)"),
    ],
)
def test_sizes_that_do_not_fit(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ResUNetConfig(**settings)


def test_a_transform_that_does_not_fit_the_strides() -> None:
    with pytest.raises(ConfigError, match="n_fft 1000 must be a multiple of 128"):
        ResUNet30(1000, 320, ResUNetConfig())
