from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from soundsieve.evaluation.benchmarks.page import sections
from soundsieve.evaluation.benchmarks.registry import BENCHMARKS
from soundsieve.evaluation.listed_report import averaged, condition_table, page, summarise, write_markdown
from soundsieve.evaluation.measuring import Row

GAINS = {"bell": [1.0, 2.0, 9.0], "dog": [5.0]}


def rows() -> list[Row]:
    found: list[Row] = []
    for label, gains in GAINS.items():
        for index, gain in enumerate(gains):
            for condition, value in (("mixture", 0.0), ("text", gain)):
                head = {"example": f"{label}{index}", "condition": condition, "target": f"{label}.wav", "label": label}
                found.append(head | {"sdri": value, "si_sdr": value + 1, "energy_db": -3.0, "presence": None})
    return found


def test_means_are_taken_as_the_published_ones() -> None:
    texts = [row for row in rows() if row["condition"] == "text"]
    benchmark = BENCHMARKS["audiosep-esc50"]
    expected = {"examples": 17 / 4, "labels": (4 + 5) / 2, "label medians": (2 + 5) / 2}
    for how, mean in expected.items():
        assert averaged(texts, "sdri", replace(benchmark, averaged=how)) == pytest.approx(mean)  # type: ignore[arg-type]


def test_a_summary_and_its_table() -> None:
    summary = summarise(rows(), BENCHMARKS["audiosep-music"])
    entry = summary["conditions"]["text"]
    assert (entry["n"], entry["targets"]) == (4, 2)
    assert entry["sdri"]["mean"] == pytest.approx(4.25)
    assert entry["sdri"]["median"] == pytest.approx(3.5)
    assert entry["sdri"]["protocol"] == pytest.approx(4.5)
    assert entry["sdri"]["interval"] == [4.0, 5.0]  # two targets are drawn, not four examples
    assert "protocol" not in summary["conditions"]["mixture"]["sdri"]
    assert condition_table(summary).splitlines()[2:] == [
        "| mixture | 4 | 0.00 (0.00 to 0.00) | 1.00 (1.00 to 1.00) |",
        "| text | 4 | 4.25 (4.00 to 5.00) [4.50] | 5.25 (5.00 to 6.00) [5.50] |",
        "| AudioSep, published |  | 10.51 | 9.43 |",
    ]


def test_a_page(tmp_path: Path) -> None:
    left_out = {"example": "x", "condition": "left out", "reason": "example x cannot be mixed: it is silent"}
    summary = summarise([*rows(), left_out], BENCHMARKS["audiosep-music"])
    assert summary["not_mixed"] == [left_out["reason"]]
    summary["run"] = {"model": "a|b", "benchmark": "audiosep-music", "environment": {"torch": "2"}}
    text = page(summary)
    assert text.startswith("# Measured: a|b on audiosep-music\n")
    assert "| model | a\\|b |" in text
    assert "in brackets, the mean over the means of labels" in text
    assert "- AudioSep: https://github.com/Audio-AGI/AudioSep" in text
    write_markdown(tmp_path / "page.md", summary)
    assert (tmp_path / "page.md").read_text() == text


def test_what_was_measured_is_shown_where_the_own_metrics_were_not() -> None:
    table = condition_table(summarise(rows(), BENCHMARKS["flowsep-audiocaps"]))
    assert table.splitlines()[0] == "| query | n | SDRi, dB | energy, dB |"


def test_without_ratios_the_energy_is_told() -> None:
    hidden: list[Row] = [
        {"example": "x", "condition": "text", "target": "", "label": "", "energy_db": -4.0, "presence": 0.5}
    ]
    table = condition_table(summarise(hidden, BENCHMARKS["dcase2024-real"]))
    assert table.splitlines()[0] == "| query | n | energy, dB |"
    assert "| text | 1 | -4.00 (-4.00 to -4.00) |" in table


def test_every_published_benchmark_has_a_section() -> None:
    text = sections()
    for name, benchmark in BENCHMARKS.items():
        assert (f"### {name}\n" in text) == (name != "list")
        if name != "list":
            assert benchmark.licence in text
            assert benchmark.audio_at in text
            assert all(score.source in text for score in benchmark.scores)
