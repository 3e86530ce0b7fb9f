"""Tables of how fast models answer, in how much memory, and where their time goes; see `write_tables.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WAYS = ("plain", "float32", "bf16")


def speed_table(result: dict[str, Any]) -> str:
    """What `benchmarks/speed.py` measured."""
    lines = [
        "| recording | load | first result | an answer, warm | real-time factor | peak memory |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in result["rows"]:
        times = " | ".join(f"{row[name]:.2f} s" for name in ("load_s", "first_result_s", "warm_s"))
        memory = f"{row['peak_rss_mib']:.0f} MiB"
        lines.append(f"| {row['seconds']} s mono | {times} | {row['real_time_factor']:.4f} | {memory} |")
    lines += ["", f"Model `{result['model']}`, {_where(result)}."]
    return "\n".join(lines) + "\n"


def onnx_table(result: dict[str, Any]) -> str:
    """What `benchmarks/onnx_core.py` measured."""
    lines = ["| the core of the starter by | time |", "| --- | ---: |"]
    lines += [f"| {name} | {1000 * seconds:.0f} ms |" for name, seconds in result["rows"].items()]
    apart = f"masks differ by at most {result['mask_apart']:.1e}, presences by {result['presence_apart']:.1e}"
    about = f"{result['seconds']:g} s of sound and one query, {result['threads']} threads, ONNX Runtime "
    about += f"{result['onnxruntime']}, {_where(result)}; {apart}. Made by `{result['command']}`."
    return "\n".join([*lines, "", about]) + "\n"


def clapsep_speed_table(result: dict[str, Any]) -> str:
    """What `benchmarks/clapsep_speed.py` measured: the whole, its parts with their floor, and what int8 costs."""
    rows, plain = result["rows"], result["rows"]["plain"]
    asked = {"separate_s": f"{result['seconds']} s separated", "text_s": "text query", "audio_s": "audio query"}
    lines = ["| | plain | float32 | int8 |", "| --- | ---: | ---: | ---: |"]
    for key, name in asked.items():
        cells = [
            f"{row[key]:.3f} s" + ("" if row is plain else f" ({plain[key] / row[key]:.1f}x)") for row in rows.values()
        ]
        lines.append(f"| {name}, warm | {' | '.join(cells)} |")
    cells = [f"{row['import_s']:.1f} + {row['load_s']:.1f} s" for row in rows.values()]
    lines.append(f"| import + load | {' | '.join(cells)} |")
    cells = [f"{row['first_result_s']:.1f} s" for row in rows.values()]
    lines.append(f"| first result | {' | '.join(cells)} |")
    memory = {"load_mib": "loaded", "text_mib": "text queries", "audio_mib": "audio queries too"}
    for key, name in memory.items():
        lines.append(f"| peak memory, {name} | {' | '.join(f'{row[key]:.0f} MiB' for row in rows.values())} |")
    rates, gflop = result["gflop_per_s"], result["gflop"]
    lines += ["", "| part | plain | float32 | int8 | GFLOP | floor, float32 |", "| --- |" + " ---: |" * 5]
    for part in plain["parts_s"]:
        times = " | ".join(f"{1000 * row['parts_s'][part]:.0f} ms" for row in rows.values())
        work = f"{gflop[part]:.1f} | {1000 * gflop[part] / rates['float32']:.0f} ms" if part in gflop else " | "
        lines.append(f"| {part} | {times} | {work} |")
    for key, part in zip(asked, ("separation", "text query", "audio query"), strict=True):
        times = " | ".join(f"{1000 * row[key]:.0f} ms" for row in rows.values())
        lines.append(f"| **{part}** | {times} | {gflop[part]:.1f} | {1000 * gflop[part] / rates['float32']:.0f} ms |")
    spans = "; ".join(
        f"{name} {row['separate_s_range'][0]:.3f} to {row['separate_s_range'][1]:.3f} s" for name, row in rows.items()
    )
    loss = result["int8_loss"]
    lines += [
        "",
        f"Floor: operations over the highest rate measured for one product: {rates['float32']:.0f} GFLOP/s "
        f"(torch's own: {rates['torch']:.0f}; int8, rounding included: {rates['int8']:.0f}).",
        f"{_where(result)}; fresh processes of each kind, in turns: {result['processes']}, warm answers in each: "
        f"{result['repeats']}; medians; a separation took {spans}. "
        f"Weights: {result['file_mb']:.0f} MB, made up.",
        f"float32 differs from plain by at most {result['largest_difference']:.1e} of the answer's peak.",
        f"int8 against float32, made-up weights: {loss['made_up_to_float32_db']:.1f} dB SI-SDR.",
    ]
    if "lost_db" in loss:
        lines.append(_lost("int8", loss))
    return "\n".join(lines) + "\n"


def system_rows(rows: dict[str, Any], only: str = "") -> list[str]:
    """What `benchmarks/audiosep_speed.py` measured of all systems, or of one: time, calls of the network, memory."""
    lines = ["| system | recording | | plain | float32 | bf16 |", "| --- | ---: | --- | ---: | ---: | ---: |"]
    for kind in dict.fromkeys(name.rsplit(" ", 1)[0] for name in rows):
        if only and kind.split()[0] != only:
            continue
        name, seconds = kind.split()
        found = [rows.get(f"{kind} {way}") for way in WAYS]
        told = {
            "separated": _seconds_cells(found, "separate_s"),
            "query": _seconds_cells(found, "query_s"),
            "first result": [f"{row['first_result_s']:.1f} s" if row else "" for row in found],
            "calls of the network": [str(row["calls"]) if row else "" for row in found],
            "peak memory": [f"{row['peak_mib']:.0f} MiB" if row else "" for row in found],
        }
        if int(seconds) > 10:
            del told["query"], told["first result"]
        for index, (what, cells) in enumerate(told.items()):
            head = f"| {name} | {seconds} s |" if index == 0 else "| | |"
            lines.append(f"{head} {what} | {' | '.join(cells)} |")
    return lines


def audiosep_speed_table(result: dict[str, Any]) -> str:
    """What `benchmarks/audiosep_speed.py` measured: systems, the stages of each, and how far answers are apart."""
    rows, counted = result["rows"], result["counted"]
    lines = system_rows(rows)
    for name, work in counted.items():
        found = [rows.get(f"{name} 10 {way}") for way in WAYS]
        if not all(found[:2]):
            continue
        rates, gflop = work["gflop_per_s"], work["gflop"]
        lines += ["", f"| {name}, 10 s | plain | float32 | share | bf16 | GFLOP | floor, float32 | floor, bf16 |"]
        lines.append("| --- |" + " ---: |" * 7)
        measured = [row for row in found if row]  # bf16 is not, where the processor is no faster in it
        parts = {part: [row["parts_s"].get(part, 0.0) for row in measured] for part in found[1]["parts_s"]}
        whole = [row["separate_s"] for row in measured]
        parts["all else"] = [max(0.0, s - sum(p[k] for p in parts.values())) for k, s in enumerate(whole)]
        parts["**separation**"] = whole
        for part, (plain, float32, *bf16) in parts.items():
            ops = gflop.get(part.strip("*"))
            floors = (
                ""
                if ops is None
                else f"{ops:.0f} | " + " | ".join(f"{1000 * ops / rates[way]:.0f} ms" for way in ("float32", "bf16"))
            )
            cells = f"{1000 * plain:.0f} ms | {1000 * float32:.0f} ms | {float32 / whole[1]:.0%}"
            short = f"{1000 * bf16[0]:.0f} ms" if bf16 else ""
            lines.append(f"| {part} | {cells} | {short} | {floors or ' | | '} |")
    lines.append("")
    for name, work in counted.items():
        rates, apart = work["gflop_per_s"], result["compared"][name]
        short = (
            f"; SI-SDR of bf16's answer against float32's is {apart['bf16_to_float32_db']:.1f} dB (at least "
            f"{apart['bf16_to_float32_least_db']:.1f})"
            if "bf16_to_float32_db" in apart
            else ""
        )
        lines.append(
            f"{name}: on {apart['mixtures']} real mixtures (made-up weights) float32 differs from plain by at most "
            f"{apart['largest_difference']:.1e} of an answer's peak{short}."
        )
        lines.append(f"Fastest 3 x 3 convolution: {rates['float32']:.0f} GFLOP/s, {rates['bf16']:.0f} in bf16.")
    if "loss" in result:
        lines.append(_lost("bf16", result["loss"]))
    sizes = ", ".join(f"{name} {size:.0f} MB" for name, size in result["file_mb"].items())
    lines.append(f"{_where(result)}; medians over fresh processes in turns. Files: {sizes}, made up.")
    return "\n".join(lines) + "\n"


def studio_table(result: dict[str, Any]) -> str:
    """What `benchmarks/studio.py` measured."""
    seconds, minutes = result["seconds"], result["long_seconds"] // 60
    rows = {
        "page_s": "from the command to the first page",
        "ready_s": "from the command to the model being loaded",
        "upload_s": f"a recording of {seconds} s, sent and decoded",
        "first_s": "its first answer",
        "next_s": "its second answer, to another question",
        "next_median_s": "further answers, the median",
        "next_worst_s": "further answers, the slowest",
        "long_upload_s": f"a recording of {minutes} minutes, sent and decoded",
        "long_s": "its answer",
        "memory_mib": f"peak memory of the server, {seconds} s",
        "long_memory_mib": f"peak memory of the server, {minutes} minutes",
    }
    lines = ["| | median | worst |", "| --- | ---: | ---: |"]
    for name, meaning in rows.items():
        if name in result["median"]:
            unit = "{:.0f} MiB" if name.endswith("_mib") else "{:.2f} s"
            cells = " | ".join(unit.format(result[which][name]) for which in ("median", "worst"))
            lines.append(f"| {meaning} | {cells} |")
    about = f"Stereo at 44.1 kHz, over HTTP; {result['processes']} fresh starts. Model `{result['model']}`"
    return "\n".join([*lines, "", f"{about}, {_where(result)}."]) + "\n"


def flowsep_loading_table(result: dict[str, Any]) -> str:
    """What `benchmarks/flowsep_loading.py` measured."""
    weights_mb = result["weights_mb"]
    lines = ["| | time | peak memory | of the weights used |", "| --- | ---: | ---: | ---: |"]
    for way, row in result["rows"].items():
        peak = f"{row['peak_mib']:.0f} MiB | {row['peak_mib'] * 2**20 / 1e6 / weights_mb:.2f}"
        lines.append(f"| {way} | {row['seconds']:.1f} s | {peak} |")
    imported = max(row["imported_mib"] for row in result["rows"].values())
    about = (
        f"The weights used are {weights_mb:.0f} MB, the file was {result['file_mb']:.0f} MB, made up; "
        f"{imported:.0f} MiB of each peak are Python, torch and transformers."
    )
    return "\n".join([*lines, "", f"{about} {_where(result)}."]) + "\n"


def speed_of(path: Path, system: str) -> str:
    """One system's rows of a result of `benchmarks/audiosep_speed.py`; empty where it was not measured."""
    result = json.loads(path.read_text("utf-8")) if path.exists() else {"rows": {}}
    if not any(name.split()[0] == system for name in result["rows"]):
        return ""
    return "\n".join([*system_rows(result["rows"], system), "", _where(result)]) + "\n"


def _seconds_cells(rows: list[dict[str, Any] | None], key: str) -> list[str]:
    """Seconds, and how many times as fast as the first."""
    first, cells = rows[0], []
    for row in rows:
        gain = f" ({first[key] / row[key]:.1f}x)" if row and first and row is not first else ""
        cells.append(f"{row[key]:.3g} s{gain}" if row else "")
    return cells


def _where(result: dict[str, Any]) -> str:
    machine = result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return (
        f"{result['threads']} threads of {machine['cpu']} ({machine['cores']} cores, {machine['memory_gib']} GiB), "
        f"{machine['system']}, {versions}"
    )


def _lost(precision: str, loss: dict[str, Any]) -> str:
    return (
        f"{precision} with a trained small model, {loss['questions']} questions about real sounds: SI-SDR against the "
        f"true sound changes by {-loss['lost_db']:+.3f} dB on average (by {loss['mean_change_db']:.3f} dB either way, "
        f"at most by {loss['largest_change_db']:.2f}); SI-SDR of {precision}'s answer against float32's is "
        f"{loss['to_float32_db']:.1f} dB (at least {loss['to_float32_least_db']:.1f})."
    )
