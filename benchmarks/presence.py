"""Is the sound there at all? How well a model's presence tells, and constants for systems that have no such output.

Mixtures are drawn from a list of clips as in `soundsieve evaluate`; each is asked for both of its sounds and for one
that is not in it. Printed and written: area under the ROC curve and share of alarms at the threshold, for the presence
that a user is given, and for energy alone, fitted to this very list (logistic regression, both answers weighing the
same). The latter is what `soundsieve.presence.CALIBRATION` holds.

    python benchmarks/presence.py --model starter                                    # on the test mixtures
    python benchmarks/presence.py --model runs/clapsep.safetensors --clips corpus/clips.csv --split validation
"""

from __future__ import annotations

import argparse
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from records import machine
from torch import Tensor

import soundsieve
from soundsieve.evaluation.pairs import decoded, make_pairs, mix, read_clips, read_pairs
from soundsieve.metrics import roc_auc
from soundsieve.presence import Calibration, energy_db, estimated_presence
from soundsieve.query import Query
from soundsieve.segments import cut, plan_for, separate_segments

HERE = Path(__file__).parent


def ask(separator: soundsieve.Separator, mixture: Tensor, words: str) -> dict[str, float]:
    """What can be known of one segment: energy in dB before any doubt, and the presence a user is given."""
    system, condition = separator.system, separator.encode(Query(words))
    plan = plan_for(system, mixture.shape[1])
    answers = []
    for _, heard, (estimate,) in separate_segments(system, cut([mixture], plan), [condition]):
        target = estimate.target / (1.0 if estimate.gain is None else estimate.gain[:, None])
        presence = estimate.presence
        if presence is None:
            presence = estimated_presence(heard, target, condition)
        answers.append((float(presence), float(energy_db(heard, target))))
    return dict(zip(("presence", "energy_db"), max(answers), strict=True))


def fit(feature: Tensor, labels: Tensor) -> Tensor:
    """Slope and bias of a logistic regression on ``(N,)``; as many votes for yes as for no."""
    mean, spread = feature.mean(), feature.std()
    x = torch.stack([(feature - mean) / spread, torch.ones_like(feature)], 1)
    votes = torch.where(labels > 0, 0.5 / labels.mean(), 0.5 / (1 - labels.mean()))
    weights = torch.zeros(2, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(x @ weights, labels, weight=votes)
        value = value + 1e-4 * weights.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    slope = weights.detach()[0] / spread
    return torch.stack([slope, weights.detach()[1] - slope * mean])


def told(scores: Tensor, labels: Tensor, threshold: float) -> dict[str, float]:
    there = labels > 0
    return {
        "auc": round(float(roc_auc(scores.tolist(), there.tolist())), 4),
        "found": round(float((scores[there] >= threshold).float().mean()), 4),
        "false_alarms": round(float((scores[~there] >= threshold).float().mean()), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter", help="name or file of a model")
    parser.add_argument("--clips", type=Path, default=HERE / "clips" / "clips.csv", help="list of clips")
    parser.add_argument("--split", default="test", help="which of them: validation to fit, test to measure")
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)

    separator = soundsieve.load(options.model)
    listed = read_clips(options.clips, split=options.split)
    clips = {clip.path: clip for clip in listed}
    sounds = decoded(options.clips.parent)
    own = options.clips == HERE / "clips" / "clips.csv"
    pairs = read_pairs(HERE / "pairs.csv", clips) if own else make_pairs(listed, sounds, seed=0)
    rows: list[dict[str, Any]] = []
    for pair in pairs:
        mixture = mix(pair, sounds).mixture[None]
        if separator.system.sample_rate != 32000:
            mixture = torch.from_numpy(soundsieve.audio.resample(mixture.numpy(), 32000, separator.system.sample_rate))
        for words, there in ((clips[pair.first].caption, 1), (clips[pair.second].caption, 1), (pair.absent_caption, 0)):
            rows.append({"there": there, **ask(separator, mixture, words)})

    labels = torch.tensor([float(row["there"]) for row in rows])
    presence = torch.tensor([row["presence"] for row in rows])
    energy = torch.tensor([row["energy_db"] for row in rows])
    result: dict[str, Any] = {
        "kind": "presence",
        "model": options.model,
        "system": separator.system.name,
        "split": options.split,
        "mixtures": len(pairs),
        "threshold": separator.presence_threshold,
        "given": told(presence, labels, separator.presence_threshold),
        "threads": 1,
        "machine": machine(),
        "versions": {
            "Python": platform.python_version(),
            "torch": version("torch"),
            "soundsieve": version("soundsieve"),
        },
    }
    slope, bias = [round(value, 4) for value in fit(energy, labels).tolist()]
    known = Calibration(bias, slope)
    scores = torch.sigmoid(known.bias + known.energy * energy)
    result["energy"] = {"calibration": vars(known), **told(scores, labels, 0.5)}
    for name in ("given", "energy"):
        print(f"{name:8}{json.dumps(result[name])}")
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
