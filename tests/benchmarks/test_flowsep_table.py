"""The rows of the table of docs/flowsep_training.md, with a tiny model of random weights."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from soundsieve.encoders.text import SentenceEncoderConfig
from soundsieve.systems.flowsep.config import FlowSepConfig
from soundsieve.systems.flowsep.flowsep import FlowSep
from soundsieve.weights.checkpoint import save_system

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    import flowsep_table

    yield flowsep_table
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(BENCHMARKS) in str(sys.modules[name].__file__):
            del sys.modules[name]


def write_model(folder: Path) -> None:
    from dataclasses import replace

    debug, text = FlowSepConfig.debug(), SentenceEncoderConfig.debug()
    torch.manual_seed(0)
    system = FlowSep(replace(debug, text=text, unet=replace(debug.unet, context_width=text.width)))
    path = folder / "flowsep-small" / "last.safetensors"
    path.parent.mkdir()
    save_system(path, system)


def test_rows_with_and_without_a_model(table: Any, tmp_path: Path) -> None:
    write_model(tmp_path)
    rows = {row.model: table.measure(row, tmp_path, 3) for row in table.all_rows()[:4]}
    rows["flow"] = table.measure(table.Row("flow", 2), tmp_path, 3)
    best, mixture = rows["sound itself"]["generated"], rows["unprocessed mixture"]["generated"]
    assert best["fad"] < 1e-4 < mixture["fad"]
    assert best["clap_score_audio"]["mean"] == pytest.approx(1, abs=1e-3)
    assert mixture["clap_score_audio"]["mean"] < 0.99
    assert "projected" not in rows["unprocessed mixture"]
    assert rows["sound itself"]["projected"]["sdri"]["mean"] > 5
    assert rows["sound itself"]["seconds"] is None
    assert rows["flow"]["seconds"] > 0
    assert rows["flow"]["generated"]["fad"] > best["fad"]

    from flowsep_training_tables import flowsep_steps_table

    text = flowsep_steps_table({
        "rows": list(rows.values()), "mixtures": 3, "threads": 1, "runs": {"flow": {"steps": 1200}},
        "machine": {"cpu": "a processor"}, "versions": {"torch": "2.13"}, "command": "python a.py",
    })  # fmt: skip
    lines = text.splitlines()
    assert len({line.count("|") for line in lines[:7]}) == 1
    assert "| flow | 2 |" in text
    assert "flow 1200. Seconds for a mixture, 1 thread of a processor" in text
