"""`soundsieve train`: run a recipe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from soundsieve.errors import ConfigError


def train(
    recipe: Annotated[Path, typer.Argument(help="The run to make, such as recipes/starter/sieve.yaml.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", help="CSV of clips: path, label, caption, group, split; or AudioSep's list, .json."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the run; runs/<folder>-<recipe> unless given.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="Change a value, such as --set options.batch_size=8.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    devices: Annotated[int, typer.Option(help="How many devices.")] = 1,
    threads: Annotated[int | None, typer.Option(help="CPU threads of a step; all cores unless given.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that make batches; 0 makes them between steps.")] = 1,
    cache: Annotated[Path | None, typer.Option(help="Folder for decoded clips.")] = None,
    held_out: Annotated[
        Path | None, typer.Option(help="File of labels, one a line, whose clips are left out; see evaluate --unseen.")
    ] = None,
    stop_after: Annotated[int | None, typer.Option(help="Leave off after this step; --resume goes on.")] = None,
) -> None:
    """Train what a recipe states; a stopped run goes on with --resume."""
    import torch

    try:
        from soundsieve.evaluation.pairs import read_labels
        from soundsieve.training.build import Data, build_task
        from soundsieve.training.fit import fit
        from soundsieve.training.recipe import read_recipe
    except ModuleNotFoundError as error:
        raise ConfigError(f"training needs {error.name}: install soundsieve with its extra 'train'") from error

    changes = _changes(change or [])
    if held_out:
        changes["held_out"] = read_labels(held_out)
    settings = read_recipe(recipe, changes)
    folder = output or Path("runs") / f"{recipe.resolve().parent.name}-{recipe.stem}"
    last = folder / "last.ckpt"
    if last.is_file() and not resume:
        raise ConfigError(f"{folder} holds a run: add --resume to go on with it, or name another folder with --output")
    if threads:
        torch.set_num_threads(threads)
    task = build_task(settings, Data(data, cache, _tell))
    size = getattr(getattr(task, "config", None), "batch_size", 1) * devices
    result = fit(
        task, settings, folder, resume=last if resume else None, device=device, devices=devices, workers=workers,
        examples_per_step=size, stop_after=stop_after,
    )  # fmt: skip
    if result.interrupted:
        if result.is_first:
            print(f"soundsieve: interrupted; step {result.step} is kept in {last}, --resume goes on", file=sys.stderr)
        raise typer.Exit(130)
    if not result.is_first:
        return
    shown = ", ".join(
        f"{name.removeprefix('validation_')} {value:.3f}"
        for name, value in result.best.items()
        if name.startswith("validation_")
    )
    print(f"{folder}: step {result.step}" + (f"; best at step {result.best['step']:.0f}: {shown}" if shown else ""))


def _changes(pairs: list[str]) -> dict[str, Any]:
    import yaml

    changes = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set takes name=value, such as options.batch_size=8; got '{pair}'")
        changes[name.strip()] = yaml.safe_load(value)
    return changes


def _tell(what: str, done: int, total: int) -> None:
    if sys.stderr.isatty() and (done % 20 == 0 or done + 1 == total):
        print(f"\r{what} {done + 1}/{total} ", end="\n" if done + 1 == total else "", file=sys.stderr, flush=True)
