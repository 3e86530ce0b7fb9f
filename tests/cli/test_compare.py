from __future__ import annotations

import json
from pathlib import Path

import pytest

from soundsieve.cli.main import main
from soundsieve.evaluation.rows import write_rows


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, gain in (("a", 1.0), ("b", 2.5)):
        rows = [
            {"pair": i, "direction": 0, "condition": way, "sdri": i % 3 + gain}
            for i in range(20)
            for way in ("text", "example")
        ]
        write_rows(f"{name}.jsonl", rows)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["compare", *arguments])
    return int(end.value.code or 0)


def test_two_runs_are_compared(runs: None, capsys: pytest.CaptureFixture[str]):
    assert run("a.jsonl", "b.jsonl", "-o", "out/c.json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["query", "text", "example"]
    assert " ".join(lines[1].split()) == "text SDRi, dB 20 1.95 3.45 +1.50 (+1.50 to +1.50) < 0.0002 b"
    written = json.loads(Path("out/c.json").read_text())
    assert (written["first"], written["second"]) == ("a.jsonl", "b.jsonl")
    assert [one["difference"] for one in written["comparisons"]] == [1.5, 1.5]


def test_a_part_can_be_chosen(runs: None, capsys: pytest.CaptureFixture[str]):
    assert run("a.jsonl", "b.jsonl", "--conditions", "example", "--metrics", "sdri") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_runs_of_one_name_are_told_apart(runs: None, capsys: pytest.CaptureFixture[str]):
    Path("new").mkdir()
    Path("b.jsonl").rename("new/a.jsonl")
    assert run("a.jsonl", "new/a.jsonl") == 0
    assert "new/a.jsonl" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.jsonl", "none.jsonl"], "cannot read none.jsonl"),
        (["a.jsonl", "b.jsonl", "--metrics", "loudness"], "no metric 'loudness'"),
        (["a.jsonl", "b.jsonl", "-o", "c.csv"], "ends in .json"),
        (["a.jsonl", "b.jsonl", "-o", "a.jsonl/c.json"], "a.jsonl: File exists"),
        (["a.jsonl", "b.jsonl", "-o", "folder.json"], "folder.json is a folder"),
        (["a.jsonl", "b.jsonl", "--seed", "-1"], "--seed"),
    ],
)
def test_mistakes_cost_a_line(runs: None, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str):
    Path("folder.json").mkdir()
    assert run(*arguments) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
