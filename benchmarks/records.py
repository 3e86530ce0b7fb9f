"""What every measurement says of itself, beside its figures: whose weights, on which machine, with which versions."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from write_tables import embedded_sha256

from soundsieve.evaluation.pairs import Clip, Pair, read_clips, read_pairs
from soundsieve.evaluation.report import sha256
from soundsieve.files import replacing

HERE = Path(__file__).parent
CLIPS = HERE / "clips"


def machine() -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gib": round(memory_gib), "system": platform.system()}


def record(kind: str, model: str | None = None, **figures: Any) -> dict[str, Any]:
    """A result as it is written: ``kind`` names its table in ``write_tables.py``."""
    versions = {"Python": platform.python_version(), **{name: version(name) for name in ("torch", "soundsieve")}}
    whose = {} if model is None else {"model": model, "weights_sha256": _weights_sha256(model)}
    return {"kind": kind, **whose, **figures, "machine": machine(), "versions": versions}


def _weights_sha256(model: str) -> str:
    if model == "starter":
        return embedded_sha256()
    return sha256(model) if Path(model).is_file() else ""


def save(result: dict[str, Any], path: Path | None) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def test_mixtures(most: int) -> tuple[list[Pair], dict[str, Clip]]:
    """The first of the bundled test mixtures, and their clips by path."""
    clips = {clip.path: clip for clip in read_clips(CLIPS / "clips.csv")}
    return read_pairs(HERE / "pairs.csv", clips)[:most], clips


def interval(values: np.ndarray, mixtures: np.ndarray) -> list[float]:
    """95% of the means of mixtures drawn with replacement."""
    by_mixture = np.array([values[mixtures == one].mean() for one in np.unique(mixtures)])
    drawn = np.random.default_rng(0).integers(0, len(by_mixture), (2000, len(by_mixture)))
    return [round(float(v), 4) for v in np.percentile(by_mixture[drawn].mean(1), [2.5, 97.5])]
