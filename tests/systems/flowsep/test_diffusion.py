"""DiffusionSep's schedule, and DDIM against what is known in closed form."""

import pytest
import torch
from tiny_flowsep import tiny, tiny_config
from torch import Tensor

from soundsieve.errors import ConfigError
from soundsieve.systems.flowsep.diffusion import alphas_cumprod, betas, denoise, diffuse, grid
from soundsieve.systems.flowsep.sampling import Sampling

MEAN, DEVIATION = 0.7, 0.4


def predict(x: Tensor, step: float, deviation: float = DEVIATION) -> Tensor:
    """The mean of the noise in x_n where latents are of N(m, s^2): sqrt(1 - a) (x - sqrt(a) m) / (a s^2 + 1 - a)."""
    a = alphas_cumprod().double()[int(step)]
    return (1 - a).sqrt() * (x - a.sqrt() * MEAN) / (a * deviation**2 + 1 - a)


def test_the_schedule() -> None:
    assert betas()[[0, -1]].tolist() == pytest.approx([0.0015, 0.0195])
    roots = betas().sqrt()
    torch.testing.assert_close(roots.diff(), (roots[-1] - roots[0]).expand(999) / 999)
    left = alphas_cumprod()
    assert left[0].item() == pytest.approx(1 - 0.0015)
    assert left[1].item() == pytest.approx((1 - betas()[0].item()) * (1 - betas()[1].item()))
    assert (left.diff() < 0).all()
    assert left[-1] < 2e-4  # nearly nothing but noise


def test_noise_takes_the_place_of_the_latent_and_energy_stays() -> None:
    g = torch.Generator().manual_seed(0)
    latent, noise = torch.randn(2, 3, 4000, generator=g)
    steps = torch.tensor([0, 400, 999])
    mixed = diffuse(latent, noise, steps)
    left = alphas_cumprod()[steps]
    torch.testing.assert_close(mixed[1], left[1].sqrt() * latent[1] + (1 - left[1]).sqrt() * noise[1])
    torch.testing.assert_close(mixed.var(1), torch.ones(3), atol=0.08, rtol=0)
    assert (mixed[0] - latent[0]).abs().max() < 0.2 > (mixed[2] - noise[2]).abs().max()


def test_the_grid_starts_in_noise() -> None:
    assert grid(1) == [999]
    assert grid(4) == [999, 749, 499, 249]
    assert grid(3) == [999, 666, 333]
    assert all(grid(n)[0] == 999 and len(set(grid(n))) == n for n in range(1, 101))


def test_ddim_leads_from_unit_noise_to_the_gaussian_that_was_learnt() -> None:
    """The path of a Gaussian's quantiles: z ends at m + s z, the nearer the more steps are taken."""
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64)
    errors = [
        (denoise(predict, noise, steps) - (MEAN + DEVIATION * noise)).abs().max().item() for steps in (10, 30, 100)
    ]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]  # of first order in the length of a step
    assert errors[2] < 0.07


@pytest.mark.parametrize("steps", [1, 3, 100])
def test_where_there_is_one_answer_every_number_of_steps_finds_it(steps: int) -> None:
    found = denoise(lambda x, n: predict(x, n, 0.0), torch.randn(5, dtype=torch.float64), steps)
    torch.testing.assert_close(found, torch.full_like(found, MEAN))


def test_frames_can_be_told_where_to_end() -> None:
    torch.manual_seed(0)
    noise, goal = torch.randn(1, 2, 6, 3, dtype=torch.float64), torch.randn(1, 2, 4, 3, dtype=torch.float64)
    kept = torch.tensor([1.0, 1.0, 0.5, 0.0], dtype=torch.float64).view(1, 1, 4, 1)
    free = denoise(predict, noise, 20)
    told = denoise(predict, noise, 20, goal=goal, kept=kept)
    torch.testing.assert_close(told[:, :, :2], goal[:, :, :2])
    torch.testing.assert_close(told[:, :, 3:], free[:, :, 3:])
    between = (told - free)[:, :, 2] / (goal[:, :, 2] - free[:, :, 2])
    assert ((between > 0) & (between < 1)).all()


def test_a_system_samples_as_it_was_trained() -> None:
    """The network is asked at whole steps, from 999 down, and `Sampling.steps` of them."""
    system = tiny(tiny_config(objective="diffusion"))
    mixture, noise = torch.randn(2, 1, system.config.vae.latent_channels, 16, system.config.latent_bands)
    asked: list[float] = []
    system.unet.time.register_forward_pre_hook(lambda _, given: asked.extend(given[0].tolist()))
    found = system.draw(mixture, *system.tokens(["a dog"]), noise, Sampling(steps=4))
    assert asked == [999, 749, 499, 249]
    assert found.shape == noise.shape
    with pytest.raises(ConfigError, match="a diffusion is sampled by DDIM in place of euler; it has no heun"):
        system.draw(mixture, *system.tokens(["a dog"]), noise, Sampling(steps=4, sampler="heun"))
