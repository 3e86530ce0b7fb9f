"""What reading FlowSep's file takes, in a process of its own: the weights that are used, and little more.

At full size this is `benchmarks/flowsep_loading.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from flowsep_files import flowsep_file

from soundsieve.systems.flowsep.flowsep import FlowSep, FlowSepConfig
from soundsieve.systems.flowsep.unet import FlowUNetConfig

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's peak"),
]

CHILD = """
import json, sys
from dataclasses import replace
from pathlib import Path
import torch
from soundsieve.systems.flowsep.flowsep import FlowSep, FlowSepConfig
from soundsieve.systems.flowsep.unet import FlowUNetConfig
from soundsieve.weights.config import from_dict
from soundsieve.weights.convert import read_system, write_system

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

weights, tokenizer, one, config = sys.argv[1:]
FlowSep(FlowSepConfig.debug())
config = from_dict(FlowSepConfig, json.loads(config))
FlowSepConfig.base = classmethod(lambda cls: config)
before = peak()
system = read_system(weights, None, tokenizer)
read = peak()
write_system(one, system)
print(json.dumps({"read": read - before, "written": peak() - before}))
"""


def test_what_it_takes(tmp_path: Path) -> None:
    from soundsieve.weights.config import to_dict

    unet = replace(FlowUNetConfig.debug(), channels=128, multipliers=(1, 3))
    config = replace(FlowSepConfig.debug(), unet=unet)
    torch.manual_seed(0)
    system = FlowSep(config)
    used = sum(tensor.nbytes for tensor in system.state_dict().values())
    assert used > 100e6
    weights = flowsep_file(tmp_path / "v2_100k.ckpt", system)
    assert weights.stat().st_size > 1.9 * used  # the UNet is there twice
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text(system.assets()["tokenizer.json"], "utf-8")
    arguments = [weights, tokenizer, tmp_path / "one.safetensors", json.dumps(to_dict(config))]
    command = [sys.executable, "-c", CHILD, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    taken = json.loads(done.stdout)
    assert taken["read"] < 1.5 * used
    assert taken["written"] < 1.5 * used
