from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from soundsieve.errors import ConfigError
from soundsieve.systems.flowsep import vae as vae_file
from soundsieve.systems.flowsep.vae import VAE, Posterior, VAEConfig, attended


@pytest.fixture(scope="module")
def vae() -> VAE:
    torch.manual_seed(0)
    return VAE(VAEConfig.debug()).eval()


def mel(frames: int, batch: int = 1) -> Tensor:
    return 2 * torch.randn(batch, 1, frames, 16, generator=torch.Generator().manual_seed(frames)) - 4


@pytest.mark.parametrize("frames", [4, 12, 40, 100])
def test_any_length_of_whole_latents(vae: VAE, frames: int) -> None:
    with torch.no_grad():
        posterior = vae.encode(mel(frames, 2))
        assert posterior.mean.shape == posterior.log_variance.shape == (2, 2, frames // 4, 4)
        assert vae.decode(posterior.mean).shape == (2, 1, frames, 16)


@pytest.mark.parametrize("shape", [(1, 1, 10, 16), (1, 1, 12, 18)])
def test_no_part_of_a_latent(vae: VAE, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="multiples of 4"):
        vae.encode(torch.zeros(shape))


def test_a_batch_is_its_members(vae: VAE) -> None:
    both = mel(24, 2)
    with torch.no_grad():
        together, apart = vae.encode(both), [vae.encode(one[None]) for one in both]
        torch.testing.assert_close(together.mean, torch.cat([one.mean for one in apart]), atol=1e-5, rtol=1e-5)
        decoded = torch.cat([vae.decode(one.mean) for one in apart])
        torch.testing.assert_close(vae.decode(together.mean), decoded, atol=1e-5, rtol=1e-5)


def test_halving_looks_ahead_and_not_back(vae: VAE) -> None:
    layer = vae.encoder.levels[0].resample
    x = torch.randn(1, 8, 6, 4, requires_grad=True)
    layer(x)[0, :, 1].sum().backward()
    assert x.grad is not None
    assert x.grad[0].abs().sum((0, 2)).ne(0).tolist() == [False, False, True, True, True, False]


def test_a_wider_vae_of_other_sizes() -> None:
    config = VAEConfig(channels=6, multipliers=(1, 3), blocks=2, latent_channels=3, groups=3)
    net = VAE(config).eval()
    with torch.no_grad():
        again, posterior = net(mel(10), torch.zeros(1, 3, 5, 8))
    assert config.factor == 2
    assert again.shape == (1, 1, 10, 16)
    assert posterior.mean.shape == (1, 3, 5, 8)


def test_a_posterior_is_in_float32_under_autocast(vae: VAE) -> None:
    spectrogram = mel(24, 2)
    exact = vae.encode(spectrogram)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = vae.encode(spectrogram)
        assert rounded.mean.dtype == rounded.kl().dtype == torch.float32
    torch.testing.assert_close(rounded.mean, exact.mean, atol=0.1, rtol=0.1)


def test_gradients_reach_everything() -> None:
    net = VAE(replace(VAEConfig.debug(), dropout=0.1))
    again, posterior = net(mel(16), torch.randn(1, 2, 4, 4))
    ((again - mel(16)).square().mean() + posterior.kl().mean()).backward()
    missed = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [name for name in missed if not name.endswith("attention.k.bias")] == []  # it shifts all scores alike


def test_one_step_lowers_the_loss() -> None:
    torch.manual_seed(1)
    net, x, noise = VAE(VAEConfig.debug()), mel(16, 2), torch.randn(2, 2, 4, 4)
    optimiser, losses = torch.optim.Adam(net.parameters(), 1e-3), []
    for _ in range(4):
        loss = (net(x, noise)[0] - x).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)


class TestPosterior:
    def test_a_sample_is_the_mean_and_so_much_noise(self) -> None:
        posterior = Posterior(torch.full((1, 1, 1, 2), 3.0), torch.tensor([0.0, 2.0]).log().view(1, 1, 1, 2) * 2)
        torch.testing.assert_close(posterior.sample(torch.ones(1, 1, 1, 2)).flatten(), torch.tensor([3.0, 5.0]))

    def test_divergence_is_torchs(self) -> None:
        mean, log_variance = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
        ours = Posterior(mean, log_variance).kl()
        normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
        theirs = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0))
        torch.testing.assert_close(ours, theirs.sum((1, 2, 3)))

    def test_log_variance_is_bounded(self, vae: VAE) -> None:
        net = VAE(VAEConfig.debug()).requires_grad_(False)
        nn.init.constant_(net.to_moments.bias, 1000.0)  # type: ignore[arg-type]
        assert net.encode(mel(4)).log_variance.eq(20).all()


def test_attention_some_queries_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = torch.randn(3, 2, 11, 6)
    plain = nn.functional.scaled_dot_product_attention(q, k, v)
    monkeypatch.setattr(vae_file, "_QUERIES", 4)
    monkeypatch.setattr(vae_file, "has_fast_products", lambda _x: True)
    with torch.inference_mode():
        torch.testing.assert_close(attended(q, k, v), plain, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("wrong", [{"multipliers": ()}, {"channels": 0}, {"groups": 48}, {"dropout": 1.0}])
def test_wrong_sizes(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="VAE: "):
        replace(VAEConfig.base(), **wrong)  # type: ignore[arg-type]
