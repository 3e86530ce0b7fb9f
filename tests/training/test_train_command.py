"""`soundsieve train`: what a user types, what comes out, what is refused."""

from pathlib import Path

import pytest

from soundsieve.cli.main import main

ROOT = Path(__file__).parents[2]
SMALLER = ["--set", "options.mixtures.segment_s=1.2", "--set", "options.batch_size=2", "--set", "validate_every=2"]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["train", *arguments])
    return int(end.value.code or 0)


def test_a_run_stops_and_goes_on(corpus: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, folder = str(ROOT / "recipes/starter/debug.yaml"), tmp_path / "run"
    common = [recipe, "--data", str(corpus), "--cache", str(cache), "-o", str(folder), "--workers", "0"]
    common += [*SMALLER, "--set", "options.validation_pairs=2", "--set", "max_steps=4", "--set", "learning_rate=3e-4"]
    assert run(*common, "--stop-after", "3") == 0
    assert "step 3; best at step 2" in capsys.readouterr().out
    assert {"last.ckpt", "best.safetensors", "last.safetensors", "log.csv", "curve.png"} <= {
        path.name for path in folder.iterdir()
    }
    assert run(*common) == 2
    assert "--resume" in capsys.readouterr().err
    assert run(*common, "--resume") == 0
    assert "step 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.yaml"], "cannot read the recipe none.yaml"),
        (["{recipe}"], "name a list of clips with --data"),
        (["{recipe}", "--data", "none.csv"], "cannot read none.csv"),
        (["{recipe}", "--set", "a"], "--set takes name=value"),
        (["{recipe}", "--set", "options.colour=1", "--data", "{data}"], "unknown key 'colour'"),
        (["{recipe}", "--set", "model.preset=vast", "--data", "{data}"], "'vast' is not known"),
    ],
)
def test_what_cannot_be_run_is_one_line(
    arguments: list[str], message: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"recipe": str(ROOT / "recipes/starter/debug.yaml"), "data": str(corpus)}
    filled = [argument.format(**known) for argument in arguments]
    assert run(*filled, "-o", str(tmp_path / "run")) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()
