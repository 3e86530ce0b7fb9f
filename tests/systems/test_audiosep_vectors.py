"""Base size, stage by stage, against what the published implementation computes from the same made-up weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference_weights import rng, signal, unit
from torch import Tensor
from vectors import DATA, Found, described, listening, made_up, resunet_stages

from soundsieve.query import Condition, Query
from soundsieve.systems.audiosep import AudioSep, AudioSepConfig
from soundsieve.weights.checkpoint import _no_parameters, _NoRandomInit
from soundsieve.weights.layouts.audiosep import audiosep_state

pytestmark = pytest.mark.slow

FOLDER = DATA / "audiosep"
MEASURED = dict(np.load(FOLDER / "vectors.npz"))
NO_COUNTERPART = {"chunk5.absmax": "the published code answers 5 s or less in chunks with silence; nothing here does"}

WAVEFORM = 5e-5
"""Of the waveform's peak; another order of summation makes 3e-6."""
STAGE = 2e-5
"""Of the largest magnitude in the stage."""
EMBEDDING = 1e-5


def wanted(embedding: Tensor) -> Condition:
    return Condition(embedding, torch.zeros_like(embedding))


def in_chunks(system: AudioSep, mixture: Tensor, condition: Condition) -> Tensor:
    """As the published code cuts: windows of 5 s every 3 s, of which the middle 3 s count (and both ends)."""
    window, step, margin = 5 * 32000, 3 * 32000, 32000
    pieces, start, length = [], 0, mixture.shape[1]
    while True:
        target = system(mixture[:, start : start + window], condition)
        is_last = start + window >= length
        pieces.append(target[:, margin if start else 0 : None if is_last else margin + step])
        if is_last:
            return torch.cat(pieces, dim=1)
        start += step


@pytest.fixture(scope="module")
def found() -> Found:
    with _NoRandomInit(), _no_parameters():
        system = AudioSep(AudioSepConfig.base())
    system.load_state_dict(audiosep_state(made_up(FOLDER / "keys.csv")), strict=True, assign=True)
    system.eval().requires_grad_(False)
    mixture, net = signal("mix10", 320000, 32000), system.network.net
    direct = wanted(unit("cond", 512))

    stage = "direct.stage"
    outputs = resunet_stages(stage, net) | {
        f"{stage}.bn0": system.network.bins_norm,
        f"{stage}.pre_conv": net.encoders[0].stem,
        f"{stage}.after_conv": net.decoders[-1].out,
    }
    # With gradients enabled, though nothing asks for any, no map is made in strips: each stage is there in one piece.
    with listening(outputs, {f"{stage}.mag_in_BFTC": system.network.bins_norm}) as result:
        whole = system(mixture, direct)
    with torch.inference_mode():
        target = system(mixture, direct)
        assert (target - whole).abs().max() <= 1e-5 * whole.abs().max()
        result |= described("direct.waveform", target, full=True)

        tokens = [0, *rng("0:tokens:pos").integers(4, 50260, size=11).tolist(), 2]
        padding = 512 - len(tokens)
        result["text.input_ids"] = np.array(tokens + [1] * padding)
        result["text.attention_mask"] = np.array([1] * len(tokens) + [0] * padding)
        ids = torch.tensor([tokens])  # not padded, unlike there
        text = system.clap.embed_tokens(ids, torch.ones_like(ids))
        result["text.embed"] = text.numpy()
        result |= described("text.waveform", system(mixture, wanted(text)))

        like = signal("query5", 160000, 32000, 330)[0].numpy()
        audio = system.encode_query(Query(like=(like, 32000)))
        result["audio.embed"] = audio.positive.numpy()
        result |= described("audio.waveform", system(mixture, audio))

        result |= described("chunk13.waveform", in_chunks(system, signal("mix13", 416000, 32000, 140), direct))
    return result


def tolerance(name: str) -> float:
    if MEASURED[name].dtype == np.int64:
        return 0.0
    if ".waveform." in name:
        return WAVEFORM * float(MEASURED[f"{name.split('.waveform.')[0]}.waveform.stats"][2])
    return STAGE * float(MEASURED[name][2]) if ".stage." in name else EMBEDDING


@pytest.mark.parametrize("name", [name for name in MEASURED if name not in NO_COUNTERPART])
def test_equals_what_was_measured(found: Found, name: str) -> None:
    measured = MEASURED[name].astype(np.float64)
    ours = found[name].astype(np.float64).reshape(measured.shape)
    difference = np.abs(ours - measured).max()
    assert difference <= tolerance(name), f"largest difference {difference:.3g}"


def test_nothing_is_left_out(found: Found) -> None:
    assert found.keys() | NO_COUNTERPART.keys() == MEASURED.keys()
    assert not found.keys() & NO_COUNTERPART.keys()
