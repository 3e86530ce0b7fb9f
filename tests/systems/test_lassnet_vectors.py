"""Base size, stage by stage, against what the published implementation computes from the same made-up weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference_weights import rng, signal
from torch import Tensor
from vectors import DATA, Found, described, listening, made_up, resunet_stages, summary

from soundsieve.query import Condition
from soundsieve.systems.lassnet import LASSNet, LASSNetConfig
from soundsieve.weights.checkpoint import _no_parameters, _NoRandomInit
from soundsieve.weights.layouts.lassnet import lassnet_state

pytestmark = pytest.mark.slow

FOLDER = DATA / "lass"
MEASURED = dict(np.load(FOLDER / "vectors.npz"))

WAVEFORM = 5e-5
"""Of the waveform's peak; another order of summation makes 2e-6."""
STAGE = 2e-5
"""Of the largest magnitude in the stage."""
MASK = 2e-5


@pytest.fixture(scope="module")
def found() -> Found:
    with _NoRandomInit(), _no_parameters():
        system = LASSNet(LASSNetConfig.base())
    system.load_state_dict(lassnet_state(made_up(FOLDER / "keys.csv")), strict=True, assign=True)
    system.eval().requires_grad_(False)
    mixture, net = signal("mix10", 320000, 32000), system.net

    tokens = [101, *rng("0:tokens:pos").integers(1000, 30000, size=9).tolist()]
    ids = torch.tensor([tokens])
    stage, last = "direct.stage", net.decoders[-1]
    with listening({f"{stage}.bert_last_hidden": system.text.bert}) as result:
        cond = system.text(ids, torch.ones_like(ids))
    condition = Condition(cond, torch.zeros_like(cond))
    result |= {"text.input_ids": np.array(tokens), "cond": cond.numpy(), f"{stage}.cond": summary(cond)}

    passed: list[Tensor] = []
    handle = net.register_forward_hook(lambda _module, given, output: passed.extend((given[0], output)))
    # With gradients enabled, though nothing asks for any, no map is made in strips: each stage is there in one piece.
    after = {f"{stage}.after1": last.tail.blocks[0], f"{stage}.after2": last.out}
    with listening(resunet_stages(stage, net) | after) as stages:
        whole = system(mixture, condition)
    handle.remove()
    magnitude, mask = passed[0], passed[1].sigmoid()
    result |= stages | {
        f"{stage}.mag_BFT": summary(magnitude.transpose(1, 2)),
        f"{stage}.mask": summary(mask),
        "mask.stride": mask[0, 0, ::25, ::9].numpy(),
        "mask.last4bins": mask[0, 0, ::25, -4:].numpy(),
    }
    with torch.inference_mode():
        target = system(mixture, condition)
    assert (target - whole).abs().max() <= 1e-5 * whole.abs().max()
    return result | described("direct.wav", target, full=True)


def tolerance(name: str) -> float:
    if MEASURED[name].dtype == np.int64:
        return 0.0
    if name.startswith("direct.wav."):
        return WAVEFORM * float(MEASURED["direct.wav.stats"][2])
    if ".stage." in name:
        return STAGE * float(MEASURED[name][2])
    return MASK if name.startswith("mask.") else 1e-5


@pytest.mark.parametrize("name", MEASURED)
def test_equals_what_was_measured(found: Found, name: str) -> None:
    measured = MEASURED[name].astype(np.float64)
    ours = found[name].astype(np.float64).reshape(measured.shape)
    difference = np.abs(ours - measured).max()
    assert difference <= tolerance(name), f"largest difference {difference:.3g}"


def test_nothing_is_left_out(found: Found) -> None:
    assert found.keys() == MEASURED.keys()
