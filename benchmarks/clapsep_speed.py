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
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

CONFIGURATIONS = ("plain", "float32", "int8")
SECONDS = 10
TOKENS = (0, 102, 2335, 23828, 11, 5, 4472, 2)
"""A sentence of six words between the two marks around it: what a query is usually like."""
TEXT = " ".join(map(str, TOKENS[1:-1]))
"""The same for the made-up model, whose words are the numbers of their tokens."""
QUIET = 150
"""Involuntary context switches a second; a process that had more was disturbed, and is run again."""


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


def made_up_tokenizer() -> str:
    """As many tokens as RoBERTa's, each the decimal digits of its number."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {"<s>": 0, "<pad>": 1, "</s>": 2} | {str(i): i for i in range(3, 50265)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="3"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return str(tokenizer.to_str())


# --- in a fresh process ---


def timed(run: Callable[[], Any], repeats: int) -> list[float]:
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return times


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB


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
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw, time.perf_counter()
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
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - before
    result["switches_per_s"] = switches / (time.perf_counter() - begun)
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


def fresh(arguments: list[str], threads: int) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, __file__, *arguments], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the measurement failed:\n{done.stderr}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def wait_for_quiet(seconds: float = 300) -> None:
    """Until nothing else runs on the processors this process may use, or patience ends."""

    def busy() -> tuple[int, int]:
        mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        rows = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
        ticks = [list(map(int, row[1:9])) for row in rows if row[0] in mine]
        return sum(sum(row) - row[3] - row[4] for row in ticks), sum(map(sum, ticks))

    end = time.monotonic() + seconds
    while Path("/proc/stat").exists() and time.monotonic() < end:
        before = busy()
        time.sleep(1)
        after = busy()
        if after[0] - before[0] < 0.06 * (after[1] - before[1]):
            return


def si_sdr_db(estimate: np.ndarray, reference: np.ndarray) -> float:
    projection = np.sum(estimate * reference) / np.sum(reference**2) * reference
    return float(10 * np.log10(np.sum(projection**2) / np.sum((estimate - projection) ** 2)))


def loss_on_clips(model: str, pairs_used: int) -> dict[str, float]:
    """What int8 costs a trained model on real sounds: SI-SDR against the true source, and against float32's answer."""
    import copy

    import torch

    from soundsieve.evaluation.pairs import decoded, mix, read_clips, read_pairs
    from soundsieve.metrics import si_sdr
    from soundsieve.nn.precision import to_precision
    from soundsieve.query import Query
    from soundsieve.weights.checkpoint import load_system

    here = Path(__file__).parent
    clips = {str(clip.path): clip for clip in read_clips(here / "clips" / "clips.csv")}
    pairs, sounds = read_pairs(here / "pairs.csv", clips)[:pairs_used], decoded(here / "clips")
    exact = load_system(model)
    rounded = copy.deepcopy(exact)
    to_precision(rounded, "int8")
    lost, close, level = [], [], []
    with torch.inference_mode():
        for pair in pairs:
            mixed = mix(pair, sounds)
            for direction, path in enumerate((pair.first, pair.second)):
                query = Query(text=clips[str(path)].caption)
                reference = mixed.sources[direction]
                answers = [one(mixed.mixture[None], one.encode_query(query))[0] for one in (exact, rounded)]
                scores = [float(si_sdr(answer, reference)) for answer in answers]
                lost.append(scores[0] - scores[1])
                level.append(scores[0])
                close.append(float(si_sdr(answers[1], answers[0])))
    return {
        "questions": len(lost),
        "float32_si_sdr_db": statistics.mean(level),
        "lost_db": statistics.mean(lost),
        "mean_change_db": statistics.mean(map(abs, lost)),
        "largest_change_db": max(map(abs, lost)),
        "to_float32_db": statistics.mean(close),
        "to_float32_least_db": min(close),
    }


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
            print(json.dumps(loss_on_clips(rest[0], options.pairs)))
        else:
            print(json.dumps(child(rest[0], what, options.threads, options.repeats, rest[1])))
        return

    from speed import machine
    from write_tables import clapsep_speed_table

    threads, shared = options.threads, ["--threads", str(options.threads), "--repeats", str(options.repeats)]
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "base.safetensors")
        fresh([*shared, "--child", "make", model], threads)
        size_mb = os.path.getsize(model) / 1e6
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in CONFIGURATIONS}
        disturbed = 0
        for turn in range(options.processes):
            for name in CONFIGURATIONS:
                for attempt in range(4):
                    wait_for_quiet()
                    run = fresh([*shared, "--child", name, model, str(Path(folder) / f"{name}.npy")], threads)
                    if run["switches_per_s"] < QUIET or attempt == 3:
                        break
                    disturbed += 1
                runs[name].append(run)
                print(
                    f"{turn + 1}/{options.processes} {name}: {statistics.median(run['separate_s']):.3f} s", flush=True
                )
        targets = {name: np.load(Path(folder) / f"{name}.npy").astype(np.float64) for name in CONFIGURATIONS}
        wait_for_quiet()
        counted = fresh([*shared, "--child", "count", model], threads)
    loss: dict[str, Any] = {"made_up_to_float32_db": si_sdr_db(targets["int8"], targets["float32"])}
    if options.trained:
        loss |= fresh([*shared, "--pairs", str(options.pairs), "--child", "loss", options.trained], threads)
    peak = np.abs(targets["plain"]).max()
    result = {
        "kind": "clapsep_speed",
        "seconds": SECONDS,
        "threads": threads,
        "processes": options.processes,
        "disturbed": disturbed,
        "repeats": options.repeats,
        "file_mb": size_mb,
        "machine": machine(),
        "versions": {
            "Python": platform.python_version(),
            "torch": version("torch"),
            "soundsieve": version("soundsieve"),
        },
        "rows": {name: medians(runs[name]) for name in CONFIGURATIONS},
        "largest_difference": float(np.abs(targets["float32"] - targets["plain"]).max() / peak),
        "int8_loss": loss,
        **counted,
    }
    print(clapsep_speed_table(result), end="")
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
