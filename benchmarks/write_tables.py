"""Write the measured tables into the README and the model cards, so that no number is typed by hand.

A page asks for a table with a pair of comments; what stands between them is replaced:

    <!-- results:NAME -->
    <!-- /results -->

NAME is a file of benchmarks/results without its suffix: `speed` as `benchmarks/speed.py` writes it, others likewise by
the script of that name, and anything else as `soundsieve evaluate -o` does. `brief-NAME` has fewer ways to ask,
`labels-NAME` lists what the model of that file separates best and worst, `sources-NAME` how it separates the clips of
each collection, `seen-NAME` sets labels that it was trained
on beside those that it was not, `compare-NAME` sets all files that begin with NAME beside the embedded model,
`log-NAME` is a training run's log.csv, kept as NAME.csv, and `speed-of-NAME` are one system's rows of
`audiosep_speed`. Three names need no file: `models` is the catalogue of models, `benchmarks` the one of benchmarks,
and `checksum` is one line about the embedded model's weights.

    python benchmarks/write_tables.py            # write
    python benchmarks/write_tables.py --check    # say which pages are out of date, and fail
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import re
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from flowsep_tables import flowsep_seams_table, flowsep_speed_table
from flowsep_training_tables import flowsep_steps_table, flowsep_text_table
from parallel_data_free_tables import TABLES, retrieval_cost_table, runs_table
from speed_tables import (
    audiosep_speed_table,
    clapsep_speed_table,
    flowsep_loading_table,
    onnx_table,
    speed_of,
    speed_table,
    studio_table,
)
from starter_tables import (
    against_table,
    averaging_table,
    contrast_table,
    heard_table,
    range_table,
    recall_table,
    search_table,
    sources_table,
)

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
EMBEDDED = ROOT / "src" / "soundsieve" / "embedded" / "starter.safetensors"
PAGES = ("README.md", "model_cards/*.md", "benchmarks/README.md", "docs/*.md")
BLOCK = re.compile(r"(<!-- results:(?P<name>[\w.-]+) -->\n).*?(<!-- /results -->)", re.DOTALL)
NOT_YET = "*Not measured yet.*\n"


LEFT_OUT_OF_BRIEF = ("text+example", "example-any", "examples-any", "text+example-any")


def quality_table(result: dict[str, Any], without: Collection[str] = ()) -> str:
    """What `soundsieve evaluate` measured: the mixture, every way to ask, the ceiling; and what is not there."""
    from soundsieve.evaluation.questions import setting_of
    from soundsieve.evaluation.report import absent_table, condition_table, setting_table

    run = result["run"]
    asked = result["conditions"].items()
    equal = {name: entry for name, entry in asked if not setting_of(name) and name not in without}
    meanings = "\n".join(f"- **{name}**: {entry['meaning']}" for name, entry in equal.items())
    environment = run["environment"]
    about = (
        f"{run['pairs']} mixtures, both sounds of each asked for. 95% intervals by a bootstrap over mixtures.\n"
        f"Made by `{run['command']}`, with soundsieve {environment['soundsieve']} and torch {environment['torch']} "
        f"on {environment['machine']}; weights sha256 `{run['weights_sha256'][:16]}`."
    )
    tables = [condition_table({"conditions": equal}), meanings + "\n", setting_table(result), absent_table(result)]
    return "\n".join(part for part in [*tables, about + "\n"] if part)


def listed_table(result: dict[str, Any]) -> str:
    """What `soundsieve evaluate` measured on a published list, beside published scores."""
    from soundsieve.evaluation.listed_report import condition_table

    run = result["run"]
    left_out = f", {run['left_out']} left out" if run["left_out"] else ""
    about = f"{run['benchmark']}: {run['examples']} examples{left_out}, {run['mixing']}. Made by `{run['command']}`."
    return condition_table(result) + f"\n{about}\n"


def long_table(result: dict[str, Any]) -> str:
    """What `benchmarks/long.py` measured."""
    lines = ["| recording | time | faster than real time | peak memory |", "| --- | ---: | ---: | ---: |"]
    for row in result["rows"]:
        length = f"{row['minutes']:g} min" if row["minutes"] < 60 else f"{row['minutes'] / 60:g} h"
        cells = f"{row['seconds']:.1f} s | {row['speed']:.0f} times | {row['peak_rss_mib']:.0f} MiB"
        lines.append(f"| {length} stereo | {cells} |")
    lines += ["", _where(result)]
    return "\n".join(lines) + "\n"


def stereo_table(result: dict[str, Any]) -> str:
    """What `benchmarks/stereo.py` measured."""
    lines = [
        "| channels | SDRi, dB | error of the level difference, dB: median | mean | time |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, row in result["modes"].items():
        low, high = row["sdri_interval"]
        gain = f"{row['sdri']:.2f} ({low:.2f} to {high:.2f})"
        errors = f"{row['level_error_db_median']:.2f} | {row['level_error_db']:.2f}"
        lines.append(f"| {name} | {gain} | {errors} | {row['seconds']:.1f} s |")
    lines += ["", f"{result['mixtures']} mixtures, both sounds of each asked for. " + _where(result)]
    return "\n".join(lines) + "\n"


def split_table(result: dict[str, Any]) -> str:
    """What `benchmarks/split.py` measured."""
    lines = ["| asked | SDRi, dB |", "| --- | ---: |"]
    for name, row in result["modes"].items():
        lines.append(f"| {name} | {row['sdri']:.2f} ({row['sdri_interval'][0]:.2f} to {row['sdri_interval'][1]:.2f}) |")
    low, high = result["difference_interval"]
    difference = f"The difference is {result['difference']:+.2f} dB ({low:+.2f} to {high:+.2f})."
    lines += ["", f"{result['mixtures']} mixtures, both sounds of each. {difference} " + _where(result)]
    return "\n".join(lines) + "\n"


def presence_table(result: dict[str, Any]) -> str:
    """What `benchmarks/presence.py` measured."""
    lines = ["| presence from | ROC AUC | found where it is | alarms where it is not |", "| --- | ---: | ---: | ---: |"]
    for name, row in {"what a user is given": result["given"], **result["tried"]}.items():
        lines.append(f"| {name} | {row['auc']:.3f} | {row['found']:.0%} | {row['false_alarms']:.0%} |")
    fitted = "these very mixtures" if result["fitted_on"] == result["split"] else f"{result['fitted_on']} mixtures"
    about = f"{result['mixtures']} {result['split']} mixtures, each asked for both of its sounds and for one it lacks."
    lines += ["", f"{about} All but the first row are fitted to {fitted}. {_where(result)}"]
    return "\n".join(lines) + "\n"


def presence_cost_table(result: dict[str, Any]) -> str:
    """What `benchmarks/presence_cost.py` measured."""
    lines = [
        "| precision | time for a look at the presence | peak memory without | with | of `extract` |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, row in result["rows"].items():
        peaks = " | ".join(f"{row[f'{what}_mib']:.0f} MiB" for what in ("unlooked", "looked", "extract"))
        lines.append(f"| {name} | {row['ratio'] - 1:+.0%} | {peaks} |")
    about = f"{result['seconds']} s, base size, weights made up, answers with and without in turns, {result['repeats']}"
    lines += ["", f"{about} of each. {_where({'model': 'clapsep', **result})}"]
    return "\n".join(lines) + "\n"


def spans_table(result: dict[str, Any]) -> str:
    """What `benchmarks/spans.py` measured."""
    lines = [
        "| found | start within 0.3 s | end within 0.3 s | median error of the start | of the end | other spans |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
        f"| {result['found']} of {result['mixtures']} | {result['starts_within']:.0%} | {result['ends_within']:.0%} "
        f"| {result['start_error_s_median']:.2f} s | {result['end_error_s_median']:.2f} s "
        f"| {result['other_spans']:.1f} |",
        "",
        f"Short sounds in steady ones, {result['split']} clips. {_where(result)}",
    ]
    return "\n".join(lines) + "\n"


def seams_table(result: dict[str, Any]) -> str:
    """What `benchmarks/seams.py` measured."""
    lines = ["| fade over | noises and queries | largest difference | mean |", "| --- | ---: | ---: | ---: |"]
    for fade in dict.fromkeys(row["fade"] for row in result["rows"]):
        sizes = [abs(row["difference_db"]) for row in result["rows"] if row["fade"] == fade]
        mean = sum(sizes) / len(sizes)
        lines.append(f"| {fade} | {len(sizes)} | {max(sizes):.3f} dB | {mean:.3f} dB |")
    lines += ["", _where(result)]
    return "\n".join(lines) + "\n"


def _where(result: dict[str, Any]) -> str:
    machine = result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return (
        f"Model `{result['model']}`, {result['threads']} thread{'s' * (result['threads'] != 1)} of {machine['cpu']} "
        f"({machine['cores']} cores, {machine['memory_gib']} GiB), {machine['system']}, {versions}."
    )


def labels_table(result: dict[str, Any], shown: int = 8, at_least: int = 4) -> str:
    """The labels that are separated worst and best by their captions, among those asked for often enough to tell."""
    labels = {name: entry for name, entry in result["by_label"].items() if entry["n"] >= at_least and "text" in entry}
    ordered = sorted(labels, key=lambda name: float(labels[name]["text"]))
    lines = ["| worst | SDRi | best | SDRi |", "| --- | ---: | --- | ---: |"]
    for worst, best in list(zip(ordered, reversed(ordered), strict=True))[:shown]:
        lines.append(f"| {worst} | {labels[worst]['text']:.1f} dB | {best} | {labels[best]['text']:.1f} dB |")
    lines += [
        "",
        f"By caption; labels asked for at least {at_least} times. A few mixtures a label: a hint, not a measurement.",
        "",
        "<details><summary>Every label</summary>",
        "",
        "| label | n | SDRi by text | with exclusion |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, entry in sorted(result["by_label"].items()):
        cells = [f"{entry[one]:.1f} dB" if one in entry else "" for one in ("text", "text+exclude")]
        lines.append(f"| {name} | {entry['n']} | {cells[0]} | {cells[1]} |")
    lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def compare_table(prefix: str) -> str:
    """Several measured models beside the embedded one, by what they are asked with."""
    paths = [*sorted(RESULTS.glob(f"{prefix}*.json")), RESULTS / "starter.json"]
    found = {path.stem: json.loads(path.read_text("utf-8")) for path in paths}
    asked = ["text", "text+exclude", "paraphrase", "example"]
    lines = [f"| SDRi, dB | {' | '.join(asked)} | selectivity |", f"| --- | {'---: | ' * len(asked)}---: |"]
    for name, result in found.items():
        conditions = result["conditions"]
        cells = [f"{conditions[one]['sdri']['mean']:.1f}" if one in conditions else "" for one in asked]
        told_apart = conditions["text"]["selectivity"]["mean"]
        lines.append(f"| {name.removeprefix(prefix)} | {' | '.join(cells)} | {told_apart:.2f} |")
    commands = ", ".join(f"`{result['run']['command']}`" for result in found.values())
    return "\n".join([*lines, "", f"Made by {commands}."]) + "\n"


def log_table(name: str) -> str:
    """How a training run went: its validations, no more than twelve of them."""
    path = RESULTS / f"{name}.csv"
    if not path.exists():
        return NOT_YET
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = [column for column in rows[0] if column.startswith("validation_")]
    shown = rows[:: -(-len(rows) // 12)]
    lines = ["| step | " + " | ".join(column.removeprefix("validation_") for column in columns) + " |"]
    lines.append("| ---: |" + " ---: |" * len(columns))
    for row in shown + ([rows[-1]] if shown[-1] is not rows[-1] else []):
        lines.append(f"| {float(row['step']):.0f} | " + " | ".join(f"{float(row[c]):.2f}" for c in columns) + " |")
    return "\n".join(lines) + "\n"


def loader_table(result: dict[str, Any]) -> str:
    """What `benchmarks/loader.py` measured."""
    lines = ["| recipe | mixtures/s, one loader process | mixtures/s, training step |", "| --- | ---: | ---: |"]
    for name, row in result["rows"].items():
        lines.append(f"| {name} | {row['loader_per_s']:.0f} | {row['step_per_s']:.0f} |")
    threads, cpu, torch = result["threads"], result["machine"]["cpu"], result["versions"]["torch"]
    lines += ["", f"{threads} threads, {cpu}, torch {torch}."]
    return "\n".join(lines) + "\n"


def free_text_table(result: dict[str, Any]) -> str:
    """What `benchmarks/free_text.py` measured."""
    lines = [
        "| words | phrases | nearest to own label | SDRi, caption | SDRi, phrase | lost, dB (95%) |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kind, row in result["kinds"].items():
        low, high = row["lost"]["interval"]
        lines.append(
            f"| {kind} | {row['phrases']} | {row['retrieved']:.0%} | {row['sdri_caption']:.1f} | "
            f"{row['sdri_phrase']:.1f} | {row['lost']['mean']:.1f} ({low:.1f} to {high:.1f}) |"
        )
    unknown = result["unknown"]
    said = unknown["said_missing"]
    lines += [
        "",
        f"Asked for {unknown['phrases']} sounds that no label covers, it answers {unknown['energy_db']:.1f} dB",
    ]
    lines[-1] += " relative to the mixture (median)" + (
        f", and says of {said:.0%} that they are not there." if said else "."
    )
    return "\n".join([*lines, f"Made by `{result['command']}`."]) + "\n"


def caption_cache_table(result: dict[str, Any]) -> str:
    """What `benchmarks/caption_cache.py` measured."""
    lines = [
        "| search | queries/s, batch of 64 | recall@1, clips | recall@1, captions |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, row in result["rows"].items():
        shown = f"**{name}**" if row.get("usual") else name
        recalls = " | ".join(f"{row['recall'][kind]:.4f}" for kind in ("clips", "captions"))
        lines.append(f"| {shown} | {row['queries_per_s']:.0f} | {recalls} |")
    seconds, mb, machine, queries = result["seconds"], result["mb"], result["machine"], result["queries"]
    captions = result["captions"]
    sizes = ", ".join(f"{name} {size:.0f} MB" for name, size in mb.items())
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    lines += [
        "",
        f"{captions:,} captions, {result['width']} wide: written by the grammar in {seconds['written']:.0f} s, built "
        f"in {seconds['built']:.0f} s: {captions / seconds['embedded']:.0f} captions/s embedded, index "
        f"{seconds['index']:.0f} s. On disk: {sum(mb.values()):.0f} MB ({sizes}).",
        f"Queries: {queries['clips']} test clips, embedded as sound, and {queries['captions']} captions that the cache "
        "does not hold. The usual number of cells is set in bold.",
        f"Against vectors that were never float16, the nearest of {result['compared']:,} captions is the same for "
        f"{100 * result['float16_agreement']:.2f}% of the queries.",
        f"{result['threads']} thread(s) of {machine['cpu']} ({machine['cores']} cores, {machine['memory_gib']} GiB), "
        f"{machine['system']}, {versions}.",
    ]
    return "\n".join(lines) + "\n"


def two_sdri_table(result: dict[str, Any]) -> str:
    """What `benchmarks/two_sdri.py` measured."""
    columns = {
        "sdri": "SDRi, plain (AudioSep, DCASE)",
        "filtered_sdri": "SDRi, 512 taps (CLAPSep)",
        "si_sdri": "SI-SDRi",
    }
    lines = [f"| answer | {' | '.join(columns.values())} |", f"| --- |{' ---: |' * len(columns)}"]
    for name, row in result["rows"].items():
        lines.append(f"| {name} | {' | '.join(f'{row[column]:.1f} dB' for column in columns)} |")
    before = result["unprocessed"]
    lines += [
        "",
        f"{result['mixtures']} mixtures at 0 dB, both sounds of each; means. Of the unprocessed mixture the plain SDR "
        f"is {before['sdr']:.2f} dB, that with 512 taps {before['filtered_sdr']:.2f} dB, and the SI-SDR "
        f"{before['si_sdr']:.2f} dB. {_where(result)}",
    ]
    return "\n".join(lines) + "\n"


def models_table() -> str:
    """The catalogue of models."""
    from soundsieve.weights.catalog import CATALOG

    lines = ["| name | what | size | sample rate | licence | sha256 |", "| --- | --- | ---: | ---: | --- | --- |"]
    for entry in CATALOG.values():
        size = f"{entry.size_mb:.1f} MB" if entry.size_mb else ""
        digest = entry.sha256 or (embedded_sha256() if entry.name == "starter" else "")
        rate = f"{entry.sample_rate / 1000:g} kHz"
        short = f"`{digest[:16]}`" if digest else ""
        lines.append(f"| `{entry.name}` | {entry.summary} | {size} | {rate} | {entry.licence} | {short} |")
    return "\n".join(lines) + "\n"


def embedded_sha256() -> str:
    """Checksum of the embedded model's file; empty where there is none."""
    return hashlib.sha256(EMBEDDED.read_bytes()).hexdigest() if EMBEDDED.exists() else ""


def checksum_line() -> str:
    """Where the embedded weights are, how large, and their whole checksum."""
    if not EMBEDDED.exists():
        return NOT_YET
    size_mb = EMBEDDED.stat().st_size / 1e6
    return f"Weights: `{EMBEDDED.relative_to(ROOT)}`, {size_mb:.1f} MB, sha256 `{embedded_sha256()}`.\n"


def render(name: str) -> str:
    if name.startswith("speed-of-"):
        return speed_of(RESULTS / "audiosep_speed.json", name.removeprefix("speed-of-")) or NOT_YET
    if name == "models":
        return models_table()
    if name == "benchmarks":
        from soundsieve.evaluation.benchmarks.page import sections

        return "\n" + sections()
    if name == "checksum":
        return checksum_line()
    if name.startswith("compare-"):
        return compare_table(name.removeprefix("compare-"))
    if name.startswith("log-"):
        return log_table(name.removeprefix("log-"))
    part, _, of = name.partition("-")
    if of == "parallel_data_free":
        measured = RESULTS / f"{of}.json"
        return TABLES[part](json.loads(measured.read_text("utf-8"))) if measured.exists() else NOT_YET
    path = RESULTS / f"{re.sub('^(labels|brief|seen|sources)-', '', name)}.json"
    if not path.exists():
        return NOT_YET
    result = json.loads(path.read_text("utf-8"))
    if name.startswith("labels-"):
        return labels_table(result)
    if name.startswith("sources-"):
        return sources_table(result)
    if "comparisons" in result:
        return against_table(result)
    if name.startswith("brief-"):
        return quality_table(result, LEFT_OUT_OF_BRIEF)
    if name.startswith("seen-"):
        from soundsieve.evaluation.report import seen_table

        return f"{seen_table(result)}\nMade by `{result['run']['command']}`.\n"
    kinds = {
        "speed": speed_table,
        "clapsep_speed": clapsep_speed_table,
        "flowsep_speed": flowsep_speed_table,
        "flowsep_seams": flowsep_seams_table,
        "flowsep_table": flowsep_steps_table,
        "flowsep_text": flowsep_text_table,
        "audiosep_speed": audiosep_speed_table,
        "flowsep_loading": flowsep_loading_table,
        "loader": loader_table,
        "free-text": free_text_table,
        "averaging": averaging_table,
        "contrast": contrast_table,
        "heard": heard_table,
        "search": search_table,
        "range": range_table,
        "onnx": onnx_table,
        "recall": recall_table,
        "long": long_table,
        "stereo": stereo_table,
        "split": split_table,
        "presence": presence_table,
        "presence_cost": presence_cost_table,
        "spans": spans_table,
        "seams": seams_table,
        "benchmark": listed_table,
        "caption_cache": caption_cache_table,
        "studio": studio_table,
        "two_sdri": two_sdri_table,
        "parallel_data_free": runs_table,
        "retrieval_cost": retrieval_cost_table,
    }
    return kinds.get(result.get("kind"), quality_table)(result)


def filled(text: str) -> str:
    """A page with all of its tables as they should be."""
    return BLOCK.sub(lambda match: f"{match[1]}{render(match['name'])}{match[3]}", text)


def pages() -> list[Path]:
    return sorted(path for pattern in PAGES for path in ROOT.glob(pattern))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a page is out of date")
    options = parser.parse_args()
    stale = []
    for path in pages():
        before = path.read_text("utf-8")
        after = filled(before)
        if before != after:
            stale.append(str(path.relative_to(ROOT)))
            if not options.check:
                path.write_text(after, encoding="utf-8")
    if options.check and stale:
        sys.exit(f"out of date: {', '.join(stale)}; run python benchmarks/write_tables.py")
    print("\n".join(f"wrote {name}" for name in stale) or "every table is up to date")


if __name__ == "__main__":
    main()
