"""The whole chain at full size against what the published implementation computes from the same made-up weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from flowsep_weights import made_up_flowsep, made_up_noise
from reference_weights import rng, signal
from torch import Tensor
from vectors import DATA, summary

from soundsieve.systems.flowsep.flowsep import FlowSep
from soundsieve.systems.flowsep.sampling import Sampling, sample

pytestmark = pytest.mark.slow

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


def tokens_of(system: FlowSep) -> tuple[Tensor, Tensor]:
    ids = torch.zeros(1, 50, dtype=torch.long)
    ids[0, :12] = torch.tensor([*rng("0:tokens:mix10").integers(3, 32000, size=11).tolist(), 1])
    mask = (ids != 0).long()
    return system.text(ids, mask), mask


@pytest.fixture(scope="module")
def found(system: FlowSep) -> dict[str, Any]:
    """Every stage of the published chain, by the names of the vectors."""
    sound = signal("mix10", 163840, 16000)
    sound = sound - sound.mean()
    sound = 0.5 * sound / (sound.abs().max() + 1e-8)
    result: dict[str, Any] = {}
    with torch.no_grad():
        tokens, mask = tokens_of(system)
        mixture = system.encode(sound, made_up_noise("mix_posterior_b"))
        velocity = system.velocity(mixture, tokens, mask)
        for steps in STEPS:
            name = f"mix10.steps{steps}"
            times: list[float] = []
            states: list[np.ndarray] = []
            velocities: list[np.ndarray] = []

            def heard(x: Tensor, t: float) -> Tensor:
                v = velocity(x, t)
                times.append(t)  # noqa: B023 (called before the next turn)
                states.append(summary(torch.cat([x, mixture], dim=1)))  # noqa: B023
                velocities.append(summary(v))  # noqa: B023
                return v

            latent = sample(heard, made_up_noise("init"), Sampling(steps=steps))
            mel = system.decode(latent)
            result |= {
                f"{name}.input_wave": sound,
                f"{name}.mel": system.mel(sound)[0, 0],
                f"{name}.latent": latent,
                f"{name}.decoded_mel": mel[0, 0],
                f"{name}.wave": system.vocode(mel),
                f"{name}.step_t": np.array(times),
                f"{name}.step_x_in": np.stack(states),
                f"{name}.step_v": np.stack(velocities),
            }
            assert torch.equal(latent, system.draw(mixture, tokens, mask, made_up_noise("init"), Sampling(steps=steps)))
        noise = (made_up_noise("mix_posterior_b"), made_up_noise("init"))
        wave = system.generate(sound, tokens, mask, Sampling(steps=3), noise=noise)
        assert torch.equal(wave, result["mix10.steps3.wave"])
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
