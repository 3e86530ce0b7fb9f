"""From the rows of a benchmark's list to its tables: what was measured, beside what published systems score.

Intervals are 95% percentile bootstraps over targets: lists mix one target several times, and such mixtures are not
independent, so they are drawn together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from soundsieve.evaluation.benchmarks.benchmark import Benchmark
from soundsieve.evaluation.judge import frechet_of_rows
from soundsieve.evaluation.listed import CONDITIONS, LEFT_OUT
from soundsieve.evaluation.measuring import Row
from soundsieve.evaluation.report import Summary, markdown_table, mean_with_interval, span, write_text
from soundsieve.evaluation.run import BASELINES, of_condition
from soundsieve.metrics import METRICS

_AVERAGED = {
    "examples": "mean over examples",
    "labels": "mean over the means of labels",
    "label medians": "mean over the medians of labels",
}


_ELSE = ("sdri", "si_sdri", "energy_db")
"""What is shown where none of a benchmark's own metrics was measured."""


def summarise(rows: Sequence[Row], benchmark: Benchmark) -> Summary:
    """Everything the tables show, as plain numbers.

    Args:
        rows: as `evaluation.listed` makes them.
        benchmark: whose list they are of.
    """
    summary: Summary = {"kind": "benchmark", "conditions": {}}
    meanings = BASELINES | CONDITIONS
    for name in sorted(meanings, key="ideal ratio mask".__eq__):  # the ceiling comes last
        found = of_condition(rows, name)
        if not found:
            continue
        targets = [row["target"] or row["example"] for row in found]
        entry: Summary = {"meaning": meanings[name], "n": len(found), "targets": len(set(targets))}
        for column in METRICS:
            values = [row[column] for row in found if row.get(column) is not None]
            if len(values) == len(found):
                result = mean_with_interval(values, targets)
                median = round(float(np.median(values)), 4)
                entry[column] = {"mean": result["mean"], "interval": result["interval"], "median": median}
                if name in CONDITIONS and benchmark.averaged != "examples":
                    entry[column]["protocol"] = averaged(found, column, benchmark)
        distance = frechet_of_rows(found)
        if distance is not None:
            entry["fad"] = {"mean": round(distance, 5)}
        summary["conditions"][name] = entry
    summary["not_mixed"] = [row["reason"] for row in of_condition(rows, LEFT_OUT)]
    summary["averaged"] = _AVERAGED[benchmark.averaged]
    summary["metrics"] = list(benchmark.metrics)
    summary["published"] = [
        {"system": score.system, "values": dict(score.values), "source": score.source} for score in benchmark.scores
    ]
    return summary


def averaged(rows: Sequence[Row], column: str, benchmark: Benchmark) -> float:
    """A metric of answers as the benchmark's published scores are averaged."""
    if benchmark.averaged == "examples":
        return round(float(np.mean([row[column] for row in rows])), 4)
    groups: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        groups[row["label"]].append(row[column])
    within = np.mean if benchmark.averaged == "labels" else np.median
    return round(float(np.mean([within(values) for values in groups.values()])), 4)


def condition_table(summary: Summary) -> str:
    """One line for each way to ask, and for each published system, in Markdown."""
    measured = {name for entry in summary["conditions"].values() for name in entry}
    shown = [name for name in summary["metrics"] if name in measured]
    shown = shown or [name for name in _ELSE if name in measured]
    lines = []
    for name, entry in summary["conditions"].items():
        lines.append([name, str(entry["n"]), *(_cell(entry.get(column)) for column in shown)])
    for score in summary["published"]:
        values = [f"{score['values'][name]:.2f}" if name in score["values"] else "" for name in shown]
        lines.append([f"{score['system']}, published", "", *values])
    titles = [METRICS[name].title + (f", {METRICS[name].unit}" if METRICS[name].unit else "") for name in shown]
    return markdown_table(["query", "n", *titles], lines)


def page(summary: Summary) -> str:
    """The whole report in Markdown."""
    run = summary["run"]
    known = {key: value for key, value in run.items() if key != "environment"} | run["environment"]
    meanings = [f"- {name}: {entry['meaning']}" for name, entry in summary["conditions"].items()]
    published = [f"- {score['system']}: {score['source']}" for score in summary["published"]]
    sources = ["Published scores, which may be of other recordings under the same names:\n", *published, ""]
    parts = [
        f"# Measured: {run['model']} on {run['benchmark']}\n",
        markdown_table(
            ["run", ""], [[key.replace("_", " "), str(value).replace("|", "\\|")] for key, value in known.items()]
        ),
        f"Means over examples with 95% intervals by a bootstrap over targets{_protocol(summary)}.\n",
        condition_table(summary),
        "\n".join(meanings) + "\n",
        "\n".join(sources) if published else "",
    ]
    return "\n".join(part for part in parts if part)


def write_markdown(path: str | Path, summary: Summary) -> None:
    """Write the tables as a page, whole or not at all."""
    write_text(path, page(summary))


def _protocol(summary: Summary) -> str:
    return "" if summary["averaged"] == _AVERAGED["examples"] else f"; in brackets, the {summary['averaged']}"


def _cell(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return ""
    return span(entry, 2) + (f" [{entry['protocol']:.2f}]" if "protocol" in entry else "")
