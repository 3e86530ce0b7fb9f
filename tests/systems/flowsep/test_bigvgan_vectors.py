"""The published vocoder's function, against what its authors' code computes from the same made-up weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flowsep_weights import made_up_entry, made_up_part
from reference_weights import rng
from torch import nn
from vectors import DATA, listening, summary

pytestmark = pytest.mark.slow

MEASURED = np.load(DATA / "flowsep" / "vectors_seed0.npz")

WAVEFORM = 1e-4
"""Of full scale; in float32 the published implementation is 2.4e-5 from itself in float64."""
STAGE = 1e-4
"""Of the largest magnitude in the stage."""


@pytest.fixture(scope="module")
def vocoder() -> nn.Module:
    return made_up_part("vocoder")


@pytest.mark.parametrize("grad", [False, True])
def test_a_spectrogram_of_noise(vocoder: nn.Module, grad: bool) -> None:
    mel = torch.from_numpy((-4 + 2 * rng("0:vocmel").standard_normal((1, 64, 100))).astype(np.float32))
    with torch.set_grad_enabled(grad):
        waveform = vocoder(mel)
    difference = np.abs(waveform.detach().numpy() - MEASURED["vocoder_alone.wave"][:, 0]).max()
    assert difference <= WAVEFORM, f"{difference:.3g}"


def test_from_a_latent_to_the_waveform(vocoder: nn.Module) -> None:
    stages = {"voc_conv_pre": vocoder.stem, "voc_pre_tanh": vocoder.out}
    stages |= {f"voc_up{i}": stage.up for i, stage in enumerate(vocoder.stages)}
    latent = torch.from_numpy(MEASURED["mix10.steps3.latent"]) / made_up_entry("scale_factor", ())
    with torch.inference_mode(), listening(stages) as found:
        mel = made_up_part("vae").decode(latent)
        waveform = vocoder(mel[:, 0].transpose(1, 2))
    np.testing.assert_allclose(summary(mel), MEASURED["mix10.steps3.decoded_mel.stats"], atol=1e-4)
    for name in stages:
        measured = MEASURED[f"mix10.steps3.stage.{name}"]
        difference = np.abs(found[name] - measured).max()
        assert difference <= STAGE * measured[2], f"{name}: {difference:.3g} of {measured[2]:.3g}"
    difference = np.abs(waveform.numpy() - MEASURED["mix10.steps3.wave.full"][:, 0]).max()
    assert difference <= WAVEFORM * np.abs(MEASURED["mix10.steps3.wave.full"]).max(), f"{difference:.3g}"
