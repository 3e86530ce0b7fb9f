"""What the files of measured arrays hold of a larger array, and published files of made-up weights."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
from reference_weights import drawn
from torch import Tensor, nn

Found: TypeAlias = dict[str, np.ndarray]

DATA = Path(__file__).parent / "data"


def summary(x: Tensor) -> np.ndarray:
    """Mean, population standard deviation, largest magnitude, and the first eight values in C order."""
    values = x.detach().double().flatten().numpy()
    return np.array([values.mean(), values.std(), np.abs(values).max(), *values[:8]])


def described(name: str, waveform: Tensor, *, full: bool = False) -> Found:
    """Of a waveform ``(B, T)``: its first 2048 samples, its last 512, every 61st, a summary, and if asked for all."""
    samples = waveform.numpy()
    found = {
        f"{name}.stats": summary(waveform),
        f"{name}.head": samples[:, :2048],
        f"{name}.tail": samples[:, -512:],
        f"{name}.stride61": samples[:, ::61],
    }
    return found | ({f"{name}.full": samples} if full else {})


@contextmanager
def listening(outputs: Mapping[str, nn.Module], inputs: Mapping[str, nn.Module] | None = None) -> Iterator[Found]:
    """Summarise what modules put out, and the first thing that goes into some, while the block runs."""
    found: Found = {}

    def after(name: str) -> Callable[..., None]:
        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            found[name] = summary(output)

        return keep

    def before(name: str) -> Callable[..., None]:
        def keep(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
            found[name] = summary(given[0])

        return keep

    handles = [module.register_forward_hook(after(name)) for name, module in outputs.items()]
    handles += [module.register_forward_pre_hook(before(name)) for name, module in (inputs or {}).items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def resunet_stages(prefix: str, net: nn.Module) -> dict[str, nn.Module]:
    """The modules of a `ResUNet` behind the measured stages, by the stages' names."""
    outputs = {f"{prefix}.enc{k}_pool": encoder.pool for k, encoder in enumerate(net.encoders, start=1)}
    outputs |= {f"{prefix}.dec{k}": decoder.blocks[-1] for k, decoder in enumerate(net.decoders, start=1)}
    return outputs | {f"{prefix}.center": net.center}


def made_up(keys: Path) -> dict[str, Tensor]:
    """A published file of made-up weights, without the constants that anyone can compute."""
    with keys.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] != "computed"]
    return {row["key"]: drawn(row["key"], shape_of(row["shape"])) for row in rows}


def shape_of(text: str) -> tuple[int, ...]:
    return () if text == "scalar" else tuple(map(int, text.split("x")))
