"""How fast a model answers on this machine, and in how much memory.

Every figure is taken in a fresh process: importing and loading, the first answer, the answers after it, and the
most memory that the process ever held. Fresh processes are repeated and their median is reported.

    python benchmarks/speed.py --model starter --threads 2 --output benchmarks/results/speed.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from records import record, save
from speed_tables import speed_table

LENGTHS_S = (10, 60)
QUERY = "a dog barking"

# What a fresh process measures; its last line of output is the result.
CHILD = """
import json, resource, sys, time
started = time.perf_counter()
model, seconds, threads, repeats = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
import soundsieve
separator = soundsieve.load(model)
loaded = time.perf_counter()

import numpy as np, torch
from soundsieve.cli.demo import bundled_clips
torch.set_num_threads(threads)
clips, sample_rate = bundled_clips()
mixture = np.resize(sum(clips.values())[0], seconds * sample_rate)
times = []
for _ in range(1 + repeats):
    begun = time.perf_counter()
    separator.separate(mixture, sys.argv[5], sample_rate=sample_rate)
    times.append(time.perf_counter() - begun)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
print(json.dumps({"load_s": loaded - started, "first_s": times[0], "warm_s": times[1:], "peak_rss_mib": peak}))
"""


def fresh(model: str, seconds: int, threads: int, repeats: int) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", CHILD, model, str(seconds), str(threads), str(repeats), QUERY]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the measurement failed:\n{done.stderr}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def measure(model: str, seconds: int, threads: int, processes: int, repeats: int) -> dict[str, float]:
    runs = [fresh(model, seconds, threads, repeats) for _ in range(processes)]
    warm_s = statistics.median(time for run in runs for time in run["warm_s"])
    return {
        "seconds": seconds,
        "load_s": statistics.median(run["load_s"] for run in runs),
        "first_result_s": statistics.median(run["load_s"] + run["first_s"] for run in runs),
        "warm_s": warm_s,
        "real_time_factor": warm_s / seconds,
        "peak_rss_mib": max(run["peak_rss_mib"] for run in runs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter", help="name or file of a model")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "2")))
    parser.add_argument("--processes", type=int, default=3, help="fresh processes for each length")
    parser.add_argument("--repeats", type=int, default=3, help="warm answers in each process")
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()

    rows = [measure(options.model, s, options.threads, options.processes, options.repeats) for s in LENGTHS_S]
    result = record(
        "speed",
        options.model,
        threads=options.threads,
        query=QUERY,
        processes=options.processes,
        repeats=options.repeats,
        rows=rows,
    )
    print(speed_table(result), end="")
    save(result, options.output)


if __name__ == "__main__":
    main()
