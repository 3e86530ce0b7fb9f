"""How fast FlowSep answers at full size on this machine, in how much memory, and where the time goes.

Timed is what users run: `Separator.separate` about 10.24 s, with 1, 4, 10 and 20 steps (`ours`); beside it, for 1 and
20 steps, the same computed the plain way (`plain`, see plain_flowsep.py). Every run is a fresh process that loads,
answers once and then is timed; the ways take turns, so that whatever else the machine does hits both alike. Weights are
made up.

Runs are written to the output as they are done: called again with the same output, the script goes on where it was.

    python benchmarks/flowsep_speed.py --threads 2 --output benchmarks/results/flowsep_speed.json
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
from timing import TEXT, Switches, fresh, peak_mib, timed, undisturbed, wait_for_quiet

WAYS: dict[str, tuple[int, ...]] = {"plain": (1, 20), "ours": (1, 4, 10, 20)}
"""Steps that are timed, computed in each way."""
STAGES = ("text", "encode", "step", "decode", "vocoder")


def make_tokenizer(size: int) -> str:
    """As many tokens as FLAN-T5 has, each the decimal digits of its number, and token 1 at the end of a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {"<pad>": 0, "</s>": 1} | {str(i): i for i in range(2, size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="2"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return str(tokenizer.to_str())


def make_model(path: Path, size: str) -> None:
    """Weights that pass a signal on at about its own level."""
    import torch

    from soundsieve.systems.flowsep.flowsep import FlowSep, FlowSepConfig
    from soundsieve.weights.checkpoint import save_system

    torch.manual_seed(0)
    config = getattr(FlowSepConfig, size)()
    assets = {"tokenizer.json": make_tokenizer(32100)} if size == "base" else {}
    system = FlowSep(config, assets=assets).eval().requires_grad_(False)
    for name, parameter in system.named_parameters():
        if parameter.ndim >= 2:
            smaller = 16 if name.startswith("vocoder.out") else 8 if name.endswith("SelfAttention.q.weight") else 1
            parameter.normal_(std=parameter[0].numel() ** -0.5 / smaller)
    save_system(path, system)


# --- in a fresh process ---


def mixture(seconds: float, rate: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((1, round(seconds * rate)), dtype=np.float32)


def child(path: str, way: str, steps: int, threads: int, repeats: int, device: str) -> dict[str, Any]:
    """Load, ask, answer once, answer again: seconds, MiB, and what each stage takes."""
    started = time.perf_counter()
    import torch

    from soundsieve.query import Query
    from soundsieve.separator import load

    torch.set_num_threads(threads)
    imported = time.perf_counter()
    separator = load(path, device, settings={"steps": steps})
    system, loaded = separator.system, time.perf_counter()
    sound = mixture(system.segment_s, system.sample_rate)
    query = Query("a dog" if system.config.text.layers == 1 else TEXT)
    result: dict[str, Any] = {"import_s": imported - started, "load_s": loaded - imported, "load_mib": peak_mib()}
    if way == "plain":
        from plain_flowsep import answer_as_published, make_plain

        make_plain(system)
        size = (1, system.config.vae.latent_channels, sound.shape[1] // system.config.latent_hop)
        noises = [torch.randn(*size, system.config.latent_bands) for _ in range(4)]
        heard = torch.from_numpy(sound / np.abs(sound).max() / 2)

    def answer() -> None:
        if way == "ours":
            separator._encoded.clear()  # the text is read for every answer, as the plain way does
            separator.separate(sound, query=query, sample_rate=system.sample_rate)
        else:
            with torch.no_grad():
                answer_as_published(system, heard, *system.tokens(query.text), noises)
        if device != "cpu":
            torch.cuda.synchronize()

    answer()
    result["first_result_s"] = time.perf_counter() - started
    switches = Switches()
    with listening(system, device) as taken:
        result["answer_s"] = timed(answer, repeats)
    result["stages_s"] = {name: seconds / repeats for name, seconds in taken.items()}
    result["stages_s"]["step"] /= steps  # of one
    with torch.no_grad():
        result["stages_s"]["text"] = statistics.median(timed(lambda: system.tokens(query.text), 3))
    result["switches_per_s"], result["peak_mib"] = switches.per_s(), peak_mib()
    if device != "cpu":
        result["gpu_peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return result


@contextmanager
def listening(system: Any, device: str) -> Iterator[dict[str, float]]:
    """What encoding, steps, decoding and the vocoder take, in seconds of all answers while the block runs."""
    import torch

    taken = dict.fromkeys(("encode", "step", "decode", "vocoder"), 0.0)
    places = {
        "encode": (system.vae, "encode"),
        "step": (system.unet, "velocity"),
        "decode": (system.vae, "decode"),
        "vocoder": (system.vocoder, "forward"),
    }

    def measured(run: Callable[..., Any], name: str) -> Callable[..., Any]:
        def timed_run(*arguments: Any, **keywords: Any) -> Any:
            begun = time.perf_counter()
            found = run(*arguments, **keywords)
            if device != "cpu":
                torch.cuda.synchronize()
            taken[name] += time.perf_counter() - begun
            return found

        return timed_run

    for name, (place, method) in places.items():
        setattr(place, method, measured(getattr(place, method), name))
    try:
        yield taken
    finally:
        for place, method in places.values():
            delattr(place, method)


def compare(path: str, threads: int, steps: int) -> dict[str, float]:
    """How far our waveform is from the plain way's, over its peak, from the same noise; made-up weights."""
    import torch
    from plain_flowsep import answer_as_published, make_plain

    from soundsieve.weights.checkpoint import load_system

    torch.set_num_threads(threads)
    system = load_system(path).with_settings({"steps": steps})
    sound = torch.from_numpy(mixture(system.segment_s, system.sample_rate))
    sound = sound / sound.abs().max() / 2
    config = system.config
    size = (1, config.vae.latent_channels, sound.shape[1] // config.latent_hop, config.latent_bands)
    noises = [torch.randn(size) for _ in range(4)]
    with torch.no_grad():
        tokens, mask = system.tokens(["a dog" if config.text.layers == 1 else TEXT])
        ours = system.generate(sound, tokens, mask, system.sampling, noise=(noises[2], noises[3]))
        make_plain(system)
        plain = answer_as_published(system, sound, tokens, mask, noises)
    return {"steps": steps, "largest_difference": float((ours - plain).abs().max() / plain.abs().max())}


# --- what runs them ---


def median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One row: medians over processes of the median within each, the range, and the most memory."""
    each = [statistics.median(run["answer_s"]) for run in runs]
    row: dict[str, Any] = {"processes": len(runs), "answer_s": statistics.median(each)}
    row["answer_s_range"] = [min(each), max(each)]
    for name in ("import_s", "load_s", "first_result_s"):
        row[name] = statistics.median(run[name] for run in runs)
    row |= {
        name: max(run[name] for run in runs) for name in ("load_mib", "peak_mib", "gpu_peak_mib") if name in runs[0]
    }
    row["stages_s"] = {name: statistics.median(run["stages_s"][name] for run in runs) for name in STAGES}
    return row


def measure(result: dict[str, Any], options: argparse.Namespace, folder: Path, keep: Callable[[], None]) -> None:
    """Everything that is asked for and not yet in ``result``."""
    patience_s = 0 if options.hurry else 300
    model = str(folder / "flowsep.safetensors")

    def run(what: str, *arguments: object) -> dict[str, Any]:
        shared = ["--threads", str(options.threads), "--size", options.size, "--device", options.device]
        return fresh(__file__, [*shared, "--child", what, *map(str, arguments)], options.threads)

    run("make", model)
    result["file_mb"] = os.path.getsize(model) / 1e6
    for turn in range(options.processes):
        for way, counts in WAYS.items():
            if way == "plain" and options.device != "cpu":
                continue
            for steps in counts:
                runs = result["runs"].setdefault(f"{way} {steps}", [])
                if len(runs) > turn:
                    continue
                once = functools.partial(run, way, model, steps, options.repeats)
                found, in_vain = undisturbed(once, patience_s=patience_s)
                result["disturbed"] += in_vain
                runs.append(found)
                keep()
                told = f"{statistics.median(found['answer_s']):.2f} s, {found['peak_mib']:.0f} MiB"
                print(f"{turn + 1}/{options.processes} {way}, {steps} steps: {told}", flush=True)
    if options.device == "cpu" and "compared" not in result:
        wait_for_quiet(patience_s)
        result["compared"] = run("compare", model, 3)
        keep()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "2")))
    parser.add_argument("--processes", type=int, default=2, help="fresh processes of each kind")
    parser.add_argument("--repeats", type=int, default=2, help="warm answers in each process")
    parser.add_argument("--device", default="cpu", help="where to compute; the plain way is for the CPU alone")
    parser.add_argument("--hurry", action="store_true", help="do not wait until nothing else runs")
    parser.add_argument("--size", choices=("base", "debug"), default="base", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON, and to go on from")
    parser.add_argument("--child", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, path, *rest = options.child
        children: dict[str, Callable[[], Any]] = {
            "make": lambda: make_model(Path(path), options.size),
            "compare": lambda: compare(path, options.threads, int(rest[0])),
        }
        timing = functools.partial(child, path, what)
        answer = children.get(what) or (lambda: timing(int(rest[0]), options.threads, int(rest[1]), options.device))
        print(json.dumps(answer() or {}))
        return

    from flowsep_tables import flowsep_speed_table
    from records import record, save

    result = record("flowsep_speed", threads=options.threads, device=options.device, disturbed=0, runs={}, rows={})
    if options.output and options.output.exists():
        before = json.loads(options.output.read_text("utf-8"))
        if any(before[name] != result[name] for name in ("threads", "device", "machine", "versions")):
            raise SystemExit(f"{options.output} was measured elsewhere: name another output, or remove it")
        result = before

    def keep() -> None:
        result["rows"] = {name: median(runs) for name, runs in result["runs"].items()}
        save(result, options.output)

    with tempfile.TemporaryDirectory() as folder:
        measure(result, options, Path(folder), keep)
    print(flowsep_speed_table(result), end="")


if __name__ == "__main__":
    main()
