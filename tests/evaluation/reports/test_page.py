"""The whole page: of rows that lack what they may lack, and of rows with hostile texts."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from page_checks import Page

from soundsieve.errors import ConfigError
from soundsieve.evaluation.judge import pack
from soundsieve.evaluation.reports import curve, page
from soundsieve.evaluation.reports.runs import GAINS, Run, read
from soundsieve.evaluation.rows import write_rows

pytest.importorskip("matplotlib")

HOSTILE = "<script>alert(1)</script>"


def rows(**more: object) -> list[dict[str, object]]:
    """Eighty answers in two ways."""
    rng = random.Random(0)
    return [
        {"pair": i, "direction": i % 2, "condition": way, "sdri": rng.gauss(8, 4), "label": ["dog", "rain"][i % 2]}
        | more
        for i in range(40)
        for way in ("text", "example")
    ]


def sections(made: page.Report) -> Page:
    return Page(made.html())


def test_a_page_says_what_it_lacks() -> None:
    found = sections(page.report([Run("bare", rows())]))
    missing = found.text("li")
    for what in ("Against the level", "how long", "Sounds that are not there", "Map of sounds", "--model", "--curve"):
        assert what in missing
    assert "no summary (bare.json)" in missing
    assert [name for name in found.values("id") if name in ("violins0", "labels0", "levels")] == ["violins0", "labels0"]


def test_a_page_draws_what_the_rows_tell() -> None:
    heard = [pack(torch.randn(1, 8, generator=torch.Generator().manual_seed(i))) for i in range(80)]
    full = [
        row
        | {
            "snr_db": [-5.0, 0.0, 5.0][i % 3],
            "shots": 1,
            "like_s": i % 4,
            "embedding": heard[i],
            "presence": 0.9,
        }
        for i, row in enumerate(rows())
    ]
    full += [
        {"pair": i, "direction": None, "condition": "absent", "energy_db": -30.0 - i, "presence": 0.1} for i in range(9)
    ]
    for row in full[:80]:
        row["energy_db"] = -3.0
    full += [row | {"condition": "examples", "shots": 5} for row in full[:80] if row["condition"] == "example"]
    pytest.importorskip("sklearn")
    log = {"loss": [(1.0, 2.0), (2.0, 1.0)], "validation_score": [(2.0, 3.0)]}
    found = sections(page.report([Run("full", full, {"run": {"model": "m"}})], curves={"log": log}))
    drawn = {
        "violins0",
        "levels",
        "shots",
        "lengths",
        "labels0",
        "absent-energy_db",
        "absent-presence",
        "map0",
        "training0",
    }
    assert drawn <= set(found.values("id"))
    assert "Map" not in found.text("li")


def test_hostile_texts_stay_texts() -> None:
    bad = [row | {"label": HOSTILE, "condition": HOSTILE, "query": HOSTILE} for row in rows()]
    bad += [row | {"label": "$\\frac{$", "condition": HOSTILE} for row in rows()]
    about = {"run": {"model": HOSTILE, "benchmark": HOSTILE}, "not_applicable": {"pesq": HOSTILE}}
    found = sections(page.report([Run(HOSTILE, bad, about)], curves={HOSTILE: {HOSTILE: [(0.0, 1.0)]}}))
    assert not [tag for tag, _ in found.tags if tag == "script"]
    assert HOSTILE in found.text("td")


def test_what_does_not_apply_is_said_and_not_printed(tmp_path: Path) -> None:
    anew = [{key: value for key, value in row.items() if key != "sdri"} | {"clap_score": 0.5} for row in rows()]
    write_rows(tmp_path / "anew.jsonl", anew)
    why = "SDRi needs answers that line up with the target; anew makes its sound anew"
    (tmp_path / "anew.json").write_text(json.dumps({"run": {"model": "anew"}, "not_applicable": {"sdri": why}}))
    made = page.report(read([tmp_path / "anew.jsonl"]))
    assert made.metric == "clap_score"
    found = sections(made)
    assert why in found.text("li")
    assert "SDRi" not in found.text("th")


def test_what_does_not_apply_is_left_out_even_if_it_was_measured() -> None:
    both = [row | {"sdr": 1.0, "clap_score": 0.5} for row in rows()]
    run = Run("anew", both, {"not_applicable": {"sdr": "SDR needs answers that line up"}})
    assert run.columns == ["clap_score"]
    assert "SDR" not in sections(page.report([run])).text("th")


def test_runs_of_one_model_by_other_numbers_of_clips_make_one_line() -> None:
    about = {"run": {"model": "m", "benchmark": "esc"}}
    runs = [Run(f"shots{n}", [row | {"shots": n, "condition": "examples"} for row in rows()], about) for n in (1, 2, 5)]
    found = sections(page.report(runs))
    assert "shots" in found.values("id")
    assert {"1", "2", "5"} <= set(found.texts["text"])
    other = sections(page.report([*runs, Run("n", runs[0].rows, {"run": {"model": "n", "benchmark": "esc"}})]))
    assert "n, esc, example" not in other.texts["text"]  # of it there is one number alone


def test_runs_by_clips_of_other_lengths_make_one_line() -> None:
    def cut(seconds: float) -> Run:
        facts = {"run": {"model": "m", "like_seconds": seconds}}
        return Run(f"cut{seconds}", [row | {"like_s": min(seconds, row["pair"] / 10)} for row in rows()], facts)

    found = sections(page.report([cut(0.5), cut(2.0)], condition="example"))
    assert "lengths" in found.values("id")
    assert "length that clips are cut to, s" in found.texts["text"]
    assert "Shorter clips are whole." in found.text("figcaption")


def test_numbers_have_to_be_numbers(tmp_path: Path) -> None:
    for row, problem in (
        ({"snr_db": "high"}, "snr_db of an answer is 'high'"),
        ({"condition": 3}, "condition of an answer is 3"),
    ):
        write_rows(tmp_path / "a.jsonl", [rows()[0] | row])
        with pytest.raises(ConfigError, match=problem):
            read([tmp_path / "a.jsonl"])


def test_runs_of_several_benchmarks_stand_apart() -> None:
    listed = [{"example": str(i), "condition": "text", "sdri": float(i), "label": ""} for i in range(9)]
    found = sections(page.report([Run("a", rows()), Run("b", rows()), Run("c", listed, {"run": {"benchmark": "esc"}})]))
    assert {"violins0", "violins1"} <= set(found.values("id"))
    assert "violins2" not in found.values("id")
    assert "Distribution: esc" in found.text("h2")


def test_what_is_shown_has_to_be_there() -> None:
    run = Run("a", rows())
    with pytest.raises(ConfigError, match="no metric 'pesq' that all runs hold; they share sdri"):
        page.report([run], metric="pesq")
    with pytest.raises(ConfigError, match="not all runs were asked by 'label'; they share text, example"):
        page.report([run], condition="label")
    other = Run("b", [{"example": "0", "condition": "label", "pesq": 2.0}])
    with pytest.raises(ConfigError, match="share no metric"):
        page.report([run, other])
    with pytest.raises(ConfigError, match="share no way of asking"):
        page.report([run, Run("b", [{"example": "0", "condition": "label", "sdri": 2.0}])])
    assert page.report([run], condition="example").condition == "example"
    assert GAINS[0] == "sdri"


def test_rows_are_read_with_their_summary(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_rows(
            tmp_path / folder / "run.jsonl", [*rows(), {"example": "x", "condition": "left out", "reason": "silent"}]
        )
    one, two = read([tmp_path / "a" / "run.jsonl", tmp_path / "b" / "run.jsonl"])
    assert one.name != two.name
    assert (len(one.rows), one.left_out, one.about) == (80, 1, {})
    with pytest.raises(ConfigError, match="given twice"):
        read([tmp_path / "a" / "run.jsonl"] * 2)
    (tmp_path / "a" / "run.json").write_text("[]")
    with pytest.raises(ConfigError, match="is not the summary of the rows"):
        read([tmp_path / "a" / "run.jsonl"])
    (tmp_path / "a" / "run.json").write_text("{")
    with pytest.raises(ConfigError, match=r"cannot read .*run\.json"):
        read([tmp_path / "a" / "run.jsonl"])
    write_rows(tmp_path / "c.jsonl", [])
    with pytest.raises(ConfigError, match="holds no answers"):
        read([tmp_path / "c.jsonl"])


def test_a_log_is_read_with_its_gaps(tmp_path: Path) -> None:
    log = tmp_path / "starter" / "log.csv"
    log.parent.mkdir()
    log.write_text("step,loss,score\n1,2.5,\n2,1.5,7\n")
    assert curve.read(log) == {"loss": [(1.0, 2.5), (2.0, 1.5)], "score": [(2.0, 7.0)]}
    assert page.curve_names([log, Path("other.csv")]) == ["starter", "other"]
    for text, problem in (
        ("a,b\n1,2\n", "no column 'step'"),
        ("step,a\n1,x\n", "line 2: could not"),
        ("step,a\n1,2,3\n", "more values"),
    ):
        log.write_text(text)
        with pytest.raises(ConfigError, match=problem):
            curve.read(log)
    with pytest.raises(ConfigError, match="cannot read"):
        curve.read(tmp_path / "none.csv")
