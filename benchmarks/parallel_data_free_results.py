"""What the runs of `parallel_data_free.py` come to: means and intervals, the encoders' space, figure and tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parallel_data_free import KINDS, RECIPES, SIZES, Row, Run, cache_path, encoder_path, held_out, shared_out
from records import record

from soundsieve.evaluation.pairs import Clip, read_clips
from soundsieve.files import replacing
from soundsieve.training.captions.cache import CaptionCache
from soundsieve.training.embeddings import embed_captions, embed_clips, load_sieve_encoder
from soundsieve.training.recipe import read_recipe
from soundsieve.training.store import ClipStore

DRAWS = 2000
GROUPS = ("seen", "held out")
COLOURS = ("tab:blue", "tab:orange")


def space(data: Path, folder: Path, encoder: str) -> dict[str, Any]:
    """How near an encoder puts clips to their captions, before and after retrieval, and what it takes them for.

    For each set of clips: ``cosine`` of a clip and its caption, ``gap``, the distance between the mean of all clips and
    that of all captions (Liang et al., 2022, arXiv 2203.02053), the same for the captions retrieved for the clips
    (``retrieved_...``), the share of clips nearest to their own label of all labels (``named``), and the share whose
    retrieved caption is (``precision``).
    """
    clips = read_clips(data)
    known = load_sieve_encoder(encoder_path(folder, encoder))
    cache = CaptionCache.open(cache_path(folder, encoder, SIZES[-1]), encoder_digest=known.digest)
    labels = sorted({clip.label for clip in clips})
    names = known.embed_text(labels)
    found, by_label = {}, {}
    for part, chosen in sets_of(clips).items():
        audio = embed_clips(ClipStore(data.parent, chosen), known)
        text = embed_captions(chosen, known)
        near = cache.vectors(cache.search(audio, 1)[1][:, 0])
        own = torch.tensor([labels.index(clip.label) for clip in chosen])
        right = {name: (one @ names.T).argmax(1) == own for name, one in (("named", audio), ("precision", near))}
        found[part] = {"clips": len(chosen)}
        for prefix, one in (("", audio), ("retrieved_", near)):
            found[part][f"{prefix}cosine"] = float((one * text).sum(1).mean())
            found[part][f"{prefix}gap"] = float((one.mean(0) - text.mean(0)).norm())
        found[part] |= {name: float(values.float().mean()) for name, values in right.items()}
        by_label[part] = {
            label: [int((own == i).sum()), int(right["precision"][own == i].sum())]
            for i, label in enumerate(labels)
            if (own == i).any()
        }
    return {"sets": found, "by_label": by_label}


def sets_of(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    """Whose clips they are, and, of the test, who knows their labels."""
    train = {
        part: [clip for clip in chosen if clip.split == "train"] for part, chosen in shared_out(clips).items()
    }  # fmt: skip
    sets = {"the encoder's half": train["encoder"], "separation's half": train["separation"]}
    for clip in clips:
        if clip.split == "test":
            sets.setdefault(f"test, {group_of(clip.label, train['separation'])}", []).append(clip)
    return sets


def group_of(label: str, separated: Sequence[Clip]) -> str:
    """``held out`` of everything, ``seen`` in separation's clips, or ``other``: in the encoder's half or nowhere."""
    if label in held_out():
        return "held out"
    return "seen" if any(clip.label == label for clip in separated) else "other"


def summarise(rows: Sequence[Sequence[Row]], groups: dict[str, str], column: str, kind: str) -> dict[str, Any]:
    """Mean over mixtures and seeds with its 95% interval for each group of labels; ``rows`` of each seed.

    The interval is a percentile bootstrap that draws seeds and mixtures (`DRAWS` draws).
    """
    found = {}
    for group in sorted(set(groups.values())):
        pairs = sorted({row["pair"] for row in rows[0] if groups[row["label"]] == group})
        place = {pair: i for i, pair in enumerate(pairs)}
        sums, counts = np.zeros((len(rows), len(pairs))), np.zeros(len(pairs))
        for seed, of_seed in enumerate(rows):
            for row in of_seed:
                if row["asked"] == kind and groups[row["label"]] == group:
                    sums[seed, place[row["pair"]]] += row[column]
                    counts[place[row["pair"]]] += seed == 0
        rng = np.random.default_rng(0)
        means = []
        for _ in range(DRAWS):
            seeds, drawn = rng.integers(len(rows), size=len(rows)), rng.integers(len(pairs), size=len(pairs))
            means.append(sums[seeds][:, drawn].sum() / (counts[drawn].sum() * len(rows)))
        found[group] = {
            "mean": round(float(sums.sum() / (counts.sum() * len(rows))), 4),
            "interval": [round(float(edge), 4) for edge in np.quantile(means, [0.025, 0.975])],
            "n": int(counts.sum()),
            "seeds": [round(float(one), 4) for one in sums.sum(1) / counts.sum()],
        }
    return found


def differences(rows: Sequence[Sequence[Row]], others: Sequence[Sequence[Row]]) -> list[list[Row]]:
    """Row by row what one set of runs gains over another, seed by seed."""
    return [
        [a | {column: a[column] - b[column] for column in ("sdri", "si_sdri")} for a, b in zip(*seed, strict=True)]
        for seed in zip(rows, others, strict=True)
    ]


def of_precision(groups: dict[str, str], found: dict[str, Any]) -> dict[str, str]:
    """Seen labels by whether retrieval finds captions of the label for at least half of separation's clips of it."""
    counts = found["by_label"]["separation's half"]
    right = {label: found_right >= 0.5 * number for label, (number, found_right) in counts.items()}
    return {
        label: group if group != "seen" else "seen, retrieved right" if right[label] else "seen, retrieved wrong"
        for label, group in groups.items()
    }


def collect(data: Path, folder: Path, runs: Sequence[Run], command: str) -> dict[str, Any]:
    """All that the tables and the figure show."""
    clips = read_clips(data)
    separated = [clip for clip in shared_out(clips)["separation"] if clip.split == "train"]
    groups = {clip.label: group_of(clip.label, separated) for clip in clips}
    rows = {run: json.loads((folder / "runs" / run.name / "rows.json").read_text("utf-8")) for run in runs}
    spaces = {encoder: space(data, folder, encoder) for encoder in ("half", "starter")}
    alike: dict[tuple[str, str, int, int], list[Run]] = {}
    for run in runs:
        alike.setdefault((run.encoder, run.recipe, run.k, run.captions), []).append(run)
    table, gains = [], []
    for (encoder, recipe, k, captions), same in alike.items():
        entry: Row = {"encoder": encoder, "recipe": recipe, "seeds": len(same)}
        if recipe == "retrieval":
            entry |= {"k": k, "captions": captions}
        for kind in KINDS:
            entry[kind] = {column: summarise([rows[one] for one in same], groups, column, kind)
                           for column in ("sdri", "si_sdri")}  # fmt: skip
        told = of_precision(groups, spaces[encoder])
        entry["by_precision"] = summarise([rows[one] for one in same], told, "sdri", "text")
        table.append(entry)
        for other_encoder, other in (("half", "supervised"), (encoder, "audio")):
            base = [one for one in runs if (one.encoder, one.recipe) == (other_encoder, other)]
            if len(base) == len(same) > 1 and recipe not in ("supervised", other):
                gained = differences([rows[one] for one in same], [rows[one] for one in base])
                gains.append({"encoder": encoder, "recipe": recipe, "over": other,
                              "sdri": summarise(gained, groups, "sdri", "text")})  # fmt: skip
    recipe = read_recipe(RECIPES / "supervised.yaml")
    return record(
        "parallel_data_free",
        command=command,
        steps=recipe.max_steps,
        batch_size=recipe.options["batch_size"],
        held_out=held_out(),
        clips={name: len(part) for name, part in sets_of(clips).items()},
        labels={group: sum(one == group for one in groups.values()) for group in sorted(set(groups.values()))},
        mixtures=len({row["pair"] for row in rows[runs[0]]}),
        runs=table,
        differences=gains,
        space=spaces,
    )


def draw(result: dict[str, Any], path: Path) -> None:
    """SDRi and SI-SDRi by caption, for each objective and encoder, and for each size of the cache."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), layout="constrained")
    rows = figure.subplots(2, 3, sharey="row")
    for axes, column, name in zip(rows, ("sdri", "si_sdri"), ("SDRi", "SI-SDRi"), strict=True):
        for place, encoder in enumerate(("half", "starter")):
            _draw_objectives(axes[place], result["runs"], encoder, column)
        _draw_caches(axes[2], result["runs"], column)
        axes[0].set_ylabel(f"{name}, dB, asked by caption")
        for one, corner in zip(axes, ("upper right", "upper right", "lower left"), strict=True):
            one.grid(alpha=0.3)
            one.legend(fontsize=8, loc=corner)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def _draw_objectives(axes: Any, runs: Sequence[dict[str, Any]], encoder: str, column: str) -> None:
    most = max(one["seeds"] for one in runs)
    shown = [
        one for one in runs if one["seeds"] == most and (one["recipe"] == "supervised" or one["encoder"] == encoder)
    ]
    for group, colour, shift in zip(GROUPS, COLOURS, (-0.15, 0.15), strict=True):
        found = [one["text"][column][group] for one in shown]
        means = np.array([one["mean"] for one in found])
        low, high = np.array([one["interval"] for one in found]).T
        places = np.arange(len(shown)) + shift
        around = [means - low, high - means]
        axes.errorbar(places, means, around, fmt="o", capsize=4, color=colour, label=f"labels {group}")
        for seed in range(most):
            axes.plot(places + 0.08, [one["seeds"][seed] for one in found], ".", color=colour, alpha=0.4)
    names = [one["recipe"].replace("_", "+") for one in shown]
    axes.set_xticks(range(len(shown)), names, rotation=15)
    axes.set_title(f"encoder: {encoder}, {most} seeds")


def _draw_caches(axes: Any, runs: Sequence[dict[str, Any]], column: str) -> None:
    for k, style in ((1, "-"), (5, "--")):
        for group, colour in zip(GROUPS, COLOURS, strict=True):
            line = [
                (one["captions"], one["text"][column][group]["seeds"][0])
                for one in runs
                if one["encoder"] == "half" and one.get("k") == k
            ]
            places, values = zip(*sorted(line), strict=True)
            axes.plot(places, values, style, marker="o", color=colour, label=f"k = {k}, labels {group}")
    axes.set(xscale="log", xlabel="captions in the cache", title="retrieval, encoder: half, one seed")
