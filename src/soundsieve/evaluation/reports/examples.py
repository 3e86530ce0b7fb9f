"""Examples to see and hear: the best, the middling and the worst answers of a run (as in CLAPSep's Fig. 9)."""

from __future__ import annotations

from collections.abc import Sequence

from soundsieve.evaluation.measuring import Row
from soundsieve.evaluation.pictures import spectrogram_figure
from soundsieve.evaluation.reports.html import STYLE, player, svg
from soundsieve.evaluation.reports.numbers import titled, with_metric
from soundsieve.evaluation.reports.replay import Replay, check
from soundsieve.evaluation.rows import group_of
from soundsieve.metrics import METRICS


def choose(rows: Sequence[Row], condition: str, metric: str, *, each: int) -> list[tuple[str, Row]]:
    """Rows to show, best first, no mixture twice.

    Args:
        rows: of a run.
        condition: which way of asking.
        metric: by which they are good or bad.
        each: how many of the best, of those around the median and of the worst; fewer where there are few.

    Returns:
        What it is an example of (``best``, ``median``, ``worst``), and the row.
    """
    asked = with_metric((row for row in rows if row["condition"] == condition), metric)
    ordered = sorted(asked, key=lambda row: row[metric], reverse=METRICS[metric].better == "higher")
    middle = (len(ordered) - 1) / 2
    outwards = [ordered[i] for i in sorted(range(len(ordered)), key=lambda i: abs(i - middle))]
    each = max(1, min(each, len({str(group_of(row)) for row in ordered}) // 3))
    seen: set[str] = set()
    found = {
        "best": _first(ordered, each, seen),
        "worst": _first(ordered[::-1], each, seen)[::-1],
        "median": _first(outwards, each, seen),
    }
    return [(place, row) for place in ("best", "median", "worst") for row in found[place]]


def _first(rows: Sequence[Row], count: int, seen: set[str]) -> list[Row]:
    """The first rows about mixtures that are not seen yet; they are then."""
    found: list[Row] = []
    for row in rows:
        mixture = str(group_of(row))
        if len(found) < count and mixture not in seen:
            seen.add(mixture)
            found.append(row)
    return found


def example(place: str, row: Row, replay: Replay, metric: str, name: str) -> str:
    """One example for the page: what was asked, three spectrograms on one scale, three players.

    Args:
        place: what it is an example of.
        row: of the answer.
        replay: makes it again.
        metric: that it was chosen by.
        name: for the picture; no other of the page has it.

    Raises:
        ConfigError: the answer is not the one that was measured.
    """
    from matplotlib import rc_context

    heard = replay(row)
    check(row, heard, metric)
    sounds = {"mixture": heard.mixture, "answer": heard.answer}
    if heard.reference is not None:
        sounds["target"] = heard.reference
    waveforms = {title: sound.numpy() for title, sound in sounds.items()}
    unit = METRICS[metric].unit
    title = f"{place}: {row.get('query') or row.get('label')}"
    told = f"{title} ({METRICS[metric].title} {row[metric]:.1f}{' ' * bool(unit)}{unit})"
    with rc_context(STYLE):
        figure = spectrogram_figure(waveforms, heard.sample_rate)
    players = "".join(player(waveform, heard.sample_rate, what) for what, waveform in waveforms.items())
    return f'<article>{svg(figure, name, told)}<div class="players">{players}</div></article>\n'


def explained(condition: str, metric: str) -> str:
    """What the examples are."""
    return (
        f"Answers asked by {condition}, chosen by {titled(metric)}: the best, those around the median, and the worst. "
        "They were made again for this page. Colours of one example share a scale; levels are as they were."
    )
