"""The benchmark of FlowSep's seams hears one where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_flowsep import RATE, noise, tiny, tiny_config

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_windows_that_go_on_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from flowsep_seams import WAYS, measure

    system, sound = tiny(tiny_config(segment_s=2.56)), noise(6 * RATE)
    joined, apart = (measure(system, sound, "a dog", way) for way in WAYS)
    assert joined["apart_db"] < -60
    assert apart["apart_db"] > -20
    assert abs(joined["level_db"]) < 1
    assert 0.8 < joined["change"] < 1.25


def test_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from flowsep_tables import flowsep_seams_table

    row = {"noise": "pink", "query": "rain", "way": "drawn apart", "apart_db": -1.0, "level_db": -2.0, "change": 1.5}
    result = {
        "rows": [row, row | {"query": "wind", "level_db": 0.5, "change": 1.1}], "seconds": 30, "steps": 10,
        "model": "one", "machine": {"cpu": "one"}, "versions": {"torch": "2"},
    }  # fmt: skip
    told = flowsep_seams_table(result)
    assert "| drawn apart | -1 dB (worst -1 dB) | -0.75 dB (worst -2.00 dB) | 1.30 times (worst 1.50) |" in told
    assert "1 noises of 30 s, each asked for 2 sounds, 10 steps" in told
