"""Tables of what FlowSep takes, and of where its windows meet; see `write_tables.py`."""

from __future__ import annotations

from statistics import median
from typing import Any

STAGES = {
    "text": "text, once",
    "encode": "encoding",
    "step": "a step",
    "decode": "decoding",
    "vocoder": "vocoder",
}


def flowsep_speed_table(result: dict[str, Any]) -> str:
    """What `benchmarks/flowsep_speed.py` measured."""
    rows = result["rows"]
    counts = sorted({int(name.split()[1]) for name in rows})
    ways = [way for way in ("plain", "ours") if any(name.startswith(way) for name in rows)]
    lines = [f"| steps | {' | '.join(f'{way}, 10.24 s | peak memory' for way in ways)} |"]
    lines.append(f"| ---: |{' ---: |' * 2 * len(ways)}")
    for steps in counts:
        cells = []
        for way in ways:
            row = rows.get(f"{way} {steps}")
            if row is None:
                cells += ["", ""]
                continue
            plain = rows.get(f"plain {steps}")
            faster = f" ({plain['answer_s'] / row['answer_s']:.1f}x)" if plain and way != "plain" else ""
            cells += [f"{row['answer_s']:.2f} s{faster}", f"{row['peak_mib']:.0f} MiB"]
        lines.append(f"| {steps} | {' | '.join(cells)} |")
    lines += ["", f"| stage | {' | '.join(ways)} |", f"| --- |{' ---: |' * len(ways)}"]
    most = {way: rows[max((name for name in rows if name.startswith(way)), key=_steps)] for way in ways}
    for stage, called in STAGES.items():
        cells = [f"{most[way]['stages_s'][stage]:.2f} s" for way in ways]
        lines.append(f"| {called} | {' | '.join(cells)} |")
    cells = [f"{most[way]['import_s']:.1f} + {most[way]['load_s']:.1f} s" for way in ways]
    lines.append(f"| import + load | {' | '.join(cells)} |")
    lines.append("")
    if "compared" in result:
        told = result["compared"]
        lines.append(
            f"From the same noise the two differ by at most {told['largest_difference']:.1e} of the peak after "
            f"{told['steps']} steps."
        )
    machine, versions = result["machine"], ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    where = "" if result["device"] == "cpu" else f" and {result['device']}"
    lines.append(
        f"{result['threads']} threads of {machine['cpu']}{where} ({machine['cores']} cores, {machine['memory_gib']} "
        f"GiB), {machine['system']}, {versions}; medians over fresh processes in turns. File: "
        f"{result['file_mb']:.0f} MB, made up."
    )
    return "\n".join(lines) + "\n"


def flowsep_seams_table(result: dict[str, Any]) -> str:
    """What `benchmarks/flowsep_seams.py` measured: the median and the worst of all noises and queries."""
    rows = result["rows"]
    lines = [
        "| windows | apart where cross-faded | level there | change between frames |",
        "| --- | ---: | ---: | ---: |",
    ]
    for way in dict.fromkeys(row["way"] for row in rows):
        found = {name: [row[name] for row in rows if row["way"] == way] for name in ("apart_db", "level_db", "change")}
        apart = f"{median(found['apart_db']):.0f} dB (worst {max(found['apart_db']):.0f} dB)"
        level = f"{median(found['level_db']):+.2f} dB (worst {max(found['level_db'], key=abs):+.2f} dB)"
        change = f"{median(found['change']):.2f} times (worst {max(found['change']):.2f})"
        lines.append(f"| {way} | {apart} | {level} | {change} |")
    machine, versions = result["machine"], ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    lines += [
        "",
        f"{len({row['noise'] for row in rows})} noises of {result['seconds']:g} s, each asked for "
        f"{len({row['query'] for row in rows})} sounds, {result['steps']} steps; where windows overlap, relative to "
        f"elsewhere. Model `{result['model']}`, {machine['cpu']}, {versions}.",
    ]
    return "\n".join(lines) + "\n"


def _steps(name: str) -> int:
    return int(name.split()[1])
