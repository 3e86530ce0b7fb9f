"""What the benchmarks of speed share: fresh processes, quiet moments, and made-up texts.

A model's weights are made up (speed does not depend on them), and every figure is taken in a fresh process. Such a
script calls itself with ``--child`` and the name of what is to be measured; the last line that a child prints is its
result, as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

TOKENS = (0, 102, 2335, 23828, 11, 5, 4472, 2)
"""A sentence of six words between the two marks around it: what a query is usually like."""
TEXT = " ".join(map(str, TOKENS[1:-1]))
"""The same for a made-up model, whose words are the numbers of their tokens."""
QUIET = 150
"""Involuntary context switches a second; a process that had more was disturbed, and is run again."""


def made_up_tokenizer(size: int = 50265, start: int = 0, end: int = 2) -> str:
    """As many tokens as RoBERTa's, each the decimal digits of its number."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = {str(i): i for i in range(size) if i not in (1, start, end)}
    words |= {"<s>": start, "<pad>": 1, "</s>": end}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="3"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing(("</s>", end), ("<s>", start))
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
    """Of this program alone, where the system tells: getrusage counts what its parent held when it was started."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB, on most systems


class Switches:
    """How often a second this process had to make room for another one."""

    def __init__(self) -> None:
        self.count, self.begun = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw, time.perf_counter()

    def per_s(self) -> float:
        count = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw - self.count
        return count / (time.perf_counter() - self.begun)


# --- what runs them ---


def fresh(script: str, arguments: Sequence[str], threads: int) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, script, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the measurement failed:\n{done.stderr}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def undisturbed(run: Callable[[], dict[str, Any]], *, patience_s: float = 300) -> tuple[dict[str, Any], int]:
    """The first of four runs at which nothing else wanted the processor, or the last; and how many were in vain.

    Without patience it is the first, whatever else is going on.
    """
    in_vain = 0
    while True:
        wait_for_quiet(patience_s)
        found = run()
        if found["switches_per_s"] < QUIET or in_vain == 3 or not patience_s:
            return found, in_vain
        in_vain += 1


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


# --- what a shorter precision costs ---


def si_sdr_db(estimate: np.ndarray, reference: np.ndarray) -> float:
    import torch

    from soundsieve.metrics import si_sdr

    return float(si_sdr(torch.from_numpy(estimate), torch.from_numpy(reference)))


def loss_on_clips(model: str, precision: str, pairs_used: int) -> dict[str, float]:
    """What a precision costs a trained model on real sounds: SI-SDR against the true source, and against float32's."""
    import copy

    import torch
    from records import CLIPS, test_mixtures

    from soundsieve.evaluation.pairs import decoded, mix
    from soundsieve.metrics import si_sdr
    from soundsieve.nn.precision import to_precision
    from soundsieve.query import Query
    from soundsieve.weights.checkpoint import load_system

    (pairs, clips), sounds = test_mixtures(pairs_used), decoded(CLIPS)
    exact = load_system(model)
    rounded = copy.deepcopy(exact)
    to_precision(rounded, precision)
    lost, close, level = [], [], []
    with torch.inference_mode():
        for pair in pairs:
            mixed = mix(pair, sounds)
            for direction, path in enumerate((pair.first, pair.second)):
                query = Query(text=clips[path].caption)
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
