from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from soundsieve.errors import ConfigError
from soundsieve.systems.flowsep import bigvgan
from soundsieve.systems.flowsep.bigvgan import BigVGAN, BigVGANConfig

SMALL = replace(BigVGANConfig.debug(), bands=8)


@pytest.fixture(scope="module")
def vocoder() -> BigVGAN:
    torch.manual_seed(0)
    model = BigVGAN(SMALL).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("alpha", "beta")):
                parameter.normal_(std=0.3)
    return model


def mel(frames: int, batch: int = 1) -> Tensor:
    return 2 * torch.randn(batch, SMALL.bands, frames, generator=torch.Generator().manual_seed(frames)) - 4


@pytest.mark.parametrize("frames", [1, 2, 7, 100])
def test_lengths(vocoder: BigVGAN, frames: int) -> None:
    with torch.no_grad():
        waveform = vocoder(mel(frames, 2))
    assert waveform.shape == (2, SMALL.samples(frames))
    assert SMALL.samples(frames) == 160 * frames + 32  # a kernel of 16 at a rate of 5 gives one sample more
    assert waveform.abs().max() <= 1
    assert waveform.std() > 0


def test_with_and_without_gradients(vocoder: BigVGAN) -> None:
    spectrogram = mel(20, 2)
    plain = vocoder(spectrogram)
    assert plain.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(vocoder(spectrogram), plain.detach(), atol=2e-5, rtol=0)
    with torch.inference_mode():
        torch.testing.assert_close(vocoder(spectrogram), plain.detach(), atol=2e-5, rtol=0)


def test_a_batch_is_its_members(vocoder: BigVGAN) -> None:
    spectrogram = mel(20, 3)
    with torch.no_grad():
        each = torch.cat([vocoder(one[None]) for one in spectrogram])
        torch.testing.assert_close(vocoder(spectrogram), each, atol=1e-5, rtol=0)


@pytest.mark.parametrize("frames", [60, 61, 177])
def test_long_spectrograms_are_made_in_parts(vocoder: BigVGAN, frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spectrogram = mel(frames)
    seen: list[int] = []
    whole = vocoder._whole
    with torch.no_grad():
        expected = vocoder(spectrogram)
        monkeypatch.setattr(bigvgan, "_FRAMES", 25)
        monkeypatch.setattr(vocoder, "_whole", lambda x: (seen.append(x.shape[2]), whole(x))[1])
        torch.testing.assert_close(vocoder(spectrogram), expected, atol=1e-5, rtol=0)
    assert len(seen) == -(-frames // 25)
    assert max(seen) <= 25 + 2 * SMALL.reach


@pytest.mark.parametrize("config", [SMALL, BigVGANConfig(bands=4, channels=4, rates=(3, 2), kernels=(7, 2))])
def test_no_sample_depends_on_frames_out_of_reach(config: BigVGANConfig) -> None:
    torch.manual_seed(1)
    model = BigVGAN(config)
    frames = 2 * config.reach + 9
    spectrogram = torch.randn(1, config.bands, frames, requires_grad=True)
    middle = frames // 2
    hop = config.hop_length
    model(spectrogram)[0, hop * middle : hop * (middle + 1)].abs().sum().backward()
    assert spectrogram.grad is not None
    heard = spectrogram.grad[0].abs().sum(0).nonzero().flatten()
    assert middle - config.reach <= heard.min()
    assert heard.max() <= middle + config.reach


def test_every_parameter_is_trained() -> None:
    torch.manual_seed(0)
    model = BigVGAN(SMALL)
    target = 0.1 * torch.randn(1, SMALL.samples(10))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(8):
        loss = (model(mel(10)) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_presets() -> None:
    base = BigVGANConfig.base()
    with torch.device("meta"):
        model = BigVGAN(base)
    assert sum(parameter.numel() for parameter in model.parameters()) == 13_953_825
    assert base.samples(1024) == 163_872
    for config in (base, BigVGANConfig.debug()):
        assert (config.bands, config.hop_length) == (64, 160)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 0}, "sizes are at least 1"),
        ({"rates": ()}, "one stage, block and dilation or more"),
        ({"kernels": (16, 16)}, "5 rates need as many kernels, not 2"),
        ({"kernels": (4, 16, 8, 4, 4)}, "each kernel must be at least its rate"),
        ({"channels": 48}, "channels 48 cannot be halved 5 times"),
        ({"block_kernels": (4,)}, "kernels of blocks are odd"),
    ],
)
def test_configs_that_cannot_be(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(BigVGANConfig(), **changes)  # type: ignore[arg-type]
