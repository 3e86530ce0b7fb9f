"""The whole chain at full size against what the published implementation computes from the same made-up weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from flowsep_weights import made_up_flowsep, made_up_mixture, made_up_noise, made_up_tokens
from torch import Tensor
from vectors import DATA, summary

from soundsieve.systems.flowsep.flowsep import FlowSep
from soundsieve.systems.flowsep.sampling import Sampling

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MEASURED = dict(np.load(DATA / "flowsep" / "vectors_seed0.npz"))

WAVEFORM = 3e-4
"""Of the peak; the vocoder alone makes 2.4e-5 of rounding, and the whole chain here 3.1e-5."""
LATENT = 3e-5
"""Of the largest magnitude; rounding makes 2.6e-6 of one call of the UNet, and every step adds its own."""
MEL = 1e-4
"""Of the largest magnitude: a logarithm makes much of a small difference between two transforms where it is quiet."""
STEPS = (3, 20)


@pytest.fixture(scope="module")
def system() -> FlowSep:
    return made_up_flowsep()


class Heard:
    """What passes through a system while it generates."""

    def __init__(self, system: FlowSep) -> None:
        self.steps: list[tuple[float, np.ndarray, np.ndarray]] = []
        self.kept: dict[str, Tensor] = {}
        velocity, decode, mel = system.unet.velocity, system.decode, system.mel.forward

        def step(x: Tensor, mixture: Tensor, t: Tensor, text: Any) -> Tensor:
            v = velocity(x, mixture, t, text)
            self.steps.append((float(t), summary(torch.cat([x, mixture], dim=1)), summary(v)))
            return v

        def keep_latent(latent: Tensor) -> Tensor:
            self.kept |= {"latent": latent, "decoded_mel": decode(latent)}
            return self.kept["decoded_mel"]

        def keep_mel(waveform: Tensor) -> Tensor:
            self.kept |= {"input_wave": waveform, "mel": mel(waveform)}
            return self.kept["mel"]

        system.unet.velocity, system.decode, system.mel.forward = step, keep_latent, keep_mel  # type: ignore[method-assign]

    def stop(self, system: FlowSep) -> None:
        for place, name in ((system.unet, "velocity"), (system, "decode"), (system.mel, "forward")):
            delattr(place, name)


@pytest.fixture(scope="module")
def found(system: FlowSep) -> dict[str, Any]:
    """Every stage of the published chain, by the names of the vectors."""
    sound, (ids, mask) = made_up_mixture(), made_up_tokens()
    noise = (made_up_noise("mix_posterior_b"), made_up_noise("init"))
    result: dict[str, Any] = {}
    with torch.no_grad():
        tokens = system.text(ids, mask)
        for steps in STEPS:
            heard, name = Heard(system), f"mix10.steps{steps}"
            wave = system.generate(sound, tokens, mask, Sampling(steps=steps), noise=noise)
            heard.stop(system)
            times, states, velocities = zip(*heard.steps, strict=True)
            result |= {f"{name}.{part}": value for part, value in heard.kept.items()}
            result |= {
                f"{name}.mel": heard.kept["mel"][0, 0],
                f"{name}.decoded_mel": heard.kept["decoded_mel"][0, 0],
                f"{name}.wave": wave,
                f"{name}.step_t": np.array(times),
                f"{name}.step_x_in": np.stack(states),
                f"{name}.step_v": np.stack(velocities),
            }
    return result


def measured(name: str) -> np.ndarray:
    return MEASURED[name].astype(np.float64)


def checks() -> Iterator[tuple[str, int]]:
    for steps in STEPS:
        for part in ("input_wave", "mel", "latent", "decoded_mel", "wave", "step_t", "step_x_in", "step_v"):
            yield part, steps


@pytest.mark.parametrize(("part", "steps"), list(checks()))
def test_equals_what_was_measured(found: dict[str, Any], part: str, steps: int) -> None:
    name = f"mix10.steps{steps}.{part}"
    ours = found[name]
    if part.startswith("step_"):
        allowed = {"step_t": 0.0, "step_x_in": LATENT, "step_v": LATENT}[part]
        theirs = measured(name)
        scale = np.abs(theirs[..., 2:3]) if theirs.ndim == 2 else 1.0
        assert (np.abs(ours.astype(np.float32) - theirs) <= allowed * scale).all()
        return
    values = ours.numpy()
    allowed = {"input_wave": 1e-6, "mel": MEL, "latent": LATENT, "decoded_mel": LATENT, "wave": WAVEFORM}[part]
    peak = measured(f"{name}.stats")[2]
    parts = {
        "stats": summary(ours),
        "head": values[..., :64] if part == "input_wave" else values[..., :2048],
        "tail": values[..., -512:],
        "stride61": values[..., ::61],
        "stride": values[:: 32 if part == "mel" else 16],
        "full": values,
    }
    compared = {key: value for key, value in parts.items() if f"{name}.{key}" in MEASURED}
    compared |= {"": values} if name in MEASURED else {}
    assert len(compared) >= 2
    for key, value in compared.items():
        theirs = measured(f"{name}.{key}".rstrip("."))
        difference = np.abs(value.astype(np.float64).reshape(theirs.shape) - theirs).max()
        assert difference <= allowed * peak, f"{key}: {difference / peak:.2g} of the peak"


def test_the_chain_ends_where_the_published_one_does(found: dict[str, Any]) -> None:
    assert found["mix10.steps3.wave"].shape == (1, 163872)
