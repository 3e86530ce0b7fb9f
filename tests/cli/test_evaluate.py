from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import soundfile
import typer
from identity_system import IdentityConfig, IdentitySystem
from tiny_flowsep import tiny
from toy_benchmark import CLIPS, SAMPLE_RATE, SOUNDS
from typer.testing import CliRunner

import soundsieve
from soundsieve.cli.evaluate import evaluate
from soundsieve.encoders.clap import CLAP, CLAPConfig
from soundsieve.errors import ConfigError
from soundsieve.evaluation.rows import Kept, read_rows
from soundsieve.weights.checkpoint import save_system
from soundsieve.weights.clap import save_clap


@pytest.fixture
def benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a benchmark of small files and a model, where the command is run."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "benchmarks" / "clips"
    rows = [["path", "source", "label", "caption", "group", "seconds", "split"]]
    for path, clip in CLIPS.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / path, SOUNDS[path].numpy(), SAMPLE_RATE)
        split = "train" if path == "tone/2.wav" else "test"
        rows.append([path, clip.source, clip.label, clip.caption, clip.group, "1", split])
    with (folder / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (folder.parent / "paraphrases.csv").write_text("label,text\nhum,a low buzz\n")
    save_system("model.safetensors", IdentitySystem(IdentityConfig(sample_rate=SAMPLE_RATE, gain=0.5)))
    return folder.parent


class CutError(Exception):
    """The end of a run that nobody expected."""


def run(*arguments: str, fails: bool = False) -> str:
    app = typer.Typer(add_completion=False)
    app.command()(evaluate)
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=fails)
    if fails:
        assert result.exception is not None
        raise result.exception
    assert result.exit_code == 0
    return result.stdout


def test_one_command_draws_the_list_and_one_measures(benchmark: Path):
    assert "wrote 4 mixtures" in run("--make-pairs", "--limit", "4")
    listed = (benchmark / "pairs.csv").read_bytes()
    assert b"tone/2.wav" not in listed  # not of the test split
    run("--make-pairs", "--limit", "4")
    assert (benchmark / "pairs.csv").read_bytes() == listed

    out = run("-m", "model.safetensors", "-o", "results/toy.json", "--limit", "2")
    assert "| text | 4 |" in out
    assert "| mixture | 4 |" in out
    assert "| the sound asked for is 5 dB below the other one | 2 | -" in out
    assert "present against absent" in out
    assert sorted(path.name for path in Path("results").iterdir()) == ["toy.json", "toy.jsonl", "toy.md"]
    summary = json.loads(Path("results/toy.json").read_text())
    rows = [json.loads(line) for line in Path("results/toy.jsonl").read_text().splitlines()]
    assert summary["run"]["pairs"] == 2
    assert summary["run"]["model"] == "model.safetensors"
    assert len(summary["run"]["weights_sha256"]) == 64
    assert set(summary["run"]["environment"]) >= {"torch", "soundsieve", "machine", "threads"}
    texts = [row for row in rows if row["condition"] == "text"]
    assert len(texts) == summary["conditions"]["text"]["n"] == 4
    assert all(row["energy_db"] == pytest.approx(-6.02, abs=0.01) for row in texts)  # half the mixture
    assert all(row["presence"] == pytest.approx(0.9) for row in texts)
    assert "| text | 4 |" in Path("results/toy.md").read_text()


def test_the_same_command_gives_the_same_rows(benchmark: Path):
    run("--make-pairs", "--limit", "3")
    run("-m", "model.safetensors", "-o", "a.json", "--metrics", "sdr,si_sdr")
    run("-m", "model.safetensors", "-o", "b.json", "--metrics", "sdr,si_sdr", "--batch-size", "2")
    a, b = ([row | {"seconds": None} for row in read_rows(path)] for path in ("a.jsonl", "b.jsonl"))
    assert a == b


def test_a_run_that_was_cut_short_goes_on(benchmark: Path, monkeypatch: pytest.MonkeyPatch):
    run("--make-pairs", "--limit", "3")
    command = ["-m", "model.safetensors", "-o", "out/a.json", "--batch-size", "2", "--metrics", "sdr,si_sdr"]
    run(*command)
    whole = read_rows("out/a.jsonl")
    Path("out/a.jsonl").unlink()

    measured = Kept.append

    def cut_short(kept: Kept, row: dict) -> None:
        if len(kept.rows) == 70:
            raise CutError
        measured(kept, row)

    with monkeypatch.context() as patch:
        patch.setattr(Kept, "append", cut_short)
        with pytest.raises(CutError):
            run(*command, fails=True)
    assert not Path("out/a.jsonl").exists()
    assert len(read_rows("out/a.jsonl.part")) == 70
    with pytest.raises(ConfigError, match=r"a\.jsonl\.part holds rows of another run \(metrics: .*delete it"):
        run(*command, "--metrics", "sdr", fails=True)
    with pytest.raises(ConfigError, match=r"another run \(pairs: 3, here 2\)"):
        run(*command, "--limit", "2", fails=True)
    run(*command)
    assert [row | {"seconds": 0} for row in read_rows("out/a.jsonl")] == [row | {"seconds": 0} for row in whole]
    assert read_rows("out/a.jsonl")[69]["seconds"] is not None
    assert not Path("out/a.jsonl.part").exists()
    assert json.loads(Path("out/a.json").read_text())["conditions"]["text"]["n"] == 6


def test_a_run_with_another_clap_is_another_run(benchmark: Path, monkeypatch: pytest.MonkeyPatch):
    whole = soundsieve.load("model.safetensors")
    monkeypatch.setattr("soundsieve.separator.load", lambda *_, **__: whole)
    monkeypatch.setattr(Kept, "append", cut_short_at_once)
    run("--make-pairs", "--limit", "2")
    Path("a.pt").write_bytes(b"one")
    Path("b.pt").write_bytes(b"another")
    command = ["-m", "model.safetensors", "-o", "out/a.json", "--conditions", "text"]
    with pytest.raises(CutError):
        run(*command, "--clap", "a.pt", "--tokenizer", "a.json", fails=True)
    for options, name in (
        (["--clap", "b.pt", "--tokenizer", "a.json"], "clap_sha256"),
        (["--clap", "a.pt"], "tokenizer"),
    ):
        with pytest.raises(ConfigError, match=rf"another run \({name}: "):
            run(*command, *options, fails=True)


def cut_short_at_once(kept: Kept, row: dict) -> None:
    raise CutError


def test_conditions_can_be_chosen(benchmark: Path):
    run("--make-pairs", "--limit", "3")
    out = run(
        "-m",
        "model.safetensors",
        "--conditions",
        "text, example-any",
        "--examples-from",
        str(benchmark / "clips/clips.csv"),
    )
    names = [line.split("|")[1].strip() for line in out.splitlines() if line.startswith("|")]
    assert names[2:] == ["mixture", "half the mixture", "text", "example-any", "ideal ratio mask"]


def test_a_clap_can_judge(benchmark: Path):
    run("--make-pairs", "--limit", "2")
    save_clap("clap.safetensors", CLAP(CLAPConfig.debug()))
    command = ["-m", "model.safetensors", "--conditions", "text", "--metrics", "sdr", "--judge", "clap.safetensors"]
    assert "| FAD (95%) | CLAPScore (95%) |" in run(*command, "-o", "a.json")
    summary = json.loads(Path("a.json").read_text())
    assert summary["run"]["judge"].startswith("clap.safetensors (sha256 ")
    text, mixture = summary["conditions"]["text"], summary["conditions"]["mixture"]
    assert set(text) == {
        *("meaning", "n", "pairs", "seconds"),
        *("sdr", "sdri", "fad", "clap_score", "clap_score_audio"),
    }
    assert text["fad"]["mean"] < mixture["fad"]["mean"] + 0.1  # the answer is the mixture, half as loud
    assert all(-1 <= row["clap_score"] <= 1 for row in read_rows("a.jsonl"))
    assert "| FAD (95%) | CLAPScore (95%) | CLAPScore_A (95%) |" in Path("a.md").read_text()


def test_unseen_labels_are_measured_apart(benchmark: Path):
    run("--make-pairs", "--limit", "4")
    Path("unseen.txt").write_text("hum\n")
    out = run("-m", "model.safetensors", "--conditions", "text", "--metrics", "sdr", "--unseen", "unseen.txt")
    assert "| SDRi, dB (95%) | n | seen labels | n | unseen labels |" in out


def test_mistakes_are_named(benchmark: Path):
    with pytest.raises(ConfigError, match=r"pairs\.csv"):
        run("-m", "model.safetensors", fails=True)
    run("--make-pairs", "--limit", "1")
    with pytest.raises(ConfigError, match=r"ends in \.json"):
        run("-m", "model.safetensors", "-o", "out.csv", fails=True)
    Path("out.json").mkdir()
    with pytest.raises(ConfigError, match=r"out\.json is a folder"):
        run("-m", "model.safetensors", "-o", "out.json", fails=True)
    Path("out.json").rmdir()
    with pytest.raises(ConfigError, match="no condition 'loud'"):
        run("-m", "model.safetensors", "--conditions", "loud", fails=True)
    with pytest.raises(ConfigError, match="no metric 'loud' to choose"):
        run("-m", "model.safetensors", "--metrics", "sdr,loud", fails=True)
    with pytest.raises(ConfigError, match="nothing can be asked"):
        run("-m", "model.safetensors", "--conditions", "example-any", fails=True)
    with pytest.raises(ConfigError, match=r"clips\.csv"):
        run("--clips", "elsewhere/clips.csv", "--make-pairs", fails=True)
    assert [path.name for path in benchmark.parent.iterdir() if path.suffix not in ("", ".safetensors")] == []


def test_settings_of_a_system_that_generates(benchmark: Path):
    """Made anew an answer has no ratios of energies; projected it has."""
    save_system("flowsep.safetensors", tiny())
    run("--make-pairs", "--limit", "1")
    told = {}
    for name, more in {"anew": ["--steps", "1"], "part": ["--steps", "1", "--project"]}.items():
        run("-m", "flowsep.safetensors", "--conditions", "text", "-o", f"{name}.json", "--limit", "1", *more)
        told[name] = json.loads(Path(f"{name}.json").read_text())
    assert told["part"]["run"]["settings"] == {"steps": 1, "project": True}
    assert "sdri" not in told["anew"]["conditions"]["text"]
    assert "sdri" in told["part"]["conditions"]["text"]
