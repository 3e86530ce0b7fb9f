"""From rows to a report: means with 95% intervals, by way of asking, by label and by source.

Intervals are percentile bootstraps over pairs (2,000 draws, seeded): the two directions of a mixture are not
independent, so they are drawn together.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from soundsieve.evaluation.judge import frechet_of_rows
from soundsieve.evaluation.measuring import Row
from soundsieve.evaluation.questions import CONDITIONS, SETTINGS, in_setting, setting_of
from soundsieve.evaluation.run import BASELINES, of_condition, selectivity
from soundsieve.files import replacing
from soundsieve.metrics import METRICS, roc_auc

DRAWS = 2000
_AT_ONCE = 1 << 22

Summary = dict[str, Any]


def _bootstrap(count: int, seed: int) -> Iterator[np.ndarray]:
    """Which of so many are drawn, `DRAWS` times: arrays of ``(some draws, count)``, of `_AT_ONCE` numbers at most."""
    rng = np.random.default_rng(seed)
    rows = max(1, _AT_ONCE // count)
    for start in range(0, DRAWS, rows):
        yield rng.integers(count, size=(min(rows, DRAWS - start), count))


def _interval(statistics: np.ndarray) -> list[float]:
    """The 2.5th and 97.5th percentile as order statistics."""
    ordered = np.sort(statistics)
    low, high = int(0.025 * len(ordered)), int(0.975 * len(ordered))
    return [round(float(ordered[low]), 4), round(float(ordered[high]), 4)]


def mean_with_interval(values: Sequence[float], pairs: Sequence[int | str], *, seed: int = 0) -> Summary:
    """Mean, its 95% interval by a bootstrap over pairs, and how many values and pairs there are.

    Args:
        values: what is averaged.
        pairs: which pair each belongs to.
        seed: of the bootstrap.
    """
    _, index = np.unique(np.asarray(pairs), return_inverse=True)
    sums = np.bincount(index, weights=np.asarray(values, dtype=np.float64))
    counts = np.bincount(index)
    means = np.concatenate([sums[drawn].sum(1) / counts[drawn].sum(1) for drawn in _bootstrap(len(sums), seed)])
    return {
        "mean": round(float(sums.sum() / counts.sum()), 4),
        "interval": _interval(means),
        "n": int(counts.sum()),
        "pairs": len(sums),
    }


def summarise(rows: Sequence[Row], *, presence_threshold: float = 0.5, unseen: Collection[str] = ()) -> Summary:
    """Everything the tables show, as plain numbers.

    Args:
        rows: as `evaluation.run` makes them.
        presence_threshold: presence from which a system says that a sound is there.
        unseen: labels that the system was not trained on; their rows are averaged apart, too.
    """
    summary: Summary = {"conditions": {}}
    meanings = (
        BASELINES
        | CONDITIONS
        | {in_setting(n, s): f"{BASELINES[n]}, where {SETTINGS[s]}" for s in SETTINGS for n in BASELINES}
    )
    for name in sorted(meanings, key=_order):
        found = [row for row in of_condition(rows, name) if row["direction"] is not None]
        if found:
            pairs = [row["pair"] for row in found]
            entry: Summary = {"meaning": meanings[name], "n": len(found), "pairs": len(set(pairs))}
            for column in _columns(found):
                result = mean_with_interval([row[column] for row in found], pairs)
                entry[column] = {"mean": result["mean"], "interval": result["interval"]}
                entry[column]["median"] = round(float(np.median([row[column] for row in found])), 4)
            distance = frechet_of_rows(found)
            if distance is not None:
                entry["fad"] = {"mean": round(distance, 5)}
            apart = selectivity(rows, name)
            if apart and name in CONDITIONS:
                entry["selectivity"] = mean_with_interval([float(x) for x in apart.values()], list(apart))
            if all(row.get("seconds") is not None for row in found):
                entry["seconds"] = round(float(np.mean([row["seconds"] for row in found])), 5)
            summary["conditions"][name] = entry
    if "text" in summary["conditions"] and of_condition(rows, "absent"):
        summary["absent"] = _absent(rows, presence_threshold)
    if unseen:
        summary["seen"] = _seen(rows, unseen)
    summary["by_label"] = _grouped(rows, "label")
    summary["by_source"] = _grouped(rows, "source")
    return summary


def _order(name: str) -> tuple[int, bool]:
    """Two equal sounds come first, then the other settings; in each the ceiling comes last."""
    return ["", *SETTINGS].index(setting_of(name)), name.startswith("ideal ratio mask")


def _columns(rows: Sequence[Row]) -> list[str]:
    """The metrics that all rows have, except for the energy, which judges answers about absent sounds alone."""
    return [name for name in METRICS if name != "energy_db" and all(name in row for row in rows)]


def _seen(rows: Sequence[Row], unseen: Collection[str]) -> Summary:
    """SDRi for labels that were in the training and for those that were not, by way of asking."""
    found: Summary = {"seen": {}, "unseen": {}}
    for name in (*BASELINES, *CONDITIONS):
        for side, is_unseen in (("seen", False), ("unseen", True)):
            of_side = [
                row for row in of_condition(rows, name) if (row["label"] in unseen) == is_unseen and "sdri" in row
            ]
            if of_side:
                found[side][name] = mean_with_interval(
                    [row["sdri"] for row in of_side], [row["pair"] for row in of_side]
                )
    return found


def _absent(rows: Sequence[Row], threshold: float) -> Summary:
    present, absent = of_condition(rows, "text"), of_condition(rows, "absent")
    energies = np.array([row["energy_db"] for row in absent])
    medians = np.concatenate([np.median(energies[drawn], axis=1) for drawn in _bootstrap(len(energies), 0)])
    labels = [True] * len(present) + [False] * len(absent)
    result: Summary = {
        "n": len(absent),
        "energy_db_median": round(float(np.median(energies)), 4),
        "energy_db_median_interval": _interval(medians),
        "present_energy_db_median": round(float(np.median([row["energy_db"] for row in present])), 4),
        "auc_energy": round(roc_auc([row["energy_db"] for row in present + absent], labels), 4),
    }
    if all(row["presence"] is not None for row in present + absent):
        scores = [row["presence"] for row in present + absent]
        result |= {
            "auc_presence": round(roc_auc(scores, labels), 4),
            "presence_threshold": threshold,
            "found_present": round(float(np.mean([row["presence"] >= threshold for row in present])), 4),
            "found_absent": round(float(np.mean([row["presence"] >= threshold for row in absent])), 4),
        }
    return result


def _grouped(rows: Sequence[Row], column: str) -> dict[str, Summary]:
    """Mean SDRi by text (and with exclusion) for each value of a column, worst first."""
    groups: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for condition in ("text", "text+exclude"):
        for row in of_condition(rows, condition):
            if "sdri" in row:
                groups[row[column]][condition].append(row["sdri"])
    table = {
        name: {"n": len(next(iter(of.values())))}
        | {condition: round(float(np.mean(v)), 4) for condition, v in of.items()}
        for name, of in groups.items()
    }
    return dict(sorted(table.items(), key=lambda item: (item[1].get("text", item[1].get("text+exclude")), item[0])))


def environment() -> Summary:
    """Versions and the machine, as far as they can change a number."""
    import torch

    import soundsieve

    return {
        "soundsieve": soundsieve.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": _processor(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def sha256(path: str | Path) -> str:
    """Of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_summary(path: str | Path, summary: Summary) -> None:
    """Write a summary as JSON, whole or not at all."""
    write_text(path, json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_markdown(path: str | Path, summary: Summary) -> None:
    """Write the tables as a page, whole or not at all."""
    write_text(path, page(summary))


def write_text(path: str | Path, text: str) -> None:
    """Write a text, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its first column to the left and all others to the right."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def span(entry: Mapping[str, Any], digits: int = 1) -> str:
    """A mean with its interval, such as ``7.1 (6.5 to 7.7)``; alone if it has none."""
    if "interval" not in entry:
        return f"{entry['mean']:.{digits}f}"
    low, high = entry["interval"]
    return f"{entry['mean']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


_EXPLANATION = """\
Means, with 95% intervals by a bootstrap over pairs. SDR is the plain energy ratio; SDRi and SI-SDRi are what is gained
over the unprocessed mixture. Selectivity is the share of mixtures where asking for each of the two sounds gives answers
that are both closer to what was asked than to the other.
"""


def condition_table(summary: Summary) -> str:
    """One line for each way to ask, in Markdown."""
    rows = [
        [
            name,
            str(entry["n"]),
            f"{entry['sdr']['mean']:.1f}" if "sdr" in entry else "",
            span(entry["sdri"]) if "sdri" in entry else "",
            f"{entry['sdri']['median']:.1f}" if "sdri" in entry else "",
            span(entry["si_sdri"]) if "si_sdri" in entry else "",
            span(entry["selectivity"], 2) if "selectivity" in entry else "",
        ]
        for name, entry in summary["conditions"].items()
        if not setting_of(name)
    ]
    return markdown_table(
        ["query", "n", "SDR", "SDRi, dB (95%)", "median", "SI-SDRi, dB (95%)", "selectivity (95%)"], rows
    )


def setting_table(summary: Summary) -> str:
    """SDRi by words where the sounds are not two of one level, in Markdown; empty where that was not asked."""
    ways = ("text", "text+exclude", "exclude", "ideal ratio mask")
    rows = []
    for setting, meaning in SETTINGS.items():
        entries = [summary["conditions"].get(in_setting(name, setting), {}) for name in ("mixture", *ways)]
        if any("sdri" in entry for entry in entries[1:4]):
            before = f"{entries[0]['sdr']['mean']:.1f}" if "sdr" in entries[0] else ""
            gains = [span(entry["sdri"]) if "sdri" in entry else "" for entry in entries[1:]]
            rows.append([meaning, str(entries[1].get("n", "")), before, *gains])
    header = ["SDRi, dB (95%), where", "n", "SDR of the mixture", *ways]
    return markdown_table(header, rows) if rows else ""


def seen_table(summary: Summary) -> str:
    """SDRi for seen and unseen labels, in Markdown; empty where no label was said to be unseen."""
    sides = summary.get("seen", {})
    names = [name for name in summary["conditions"] if any(name in side for side in sides.values())]
    rows = []
    for name in names:
        entries = [sides[side].get(name) for side in ("seen", "unseen")]
        cells = [(str(entry["n"]), span(entry)) if entry else ("", "") for entry in entries]
        rows.append([name, *cells[0], *cells[1]])
    return markdown_table(["SDRi, dB (95%)", "n", "seen labels", "n", "unseen labels"], rows) if rows else ""


def further_table(summary: Summary) -> str:
    """The metrics that `condition_table` has no room for, and what an answer takes; empty where there are none."""
    entries = summary["conditions"]
    shown = {"sdr", "sdri", "si_sdri"}
    columns = [name for name in METRICS if name not in shown and any(name in entry for entry in entries.values())]
    if not columns:
        return ""
    header = [f"{METRICS[name].title}{', dB' * (METRICS[name].unit == 'dB')} (95%)" for name in columns]
    rows = [
        [name]
        + [span(entry[column], 1 if METRICS[column].unit else 3) if column in entry else "" for column in columns]
        + [f"{entry['seconds']:.3f}" if "seconds" in entry else ""]
        for name, entry in entries.items()
    ]
    return markdown_table(["query", *header, "seconds an answer"], rows)


def not_applicable(summary: Summary) -> str:
    """Which metrics were asked for and say nothing of this system's answers, and why; empty where all do."""
    return "".join(f"- {why}.\n" for why in summary.get("not_applicable", {}).values())


def absent_table(summary: Summary) -> str:
    """What is answered when the sound is not there, in Markdown; empty where it was not asked."""
    absent = summary.get("absent")
    if not absent:
        return ""
    low, high = absent["energy_db_median_interval"]
    rows = [
        ["answers for absent sounds: energy relative to the mixture, median", f"{absent['energy_db_median']:.1f} dB"],
        ["95% interval", f"{low:.1f} to {high:.1f} dB"],
        ["answers for present sounds: the same", f"{absent['present_energy_db_median']:.1f} dB"],
        ["AUC of that energy, present against absent", f"{absent['auc_energy']:.3f}"],
    ]
    if "auc_presence" in absent:
        rows += [
            ["AUC of the presence score, present against absent", f"{absent['auc_presence']:.3f}"],
            ["present sounds said to be there", f"{absent['found_present']:.0%}"],
            ["absent sounds said to be there", f"{absent['found_absent']:.0%}"],
        ]
    return markdown_table([f"a sound that is not there (n = {absent['n']})", ""], rows)


def group_table(summary: Summary, by: str) -> str:
    """Mean SDRi ``by`` "label" or "source", worst first, in Markdown."""
    rows = [
        [name or "(none)", str(entry["n"])]
        + [f"{entry[condition]:.1f}" if condition in entry else "" for condition in ("text", "text+exclude")]
        for name, entry in summary[f"by_{by}"].items()
    ]
    return markdown_table([by, "n", "SDRi by text, dB", "with exclusion, dB"], rows)


def page(summary: Summary) -> str:
    """The whole report in Markdown."""
    run = summary.get("run", {})
    parts = [f"# Measured: {run.get('model', 'a system')}\n"]
    if run:
        known = {key: value for key, value in run.items() if key not in ("model", "environment")}
        known |= run.get("environment", {})
        parts.append(
            markdown_table(["run", ""], [[key.replace("_", " "), _plain(value)] for key, value in known.items()])
        )
    parts.append(_EXPLANATION)
    parts.append(condition_table(summary))
    meanings = {name: entry["meaning"] for name, entry in summary["conditions"].items() if not setting_of(name)}
    parts.append("\n".join(f"- {name}: {meaning}" for name, meaning in meanings.items()) + "\n")
    if setting_table(summary):
        parts += ["## Other levels, and three sounds\n", setting_table(summary)]
    if seen_table(summary):
        parts += ["## Labels that were not in the training\n", seen_table(summary)]
    if not_applicable(summary):
        parts += ["## Metrics that do not apply\n", not_applicable(summary)]
    if further_table(summary):
        parts += ["## Further metrics\n", further_table(summary)]
    if "absent" in summary:
        parts += ["## Asked for a sound that is not there\n", absent_table(summary)]
    for by in ("source", "label"):
        if summary[f"by_{by}"]:
            parts += [f"## By {by}\n", group_table(summary, by)]
    return "\n".join(parts)


def _plain(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text.replace("|", "\\|") or "none"
