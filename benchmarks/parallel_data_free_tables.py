"""The tables of docs/parallel_data_free.md, from the figures of `parallel_data_free.py` and `retrieval_cost.py`."""

from __future__ import annotations

from typing import Any

Result = dict[str, Any]

NAMES = {"audio_dropout": "audio+dropout", "audio_noise": "audio+noise"}


def _span(entry: Result, digits: int = 1) -> str:
    low, high = entry["interval"]
    return f"{entry['mean']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _name(run: Result) -> str:
    name = NAMES.get(run["recipe"], run["recipe"])
    return f"{name}, k = {run['k']}" if run["recipe"] == "retrieval" else name


def _main_runs(result: Result) -> list[Result]:
    """The objectives themselves: what was run with every seed."""
    most = max(run["seeds"] for run in result["runs"])
    return [run for run in result["runs"] if run["seeds"] == most]


def runs_table(result: Result) -> str:
    """SDRi and SI-SDRi by caption, for labels that were seen and that were held out."""
    lines = [
        "| encoder | objective | SDRi, seen | SDRi, held out | SI-SDRi, seen | SI-SDRi, held out |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for run in _main_runs(result):
        cells = [_span(run["text"][column][group]) for column in ("sdri", "si_sdri") for group in ("seen", "held out")]
        encoder = "" if run["recipe"] == "supervised" else run["encoder"]
        lines.append(f"| {encoder} | {_name(run)} | {' | '.join(cells)} |")
    counts = {group: entry["n"] for group, entry in result["runs"][0]["text"]["sdri"].items()}
    lines += [
        "",
        "Means in dB with 95% intervals over mixtures and seeds. "
        f"{result['mixtures']} test mixtures, asked by caption: {counts['seen']} times for a label that separation was "
        f"trained on, {counts['held out']} times for one of the {len(result['held_out'])} held out; "
        f"{_main_runs(result)[0]['seeds']} seeds, {result['steps']} steps of {result['batch_size']} mixtures each. "
        f"Made by `{result['command']}`.",
    ]
    return "\n".join(lines) + "\n"


def differences_table(result: Result) -> str:
    """What an objective gains over supervised training and over audio, mixture by mixture."""
    lines = ["| encoder | objective | over | SDRi, seen | SDRi, held out |", "| --- | --- | --- | ---: | ---: |"]
    for entry in result["differences"]:
        cells = [_span(entry["sdri"][group], 2) for group in ("seen", "held out")]
        over = NAMES.get(entry["over"], entry["over"])
        lines.append(f"| {entry['encoder']} | {_name(entry | {'k': 1})} | {over} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "Differences in dB on the same mixtures, with 95% intervals."]) + "\n"


def cache_table(result: Result) -> str:
    """Retrieval with fewer captions, and among more of them."""
    lines = [
        "| captions | k | seeds | SDRi, seen | SDRi, held out | SI-SDRi, seen | SI-SDRi, held out |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    runs = [run for run in result["runs"] if run["recipe"] == "retrieval" and run["encoder"] == "half"]
    for run in sorted(runs, key=lambda run: (run["k"], run["captions"])):
        cells = [_span(run["text"][column][group]) for column in ("sdri", "si_sdri") for group in ("seen", "held out")]
        lines.append(f"| {run['captions']:,} | {run['k']} | {run['seeds']} | {' | '.join(cells)} |")
    first = next(run for run in runs if run["seeds"] > 1)["text"]["sdri"]
    alone = " and ".join(f"{first[group]['seeds'][0]:.1f} dB ({group})" for group in ("seen", "held out"))
    lines += ["", f"In dB with 95% intervals, encoder `half`. The first seed alone of the run with more gave {alone}."]
    return "\n".join(lines) + "\n"


def space_table(result: Result) -> str:
    """How far sounds are from their captions, before and after retrieval, and what is retrieved."""
    lines = [
        "| encoder | clips | number | cosine to caption | after retrieval | gap | after retrieval | named "
        "| precision@1 |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for encoder, found in result["space"].items():
        for name, one in found["sets"].items():
            columns = ("cosine", "retrieved_cosine", "gap", "retrieved_gap")
            cells = [f"{one[column]:.2f}" for column in columns]
            cells += [f"{one[column]:.0%}" for column in ("named", "precision")]
            lines.append(f"| {encoder} | {name} | {one['clips']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def queries_table(result: Result) -> str:
    """The same runs, asked by caption, by the very sound, and by the caption that is retrieved for it."""
    asked = ("text", "own audio", "retrieved", "moved text")
    heads = [f"{kind}, {group}" for group in ("seen", "held out") for kind in asked]
    lines = [f"| encoder | objective | {' | '.join(heads)} |", "| --- | --- |" + " ---: |" * len(heads)]
    for run in _main_runs(result):
        cells = [f"{run[kind]['sdri'][group]['mean']:.1f}" for group in ("seen", "held out") for kind in asked]
        lines.append(f"| {run['encoder']} | {_name(run)} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "SDRi in dB, means over mixtures and seeds."]) + "\n"


def precision_table(result: Result) -> str:
    """Labels that retrieval gets right against labels that it gets wrong."""
    groups = ("seen, retrieved right", "seen, retrieved wrong")
    lines = [f"| encoder | objective | {' | '.join(groups)} |", "| --- | --- | ---: | ---: |"]
    runs = [run for run in _main_runs(result) if run["encoder"] == "half"]
    for run in runs:
        cells = [_span(run["by_precision"][group]) for group in groups]
        lines.append(f"| {run['encoder']} | {_name(run)} | {' | '.join(cells)} |")
    counts = " and ".join(str(runs[0]["by_precision"][group]["n"]) for group in groups)
    about = f"SDRi by caption in dB, means with 95% intervals; asked for {counts} times."
    return "\n".join([*lines, "", about]) + "\n"


def labels_table(result: Result, at_least: int = 8) -> str:
    """Precision@1 of retrieval by label, on the clips that separation is trained on."""
    lines = ["| label | clips | half | starter |", "| --- | ---: | ---: | ---: |"]
    of = {encoder: found["by_label"]["separation's half"] for encoder, found in result["space"].items()}
    shares = {label: [of[encoder][label][1] / count for encoder in of] for label, (count, _) in of["half"].items()}
    for label, (count, _) in sorted(of["half"].items(), key=lambda item: (-shares[item[0]][0], item[0])):
        if count >= at_least:
            cells = " | ".join(f"{share:.0%}" for share in shares[label])
            lines.append(f"| {label} | {count} | {cells} |")
    return "\n".join([*lines, "", f"Labels with at least {at_least} clips; all of them are in the JSON file."]) + "\n"


def retrieval_cost_table(result: Result) -> str:
    """What `retrieval_cost.py` measured."""
    machine = result["machine"]
    lines = [
        "| a step of | audio | retrieval | the search alone | share |",
        "| --- | ---: | ---: | ---: | ---: |",
        f"| {result['batch_size']} queries, {result['captions']:,} captions, D = {result['width']} "
        f"| {result['audio_s']:.2f} s | {result['retrieval_s']:.2f} s | {1000 * result['search_s']:.0f} ms "
        f"| {result['share']:.1%} |",
        "",
        f"{result['system']}, {result['threads']} thread{'s' * (result['threads'] != 1)} of {machine['cpu']} "
        f"({machine['cores']} cores), torch {result['versions']['torch']}; medians of CPU seconds.",
    ]
    return "\n".join(lines) + "\n"


TABLES = {
    "differences": differences_table,
    "cache": cache_table,
    "space": space_table,
    "queries": queries_table,
    "precision": precision_table,
    "details": labels_table,
}
"""Further tables of a result, by what stands before its name."""
