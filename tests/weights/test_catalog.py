from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from soundsieve.errors import ConfigError, WeightsError
from soundsieve.systems.sieve import Sieve
from soundsieve.weights import catalog
from soundsieve.weights.catalog import CATALOG, load_named
from soundsieve.weights.checkpoint import SYSTEMS, load_system, save_system
from soundsieve.weights.releases import RELEASES


def test_every_entry_is_complete() -> None:
    for name, entry in CATALOG.items():
        assert entry.name == name
        assert entry.system in SYSTEMS
        assert entry.sample_rate > 0
        assert entry.summary
        assert entry.licence
        assert entry.where
        assert entry.is_published != (name in catalog._LOADERS)
        release = RELEASES.get(entry.system)
        assert entry.is_published == (release is not None)
        if release is not None:
            assert entry.tokenizer is (None if release.reader is None else release.reader.usual)
    assert set(catalog._LOADERS) < set(CATALOG)


def test_the_debug_model_is_always_at_hand_and_the_same() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = load_named("debug"), load_named("debug")
    assert torch.equal(torch.get_rng_state(), before)
    assert CATALOG["debug"].at_hand
    assert isinstance(first, Sieve)
    assert not first.training
    assert first.sample_rate == CATALOG["debug"].sample_rate
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


@pytest.mark.parametrize("dtypes", [None, {"": "float16"}, {"": "float16", "analysis": "int8"}])
def test_a_real_system_survives_the_file(tmp_path: Path, dtypes: dict | None) -> None:
    system = load_named("debug")
    save_system(tmp_path / "a.safetensors", system, dtypes=dtypes)
    again = load_system(tmp_path / "a.safetensors")
    assert isinstance(again, Sieve)
    assert again.config == system.config
    assert again.assets() == system.assets()
    bound = 0 if dtypes is None else 0.02
    for name, tensor in system.state_dict().items():
        assert (again.state_dict()[name] - tensor).abs().max() <= bound * max(1.0, tensor.abs().max().item()), name


def test_a_missing_starter_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "STARTER_FILE", "not-there.safetensors")
    assert not CATALOG["starter"].at_hand
    with pytest.raises(WeightsError, match="the embedded model's file is missing"):
        load_named("starter")


@pytest.mark.skipif(not CATALOG["starter"].at_hand, reason="the embedded model is not built yet")
def test_the_starter_fits_its_entry() -> None:
    system, entry = load_named("starter"), CATALOG["starter"]
    assert (system.name, system.sample_rate) == (entry.system, entry.sample_rate)
    assert entry.size_mb is not None


def test_unknown_names_and_devices() -> None:
    with pytest.raises(
        WeightsError,
        match=re.escape("no model 'x'; known: starter, debug, clapsep, audiosep, lassnet, uss, flowsep; or"),
    ):
        load_named("x")
    with pytest.raises(ConfigError, match="device 'gramophone'"):
        load_named("debug", "gramophone")
