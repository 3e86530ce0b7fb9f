"""The registry in Markdown, for ``docs/benchmarks.md``: one section a benchmark, so that nothing is said twice."""

from __future__ import annotations

from soundsieve.evaluation.benchmarks.benchmark import Benchmark
from soundsieve.evaluation.benchmarks.registry import BENCHMARKS
from soundsieve.metrics import METRICS

_OWN = "list"


def sections() -> str:
    """Every benchmark that others published, in the order of the registry."""
    return "\n".join(_section(benchmark) for name, benchmark in BENCHMARKS.items() if name != _OWN)


def _section(benchmark: Benchmark) -> str:
    count = "" if benchmark.examples is None else f" ({benchmark.examples:,} mixtures)"
    rows = {
        "list": f"{benchmark.list_at}{count}" if benchmark.has_list else f"none{count}",
        "audio": benchmark.audio_at,
        "licence": benchmark.licence,
        "mixtures": benchmark.made,
        "sample rate": f"{benchmark.sample_rate} Hz",
        "asked by": ", ".join(benchmark.conditions),
        "measured": ", ".join(METRICS[name].title for name in benchmark.metrics),
        "protocol": benchmark.protocol,
        "published": "<br>".join(_scores(benchmark)) or "no scores that could be read at their source",
    }
    table = "\n".join(f"| {name} | {text.replace('|', chr(92) + '|')} |" for name, text in rows.items())
    listed = " --list FILE" if benchmark.has_list else ""
    return (
        f"### {benchmark.name}\n\n{benchmark.title}.\n\n"
        f"    soundsieve evaluate {benchmark.name}{listed} --audio DIR -o result.json\n\n"
        f"| | |\n| --- | --- |\n{table}\n"
    )


def _scores(benchmark: Benchmark) -> list[str]:
    found = []
    for score in benchmark.scores:
        values = (
            f"{METRICS[name].title} {value:g} {METRICS[name].unit}".strip() for name, value in score.values.items()
        )
        found.append(f"{score.system}: {', '.join(values)} ({score.source})")
    return found
