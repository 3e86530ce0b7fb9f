"""How fast AudioSep, LASS-Net and USS of base size answer on this machine, in how much memory, and where time goes.

Timed is what users run: `Separator.separate` about 10 s and 60 s, asked in words (USS: by an example clip). The same is
measured in turns, so that whatever else the machine does hits all alike: as it is (`float32`), in bfloat16 (`bf16`,
where the processor multiplies it), and computed the plain way (`plain`, see plain_audiosep.py). Every run is a fresh
process that answers about one length, so that its peak memory is that length's. CLAPSep stands beside them.

Runs are written to the output as they are done: called again with the same output, the script goes on where it was.
Parts can be measured apart with ``--parts``.

    python benchmarks/audiosep_speed.py --threads 2 --output benchmarks/results/audiosep_speed.json
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from timing import (
    TEXT,
    Switches,
    fresh,
    loss_on_clips,
    made_up_tokenizer,
    peak_mib,
    si_sdr_db,
    timed,
    undisturbed,
    wait_for_quiet,
)

ALL = ("plain", "float32", "bf16")
PARTS: dict[str, dict[int, tuple[str, ...]]] = {
    "audiosep": {10: ALL, 60: ALL},
    "lassnet": {10: ALL},
    "uss": {10: ALL},
    "clapsep": {10: ("float32",), 60: ("float32",)},
}
"""What is measured: of each system, recordings of so many seconds, computed in these ways."""
VOCABULARIES = {"audiosep": (50265, 0, 2), "lassnet": (30522, 101, 102)}
"""Tokens, and the two that stand around a text."""


def make_model(path: Path, name: str, size: str) -> None:
    """Weights that pass a signal on at about its own level."""
    import torch
    from torch import nn

    from soundsieve.weights.checkpoint import SYSTEMS, save_system

    if name == "clapsep" and size == "base":
        from clapsep_speed import make_model as make_clapsep

        return make_clapsep(path)
    torch.manual_seed(0)
    module, system_class, config_class = (SYSTEMS[name][0], *SYSTEMS[name][1:])
    place = __import__(module, fromlist=[system_class])
    config = getattr(getattr(place, config_class), size)()
    assets = {}
    if size == "base" and name in VOCABULARIES:
        assets["tokenizer.json"] = made_up_tokenizer(*VOCABULARIES[name])
    system = getattr(place, system_class)(config, assets=assets).eval()
    with torch.no_grad():
        for key, parameter in system.named_parameters():
            if parameter.ndim >= 2 and not any(word in key for word in ("embeddings", "bias_table")):
                parameter.normal_(std=parameter[0].numel() ** -0.5)
        for norm in system.modules():
            if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
                assert norm.running_mean is not None
                assert norm.running_var is not None
                norm.running_mean.normal_(std=0.1)
                norm.running_var.normal_(std=0.1).abs_().add_(1)
                norm.weight.normal_(1, 0.1)
                norm.bias.normal_(std=0.1)
    save_system(path, system)


# --- in a fresh process ---


def query_for(system: Any) -> Any:
    """A text of six words; for whom takes no sentences, an example clip of 5 s."""
    from soundsieve.query import Query

    if system.name != "uss":
        return Query((TEXT,))
    noise = np.random.default_rng(1).standard_normal(5 * system.sample_rate, dtype=np.float32)
    return Query(like=((0.1 * noise, system.sample_rate),))


def child(path: str, configuration: str, seconds: int, threads: int, repeats: int) -> dict[str, Any]:
    """Load, ask, answer once, answer again: seconds, MiB, where the time goes and how often the network was asked."""
    started = time.perf_counter()
    import torch

    from soundsieve.separator import load

    torch.set_num_threads(threads)
    imported = time.perf_counter()
    separator = load(path, precision="float32" if configuration == "plain" else configuration)
    system, loaded = separator.system, time.perf_counter()
    query = query_for(system)
    noise = np.random.default_rng(0).standard_normal((1, seconds * system.sample_rate), dtype=np.float32)
    mixture = 0.1 * noise
    if configuration == "plain":
        from plain_audiosep import make_plain, separate_as_published

        make_plain(system)
    result: dict[str, Any] = {"import_s": imported - started, "load_s": loaded - imported, "load_mib": peak_mib()}

    def answer(samples: int) -> None:
        if configuration != "plain":
            separator.separate(mixture[:, :samples], query=query, sample_rate=system.sample_rate)
            return
        with torch.inference_mode():
            separate_as_published(system, torch.from_numpy(mixture[:, :samples]), separator.encode(query))

    answer(10 * system.sample_rate)
    result["first_result_s"] = time.perf_counter() - started
    switches = Switches()
    with listening(system, time.perf_counter) as heard:
        result["separate_s"] = timed(lambda: answer(mixture.shape[1]), repeats)
    result["calls"] = heard.calls // repeats
    result["parts_s"] = {name: taken / repeats for name, taken in heard.amounts.items()}
    with torch.inference_mode():
        result["query_s"] = timed(lambda: system.encode_query(query), 3)
    result["switches_per_s"], result["peak_mib"] = switches.per_s(), peak_mib()
    return result


class Heard:
    """What a system did: how much of something each part took, and how many mixtures its network was asked about."""

    def __init__(self, meter: Callable[[], float]) -> None:
        self.meter, self.amounts, self.calls = meter, dict[str, float](), 0
        self._begun: list[float] = []

    def begin(self, *_: object) -> None:
        self._begun.append(self.meter())

    def end(self, name: str, *_: object) -> None:
        self.amounts[name] = self.amounts.get(name, 0.0) + self.meter() - self._begun.pop()

    def count(self, _module: object, given: tuple[Any, ...]) -> None:
        self.calls += len(given[0])


@contextmanager
def listening(system: Any, meter: Callable[[], float]) -> Iterator[Heard]:
    """Measure the stages of a ResUNet and both transforms while the block runs; of other systems, count the calls."""
    from soundsieve.nn import resunet30
    from soundsieve.nn.resunet import ResUNet
    from soundsieve.systems import lassnet

    heard, handles = Heard(meter), []
    net = next((module for module in system.modules() if isinstance(module, ResUNet)), None)
    handles.append((system.mask_net if net is None else net).register_forward_pre_hook(heard.count))
    if net is not None:
        stages = {f"encoder {k}": stage for k, stage in enumerate(net.encoders, 1)} | {"center": net.center}
        stages |= {f"decoder {len(net.decoders) - k}": stage for k, stage in enumerate(net.decoders)}
        for name, stage in stages.items():
            handles.append(stage.register_forward_pre_hook(heard.begin))
            handles.append(stage.register_forward_hook(functools.partial(heard.end, name)))
    transforms = {(place, name): getattr(place, name) for place in (resunet30, lassnet) for name in ("stft", "istft")}

    def measured(transform: Callable[..., Any], name: str) -> Callable[..., Any]:
        def run(*arguments: Any, **keywords: Any) -> Any:
            heard.begin()
            found = transform(*arguments, **keywords)
            heard.end(name)
            return found

        return run

    for (place, name), transform in transforms.items():
        setattr(place, name, measured(transform, "STFT" if name == "stft" else "inverse STFT"))
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()
        for (place, name), transform in transforms.items():
            setattr(place, name, transform)


def count(path: str, threads: int) -> dict[str, Any]:
    """Operations of every stage for 10 s as the formulas say them, and how fast this machine convolves."""
    import torch
    import torch.nn.functional as F
    from plain_audiosep import make_plain, separate_as_published
    from torch.utils.flop_counter import FlopCounterMode

    from soundsieve.weights.checkpoint import load_system

    torch.set_num_threads(threads)
    rates: dict[str, float] = {}
    with torch.inference_mode():
        for channels, rows, bins in ((32, 64, 1024), (64, 64, 512), (128, 64, 256)):
            x = torch.randn(1, channels, rows, bins).contiguous(memory_format=torch.channels_last)
            weight = torch.randn(channels, channels, 3, 3).contiguous(memory_format=torch.channels_last)
            for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
                run = functools.partial(F.conv2d, x.to(dtype), weight.to(dtype), padding=1)
                rates[name] = max(rates.get(name, 0.0), 18e-9 * channels**2 * rows * bins / min(timed(run, 15)))
        system = load_system(path)
        condition = system.encode_query(query_for(system))
        make_plain(system)
        with FlopCounterMode(display=False) as counter, listening(system, counter.get_total_flops) as heard:
            separate_as_published(system, torch.randn(1, 10 * system.sample_rate), condition)
        heard.amounts["separation"] = counter.get_total_flops()
    # The transforms are products with a matrix there, and FFTs here.
    gflop = {name: flops / 1e9 for name, flops in heard.amounts.items() if "STFT" not in name}
    gflop["separation"] -= sum(flops / 1e9 for name, flops in heard.amounts.items() if "STFT" in name)
    return {"gflop": gflop, "gflop_per_s": rates}


def compare(path: str, threads: int, mixtures: int) -> dict[str, Any]:
    """How far answers about real mixtures are apart: float32 from plain, bf16 from float32; made-up weights."""
    import copy

    import torch
    from plain_audiosep import make_plain
    from records import CLIPS, test_mixtures

    from soundsieve.evaluation.pairs import decoded, mix
    from soundsieve.nn.precision import multiplies_bf16, to_precision
    from soundsieve.weights.checkpoint import load_system

    torch.set_num_threads(threads)
    (pairs, _), sounds = test_mixtures(mixtures), decoded(CLIPS)
    heard = [mix(pair, sounds).mixture[None] for pair in pairs]
    exact = load_system(path)
    rounded = copy.deepcopy(exact) if multiplies_bf16() else None
    if rounded is not None:
        to_precision(rounded, "bf16")
    with torch.inference_mode():
        query = query_for(exact)

        def answers(system: Any) -> list[np.ndarray]:
            condition = system.encode_query(query)
            return [system(mixture, condition)[0].double().numpy() for mixture in heard]

        float32, bf16 = answers(exact), [] if rounded is None else answers(rounded)
        make_plain(exact)
        plain = answers(exact)
    differences = [np.abs(a - b).max() / np.abs(b).max() for a, b in zip(float32, plain, strict=True)]
    found = {"mixtures": len(pairs), "largest_difference": float(max(differences))}
    if bf16:
        close = [si_sdr_db(a, b) for a, b in zip(bf16, float32, strict=True)]
        found |= {"bf16_to_float32_db": statistics.mean(close), "bf16_to_float32_least_db": min(close)}
    return found


# --- what runs them ---


def median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One row: medians over processes of the median within each, the range, and the most memory."""
    row: dict[str, Any] = {"processes": len(runs), "calls": runs[0]["calls"]}
    for name in ("separate_s", "query_s"):
        each = [statistics.median(run[name]) for run in runs]
        row |= {name: statistics.median(each), f"{name}_range": [min(each), max(each)]}
    for name in ("import_s", "load_s", "first_result_s"):
        row[name] = statistics.median(run[name] for run in runs)
    row |= {name: max(run[name] for run in runs) for name in ("load_mib", "peak_mib")}
    row["parts_s"] = {name: statistics.median(run["parts_s"][name] for run in runs) for name in runs[0]["parts_s"]}
    return row


def measure(result: dict[str, Any], options: argparse.Namespace, folder: Path, keep: Callable[[], None]) -> None:
    """Everything that is asked for and not yet in ``result``; bf16 where `load` would take it."""
    from soundsieve.nn.precision import multiplies_bf16

    threads, patience_s = options.threads, 0 if options.hurry else 300
    models: dict[str, str] = {}

    def run(what: str, *arguments: object) -> dict[str, Any]:
        shared = ["--threads", str(threads), "--size", options.size, "--child", what]
        return fresh(__file__, [*shared, *map(str, arguments)], threads)

    def model(name: str) -> str:
        if name not in models:
            models[name] = str(folder / f"{name}.safetensors")
            run("make", models[name], name)
            result["file_mb"][name] = os.path.getsize(models[name]) / 1e6
        return models[name]

    parts = {name: PARTS[name] for name in options.parts}
    for turn in range(options.processes):
        for name, lengths in parts.items():
            for seconds, configurations in lengths.items():
                for configuration in configurations:
                    if configuration == "bf16" and not multiplies_bf16():
                        continue
                    runs = result["runs"].setdefault(f"{name} {seconds} {configuration}", [])
                    # A minute takes long enough to need no repeats.
                    if len(runs) > turn or (seconds > 10 and turn >= options.long_processes):
                        continue
                    repeats = options.repeats if seconds <= 10 else 1
                    once = functools.partial(run, configuration, model(name), seconds, repeats)
                    found, in_vain = undisturbed(once, patience_s=patience_s)
                    result["disturbed"] += in_vain
                    runs.append(found)
                    keep()
                    told = f"{statistics.median(found['separate_s']):.2f} s, {found['peak_mib']:.0f} MiB"
                    print(f"{turn + 1}/{options.processes} {name}, {seconds} s, {configuration}: {told}", flush=True)
    for name in parts:
        if name == "clapsep" or name in result["counted"]:
            continue
        wait_for_quiet(patience_s)
        result["counted"][name] = run("count", model(name))
        result["compared"][name] = run("compare", model(name), options.mixtures)
        keep()
    if options.trained and "loss" not in result and multiplies_bf16():
        result["loss"] = run("loss", options.trained, options.pairs)
        keep()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "2")))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="systems to measure")
    parser.add_argument("--processes", type=int, default=2, help="fresh processes of each kind")
    parser.add_argument("--long-processes", type=int, default=2, help="the same, of those that hear a minute")
    parser.add_argument("--repeats", type=int, default=3, help="warm answers in each process")
    parser.add_argument("--mixtures", type=int, default=6, help="real mixtures to compare answers on")
    parser.add_argument("--trained", help="a trained model of any size, to tell what bf16 costs on real sounds")
    parser.add_argument("--pairs", type=int, default=50, help="mixtures to tell that on, both sounds of each")
    parser.add_argument("--hurry", action="store_true", help="do not wait until nothing else runs")
    parser.add_argument("--size", choices=("base", "debug"), default="base", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON, and to go on from")
    parser.add_argument("--child", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, path, *rest = options.child
        children: dict[str, Callable[[], Any]] = {
            "make": lambda: make_model(Path(path), rest[0], options.size),
            "count": lambda: count(path, options.threads),
            "compare": lambda: compare(path, options.threads, int(rest[0])),
            "loss": lambda: loss_on_clips(path, "bf16", int(rest[0])),
        }
        answer = children.get(what, lambda: child(path, what, int(rest[0]), options.threads, int(rest[1])))()
        print(json.dumps(answer or {}))
        return

    from records import record, save
    from speed_tables import audiosep_speed_table

    result = record("audiosep_speed", threads=options.threads, disturbed=0)
    result |= {name: {} for name in ("file_mb", "runs", "counted", "compared", "rows")}
    if options.output and options.output.exists():
        before = json.loads(options.output.read_text("utf-8"))
        if any(before[name] != result[name] for name in ("threads", "machine", "versions")):
            raise SystemExit(f"{options.output} was measured elsewhere: name another output, or remove it")
        result = before

    def keep() -> None:
        result["rows"] = {name: median(runs) for name, runs in result["runs"].items()}
        save(result, options.output)

    with tempfile.TemporaryDirectory() as folder:
        measure(result, options, Path(folder), keep)
    print(audiosep_speed_table(result), end="")


if __name__ == "__main__":
    main()
