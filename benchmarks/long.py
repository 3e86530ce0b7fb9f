"""How much memory and time a long recording takes, from disk to disk.

Stereo recordings at 48 kHz are made of the test clips, one after the other, and written block by block to a temporary
folder. Each is then separated in a fresh process, whose peak memory is the most that it ever held, torch included; the
target and the residual are both written. Memory should not grow with the length, time should grow in proportion.

    python benchmarks/long.py --output benchmarks/results/long.json              # 5 and 20 minutes
    python benchmarks/long.py --hours 3 --output benchmarks/results/long.json    # and three hours
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from records import record, save
from write_tables import long_table

from soundsieve import audio
from soundsieve.evaluation.pairs import read_clips

CLIPS = Path(__file__).parent / "clips"
MINUTES = (5, 20)
RATE = 48000
QUERY = "a dog barking"
LEVEL = 0.1

# What a fresh process measures; its last line of output is the result.
CHILD = """
import json, resource, sys, time
import torch, soundsieve
model, source, folder, threads, query = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]
torch.set_num_threads(threads)
separator = soundsieve.load(model)
loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
begun = time.perf_counter()
done = separator.extract_file(source, query, target=f"{folder}/target.wav", residual=f"{folder}/residual.wav")
seconds = time.perf_counter() - begun
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
found = {"samples": done.samples, "presence": done.presence, "spans": len(done.spans)}
print(json.dumps({"seconds": seconds, "loaded_rss_mib": loaded, "peak_rss_mib": peak, **found}))
"""


def recording(samples: int) -> Iterator[audio.Samples]:
    """So many samples of the test clips, again and again, wandering from left to right, a clip at a time."""
    paths = [clip.path for clip in read_clips(CLIPS / "clips.csv")]
    done = turn = 0
    while done < samples:
        sound, rate = audio.decode(CLIPS / paths[turn % len(paths)])
        mono = audio.resample(sound.mean(0), rate, RATE)[: samples - done]
        mono = mono * (LEVEL / max(1e-4, float(np.sqrt(np.square(mono).mean()))))
        angle = np.pi / 2 * (0.5 + 0.5 * np.sin(turn))
        yield np.stack([np.cos(angle) * mono, np.sin(angle) * mono]).astype(np.float32)
        done += len(mono)
        turn += 1


def measure(model: str, minutes: float, threads: int, folder: Path) -> dict[str, Any]:
    source = folder / "long.wav"
    with audio.Writer(source, RATE, 2, clip_mode="clamp") as writer:
        for block in recording(round(60 * minutes * RATE)):
            writer.write(block)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", CHILD, model, str(source), str(folder), str(threads), QUERY]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the measurement failed:\n{done.stderr}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if measured.pop("samples") != round(60 * minutes * RATE):
        raise SystemExit("the answer has another length than the recording")
    return {"minutes": minutes, **measured, "speed": 60 * minutes / measured["seconds"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter", help="name or file of a model")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "2")))
    parser.add_argument("--hours", type=float, action="append", default=[], help="a further length; repeatable")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made; three hours take 15 GB")
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()

    rows = []
    for minutes in (*MINUTES, *(60 * hours for hours in options.hours)):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            rows.append(measure(options.model, minutes, options.threads, Path(folder)))
        print(json.dumps(rows[-1]), flush=True)
    result = record(
        "long",
        options.model,
        threads=options.threads,
        query=QUERY,
        sample_rate=RATE,
        rows=rows,
    )
    print(long_table(result), end="")
    save(result, options.output)


if __name__ == "__main__":
    main()
