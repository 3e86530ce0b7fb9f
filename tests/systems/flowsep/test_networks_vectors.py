"""T5, VAE and UNet of the published size, stage by stage, against what their authors' code computes from the same
made-up weights.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flowsep_weights import made_up_entry, made_up_mixture, made_up_noise, made_up_part, made_up_tokens
from torch import Tensor, nn
from vectors import DATA, Found, listening, summary

from soundsieve.systems.flowsep.mel import LogMel, MelConfig
from soundsieve.systems.flowsep.unet import FlowUNet
from soundsieve.systems.flowsep.vae import VAE

pytestmark = pytest.mark.slow

MEASURED = dict(np.load(DATA / "flowsep" / "vectors_seed0.npz"))
CASE = "mix10.steps3."

NETWORK = 2e-5
"""Of the largest value; rounding alone makes 1.5e-6 (T5), 2.6e-6 (UNet) and 7e-7 (VAE)."""
MEL = 5e-5
"""Of the largest value: what a transform in float32, as the measured one was, makes of quiet bands."""


def check(found: Tensor | np.ndarray, name: str, tolerance: float = NETWORK) -> None:
    measured = MEASURED[name].astype(np.float64)
    ours = np.asarray(found, dtype=np.float64).reshape(measured.shape)
    largest = measured[..., 2].max() if measured.shape[-1] == 11 else np.abs(measured).max()
    difference = np.abs(ours - measured).max() / largest
    assert difference <= tolerance, f"{name}: {difference:.2g} of the largest value"


@pytest.fixture(scope="module")
def vae() -> VAE:
    return made_up_part("vae")  # type: ignore[return-value]


@pytest.fixture(scope="module")
def mel() -> Tensor:
    return LogMel(MelConfig.base())(made_up_mixture())


@pytest.fixture(scope="module")
def text() -> tuple[Tensor, Tensor]:
    """Of the measured tokens, all fifty states, padding's too, and the mask."""
    ids, mask = made_up_tokens()
    with torch.inference_mode():
        return made_up_part("text")(ids, mask), mask


def test_mel(mel: Tensor) -> None:
    assert mel.shape == (1, 1, 1024, 64)
    check(summary(mel), CASE + "mel.stats", MEL)
    check(mel[0, 0, ::32], CASE + "mel.stride", MEL)


def test_text(text: tuple[Tensor, Tensor]) -> None:
    check(summary(text[0]), CASE + "stage.t5_hidden")


def test_encoder(vae: VAE, mel: Tensor) -> None:
    stages = {"vae_encoder_out_last_call": vae.encoder, "mix_moments": vae.to_moments}
    with torch.inference_mode(), listening(stages) as found:
        posterior = vae.encode(mel)
    for name in stages:
        check(found[name], f"{CASE}stage.{name}")
    check(posterior.mean, "vae_mean.full")
    check(summary(posterior.mean), "vae_mean.stats")
    check(summary(posterior.log_variance), "vae_logvar.stats")


def test_decoder(vae: VAE) -> None:
    with torch.inference_mode():
        check(summary(vae.decode(torch.from_numpy(MEASURED["vae_mean.full"]))), "vae_decode_mean.stats")
        decoded = vae.decode(torch.from_numpy(MEASURED[CASE + "latent"]) / made_up_entry("scale_factor", ()))
    check(summary(decoded), CASE + "decoded_mel.stats")
    check(decoded[0, 0, ::16], CASE + "decoded_mel.stride")


def test_unet(vae: VAE, mel: Tensor, text: tuple[Tensor, Tensor]) -> None:
    unet = made_up_part("unet")
    assert isinstance(unet, FlowUNet)
    down, up = unet.down, unet.up
    stages: dict[str, nn.Module] = {"time_embed": unet.time, "in0": unet.stem, "mid": unet.middle_block}
    stages |= {"in1": down[0].stages[0], "in3": down[0].resample, "in4": down[1].stages[0]}
    stages |= {"in7": down[2].stages[0], "in10": down[3].stages[0]}
    stages |= {"out0": up[0].stages[0], "out5": up[1].resample, "out11": up[3].stages[2]}
    with torch.inference_mode():
        mixture = vae.encode(mel).sample(made_up_noise("mix_posterior_b")) * made_up_entry("scale_factor", ())
        state, read = made_up_noise("init"), unet.read(*text)
        with listening(stages) as found:
            for step, t in enumerate(MEASURED[CASE + "step_t"]):
                outputs: list[Tensor] = []
                handle = unet.out.register_forward_hook(lambda _m, _i, y, kept=outputs: kept.append(y))
                velocity = unet.velocity(state, mixture, torch.tensor([t]), read)
                handle.remove()
                for name in stages if step == 0 else ():
                    check(found[name], f"{CASE}stage.unet_step0_{name}")
                check_step(step, "x_in", summary(torch.cat([state, mixture], dim=1)))
                check_step(step, "v", summary(velocity))
                check_step(step, "v_unused_channels", summary(outputs[0][:, 8:]))
                state = state + velocity * (np.float32((step + 1) / 3) - t)
    check(state, CASE + "latent")


def check_step(step: int, name: str, found: Found) -> None:
    measured = MEASURED[f"{CASE}step_{name}"][step]
    difference = np.abs(found - measured).max() / measured[2]
    assert difference <= NETWORK, f"step {step}, {name}: {difference:.2g} of the largest value"
