"""The speed benchmark of the ResUNets: what it compares is the same function, and the script runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from soundsieve.encoders.clap import CLAP
from soundsieve.nn import linear, lora, masknet, resunet, resunet30, roberta, strips, swin
from soundsieve.query import Condition, Query
from soundsieve.systems import audiosep, lassnet, uss
from soundsieve.systems.base import System

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SYSTEMS = {
    "audiosep": (audiosep.AudioSep, audiosep.AudioSepConfig),
    "lassnet": (lassnet.LASSNet, lassnet.LASSNetConfig),
    "uss": (uss.USS, uss.USSConfig),
}
WAVEFORM = 5e-5
"""Of the answer's peak: what the published vectors are held to as well."""

# What `make_plain` replaces for the rest of a process.
REPLACED = [
    (linear, "_onednn_product"),
    (resunet, "for_answers"),
    (resunet30, "for_answers"),
    (strips.Conv, "forward"),
    (lora.LoRALinear, "forward"),
]
REPLACED += [(place, name) for place in (resunet30, lassnet) for name in ("stft", "istft")]
REPLACED += [(swin.WindowAttention, "forward"), (masknet.SelfAttention, "forward"), (roberta.Attention, "forward")]


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    for place, name in REPLACED:
        monkeypatch.setattr(place, name, getattr(place, name))


def made_up(name: str, size: str) -> System:
    kind, config = SYSTEMS[name]
    torch.manual_seed(0)
    system = kind(getattr(config, size)()).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    for norm in system.modules():
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for tensor in (norm.running_mean, norm.bias):
                tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
            for tensor in (norm.running_var, norm.weight):
                tensor.copy_(0.8 + 0.4 * torch.rand(tensor.shape, generator=generator))
    return system


def apart(system: System, seconds: float) -> float:
    """How far the plain way's answer is from the fast one's, relative to its peak."""
    from plain_audiosep import make_plain

    generator = torch.Generator().manual_seed(2)
    mixture = 0.1 * torch.randn(1, round(seconds * system.sample_rate), generator=generator)
    wanted = torch.rand(1, system.config.resunet.condition, generator=generator)
    wanted = torch.cat([wanted, torch.zeros_like(wanted)], dim=1) if system.name == "uss" else wanted / wanted.norm()
    condition = Condition(wanted, torch.zeros_like(wanted))
    with torch.inference_mode():
        fast = system(mixture, condition)
        make_plain(system)
        plain = system(mixture, condition)
    assert plain.abs().max() > 1e-3
    return float((fast - plain).abs().max() / plain.abs().max())


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_fast_way_answers_as_the_plain_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "STRIP", 20 * 12 * 256)  # many strips of a small model
    monkeypatch.setattr(strips, "MANY", 4)
    assert apart(made_up(name, "debug"), 1.0) <= WAVEFORM


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_the_fast_way_answers_as_the_plain_way_at_full_size(name: str) -> None:
    assert apart(made_up(name, "base"), 2.0) <= WAVEFORM


def test_a_padded_and_doubled_text_is_the_same_query() -> None:
    from plain_audiosep import make_plain

    system = made_up("audiosep", "debug")
    query = Query(("a dog", "rain on a roof"))
    exact = system.encode_query(query).positive
    make_plain(system)
    assert isinstance(system.clap, CLAP)
    assert (system.encode_query(query).positive - exact).abs().max() <= 1e-5


def test_a_minute_takes_38_calls_as_published() -> None:
    from plain_audiosep import separate_as_published

    class Counted(audiosep.AudioSep):
        calls = 0

        def forward(self, mixture: torch.Tensor, condition: Condition) -> torch.Tensor:
            self.calls += 1
            return mixture

    system = Counted(audiosep.AudioSepConfig.debug())
    mixture = torch.randn(1, 60 * system.sample_rate)
    wanted = torch.zeros(1, system.config.resunet.condition)
    target = separate_as_published(system, mixture, Condition(wanted, wanted))
    assert system.calls == 38
    assert torch.equal(target, mixture)  # every sample is answered for


@pytest.mark.slow
def test_the_script_measures_and_goes_on_where_it_was(tmp_path: Path) -> None:
    output = tmp_path / "speed.json"
    command = [
        sys.executable,
        str(BENCHMARKS / "audiosep_speed.py"),
        "--size",
        "debug",
        "--parts",
        "lassnet",
        "--hurry",
    ]
    command += ["--threads", "1", "--repeats", "1", "--mixtures", "1", "--output", str(output)]
    for processes in ("1", "2", "2"):
        done = subprocess.run([*command, "--processes", processes], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert "lassnet, 10 s" not in done.stdout.split("| system")[0]  # the last time there was nothing left to do
    result = json.loads(output.read_text("utf-8"))
    assert {name: len(runs) for name, runs in result["runs"].items()} == {
        f"lassnet 10 {way}": 2 for way in ("plain", "float32", "bf16")
    }
    assert result["compared"]["lassnet"]["largest_difference"] <= WAVEFORM
    assert result["rows"]["lassnet 10 float32"]["calls"] == 13
    assert sum(result["counted"]["lassnet"]["gflop"].values()) > 0
    assert "| lassnet | 10 s | separated |" in done.stdout
