"""What ``soundsieve evaluate`` does for a benchmark with a list of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soundsieve.cli.list_options import Opened
from soundsieve.cli.measuring import Done, measured
from soundsieve.errors import ConfigError

if TYPE_CHECKING:
    from soundsieve.evaluation.judge import Judge
    from soundsieve.evaluation.measuring import Row
    from soundsieve.separator import Separator


def evaluate_list(
    chosen: Opened,
    load: Callable[[], Separator],
    of_model: Callable[[], dict[str, Any]],
    *,
    conditions: Sequence[str],
    metrics: Sequence[str],
    judge: Judge | None,
    shots: int,
    like_seconds: float | None,
    batch_size: int,
    allow_missing: bool,
    names_to: Path | None,
    output: Path | None,
    command: str,
) -> None:
    """Measure a model on a benchmark.

    Args:
        chosen: the benchmark, its list and its audio.
        load: gives the model, once it is sure that everything else is there.
        of_model: what identifies it.
        conditions: ways to ask; the benchmark's by default.
        metrics: what is measured; the benchmark's by default.
        judge: what hears the answers too.
        shots: example clips for the condition ``examples``.
        like_seconds: to what example clips are cut.
        batch_size: mixtures separated at once.
        allow_missing: go on without examples whose recordings are missing, or cannot be mixed.
        names_to: a file for the names of all missing recordings.
        output: the summary (JSON); rows and tables go beside. None: the table is printed alone.
        command: what was typed.
    """
    from soundsieve.evaluation import listed, listed_report, report
    from soundsieve.evaluation.run import BASELINES
    from soundsieve.metrics import METRICS, why_not

    benchmark = chosen.benchmark
    asking = chosen.asking(conditions or benchmark.conditions, shots, metrics)
    examples, missing = chosen.present(asking, allow_missing=allow_missing, names_to=names_to)
    separator = load()
    system = separator.system
    asked = sum(len(asking.queries(example, system.queries)) for example in examples)
    if not asked:
        understood = ", ".join(sorted(system.queries))
        ways = ", ".join(asking.conditions)
        raise ConfigError(f"nothing can be asked by {ways}: the model understands {understood}, or the list lacks it")
    of_run = of_model() | {
        "benchmark": benchmark.name,
        "list_sha256": report.sha256(chosen.source) if chosen.source.is_file() else "",
        "mixing": chosen.mixing.describe(),
        "sample_rate": chosen.recordings.sample_rate,
        "seed": chosen.seed,
        "examples": len(chosen.examples),
        "left_out": len(chosen.examples) - len(examples),
    }
    depends_on = of_run | {
        "conditions": list(asking.conditions),
        "metrics": list(asking.metrics),
        "shots": shots,
        "missing": missing,
    }

    started = time.perf_counter()

    def rows_of(done: Done) -> Iterable[Row]:
        return listed.evaluate(
            system,
            examples,
            asking,
            batch_size=batch_size,
            judge=judge,
            leave_out=allow_missing,
            done=done,
            like_seconds=like_seconds,
        )

    found = measured(output, depends_on, asked + len(BASELINES) * len(examples), rows_of)
    summary = listed_report.summarise(found, benchmark)
    summary["missing"] = missing[:10]
    summary["not_applicable"] = {name: why for name in asking.metrics if (why := why_not(name, system))}
    of_run["left_out"] += len(summary["not_mixed"])
    summary["run"] = of_run | {
        "command": command,
        "seconds": round(time.perf_counter() - started, 1),
        "environment": report.environment(),
    }
    if output is not None:
        report.write_summary(output, summary)
        listed_report.write_markdown(output.with_suffix(".md"), summary)
    print(listed_report.condition_table(summary), end="")
    for line in _notes(summary, len(missing)):
        print(line)
    unheard = [METRICS[name].title for name in benchmark.metrics if "embedding" in METRICS[name].needs]
    if unheard and judge is None:
        print(f"{', '.join(unheard)}: not measured; they need an embedding that hears the answers (--judge FILE)")


def _notes(summary: dict[str, Any], missing: int) -> Iterable[str]:
    """What has to be said beside the table."""
    yield from summary["not_applicable"].values()
    run, unmixed = summary["run"], len(summary["not_mixed"])
    if run["left_out"]:
        yield (
            f"left out {run['left_out']} of {run['examples']} examples: {run['left_out'] - unmixed} for want of "
            f"{missing} recordings, {unmixed} that cannot be mixed"
        )
