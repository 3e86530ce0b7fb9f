"""The table of docs/flowsep_training.md, from the figures of `flowsep_table.py`."""

from __future__ import annotations

from typing import Any


def flowsep_steps_table(result: dict[str, Any]) -> str:
    """Quality of every way to ask every model."""
    figures = ("FAD", "CLAPScore", "over the mixture's", "CLAPScore_A", "SDRi")
    names = [*figures, "seconds", "projected: FAD", *figures[1:]]
    lines = [f"| | steps | {' | '.join(names)} |", f"| --- | ---: |{' ---: |' * len(names)}"]
    for row in result["rows"]:
        cells = [*_heard(row["generated"]), "" if row["seconds"] is None else f"{row['seconds']:.2f}"]
        if "projected" in row:
            cells += _heard(row["projected"])
        else:
            cells += [""] * len(figures)
        how = "" if row["sampler"] == "euler" else f", {row['sampler']}"
        how += "" if row["guidance"] == 1 else f", guidance {row['guidance']:g}"
        lines.append(f"| {row['model']}{how} | {row['steps'] or ''} | {' | '.join(cells)} |")
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    trained = ", ".join(f"{name} {run['steps']}" for name, run in result["runs"].items())
    lines += [
        "",
        f"{result['mixtures']} mixtures of 5 s; means, with 95% intervals by a bootstrap over mixtures. Steps of "
        f"training: {trained}. Seconds for a mixture, {result['threads']} thread of {result['machine']['cpu']}; "
        f"{versions}. Made by `{result['command']}`.",
    ]
    return "\n".join(lines) + "\n"


def flowsep_text_table(result: dict[str, Any]) -> str:
    """When the text counts: `flowsep_text.py`."""
    told = [name for name in result["rows"][0] if name != "time"]
    lines = [f"| t | {' | '.join(f'told {name}' for name in told)} |", f"| ---: |{' ---: |' * len(told)}"]
    lines += [f"| {row['time']:g} | {' | '.join(f'{row[name]:.3f}' for name in told)} |" for row in result["rows"]]
    about = f"Mean square error of the velocity, {result['mixtures']} mixtures of validation clips, both sounds."
    return "\n".join([*lines, "", f"{about} Made by `{result['command']}`."]) + "\n"


def _heard(figures: dict[str, Any]) -> list[str]:
    scores = [_told(figures[name]) for name in ("clap_score", "clap_score_gain", "clap_score_audio")]
    return [f"{figures['fad']:.3f}", *scores, _told(figures["sdri"], 1, " dB") if figures["sdri"] else ""]


def _told(figure: dict[str, Any], digits: int = 2, unit: str = "") -> str:
    low, high = figure["interval"]
    return f"{figure['mean']:.{digits}f}{unit} ({low:.{digits}f} to {high:.{digits}f})"
