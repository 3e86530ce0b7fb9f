"""Ctrl-C in a run, and SIGTERM: the step at hand is finished and kept, and the run goes on as if never stopped."""

import os
import signal
from pathlib import Path

import pytest
import torch

from soundsieve.cli.main import main
from soundsieve.training.build import Data, build_task
from soundsieve.training.fit import fit
from soundsieve.training.recipe import read_recipe
from soundsieve.training.tasks.sieve import SieveTask

ROOT = Path(__file__).parents[2]
CHANGES = {
    "max_steps": 5, "validate_every": 5, "options.mixtures.segment_s": 1.2, "options.batch_size": 2,
    "options.validation_pairs": 2,
}  # fmt: skip


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_keeps_the_step_at_hand(
    corpus: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sent: int,
    code: int,
) -> None:
    path = ROOT / "recipes/starter/debug.yaml"
    recipe = read_recipe(path, CHANGES)
    fit(build_task(recipe, Data(corpus, cache)), recipe, tmp_path / "whole", workers=0)

    arguments = ["train", str(path), "--data", str(corpus), "--cache", str(cache), "-o", str(tmp_path / "run")]
    arguments += ["--workers", "1", *(part for item in CHANGES.items() for part in ("--set", "{}={}".format(*item)))]
    loss, before = SieveTask.loss, signal.getsignal(signal.SIGINT)

    def interrupted(task: SieveTask, module: torch.nn.Module, batch: dict[str, torch.Tensor], step: int) -> object:
        if step == 2:
            os.kill(os.getpid(), sent)
        return loss(task, module, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(SieveTask, "loss", interrupted)
        with pytest.raises(SystemExit) as end:
            main(arguments)
    assert end.value.code == code
    last = tmp_path / "run/last.ckpt"
    said = capsys.readouterr().err
    assert said == f"soundsieve: interrupted; step 3 is kept in {last}, --resume goes on\n"
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--resume"])
    assert not end.value.code
    whole, parts = (torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("whole", "run"))
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, parts["state_dict"][name]), name


def test_a_second_ctrl_c_ends_it_at_once(
    corpus: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read_recipe(ROOT / "recipes/starter/debug.yaml", CHANGES)
    task = build_task(recipe, Data(corpus, cache))

    def twice(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(task, "loss", twice)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(task, recipe, tmp_path, workers=0)
    assert signal.getsignal(signal.SIGINT) is before
    assert not (tmp_path / "last.ckpt").exists()
