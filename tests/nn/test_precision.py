from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from soundsieve.errors import ConfigError, WeightsError
from soundsieve.nn import precision
from soundsieve.nn.precision import check_precision, is_rounded, to_precision
from soundsieve.query import Condition
from soundsieve.systems.audiosep import AudioSep, AudioSepConfig
from soundsieve.systems.base import System
from soundsieve.systems.lassnet import LASSNet, LASSNetConfig
from soundsieve.weights.checkpoint import save_system


def audiosep() -> AudioSep:
    torch.manual_seed(0)
    return AudioSep(AudioSepConfig.debug()).eval()


def lassnet() -> LASSNet:
    torch.manual_seed(0)
    return LASSNet(LASSNetConfig.debug()).eval()


@pytest.fixture
def with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow or not, every processor can."""
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: True)


@pytest.mark.usefixtures("with_bf16")
@pytest.mark.parametrize("make", [audiosep, lassnet])
def test_bf16_answers_almost_the_same(make: type[System]) -> None:
    system = make()
    rounded = copy.deepcopy(system)
    to_precision(rounded, "bf16")
    mixture = 0.1 * torch.randn(2, 16000)
    wanted = torch.nn.functional.normalize(torch.randn(1, system.config.resunet.condition))
    condition = Condition(wanted, torch.zeros_like(wanted)).expand(2)
    with torch.inference_mode():
        exact, found = system(mixture, condition), rounded(mixture, condition)
    assert found.dtype == torch.float32
    assert 0 < (found - exact).norm() < 0.05 * exact.norm()


@pytest.mark.usefixtures("with_bf16")
def test_what_enters_and_leaves_the_network_stays_float32() -> None:
    system = audiosep()
    to_precision(system, "bf16")
    kinds = {name: parameter.dtype for name, parameter in system.named_parameters()}
    short = {name for name, dtype in kinds.items() if dtype == torch.bfloat16}
    assert "network.net.encoders.0.blocks.0.conv1.weight" in short
    assert "network.net.decoders.0.up.weight" in short
    assert "network.net.encoders.1.blocks.0.shortcut.bias" in short
    assert not any(part in name for name in short for part in ("stem", ".out.", "film", "norm", "clap"))
    assert not any(parameter.requires_grad for parameter in system.parameters())


@pytest.mark.usefixtures("with_bf16")
def test_a_rounded_system_is_not_saved(tmp_path: Path) -> None:
    system = audiosep()
    assert not is_rounded(system)
    to_precision(system, "bf16")
    assert is_rounded(system)
    with pytest.raises(WeightsError, match="bf16 has let go of its weights"):
        save_system(tmp_path / "one.safetensors", system)


@pytest.mark.usefixtures("with_bf16")
def test_bf16_is_for_systems_that_convolve() -> None:
    with pytest.raises(ConfigError, match="bf16 is for audiosep, lassnet and uss, not for Linear: use float32 or int8"):
        to_precision(nn.Linear(4, 4), "bf16")
    with pytest.raises(ConfigError, match="precision bf16 is for the CPU"):
        check_precision("bf16", "meta")


@pytest.mark.parametrize(
    ("says", "short_s", "fast"), [(True, 1.0, True), (False, 0.5, True), (False, 1.0, False)], ids=str
)
def test_bf16_where_the_processor_says_so_or_is_faster(
    says: bool, short_s: float, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": says}, raising=False)
    monkeypatch.setattr(precision, "shortest_s", lambda *_: [short_s, 1.0])
    precision.multiplies_bf16.cache_clear()
    try:
        if fast:
            check_precision("bf16")
        else:
            with pytest.raises(ConfigError, match="this processor is no faster in bfloat16; use precision float32"):
                check_precision("bf16")
    finally:
        precision.multiplies_bf16.cache_clear()


def test_float32_changes_nothing() -> None:
    system = audiosep()
    to_precision(system, "float32")
    assert not is_rounded(system)
    assert any(parameter.requires_grad for parameter in system.parameters())
