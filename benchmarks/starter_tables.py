"""Tables about the starter alone: its two looks, its sources, and its forerunner."""

from __future__ import annotations

from typing import Any


def contrast_table(result: dict[str, Any]) -> str:
    """What `benchmarks/contrast.py` measured."""
    asked = ("text", "text+exclude", "exclude", "example")
    lines = [
        f"| looks | {' | '.join(f'SDRi, {name}' for name in asked)} | median, text | selectivity | presence AUC | s |",
        "| ---: |" + " ---: |" * (len(asked) + 4),
    ]
    for row in result["looks"]:
        scores = " | ".join(f"{row[f'sdri_{name}']:.1f}" for name in asked)
        lines.append(
            f"| {row['looks']} | {scores} | {row['median_text']:.1f} | {row['selectivity']:.2f} "
            f"| {row['presence_auc']:.3f} | {row['seconds']:.3f} |"
        )
    about = f"{result['pairs']} mixtures of {result['split']} clips; s: 10 s of sound on {result['threads']} threads."
    if result["unseen"]:
        about += " SDRi is that of the unseen labels alone."
    return "\n".join([*lines, "", f"{about} Made by `{result['command']}`."]) + "\n"


def averaging_table(result: dict[str, Any]) -> str:
    """What `benchmarks/averaging.py` measured."""
    lines = [
        "| share of the first run | SDRi, text | median | SDRi, text+exclude | selectivity | presence AUC |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in result["rows"]:
        lines.append(
            f"| {row['share']:.2f} | {row['sdri_text']:.1f} | {row['median_text']:.1f} "
            f"| {row['sdri_text+exclude']:.1f} | {row['selectivity']:.2f} | {row['presence_auc']:.3f} |"
        )
    about = f"{result['pairs']} mixtures of validation clips. Made by `{result['command']}`."
    return "\n".join([*lines, "", about]) + "\n"


def recall_table(result: dict[str, Any]) -> str:
    """What `benchmarks/choose_recall.py` measured."""
    lines = [
        "| recall | temperature | SDRi, captions | new wordings | selectivity, captions | new wordings |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in result["settings"]:
        scores = f"{row['sdri_text']:.1f} | {row['sdri_paraphrase']:.1f} | {row['selectivity']:.2f}"
        lines.append(
            f"| {row['recall']:.1f} | {row['temperature']:.2f} | {scores} | {row['selectivity_paraphrase']:.2f} |"
        )
    return (
        "\n".join([*lines, "", f"{result['pairs']} mixtures of validation clips. Made by `{result['command']}`."])
        + "\n"
    )


def heard_table(result: dict[str, Any]) -> str:
    """What `benchmarks/choose_heard.py` measured."""
    asked = ("text", "text+exclude", "exclude", "paraphrase")
    lines = [
        f"| remembered sounds | {' | '.join(f'SDRi, {name}' for name in asked)} | median, text | selectivity "
        "| paraphrase | presence AUC |",
        "| ---: |" + " ---: |" * (len(asked) + 4),
    ]
    for row in result["rows"]:
        scores = " | ".join(f"{row[f'sdri_{name}']:.1f}" for name in asked)
        lines.append(
            f"| {row['heard']:.2f} | {scores} | {row['median_text']:.1f} | {row['selectivity']:.3f} "
            f"| {row['selectivity_paraphrase']:.3f} | {row['presence_auc']:.3f} |"
        )
    about = f"{result['pairs']} mixtures of {result['split']} clips. Made by `{result['command']}`."
    return "\n".join([*lines, "", about]) + "\n"


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
