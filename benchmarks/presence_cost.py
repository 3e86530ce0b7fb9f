"""What it costs to look at the presence of a system that hears its answer for it: CLAPSep of base size.

The weights are made up, as in clapsep_speed.py. Timed is `Separator.separate` about 10 s, asked in words, without a
look at the presence, and with one; both in turns in one process, and in time of the processor, which others on the
machine do not lengthen. Memory is the peak of fresh processes: of either, and of the command `soundsieve extract`,
which tells where the sound is.

    python benchmarks/presence_cost.py --output benchmarks/results/presence-cost.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from clapsep_speed import SECONDS, make_model
from timing import TEXT, fresh, peak_mib

RATE = 32000
PEAKS = ("unlooked", "looked", "extract")


def mixture() -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((1, SECONDS * RATE), dtype=np.float32)


# --- in a fresh process ---


def extract(model: str, precision: str) -> None:
    from soundsieve.cli.main import main

    folder = Path(model).parent
    options = ["--model", model, "--precision", precision, "--force", "-o", str(folder / "answers")]
    try:
        main(["extract", TEXT, str(folder / "street.wav"), *options])
    except SystemExit as done:
        if done.code:
            raise


def child(model: str, what: str, precision: str, threads: int, repeats: int) -> dict[str, Any]:
    import torch

    import soundsieve

    torch.set_num_threads(threads)
    if what == "extract":
        extract(model, precision)
        return {"mib": peak_mib()}
    separator, heard = soundsieve.load(model, precision=precision), mixture()

    def ask(look: bool) -> float:
        begun = time.process_time()
        out = separator.separate(heard, TEXT, sample_rate=RATE)
        if look:
            assert 0 < out.presence < 1
        return time.process_time() - begun

    if what in PEAKS:
        ask(what == "looked")
        return {"mib": peak_mib()}
    ask(True)
    times = [(ask(False), ask(True)) for _ in range(repeats)]
    return {
        "unlooked_s": statistics.median(one for one, _ in times),
        "looked_s": statistics.median(one for _, one in times),
        "ratio": statistics.median(looked / unlooked for unlooked, looked in times),
    }


# --- what runs them ---


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15, help="answers of either kind")
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    threads, repeats = options.threads, options.repeats
    if options.child:
        model, *rest = options.child
        if rest:
            print(json.dumps(child(model, *rest, threads, repeats)))
        else:
            make_model(Path(model))
            print("{}")
        return

    from records import record, save

    from soundsieve import audio

    shared, rows = ["--threads", str(threads), "--repeats", str(repeats), "--child"], {}
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "base.safetensors")
        fresh(__file__, [*shared, model], threads)
        audio.encode(Path(folder) / "street.wav", mixture(), RATE)
        for precision in ("float32", "int8"):
            peaks = {what: fresh(__file__, [*shared, model, what, precision], threads)["mib"] for what in PEAKS}
            times = fresh(__file__, [*shared, model, "time", precision], threads)
            rows[precision] = {**{f"{what}_mib": mib for what, mib in peaks.items()}, **times}
            print(precision, json.dumps(rows[precision]), flush=True)
    save(record("presence_cost", seconds=SECONDS, threads=threads, repeats=repeats, rows=rows), options.output)


if __name__ == "__main__":
    main()
