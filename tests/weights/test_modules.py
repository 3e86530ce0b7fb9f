"""FlowSep's VAE and vocoder as their authors publish them, each in a file of its own, as parts to train with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from flowsep_files import debug_flowsep, flowsep_entries
from published_files import as_debug
from torch import Tensor

from soundsieve.errors import WeightsError
from soundsieve.systems.flowsep.bigvgan import BigVGAN, BigVGANConfig
from soundsieve.systems.flowsep.flowsep import FlowSep
from soundsieve.systems.flowsep.vae import VAE, VAEConfig
from soundsieve.training.tasks.flowsep_parts import VAE_KIND, VOCODER_KIND
from soundsieve.weights.modules import load_module


@pytest.fixture(scope="module")
def system() -> FlowSep:
    return debug_flowsep()


@pytest.fixture(autouse=True)
def _small(system: FlowSep, monkeypatch: pytest.MonkeyPatch) -> None:
    as_debug(monkeypatch)
    monkeypatch.setattr(VAEConfig, "base", classmethod(lambda _cls: system.config.vae))
    monkeypatch.setattr(BigVGANConfig, "base", classmethod(lambda _cls: system.config.vocoder))


def entries(system: FlowSep, prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): t for key, t in flowsep_entries(system).items() if key.startswith(prefix)}


def assert_same(found: torch.nn.Module, expected: torch.nn.Module) -> None:
    assert not found.training
    assert found.config == expected.config
    mine, others = found.state_dict(), expected.state_dict()
    assert mine.keys() == others.keys()
    assert all(torch.equal(mine[name], others[name]) for name in others)


def test_published_parts(system: FlowSep, tmp_path: Path) -> None:
    vae, vocoder = tmp_path / "vae.ckpt", tmp_path / "g_01000000"
    torch.save({"state_dict": entries(system, "first_stage_model.")}, vae)
    torch.save({"generator": entries(system, "first_stage_model.vocoder.")}, vocoder)
    assert_same(load_module(vae, VAE_KIND, VAE, VAEConfig), system.vae)
    assert_same(load_module(vocoder, VOCODER_KIND, BigVGAN, BigVGANConfig), system.vocoder)
    with pytest.raises(WeightsError, match=r"vae\.ckpt does not fit: missing "):
        load_module(vae, VOCODER_KIND, BigVGAN, BigVGANConfig)


def test_what_is_no_weights_at_all(tmp_path: Path) -> None:
    path = tmp_path / "vae.ckpt"
    path.write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"vae\.ckpt") as caught:
        load_module(path, VAE_KIND, VAE, VAEConfig)
    assert "\n" not in str(caught.value)
