from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from toy_benchmark import CLIPS, SECONDS, Knowing, Unmoved, sounds

from soundsieve.evaluation import report
from soundsieve.evaluation.pairs import make_pairs
from soundsieve.evaluation.questions import SETTINGS, plan, setting_of
from soundsieve.evaluation.report import condition_table, mean_with_interval, page, seen_table, setting_table, summarise
from soundsieve.evaluation.run import baselines, evaluate, quick_score, selectivity
from soundsieve.metrics import why_not

PAIRS = make_pairs(CLIPS.values(), sounds, seconds=SECONDS)


def rows(system):
    measured = list(evaluate(system, PAIRS, plan(PAIRS, CLIPS), sounds, seconds=SECONDS))
    return measured + list(baselines(PAIRS, CLIPS, sounds, seconds=SECONDS))


def test_means_and_intervals():
    rng = np.random.default_rng(0)
    values, pairs = rng.normal(3, 2, 400), np.arange(400)
    result = mean_with_interval(values, pairs)
    half = 1.96 * 2 / np.sqrt(400)
    assert result["mean"] == pytest.approx(values.mean(), abs=1e-4)
    assert result["interval"] == pytest.approx([values.mean() - half, values.mean() + half], abs=0.05)
    assert (result["n"], result["pairs"]) == (400, 400)
    assert mean_with_interval(values, pairs) == result
    assert mean_with_interval([2.0] * 5, range(5))["interval"] == [2, 2]


def test_directions_of_a_pair_are_drawn_together():
    values, pairs = np.random.default_rng(0).normal(0, 1, 200), np.arange(200)
    alone, twice = mean_with_interval(values, pairs), mean_with_interval([*values, *values], [*pairs, *pairs])
    assert twice["interval"] == alone["interval"]  # saying all twice makes nothing surer
    assert (twice["n"], twice["pairs"]) == (400, 200)


def test_selectivity_needs_both_answers():
    def row(pair, direction, own, other):
        return {"pair": pair, "direction": direction, "condition": "text", "si_sdr": own, "si_sdr_other": other}

    found = selectivity([row(0, 0, 5, -5), row(0, 1, 6, -6), row(1, 0, 5, -5), row(1, 1, -1, 1), row(2, 0, 9, 0)])
    assert found == {0: True, 1: False}


def test_an_unmoved_system_scores_zero():
    summary = summarise(rows(Unmoved()))
    text = summary["conditions"]["text"]
    assert text["sdri"] == {"mean": 0, "interval": [0, 0], "median": 0}
    assert text["selectivity"]["mean"] == 0
    assert (text["n"], text["pairs"]) == (24, 12)
    assert summary["absent"]["energy_db_median"] == 0
    assert summary["absent"]["auc_energy"] == 0.5
    assert "auc_presence" not in summary["absent"]
    assert quick_score(Unmoved(), sounds, PAIRS, CLIPS.values(), seconds=SECONDS) == {
        "sdri_text": 0,
        "sdri_both": 0,
        "selectivity": 0,
    }


def test_a_knowing_system_is_selective_and_notices_absence():
    summary = summarise(rows(Knowing()), presence_threshold=0.2)
    assert summary["conditions"]["text"]["sdri"]["interval"][0] > 12
    assert summary["conditions"]["text"]["selectivity"]["interval"] == [1, 1]
    assert summary["absent"]["energy_db_median_interval"][1] < -15
    assert summary["absent"]["auc_presence"] == 1
    assert (summary["absent"]["found_present"], summary["absent"]["found_absent"]) == (1, 0)
    assert set(summary["by_label"]) == {"hum", "tone", "whistle", "hiss"}
    assert set(summary["by_source"]) == {"field", "studio"}
    assert sum(entry["n"] for entry in summary["by_label"].values()) == 24
    means = [entry["text"] for entry in summary["by_label"].values()]
    assert means == sorted(means)
    score = quick_score(Knowing(), sounds, PAIRS, CLIPS.values(), seconds=SECONDS)
    assert score["selectivity"] == 1
    assert score["sdri_text"] == pytest.approx(summary["conditions"]["text"]["sdri"]["mean"], abs=1e-3)


def test_baselines_frame_the_tables():
    summary = summarise(rows(Unmoved()))
    assert list(summary["conditions"])[:3] == ["mixture", "half the mixture", "text"]
    assert summary["conditions"]["half the mixture"]["sdri"]["mean"] == pytest.approx(3, abs=0.2)
    equal = [name for name in summary["conditions"] if not setting_of(name)]
    assert equal[-1] == "ideal ratio mask"
    assert list(summary["conditions"])[: len(equal)] == equal
    assert summary["conditions"]["mixture"]["sdri"]["mean"] == 0
    assert "selectivity" not in summary["conditions"]["mixture"]
    assert summary["conditions"]["ideal ratio mask"]["sdri"]["mean"] > 6


def test_other_levels_and_three_sounds_have_a_table_of_their_own():
    summary = summarise(rows(Knowing()))
    lines = setting_table(summary).splitlines()
    assert lines[0].startswith("| SDRi, dB (95%), where | n | SDR of the mixture | text | text+exclude | exclude |")
    settings = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1:3] for line in lines[2:]}
    assert {name: n for name, (n, _) in settings.items()} == dict(
        zip(SETTINGS.values(), ("12", "12", "24"), strict=True)
    )
    levels = [float(level) for _, level in settings.values()]
    assert levels == pytest.approx([5, -5, -3], abs=0.2)
    assert setting_table(summary) in page(summary)
    assert "of three" not in condition_table(summary)
    assert summary["conditions"]["text of three"]["selectivity"]["mean"] == 1
    assert "selectivity" not in summary["conditions"]["text at +5 dB"]
    few = plan(PAIRS, CLIPS, conditions=["text"])
    assert setting_table(summarise(list(evaluate(Knowing(), PAIRS, few, sounds, seconds=SECONDS)))) == ""


def test_unseen_labels_are_told_apart():
    measured = rows(Knowing())
    assert seen_table(summarise(measured)) == ""
    summary = summarise(measured, unseen={"hum", "tone"})
    texts = [row for row in measured if row["condition"] == "text"]
    for side, labels in (("unseen", {"hum", "tone"}), ("seen", {"whistle", "hiss"})):
        gains = [row["sdri"] for row in texts if row["label"] in labels]
        assert summary["seen"][side]["text"]["mean"] == pytest.approx(np.mean(gains), abs=1e-3)
        assert summary["seen"][side]["text"]["n"] == len(gains) == 12
    assert any(line.startswith("| text | 12 | ") for line in seen_table(summary).splitlines())
    assert seen_table(summary) in page(summary)


class Anew(Knowing):
    name = "anew"
    aligned = False


def test_a_report_says_which_metrics_do_not_apply():
    summary = summarise(rows(Anew()))
    summary["not_applicable"] = {"sdr": why_not("sdr", Anew())}
    assert set(summary["conditions"]["text"]) == {"meaning", "n", "pairs", "seconds"}
    assert summary["conditions"]["mixture"]["sdri"]["mean"] == 0
    assert summary["by_label"] == {}
    text = page(summary)
    assert "| text | 24 |  |  |  |  |  |" in text
    assert "## Metrics that do not apply\n\n- SDR needs answers that line up with the target" in text
    assert "do not apply" not in page(summarise(rows(Knowing())))


def test_further_metrics_have_their_own_table():
    asked = plan(PAIRS[:3], CLIPS, conditions=["text"])
    measured = list(evaluate(Knowing(), PAIRS[:3], asked, sounds, seconds=SECONDS, metrics=["sdr", "filtered_sdr"]))
    summary = summarise(measured)
    value = summary["conditions"]["text"]["filtered_sdri"]
    low, high = value["interval"]
    text = page(summary)
    assert "| query | SDR, 512 taps, dB (95%) | SDRi, 512 taps, dB (95%) | seconds an answer |" in text
    assert f"{value['mean']:.1f} ({low:.1f} to {high:.1f}) | {summary['conditions']['text']['seconds']:.3f} |" in text
    assert "SI-SNR" not in text


def test_a_part_of_the_conditions_makes_a_report_too():
    only = [row for row in rows(Knowing()) if row["condition"] == "example"]
    summary = summarise(only)
    assert set(summary["conditions"]) == {"example"}
    assert "absent" not in summary
    assert summary["by_label"] == {}
    assert "| example |" in page(summary)


def test_the_page_shows_what_the_summary_holds(tmp_path: Path):
    summary = {"run": {"model": "toy", "command": "a | b", "environment": report.environment()}}
    summary |= summarise(rows(Knowing()))
    text = page(summary)
    assert text.startswith("# Measured: toy\n")
    assert "a \\| b" in text
    value = summary["conditions"]["text"]["sdri"]
    low, high = value["interval"]
    assert f"| {value['mean']:.1f} ({low:.1f} to {high:.1f}) |" in text
    assert "## By label" in text
    assert "said to be there" in text
    for line in text.splitlines():
        assert not line.startswith("|") or line.endswith("|")
    report.write_summary(tmp_path / "a.json", summary)
    report.write_markdown(tmp_path / "a.md", summary)
    assert json.loads((tmp_path / "a.json").read_text()) == summary
    assert (tmp_path / "a.md").read_text() == text
    assert report.sha256(tmp_path / "a.md") == hashlib.sha256(text.encode()).hexdigest()
