"""How fast CLAPSep of base size answers on this machine, in how much memory, and where the time goes.

The weights are made up (speed does not depend on them) and lie in a temporary file, as a published model's would. Timed
is what users run: `Separator.separate` about 10 s, asked in words, and its memory. Every figure is taken in a fresh
process. The same is measured three times, in turns, so that whatever else the machine does hits all alike: as it is
(`float32`), in 8-bit integers (`int8`), and computed the plain way (`plain`, see plain_clapsep.py). Medians are
reported, and how far the runs lie apart.

    python benchmarks/clapsep_speed.py --threads 2 --output benchmarks/results/clapsep_speed.json
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from timing import (
    TEXT,
    TOKENS,
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

CONFIGURATIONS = ("plain", "float32", "int8")
SECONDS = 10


def make_model(path: Path) -> None:
    """Base size, LoRA kept, weights that pass a signal on at about its own level."""
    import torch

    from soundsieve.systems.clapsep import CLAPSep, CLAPSepConfig
    from soundsieve.weights.checkpoint import save_system

    torch.manual_seed(0)
    system = CLAPSep(CLAPSepConfig.base(), assets={"tokenizer.json": made_up_tokenizer()}).eval()
    with torch.no_grad():
        for name, parameter in system.tower.named_parameters():
            if name.endswith("lora_b"):
                parameter.normal_(std=0.02)
        for part in (system.clap, system.tower, system.decoder, system.mask_net):
            for name, parameter in part.named_parameters():
                if parameter.ndim >= 2 and not any(word in name for word in ("lora", "embeddings", "bias_table")):
                    parameter.normal_(std=parameter[0].numel() ** -0.5)
        # The tower is CLAP's but for LoRA, as in a trained model.
        own, claps = dict(system.tower.named_parameters()), dict(system.clap.audio.named_parameters())
        for name, parameter in claps.items():
            own[name].copy_(parameter)
    save_system(path, system)


# --- in a fresh process ---


def child(path: str, configuration: str, threads: int, repeats: int, out: str) -> dict[str, Any]:
    started = time.perf_counter()
    import torch

    from soundsieve.query import Query
    from soundsieve.separator import load
    from soundsieve.systems.clapsep import CLAPSep

    torch.set_num_threads(threads)
    imported = time.perf_counter()
    separator = load(path, precision="float32" if configuration == "plain" else configuration)
    system = separator.system
    assert isinstance(system, CLAPSep)
    if configuration == "plain":
        from plain_clapsep import make_plain

        make_plain(system)
    result: dict[str, Any] = {"import_s": imported - started, "load_s": time.perf_counter() - imported}
    result["load_mib"] = peak_mib()
    rng = np.random.default_rng(0)
    mixture = 0.1 * rng.standard_normal((1, SECONDS * system.sample_rate), dtype=np.float32)
    example = torch.from_numpy(0.1 * rng.standard_normal((1, system.clap.config.audio.clip_samples), dtype=np.float32))
    target = separator.separate(mixture, TEXT, sample_rate=system.sample_rate).target
    result["first_result_s"] = time.perf_counter() - started
    switches = Switches()
    result["separate_s"] = timed(lambda: separator.separate(mixture, TEXT, sample_rate=system.sample_rate), repeats)
    with torch.inference_mode():
        result["text_s"] = timed(lambda: system.encode_query(Query((TEXT,))), repeats)
        result["text_mib"] = peak_mib()
        heard, condition = torch.from_numpy(mixture), separator.encode(Query((TEXT,)))
        bare = statistics.median(timed(lambda: system(heard, condition), repeats))
        result["parts_s"] = parts(system, heard, condition, repeats)
        result["parts_s"]["around the network"] = [max(0.0, statistics.median(result["separate_s"]) - bare)]
        result["audio_s"] = timed(lambda: system.clap.embed_audio(example), repeats + 1)[1:]
        result["audio_mib"] = peak_mib()
    result["switches_per_s"] = switches.per_s()
    np.save(out, target)
    return result


def parts(system: Any, mixture: Any, condition: Any, repeats: int) -> dict[str, list[float]]:
    """Where the time of one answer goes: the steps of `CLAPSep.forward`, one by one."""
    from soundsieve.systems import clapsep

    config, tower, times = system.config, system.tower, {}
    sizes = {"n_fft": config.n_fft, "hop_length": config.hop_length}

    def step(name: str, run: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        begun = time.perf_counter()
        found = run(*arguments, **keywords)
        times.setdefault(name, []).append(time.perf_counter() - begun)
        return found

    for _ in range(repeats):
        spectrum = step("STFT", clapsep.stft, mixture, **sizes)
        heard = step("resampling", clapsep.sinc_resample, mixture, system.sample_rate, tower.config.sample_rate)
        log_mel = tower.pad(step("log-mel", tower.log_mel, heard))
        levels = step("tower", tower.features, log_mel)
        features = step("decoder", system.decoder, levels, system._embedding(condition))
        mask = step("mask network", system.mask_net, spectrum.abs(), features[:, : spectrum.shape[2]])
        step("inverse STFT", clapsep.istft, mask * spectrum, **sizes, length=mixture.shape[1])
    return times


def count(path: str, threads: int) -> dict[str, Any]:
    """Operations of every part (LoRA merged, text at its own length), and how fast this machine multiplies."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from soundsieve.nn.int8 import Int8Linear
    from soundsieve.nn.linear import linear
    from soundsieve.query import Condition
    from soundsieve.systems.clapsep import CLAPSep
    from soundsieve.weights.checkpoint import load_system

    torch.set_num_threads(threads)
    rates: dict[str, float] = {"torch": 0.0, "float32": 0.0, "int8": 0.0}
    with torch.inference_mode():
        for rows, inputs, outputs in ((4096, 128, 512), (1024, 1024, 256), (256, 512, 2048), (1001, 640, 2560)):
            x, weight = torch.randn(rows, inputs), torch.randn(outputs, inputs) / inputs**0.5
            quantised = Int8Linear(weight, None)
            runs = {
                "torch": functools.partial(torch.nn.functional.linear, x, weight),
                "float32": functools.partial(linear, x, weight),
                "int8": functools.partial(quantised, x),
            }
            for name, run in runs.items():
                rate = 2 * rows * inputs * outputs / min(timed(run, 20))
                rates[name] = max(rates[name], rate / 1e9)

        from plain_clapsep import plain_products

        plain_products()
        system = load_system(path)
        assert isinstance(system, CLAPSep)
        ids = torch.tensor([TOKENS])
        mixture, example = torch.randn(1, SECONDS * system.sample_rate), torch.randn(1, 480000)
        condition = Condition(torch.randn(1, 512), torch.randn(1, 512))
        tower = system.tower
        tower.features(tower.pad(tower.log_mel(example)))  # LoRA is merged here, once
        flops: dict[str, float] = {}

        def counted(name: str, run: Callable[[], Any]) -> Any:
            with FlopCounterMode(display=False) as counter:
                found = run()
            flops[name] = counter.get_total_flops() / 1e9
            return found

        log_mel = tower.pad(tower.log_mel(example))
        levels = counted("tower", lambda: tower.features(log_mel))
        features = counted("decoder", lambda: system.decoder(levels, system._embedding(condition)))
        magnitude = torch.rand(1, 513, 1001)
        counted("mask network", lambda: system.mask_net(magnitude, features[:, :1001]))
        counted("separation", lambda: system(mixture, condition))
        counted("text query", lambda: system.clap.embed_tokens(ids, torch.ones_like(ids)))
        counted("audio query", lambda: system.clap.embed_audio(example))
    return {"gflop": flops, "gflop_per_s": rates}


# --- what runs them ---


def medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("separate_s", "text_s", "audio_s"):
        each = [statistics.median(run[name]) for run in runs]
        found[name] = statistics.median(each)
        found[f"{name}_range"] = [min(each), max(each)]
    for name in ("import_s", "load_s", "first_result_s", "load_mib", "text_mib", "audio_mib"):
        found[name] = statistics.median(run[name] for run in runs)
    found["parts_s"] = {
        part: statistics.median(statistics.median(run["parts_s"][part]) for run in runs) for part in runs[0]["parts_s"]
    }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "2")))
    parser.add_argument("--processes", type=int, default=5, help="fresh processes of each kind")
    parser.add_argument("--repeats", type=int, default=7, help="warm answers in each process")
    parser.add_argument("--trained", help="a trained CLAPSep of any size, to tell what int8 costs on real sounds")
    parser.add_argument("--pairs", type=int, default=100, help="mixtures to tell that on, both sounds of each")
    parser.add_argument("--hurry", action="store_true", help="do not wait until nothing else runs")
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--child", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, *rest = options.child
        if what == "make":
            make_model(Path(rest[0]))
            print("{}")
        elif what == "count":
            print(json.dumps(count(rest[0], options.threads)))
        elif what == "loss":
            print(json.dumps(loss_on_clips(rest[0], "int8", options.pairs)))
        else:
            print(json.dumps(child(rest[0], what, options.threads, options.repeats, rest[1])))
        return

    from records import record, save
    from speed_tables import clapsep_speed_table

    patience_s = 0 if options.hurry else 300
    threads, shared = options.threads, ["--threads", str(options.threads), "--repeats", str(options.repeats)]
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "base.safetensors")
        fresh(__file__, [*shared, "--child", "make", model], threads)
        size_mb = os.path.getsize(model) / 1e6
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in CONFIGURATIONS}
        disturbed = 0
        for turn in range(options.processes):
            for name in CONFIGURATIONS:
                arguments = [*shared, "--child", name, model, str(Path(folder) / f"{name}.npy")]
                once = functools.partial(fresh, __file__, arguments, threads)
                run, in_vain = undisturbed(once, patience_s=patience_s)
                disturbed += in_vain
                runs[name].append(run)
                print(
                    f"{turn + 1}/{options.processes} {name}: {statistics.median(run['separate_s']):.3f} s", flush=True
                )
        targets = {name: np.load(Path(folder) / f"{name}.npy").astype(np.float64) for name in CONFIGURATIONS}
        wait_for_quiet(patience_s)
        counted = fresh(__file__, [*shared, "--child", "count", model], threads)
    loss: dict[str, Any] = {"made_up_to_float32_db": si_sdr_db(targets["int8"], targets["float32"])}
    if options.trained:
        loss |= fresh(__file__, [*shared, "--pairs", str(options.pairs), "--child", "loss", options.trained], threads)
    peak = np.abs(targets["plain"]).max()
    result = record(
        "clapsep_speed",
        seconds=SECONDS,
        threads=threads,
        processes=options.processes,
        disturbed=disturbed,
        repeats=options.repeats,
        file_mb=size_mb,
        rows={name: medians(runs[name]) for name in CONFIGURATIONS},
        largest_difference=float(np.abs(targets["float32"] - targets["plain"]).max() / peak),
        int8_loss=loss,
        **counted,
    )
    print(clapsep_speed_table(result), end="")
    save(result, options.output)


if __name__ == "__main__":
    main()
