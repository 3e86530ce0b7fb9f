"""Is the sound there at all? How well a model's presence tells, and constants for systems that have no such output.

Mixtures are drawn from a list of clips as in `soundsieve evaluate`; each is asked for both of its sounds and for one
that is not in it. Printed and written: area under the ROC curve and share of alarms at the threshold, for the presence
that a user is given, and for what it could be made from (`TRIED`), by logistic regression, both answers weighing the
same: energy, and where the system can compare, agreements with the query. Constants are fitted to this very list, or
taken from an earlier result. `soundsieve.presence` has those of the validation clips:

    python benchmarks/presence.py --model starter                                    # on the test mixtures
    python benchmarks/presence.py --model MODEL --clap CLAP --clips CLIPS.csv --split validation \
        --output benchmarks/results/presence-clapsep-validation.json
    python benchmarks/presence.py --model MODEL --clap CLAP \
        --constants benchmarks/results/presence-clapsep-validation.json \
        --output benchmarks/results/presence-clapsep.json
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import torch
from records import record, save
from torch import Tensor

import soundsieve
from soundsieve.evaluation.pairs import decoded, make_pairs, mix, read_clips, read_pairs
from soundsieve.evaluation.report import sha256
from soundsieve.metrics import roc_auc
from soundsieve.presence import energy_db, estimated_presence
from soundsieve.query import Condition, Query
from soundsieve.segments import cut, plan_for, separate_segments
from soundsieve.systems.base import System
from soundsieve.systems.clapsep import CLAPSep

HERE = Path(__file__).parent
TRIED: dict[str, tuple[str, ...]] = {
    "energy": ("energy_db",),
    "agreement": ("target",),
    "energy and agreement": ("energy_db", "target"),
    "energy, agreement of target and mixture": ("energy_db", "target", "mixture"),
    "energy, agreement of target and residual": ("energy_db", "target", "residual"),
    "energy and agreement of the mixture": ("energy_db", "mixture"),
    "energy and agreement by the adapted tower": ("energy_db", "adapted"),
}
"""Name -> what the regression is given."""


def ask(separator: soundsieve.Separator, mixture: Tensor, words: str) -> dict[str, float]:
    """What can be known of one segment: energy in dB before any doubt, agreements, and the presence a user is given."""
    system, condition = separator.system, separator.encode(Query(words))
    plan = plan_for(system, mixture.shape[1])
    answers = []
    for _, heard, (estimate,) in separate_segments(system, cut([mixture], plan), [condition]):
        target = estimate.target / (1.0 if estimate.gain is None else estimate.gain[:, None])
        told = estimate.presence
        presence = estimated_presence(system, heard, target, condition).value if told is None else float(told)
        known = {"presence": presence, "energy_db": float(energy_db(heard, target))}
        answers.append(known | agreements(system, heard, target, condition))
    return max(answers, key=lambda known: known["presence"])


def agreements(system: System, mixture: Tensor, target: Tensor, condition: Condition) -> dict[str, float]:
    """Cosines with the query, by CLAP: of the target, the mixture ``(1, T)`` and what is left of it."""
    if not system.compares:
        return {}
    sounds = torch.cat([target, mixture, mixture - target]).to(condition.positive.device)
    with torch.inference_mode():
        found = dict(zip(("target", "mixture", "residual"), system.agreement(sounds, condition).tolist(), strict=True))
        if isinstance(system, CLAPSep):
            found["adapted"] = float(hearing_adapted(system).agreement(sounds[:1], condition))
    return found


def hearing_adapted(system: CLAPSep) -> CLAPSep:
    """The same CLAPSep, but for its CLAP, which hears by the tower that is adapted to separation."""
    clap, other = copy.copy(system.clap), copy.copy(system)
    clap._modules = {**system.clap._modules, "audio": system.tower}
    other._modules = {**system._modules, "clap": clap}
    return other


def fit(features: Tensor, labels: Tensor) -> dict[str, Any]:
    """Slopes and bias of a logistic regression on ``(N, K)``; as many votes for yes as for no."""
    mean, spread = features.mean(0), features.std(0)
    x = torch.cat([(features - mean) / spread, torch.ones(len(features), 1)], 1)
    votes = torch.where(labels > 0, 0.5 / labels.mean(), 0.5 / (1 - labels.mean()))
    weights = torch.zeros(x.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(x @ weights, labels, weight=votes)
        value = value + 1e-4 * weights.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    slopes = weights.detach()[:-1] / spread
    bias = float(weights.detach()[-1] - (slopes * mean).sum())
    return {"slopes": [round(slope, 4) for slope in slopes.tolist()], "bias": round(bias, 4)}


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
    parser.add_argument("--clap", help="the CLAP that a trained part was trained on")
    parser.add_argument("--clips", type=Path, default=HERE / "clips" / "clips.csv", help="list of clips")
    parser.add_argument("--split", default="test", help="which of them: validation to fit, test to measure")
    parser.add_argument("--constants", type=Path, help="an earlier result, whose constants are taken")
    parser.add_argument("--pairs", type=int, help="the first so many mixtures; by default all")
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)

    separator = soundsieve.load(options.model, clap=options.clap)
    listed = read_clips(options.clips, split=options.split)
    clips = {clip.path: clip for clip in listed}
    sounds = decoded(options.clips.parent)
    own = options.clips == HERE / "clips" / "clips.csv"
    pairs = read_pairs(HERE / "pairs.csv", clips) if own else make_pairs(listed, sounds, seed=0)
    pairs = pairs[: options.pairs]
    rows: list[dict[str, Any]] = []
    for pair in pairs:
        mixture = mix(pair, sounds).mixture[None]
        if separator.system.sample_rate != 32000:
            mixture = torch.from_numpy(soundsieve.audio.resample(mixture.numpy(), 32000, separator.system.sample_rate))
        for words, there in ((clips[pair.first].caption, 1), (clips[pair.second].caption, 1), (pair.absent_caption, 0)):
            rows.append({"there": there, **ask(separator, mixture, words)})

    labels = torch.tensor([float(row["there"]) for row in rows])
    presence = torch.tensor([row["presence"] for row in rows])
    figures: dict[str, Any] = {"given": told(presence, labels, separator.presence_threshold)}
    earlier = json.loads(options.constants.read_text("utf-8")) if options.constants else None
    for name, inputs in TRIED.items():
        if set(inputs) <= rows[0].keys():
            features = torch.tensor([[row[one] for one in inputs] for row in rows])
            known = earlier["tried"][name]["constants"] if earlier else fit(features, labels)
            scores = torch.sigmoid(features @ torch.tensor(known["slopes"]) + known["bias"])
            figures.setdefault("tried", {})[name] = {"constants": known, **told(scores, labels, 0.5)}
    for name, row in {"given": figures["given"], **figures["tried"]}.items():
        print(f"{name:44}{json.dumps(row)}")
    result = record(
        "presence",
        options.model,
        **({"clap_sha256": sha256(options.clap)} if options.clap else {}),
        system=separator.system.name,
        split=options.split,
        mixtures=len(pairs),
        threshold=separator.presence_threshold,
        fitted_on=earlier["split"] if earlier else options.split,
        **figures,
        threads=1,
    )
    save(result, options.output)


if __name__ == "__main__":
    main()
