"""The training loop: Lightning around a `Task`.

A run is a folder: ``last.ckpt`` (everything a resumed run needs), ``last.safetensors`` and ``best.safetensors`` (the
product, averaged weights), ``log.csv`` (a row a validation) and ``curve.png``. A step depends on (seed, step) and the
state alone: its batch and its random numbers are drawn from both, so a run that was stopped and resumed takes the same
next step as one that was not. Ctrl-C stops after the step at hand and keeps it.
"""

from __future__ import annotations

import copy
import csv
import logging
import math
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from soundsieve.errors import ConfigError
from soundsieve.files import replacing
from soundsieve.training.recipe import Recipe
from soundsieve.training.tasks.base import Batch, OnFrozen, Task
from soundsieve.weights.config import to_dict


@dataclass(frozen=True)
class FitResult:
    """How a run ended: its folder, the last step taken, the best validation, and whether Ctrl-C ended it.

    Every device's process has one; ``is_first`` is true in the process that writes the files.
    """

    folder: Path
    step: int
    best: dict[str, float]
    interrupted: bool = False
    is_first: bool = True


class _Steps(IterableDataset[Batch]):
    """Batches from a step on; several workers take turns, so the order is that of one. Each device has its own."""

    def __init__(self, task: Task, start: int, stop: int, *, rank: int = 0, world: int = 1) -> None:
        self.task, self.start, self.stop, self.rank, self.world = task, start, stop, rank, world

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        for step in range(self.start + offset, self.stop, stride):
            yield self.task.batch(step * self.world + self.rank)


def _prepare_worker(_: int) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the one that trains decides


class Plateau:
    """The learning rate's factor: lowered when the score has not risen for longer than ``patience`` validations."""

    def __init__(self, factor: float, patience: int, minimum: float) -> None:
        self.factor, self.patience, self.minimum = factor, patience, minimum
        self.state: dict[str, float] = {"scale": 1.0, "best": -math.inf, "waited": 0}

    def step(self, score: float) -> None:
        """Take note of a validation."""
        state = self.state
        if score > state["best"]:
            state["best"], state["waited"] = score, 0
        else:
            state["waited"] += 1
        if state["waited"] > self.patience:
            state["scale"], state["waited"] = max(self.minimum, state["scale"] * self.factor), 0


def _average_of(module: nn.Module) -> nn.Module:
    """A copy that shares what is frozen: averages of what does not change need no memory."""
    shared = {id(p): p for p in module.parameters() if not p.requires_grad}
    return copy.deepcopy(module, shared).eval().requires_grad_(False)


class _Loop(lightning.LightningModule):
    """The task's module, its averaged copy, and one optimiser step."""

    average: nn.Module | None

    def __init__(self, task: Task, recipe: Recipe, workers: int) -> None:
        super().__init__()
        self.task, self.recipe, self.workers = task, recipe, workers
        self.module = task.module
        self.average = _average_of(task.module) if recipe.ema_decay else None
        lowest = recipe.minimum_learning_rate / recipe.learning_rate
        self.plateau = Plateau(recipe.plateau_factor, recipe.plateau_patience, lowest)

    @property
    def judged(self) -> nn.Module:
        """What is validated and saved: the average where there is one."""
        return self.module if self.average is None else self.average

    def kept(self) -> dict[str, Tensor]:
        """The part of the state dict that a checkpoint holds: all but what the task makes again."""
        rebuilt = self.task.rebuilt if isinstance(self.task, OnFrozen) else frozenset()
        return {name: value for name, value in self.state_dict().items() if name.partition(".")[2] not in rebuilt}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = self.kept()
        checkpoint["plateau"] = dict(self.plateau.state)
        if isinstance(self.task, OnFrozen):
            checkpoint["frozen_digest"] = self.task.frozen_digest

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = self.state_dict() | checkpoint["state_dict"]
        self.plateau.state.update(checkpoint.get("plateau", {}))

    def train_dataloader(self) -> DataLoader[Batch]:
        rank, world = self.trainer.global_rank, self.trainer.world_size
        steps = _Steps(self.task, self.global_step, self.recipe.max_steps, rank=rank, world=world)
        extra: dict[str, Any] = {"prefetch_factor": 4} if self.workers else {}
        return DataLoader(steps, batch_size=None, num_workers=self.workers, worker_init_fn=_prepare_worker, **extra)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        batch_of_all = self.global_step * self.trainer.world_size + self.trainer.global_rank
        torch.manual_seed(self.recipe.seed * 1_000_003 + batch_of_all)  # what is drawn is another one on each device
        self.parts = self.task.loss(self.module, batch, self.global_step)
        return self.parts["loss"]

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        trained = [p for p in self.module.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": recipe.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas, amsgrad=recipe.amsgrad)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.rate_factor(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rate_factor(self, step: int) -> float:
        """What the learning rate of a step is multiplied by."""
        recipe = self.recipe
        if recipe.warmup == "stairs" and recipe.warmup_steps:
            warm = 10.0 ** min(0, step // recipe.warmup_steps - 3)
        else:
            warm = min(1.0, (step + 1) / max(1, recipe.warmup_steps))
        if recipe.schedule == "constant":
            return warm
        if recipe.schedule == "plateau":
            return warm * self.plateau.state["scale"]
        cosine = 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / recipe.max_steps))
        return warm * (recipe.final_learning_rate + (1 - recipe.final_learning_rate) * cosine)

    def take_score(self, score: float, step: int) -> None:
        """Lower the learning rate of the very next step where the score asks for it."""
        if self.recipe.schedule == "plateau":
            self.plateau.step(score)
            for group in self.trainer.optimizers[0].param_groups:
                group["lr"] = self.recipe.learning_rate * self.rate_factor(step)

    @torch.no_grad()
    def update_average(self) -> None:
        if self.average is None:
            return
        decay = min(self.recipe.ema_decay, (1 + self.global_step) / (10 + self.global_step))
        new = self.module.state_dict(keep_vars=True)
        for name, old in self.average.state_dict(keep_vars=True).items():
            if old is new[name]:
                continue  # frozen
            if old.is_floating_point():
                old.lerp_(new[name], 1 - decay)
            else:
                old.copy_(new[name])


class _Keeper(Callback):
    """Validates, logs, keeps checkpoints, and says how far things are."""

    def __init__(self, folder: Path, recipe: Recipe, per_step: int) -> None:
        self.folder, self.recipe, self.per_step = folder, recipe, per_step
        self.best: dict[str, float] = {}
        self.rows: list[dict[str, float]] = []
        self._sums: dict[str, float] = {}
        self._count, self._timed, self._since, self._spoken = 0, 0, time.monotonic(), 0.0
        self.interrupted = False

    def state_dict(self) -> dict[str, Any]:
        state = {"best": self.best, "rows": self.rows, "sums": self._sums, "count": self._count}
        return state | {"recipe": to_dict(self.recipe)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.rows, self._sums, self._count = state["best"], state["rows"], state["sums"], state["count"]
        self._timed = -self._count  # steps of an earlier session took none of this one's time

    def on_train_start(self, trainer: lightning.Trainer, loop: Any) -> None:
        self._since = time.monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, loop: Any, *_: Any) -> None:
        loop.update_average()
        for name, value in loop.parts.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value.detach())
        self._count += 1
        step = trainer.global_step
        self._say(step)
        # Every device stops after the same step, whichever of them was told first.
        if trainer.world_size > 1:
            self.interrupted = trainer.strategy.reduce_boolean_decision(self.interrupted, all=False)
        if step % self.recipe.validate_every == 0 or step == self.recipe.max_steps:
            self._validate(trainer, loop, step)
        elif self.interrupted or step == trainer.max_steps:
            save_checkpoint(trainer, self.folder / "last.ckpt")
        if self.interrupted:
            trainer.should_stop = True

    def _say(self, step: int) -> None:
        now = time.monotonic()
        if not sys.stderr.isatty() or now - self._spoken < 1:
            return
        self._spoken = now
        rate = (self._count + self._timed) / max(1e-9, now - self._since)
        left = (self.recipe.max_steps - step) / max(rate, 1e-9)
        loss = self._sums["loss"] / self._count
        text = f"\rstep {step}/{self.recipe.max_steps}  loss {loss:.3f}  {rate * self.per_step:.1f} examples/s"
        print(f"{text}  {left / 60:.0f} min left ", end="", file=sys.stderr, flush=True)

    def _validate(self, trainer: lightning.Trainer, loop: Any, step: int) -> None:
        elapsed = time.monotonic() - self._since
        row = {"step": float(step), "examples_per_s": (self._count + self._timed) * self.per_step / max(elapsed, 1e-9)}
        row |= {"learning_rate": trainer.optimizers[0].param_groups[0]["lr"]}
        row |= {name: value / self._count for name, value in self._sums.items()}
        loop.judged.eval()
        scores = trainer.strategy.broadcast(loop.task.validate(loop.judged))  # one verdict for all devices
        loop.module.train()
        row |= {f"validation_{k}": v for k, v in scores.items()}
        loop.take_score(row["validation_score"], step)
        self.rows.append(row)
        self._sums, self._count, self._timed = {}, 0, 0
        better = row["validation_score"] > self.best.get("validation_score", -math.inf)
        self.best = row if better else self.best
        if trainer.is_global_zero:  # the product first: a checkpoint that knows of a best one must find it written
            for name in ["last", "best"][: 1 + better]:
                loop.task.save(self.folder / f"{name}.safetensors", loop.judged)
            self._write_log()
        save_checkpoint(trainer, self.folder / "last.ckpt")
        self._since = time.monotonic()
        if sys.stderr.isatty() and trainer.is_global_zero:
            shown = "  ".join(f"{k.removeprefix('validation_')} {v:.2f}" for k, v in row.items() if "validation" in k)
            print(f"\rstep {step}: {shown}" + " " * 30, file=sys.stderr)

    def _write_log(self) -> None:
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with replacing(self.folder / "log.csv") as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(
                [
                    {k: float(f"{v:.7g}") if k == "learning_rate" else round(v, 5) for k, v in row.items()}
                    for row in self.rows
                ]
            )
        draw_curve(self.rows, self.folder / "curve.png")


def save_checkpoint(trainer: lightning.Trainer, path: Path) -> None:
    """All that a resumed run needs, whole or not at all; every device takes part, the first one writes."""
    temporary = path.with_name(f".{path.name}.part")
    trainer.save_checkpoint(temporary)
    if trainer.is_global_zero:
        temporary.replace(path)


def _check_resume(path: Path, recipe: Recipe, loop: _Loop) -> None:
    """Only the same recipe on the same frozen network takes the same next step."""
    stored = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    shapes = {name: value.shape for name, value in loop.kept().items()}
    if {name: value.shape for name, value in stored["state_dict"].items()} != shapes:
        raise ConfigError(f"{path} does not fit this recipe: its network has another shape")
    now, defaults = to_dict(recipe), to_dict(Recipe(recipe.task, recipe.max_steps))
    for state in stored["callbacks"].values():
        then = defaults | state.get("recipe", now)  # a setting that it does not know yet had its default
        changed = sorted(name for name in now if then[name] != now[name])
        if changed:
            raise ConfigError(f"{path} does not fit this recipe: {', '.join(changed)} changed; start a new run instead")
    if isinstance(loop.task, OnFrozen) and stored.get("frozen_digest") != loop.task.frozen_digest:
        digests = [str(digest)[:12] for digest in (stored.get("frozen_digest"), loop.task.frozen_digest)]
        raise ConfigError("{} was trained on the frozen network {}, and this run is on {}".format(path, *digests))


def draw_curve(rows: list[dict[str, float]], path: Path) -> None:
    """A picture of a run: the parts of its loss and its validation measures against steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    loss_axes, score_axes = figure.subplots(1, 2)
    steps = [row["step"] for row in rows]
    for name in dict.fromkeys(name for row in rows for name in row):
        if name in ("step", "examples_per_s", "learning_rate"):
            continue
        axes = score_axes if name.startswith("validation_") else loss_axes
        axes.plot(steps, [row.get(name, math.nan) for row in rows], marker=".", label=name.removeprefix("validation_"))
    for axes, title in ((loss_axes, "training loss and its parts"), (score_axes, "validation")):
        axes.set(title=title, xlabel="step")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def fit(
    task: Task, recipe: Recipe, folder: Path, *, resume: Path | None = None, device: str = "cpu", devices: int = 1,
    workers: int = 1, examples_per_step: int = 1, stop_after: int | None = None,
) -> FitResult:  # fmt: skip
    """Run a recipe's task.

    Args:
        task: what is trained.
        recipe: the loop's settings.
        folder: where the run is kept.
        resume: a ``last.ckpt`` to go on from.
        device: ``cpu`` or ``cuda``.
        devices: how many of them.
        workers: processes that make batches; 0 makes them in between.
        examples_per_step: for the log's examples per second.
        stop_after: leave off after this many steps of the recipe's ``max_steps`` (its schedule stays).

    Raises:
        ConfigError: the checkpoint to resume from is missing or of another recipe, or the device cannot be had.
    """
    if resume is not None and not resume.is_file():
        raise ConfigError(f"no checkpoint at {resume}: leave --resume out to start anew")
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"training runs on cpu or cuda, not '{device}'; CUDA_VISIBLE_DEVICES chooses among several")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no CUDA device on this machine; use --device cpu")
    folder.mkdir(parents=True, exist_ok=True)
    keeper, loop = _Keeper(folder, recipe, examples_per_step), _Loop(task, recipe, workers)
    if resume is not None:
        _check_resume(resume, recipe, loop)
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # Lightning's advice on data loaders and loggers is meant for others; every other warning is shown.
        warnings.filterwarnings("ignore", module="lightning.*")
        warnings.filterwarnings("ignore", message=".*(isinstance\\(treespec|LeafSpec|lr_scheduler.step).*")
        trainer = lightning.Trainer(
            max_steps=min(recipe.max_steps, stop_after or recipe.max_steps),
            accelerator="gpu" if device == "cuda" else "cpu", devices=devices,
            precision=_precision(recipe, device), gradient_clip_val=recipe.gradient_clip or None,
            callbacks=[keeper], logger=False, default_root_dir=folder, num_sanity_val_steps=0,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            sync_batchnorm=recipe.sync_batchnorm,
        )  # fmt: skip
        try:
            with _stopping_softly(keeper):
                trainer.fit(loop, ckpt_path=resume, weights_only=True if resume else None)
        except SystemExit as stop:  # Lightning's answer to a second Ctrl-C, after it has put things in order ...
            if not (keeper.interrupted and isinstance(stop, SIGTERMException)):  # ... and to SIGTERM, after the step
                raise KeyboardInterrupt from stop
    return FitResult(folder, trainer.global_step, keeper.best, keeper.interrupted, trainer.is_global_zero)


def _precision(recipe: Recipe, device: str) -> Literal["32-true", "bf16-mixed"]:
    if recipe.precision == "32":
        return "32-true"
    if device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        print("this GPU has no bfloat16: training in float32", file=sys.stderr)
        return "32-true"
    return "bf16-mixed"


@contextmanager
def _stopping_softly(keeper: _Keeper) -> Iterator[None]:
    """The first Ctrl-C ends the run after the step at hand, a second one at once."""
    if threading.current_thread() is not threading.main_thread():  # only it may handle signals
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def note(*_: Any) -> None:
        keeper.interrupted = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
