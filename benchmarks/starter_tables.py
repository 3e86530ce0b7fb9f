"""Tables about the starter alone: its two looks, its sources, and its forerunner."""

from __future__ import annotations

from typing import Any


def figures_table(rows: list[dict[str, Any]], columns: dict[str, tuple[str, int]], about: str) -> str:
    """Rows of figures: of each column its title, what it is in a row, and its decimals."""
    lines = [f"| {' | '.join(columns)} |", "|" + " ---: |" * len(columns)]
    for row in rows:
        told = [
            row[name] if isinstance(row[name], str) else f"{row[name]:.{digits}f}" for name, digits in columns.values()
        ]
        lines.append(f"| {' | '.join(told)} |")
    return "\n".join([*lines, "", about]) + "\n"


def _gains(*conditions: str) -> dict[str, tuple[str, int]]:
    return {f"SDRi, {name}": (f"sdri_{name}", 1) for name in conditions}


def _made(result: dict[str, Any], also: str = "") -> str:
    split = result.get("split", "validation")
    return f"{result['pairs']} mixtures of {split} clips{also}. Made by `{result['command']}`."


def contrast_table(result: dict[str, Any]) -> str:
    """What `benchmarks/contrast.py` measured."""
    columns = {"looks": ("looks", 0), **_gains("text", "text+exclude", "exclude", "example")}
    columns |= {"median, text": ("median_text", 1), "selectivity": ("selectivity", 2)}
    columns |= {"presence AUC": ("presence_auc", 3), "s": ("seconds", 3)}
    also = f"; s: 10 s of sound on {result['threads']} threads"
    also += ". SDRi is that of the unseen labels alone" if result["unseen"] else ""
    return figures_table(result["looks"], columns, _made(result, also))


def averaging_table(result: dict[str, Any]) -> str:
    """What `benchmarks/averaging.py` measured."""
    columns = {"share of the first run": ("share", 2), **_gains("text"), "median": ("median_text", 1)}
    columns |= {**_gains("text+exclude"), "selectivity": ("selectivity", 2), "presence AUC": ("presence_auc", 3)}
    return figures_table(result["rows"], columns, _made(result))


def recall_table(result: dict[str, Any]) -> str:
    """What `benchmarks/choose_recall.py` measured."""
    columns = {"recall": ("recall", 1), "temperature": ("temperature", 2)}
    columns |= {"SDRi, captions": ("sdri_text", 1), "SDRi, new wordings": ("sdri_paraphrase", 1)}
    columns |= {"selectivity, captions": ("selectivity", 2), "selectivity, new wordings": ("selectivity_paraphrase", 2)}
    return figures_table(result["settings"], columns, _made(result))


def range_table(result: dict[str, Any]) -> str:
    """What `benchmarks/choose_range.py` measured."""
    lines = [
        "| remembered sounds for | SDRi, text | new wordings | selectivity, new wordings | unseen labels |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in result["rows"]:
        low, high = row["range"]
        said = "every text" if high <= -1 else "no text" if low >= 1 else f"texts at {low:.2f} to {high:.2f}"
        gains = f"{row['sdri_text']:.1f} | {row['sdri_paraphrase']:.2f} | {row['selectivity_paraphrase']:.3f}"
        lines.append(f"| {said} | {gains} | {row['unseen']['sdri_text']:.2f} |")
    about = f"SDRi of each; unseen: {result['unseen']} labels, asked of a network that never heard them. "
    return "\n".join([*lines, "", about + _made(result)]) + "\n"


def heard_table(result: dict[str, Any]) -> str:
    """What `benchmarks/choose_heard.py` measured."""
    columns = {"remembered sounds": ("heard", 2), **_gains("text", "text+exclude", "exclude", "paraphrase")}
    columns |= {"median, text": ("median_text", 1), "selectivity": ("selectivity", 3)}
    columns |= {"paraphrase": ("selectivity_paraphrase", 3), "presence AUC": ("presence_auc", 3)}
    return figures_table(result["rows"], columns, _made(result))


def search_table(result: dict[str, Any]) -> str:
    """What `benchmarks/search.py` measured."""
    lines = [
        "| change | steps | GFLOP | other sources: SDRi, text | against plain (95%) | text+exclude | selectivity "
        "| presence AUC | same sources: SDRi, text | against plain (95%) | selectivity |",
        "| --- |" + " ---: |" * 10,
    ]
    for row in result["rows"]:
        other, same = row["other"], row["same"]
        cells = [row["variant"], f"{row['steps']}", f"{row['gflop']:.1f}"]
        cells += [f"{other['sdri_text']:.2f}", _apart(other), f"{other['sdri_text+exclude']:.2f}"]
        cells += [f"{other['selectivity']:.2f}", f"{other['presence_auc']:.3f}"]
        cells += [f"{same['sdri_text']:.2f}", _apart(same), f"{same['selectivity']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    about = f"{result['pairs']} mixtures of each kind; GFLOP: 4 s of sound and three queries, forwards. "
    return "\n".join([*lines, "", about + f"Made by `{result['command']}`."]) + "\n"


def _apart(figures: dict[str, Any]) -> str:
    low, high = figures["difference"]["interval"]
    return f"{figures['difference']['mean']:+.2f} ({low:+.2f} to {high:+.2f})"


def sources_table(result: dict[str, Any]) -> str:
    """The collections that the test clips are from: how well sounds of each are separated."""
    lines = ["| source | n | SDRi by text | with exclusion |", "| --- | ---: | ---: | ---: |"]
    for name, entry in sorted(result["by_source"].items()):
        cells = [f"{entry[one]:.1f} dB" if one in entry else "" for one in ("text", "text+exclude")]
        lines.append(f"| {name} | {entry['n']} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def against_table(result: dict[str, Any]) -> str:
    """What `soundsieve compare` wrote: two runs, answer by answer."""
    lines = [
        "| query | metric | n | before | now | difference (95%) | p |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in result["comparisons"]:
        low, high = row["interval"]
        chance = "< 0.001" if row["p"] < 0.001 else f"{row['p']:.3f}"
        lines.append(
            f"| {row['condition']} | {row['metric']} | {row['n']} | {row['first']:.2f} | {row['second']:.2f} "
            f"| {row['difference']:+.2f} ({low:+.2f} to {high:+.2f}) | {chance} |"
        )
    return "\n".join(lines) + "\n"
