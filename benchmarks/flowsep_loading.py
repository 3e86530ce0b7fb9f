"""How much memory FlowSep's published file takes to be read, and to be converted, at full size.

A file of made-up weights is written with the entries of ``v2_100k.ckpt`` but for its training loss, the UNet twice (as
trained, and its average) among them, 3.8 GB; then it is loaded, converted into one file of soundsieve's, and that is
loaded, each in a fresh process. Peak memory is the most that the process ever had; torch, and what it had mapped of
files, are included.

    python benchmarks/flowsep_loading.py --output benchmarks/results/flowsep_loading.json

Takes 8 GB of disk in the folder for temporary files, and some minutes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from timing import fresh, peak_mib

WAYS = ("load the published file", "convert it", "load what it was converted to")


def make(folder: Path, size: str) -> dict[str, Any]:
    """The published file, and a tokenizer of FLAN-T5's size."""
    import torch
    from flowsep_speed import make_tokenizer

    from soundsieve.systems.flowsep.flowsep import FlowSep, FlowSepConfig
    from soundsieve.systems.flowsep.snake import lowpass
    from soundsieve.weights.layouts.flowsep import flowsep_key, unet_key, vocoder_filters

    config = getattr(FlowSepConfig, size)()
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in FlowSep(config).state_dict().items()}
    keys = {flowsep_key(name, config): shape for name, shape in shapes.items()}
    used = sum(shape.numel() for shape in keys.values())
    keys |= {unet_key(name[5:], config.unet): shape for name, shape in shapes.items() if name.startswith("unet.")}
    state = {key: random(folder / "random.bin", i, shape) for i, (key, shape) in enumerate(keys.items())}
    taps = torch.tensor(lowpass())[None, None]
    state |= {f"first_stage_model.vocoder.{key}": taps for key in vocoder_filters(config.vocoder)}
    torch.save({"epoch": 0, "state_dict": state}, folder / "v2_100k.ckpt")
    (folder / "random.bin").unlink()
    assets = {} if size == "base" else FlowSep(config).assets()
    (folder / "tokenizer.json").write_text(assets.get("tokenizer.json", make_tokenizer(32100)), encoding="utf-8")
    return {"weights_mb": 4 * used / 1e6, "file_mb": (folder / "v2_100k.ckpt").stat().st_size / 1e6}


def random(path: Path, seed: int, shape: Any) -> Any:
    """Standard normal numbers at the end of a file: what is mapped of a file need not stay in memory."""
    import torch

    with path.open("ab") as file:
        start = file.tell()
        np.random.default_rng(seed).standard_normal(shape.numel(), dtype=np.float32).tofile(file)
    return torch.from_numpy(np.memmap(path, np.float32, "r+", start, tuple(shape) or (1,))).reshape(shape)


def child(way: str, folder: Path, size: str) -> dict[str, Any]:
    from soundsieve.systems.flowsep.flowsep import FlowSep, FlowSepConfig
    from soundsieve.weights.convert import read_system, write_system

    FlowSep(FlowSepConfig.debug())  # whatever is imported late
    FlowSepConfig.base = getattr(FlowSepConfig, size)  # type: ignore[method-assign]  # what a published file must be
    before, begun = peak_mib(), time.perf_counter()
    one = folder / "flowsep.safetensors"
    if way == WAYS[2]:
        system = read_system(one)
    else:
        system = read_system(folder / "v2_100k.ckpt", None, folder / "tokenizer.json")
        if way == WAYS[1]:
            write_system(one, system)
    seconds = time.perf_counter() - begun
    assert not system.training
    return {"seconds": seconds, "imported_mib": before, "peak_mib": peak_mib()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("base", "debug"), default="base")
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        way, folder = options.child
        made = make(Path(folder), options.size) if way == "make" else child(way, Path(folder), options.size)
        print(json.dumps(made))
        return

    from records import record, save
    from speed_tables import flowsep_loading_table

    with tempfile.TemporaryDirectory() as folder:
        run = ["--size", options.size, "--child"]
        made = fresh(__file__, [*run, "make", folder], threads=1)
        rows = {way: fresh(__file__, [*run, way, folder], threads=1) for way in WAYS}
    result = record("flowsep_loading", size=options.size, threads=1, **made, rows=rows)
    print(flowsep_loading_table(result), end="")
    save(result, options.output)


if __name__ == "__main__":
    main()
