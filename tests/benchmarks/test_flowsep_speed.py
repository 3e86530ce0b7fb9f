"""The speed benchmark of FlowSep: what it compares is the same function, and the script runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny_flowsep import noise, tiny

from soundsieve.nn import linear, masknet, roberta, strips, swin
from soundsieve.systems.flowsep import blocks, snake

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
WAVEFORM = 1e-4
"""Of the peak: another order of summation, which the vocoder's activations amplify."""

# What `make_plain` replaces for the rest of a process.
REPLACED = [
    (F, "scaled_dot_product_attention"),
    (torch, "channels_last"),
    (blocks, "is_large"),
    (blocks.Conv, "forward"),
    (snake.SmoothSnake, "forward"),
    (linear, "_onednn_product"),
    (swin.WindowAttention, "forward"),
    (masknet.SelfAttention, "forward"),
    (roberta.Attention, "forward"),
]


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    for place, name in REPLACED:
        monkeypatch.setattr(place, name, getattr(place, name))


def test_the_fast_way_answers_as_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    from plain_flowsep import answer_as_published, make_plain

    monkeypatch.setattr(blocks, "_LARGE", 1)
    monkeypatch.setattr(blocks, "MANY", 4)
    monkeypatch.setattr(strips, "STRIP", 2000)
    system, sound = tiny(), noise(10240)
    noises = [torch.randn(1, 2, 16, 4) for _ in range(4)]
    with torch.no_grad():
        tokens, mask = system.tokens(["a dog"])
        mask = mask.bool()
        fast = system.generate(sound, tokens, mask, system.sampling, noise=(noises[2], noises[3]))
        make_plain(system)
        plain = answer_as_published(system, sound, tokens, mask, noises)
    assert plain.abs().max() > 1e-3
    assert (fast - plain).abs().max() <= WAVEFORM * plain.abs().max()


def test_the_table() -> None:
    from flowsep_tables import flowsep_speed_table

    stages = {"text": 0.3, "encode": 1.5, "step": 1.0, "decode": 3.0, "vocoder": 4.0}
    row = {"answer_s": 10.0, "peak_mib": 3000.0, "import_s": 2.0, "load_s": 1.0, "stages_s": stages}
    result = {
        "rows": {"plain 1": row | {"answer_s": 20.0}, "ours 1": row, "ours 4": row | {"answer_s": 13.0}},
        "compared": {"steps": 3, "largest_difference": 1e-6}, "device": "cpu", "threads": 2, "file_mb": 2700.0,
        "versions": {"torch": "2"}, "machine": {"cpu": "one", "cores": 2, "memory_gib": 8, "system": "Linux"},
    }  # fmt: skip
    told = flowsep_speed_table(result)
    assert "| 1 | 20.00 s | 3000 MiB | 10.00 s (2.0x) | 3000 MiB |" in told
    assert "| 4 |  |  | 13.00 s | 3000 MiB |" in told
    assert "| a step | 1.00 s | 1.00 s |" in told
    assert "at most 1.0e-06 of the peak after 3 steps" in told


@pytest.mark.slow
def test_the_script_measures_and_goes_on_where_it_was(tmp_path: Path) -> None:
    output = tmp_path / "speed.json"
    command = [sys.executable, str(BENCHMARKS / "flowsep_speed.py"), "--size", "debug", "--hurry", "--threads", "1"]
    command += ["--processes", "1", "--repeats", "1", "--output", str(output)]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert "ours, 20 steps" not in done.stdout  # the last time there was nothing left to do
    result = json.loads(output.read_text("utf-8"))
    assert {name: len(runs) for name, runs in result["runs"].items()} == {
        "plain 1": 1, "plain 20": 1, "ours 1": 1, "ours 4": 1, "ours 10": 1, "ours 20": 1,
    }  # fmt: skip
    assert result["compared"]["largest_difference"] <= WAVEFORM
    assert all(seconds > 0 for seconds in result["rows"]["ours 4"]["stages_s"].values())
