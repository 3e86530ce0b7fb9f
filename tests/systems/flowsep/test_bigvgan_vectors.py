"""The published vocoder's function, against what its authors' code computes from the same made-up weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flowsep_weights import FOLDER, entry, made_up
from reference_weights import rng
from vectors import listening, summary

from soundsieve.systems.flowsep.bigvgan import BigVGAN, BigVGANConfig
from soundsieve.systems.flowsep.vae import VAE, VAEConfig
from soundsieve.weights.layouts.flowsep import vae_state, vocoder_state

pytestmark = pytest.mark.slow

MEASURED = np.load(FOLDER / "vectors_seed0.npz")

WAVEFORM = 1e-4
"""Of full scale; in float32 the published implementation is 2.4e-5 from itself in float64."""
STAGE = 1e-4
"""Of the largest magnitude in the stage."""


@pytest.fixture(scope="module")
def vocoder() -> BigVGAN:
    prefix = "first_stage_model.vocoder."
    published = {key.removeprefix(prefix): tensor for key, tensor in made_up(prefix).items()}
    model = BigVGAN(BigVGANConfig.base())
    model.load_state_dict(vocoder_state(published, what="made up"))
    return model.eval()


@pytest.mark.parametrize("grad", [False, True])
def test_a_spectrogram_of_noise(vocoder: BigVGAN, grad: bool) -> None:
    mel = torch.from_numpy((-4 + 2 * rng("0:vocmel").standard_normal((1, 64, 100))).astype(np.float32))
    with torch.set_grad_enabled(grad):
        waveform = vocoder(mel)
    difference = np.abs(waveform.detach().numpy() - MEASURED["vocoder_alone.wave"][:, 0]).max()
    assert difference <= WAVEFORM, f"{difference:.3g}"


def test_from_a_latent_to_the_waveform(vocoder: BigVGAN) -> None:
    published = {key.removeprefix("first_stage_model."): t for key, t in made_up("first_stage_model.").items()}
    vae = VAE(VAEConfig.base())
    vae.load_state_dict(vae_state(published, what="made up"))
    stages = {"voc_conv_pre": vocoder.stem, "voc_pre_tanh": vocoder.out}
    stages |= {f"voc_up{i}": stage.up for i, stage in enumerate(vocoder.stages)}
    latent = torch.from_numpy(MEASURED["mix10.steps3.latent"]) / entry("scale_factor", ())
    with torch.inference_mode(), listening(stages) as found:
        mel = vae.eval().decode(latent)
        waveform = vocoder(mel[:, 0].transpose(1, 2))
    np.testing.assert_allclose(summary(mel), MEASURED["mix10.steps3.decoded_mel.stats"], atol=1e-4)
    for name in stages:
        measured = MEASURED[f"mix10.steps3.stage.{name}"]
        difference = np.abs(found[name] - measured).max()
        assert difference <= STAGE * measured[2], f"{name}: {difference:.3g} of {measured[2]:.3g}"
    difference = np.abs(waveform.numpy() - MEASURED["mix10.steps3.wave.full"][:, 0]).max()
    assert difference <= WAVEFORM * np.abs(MEASURED["mix10.steps3.wave.full"]).max(), f"{difference:.3g}"
