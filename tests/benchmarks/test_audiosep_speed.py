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
from soundsieve.nn.precision import multiplies_bf16
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


def test_tables_do_without_bf16() -> None:
    """Where the processor is no faster in it."""
    from speed_tables import audiosep_speed_table

    row = {"separate_s": 2.0, "query_s": 0.1, "first_result_s": 3.0, "calls": 1, "peak_mib": 900.0}
    ways = {"plain": 4.0, "float32": 2.0, "bf16": 1.0}
    apart = {"mixtures": 6, "largest_difference": 1e-6, "bf16_to_float32_db": 30.0, "bf16_to_float32_least_db": 28.0}
    result = {
        "rows": {f"uss 10 {way}": row | {"separate_s": s, "parts_s": {"center": s / 2}} for way, s in ways.items()},
        "counted": {"uss": {"gflop_per_s": {"float32": 10.0, "bf16": 20.0}, "gflop": {"center": 5.0}}},
        "compared": {"uss": apart}, "file_mb": {"uss": 400.0}, "threads": 2, "versions": {"torch": "2"},
        "machine": {"cpu": "one", "cores": 2, "memory_gib": 8, "system": "Linux"},
    }  # fmt: skip
    told = audiosep_speed_table(result)
    assert "| center | 2000 ms | 1000 ms | 50% | 500 ms | 5 | 500 ms | 250 ms |" in told
    assert "1.0e-06 of an answer's peak; SI-SDR of bf16's answer against float32's is 30.0 dB (at least 28.0)." in told
    del result["rows"]["uss 10 bf16"], apart["bf16_to_float32_db"], apart["bf16_to_float32_least_db"]
    told = audiosep_speed_table(result)
    assert "| uss | 10 s | separated | 4 s | 2 s (2.0x) |  |" in told
    assert "| center | 2000 ms | 1000 ms | 50% |  | 5 | 500 ms | 250 ms |" in told
    assert "1.0e-06 of an answer's peak.\n" in told


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
    ways = ("plain", "float32", "bf16") if multiplies_bf16() else ("plain", "float32")
    assert {name: len(runs) for name, runs in result["runs"].items()} == {f"lassnet 10 {way}": 2 for way in ways}
    assert result["compared"]["lassnet"]["largest_difference"] <= WAVEFORM
    assert result["rows"]["lassnet 10 float32"]["calls"] == 13
    assert sum(result["counted"]["lassnet"]["gflop"].values()) > 0
    assert "| lassnet | 10 s | separated |" in done.stdout
