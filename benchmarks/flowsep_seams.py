"""Is there anything to hear where FlowSep's windows meet?

Half a minute of noise (white, pink, and with the spectrum of the bundled rain) is asked for several sounds, twice: with
windows that go on from each other, as they do, and with windows that are drawn apart, from the same noise and
cross-faded all the same. Measured where windows overlap, relative to everywhere else:

- how far neighbours are from each other where they are cross-faded, in dB of the answer's energy: no sound is at -inf,
  two sounds that have nothing to do with each other at 3 dB;
- how much louder or softer the answer is, in dB: cross-fading two different sounds leaves a dip of 3 dB in the middle;
- how much its log-mel spectrogram changes from one frame to the next.

    python benchmarks/flowsep_seams.py --model runs/flowsep-small/last.safetensors \
        --output benchmarks/results/flowsep_seams.json
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flowsep_tables import flowsep_seams_table
from records import record, save
from seams import RATE, noises
from torch import Tensor

from soundsieve import audio, segments
from soundsieve.query import Query
from soundsieve.systems.flowsep.flowsep import FlowSep, unpack
from soundsieve.systems.flowsep.windows import Windows
from soundsieve.weights.checkpoint import load_system

WORDS = ("rain", "wind", "waves on a beach")
WAYS = ("going on from each other", "drawn apart")


def answers(system: FlowSep, sound: Tensor, text: str, way: str) -> list[tuple[segments.Segment, Tensor]]:
    """Of every window, on its own."""
    condition = system.encode_query(Query(text))
    windows = Windows(system, *unpack(condition.positive, system.config.text_width), [(0, 0)])
    if way == WAYS[1]:
        windows._shared = lambda *_: None  # type: ignore[method-assign]
    plan = segments.plan_for(system, sound.shape[1])
    return [(segment, windows.answer(segment.start, piece)) for segment, piece in segments.cut([sound], plan)]


def measure(system: FlowSep, sound: Tensor, text: str, way: str) -> dict[str, float]:
    """The three figures; see above."""
    pieces = answers(system, sound, text, way)
    plan = segments.plan_for(system, sound.shape[1])
    whole = torch.cat(list(segments.cross_fade(iter(pieces), plan)), dim=1)
    hop = system.config.mel.hop_length
    mel = system.mel(whole)[0, 0]
    change = (mel[1:] - mel[:-1]).abs().mean(1)
    power = whole[0, : len(mel) // 5 * 5 * hop].reshape(-1, 5 * hop).square().mean(1)
    shared, faded = torch.zeros(len(mel), dtype=torch.bool), torch.zeros(len(power), dtype=torch.bool)
    apart, energy = 0.0, 0.0
    for (one, first), (two, second) in pairwise(pieces):
        alone = int(0.4 * plan.overlap)  # at each end of what they share, which may be more for the last two
        heard = slice(alone, one.stop - two.start - alone)
        before, after = first[0, two.start - one.start :][heard], second[0, heard]
        apart += float((before - after).square().sum())
        energy += float(after.square().sum())
        shared[two.start // hop : one.stop // hop] = True
        faded[(two.start + heard.start) // (5 * hop) + 1 : (two.start + heard.stop) // (5 * hop)] = True
    return {
        "apart_db": 10 * float(np.log10(max(apart, 1e-20) / energy)),
        "level_db": 10 * float(torch.log10(power[faded].mean() / power[~faded].mean())),
        "change": float(change[shared[1:]].mean() / change[~shared[1:]].mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="file of a FlowSep")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    loaded = load_system(options.model)
    if not isinstance(loaded, FlowSep):
        raise SystemExit(f"{options.model} holds a {loaded.name}: give a FlowSep")
    system = loaded.with_settings({"steps": options.steps})
    rows: list[dict[str, Any]] = []
    for name, samples in noises().items():
        heard = samples[None, : round(options.seconds * RATE)]
        sound = torch.from_numpy(audio.resample(heard, RATE, system.sample_rate))
        for text in WORDS:
            for way in WAYS:
                with torch.no_grad():
                    rows.append({"noise": name, "query": text, "way": way} | measure(system, sound, text, way))
    figures = {"threads": options.threads, "steps": options.steps, "seconds": options.seconds, "rows": rows}
    result = record("flowsep_seams", options.model, **figures)
    print(flowsep_seams_table(result), end="")
    save(result, options.output)


if __name__ == "__main__":
    main()
