"""The figures of a report: distributions, curves against a number, scores by label, maps of embeddings.

Each takes numbers and gives a matplotlib figure, to be drawn under `html.STYLE`; colours are of middling lightness, so
that they show on light and on dark ground.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from soundsieve.evaluation.reports.html import INK, STYLE
from soundsieve.evaluation.reports.numbers import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#3b82d0", "#d9772b", "#2f9e6a", "#b15bc4", "#c9a227", "#d64f6b", "#2aa3ad", "#8a7a5f")
MARKERS = "osD^vPX*"
_OTHERS = "#8f969e"
_SMALLEST_VIOLIN = 8
"""Fewer values are drawn one by one."""

_Parameters = ParamSpec("_Parameters")


def _styled(draw: Callable[_Parameters, Figure]) -> Callable[_Parameters, Figure]:
    @wraps(draw)
    def drawn(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> Figure:
        from matplotlib import rc_context

        with rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def _new(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.grid(True)
    axes.set_axisbelow(True)
    return figure, axes


@_styled
def violins(values: Mapping[str, Mapping[str, Sequence[float]]], label: str) -> Figure:
    """Distributions, lying: one line for each way of asking, in it one violin for each run.

    A violin holds the middle 95% of the values; the thick bar the middle half, the dot the median.

    Args:
        values: way of asking -> run -> values.
        label: of the axis.
    """
    runs = list(dict.fromkeys(run for of in values.values() for run in of))
    figure, axes = _new(8.0, 0.9 + len(values) * (0.24 + 0.22 * len(runs)))
    height = 0.84 / len(runs)
    for line, of_way in enumerate(values.values()):
        for place, (run, of_run) in enumerate(of_way.items()):
            at = line + (place - (len(of_way) - 1) / 2) * height
            colour = COLOURS[runs.index(run) % 8]
            _violin(axes, np.asarray(of_run, dtype=np.float64), at, height * 0.95, colour)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(values)), list(values))
    axes.set_ylim(len(values) - 0.45, -0.55)
    axes.set_xlabel(label)
    axes.grid(False, axis="y")
    if len(runs) > 1:
        _legend(figure, {run: COLOURS[index % 8] for index, run in enumerate(runs)})
    return figure


def _violin(axes: Axes, values: np.ndarray, at: float, height: float, colour: str) -> None:
    low, first, median, third, high = np.percentile(values, [2.5, 25, 50, 75, 97.5])
    middle = values[(values >= low) & (values <= high)]
    if len(middle) >= _SMALLEST_VIOLIN and high > low:
        drawn: Any = axes.violinplot(middle, [at], orientation="horizontal", widths=height, showextrema=False)
        for body in drawn["bodies"]:
            body.set(facecolor=colour, edgecolor=colour, alpha=0.45, linewidth=0.8)
    else:
        axes.plot(values, np.full(len(values), at), "|", color=colour, markersize=7)
    axes.plot([first, third], [at, at], color=colour, linewidth=3.5, solid_capstyle="butt")
    axes.plot([median], [at], "o", color=INK, markersize=3.5)


@_styled
def curves(lines: Mapping[str, Sequence[Point]], x_label: str, y_label: str) -> Figure:
    """Means with 95% intervals against a number, or against names in their order."""
    figure, axes = _new(6.4, 3.8)
    names = [one.x for points in lines.values() for one in points if isinstance(one.x, str)]
    places = {name: place for place, name in enumerate(sorted(set(names), key=lambda name: (len(name), name)))}
    for index, (name, points) in enumerate(lines.items()):
        shift = 0.06 * (index - (len(lines) - 1) / 2) if places else 0.0
        x = [places.get(one.x, one.x) + shift for one in points]
        mean = np.array([one.mean for one in points])
        ends = np.array([[one.mean - one.low for one in points], [one.high - one.mean for one in points]]).clip(0)
        axes.errorbar(
            x, mean, ends, color=COLOURS[index % 8], marker=MARKERS[index % 8], markersize=5, capsize=2, label=name
        )
    if places:
        axes.set_xticks(list(places.values()), list(places))
        axes.set_xlim(-0.4, len(places) - 0.6)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    if len(lines) > 1:
        axes.legend(fontsize=8)
    return figure


@_styled
def dots(points: Sequence[Point], label: str) -> Figure:
    """A line for each name, worst first: the mean and its 95% interval."""
    figure, axes = _new(6.4, 0.9 + 0.2 * len(points))
    places = np.arange(len(points))
    mean = np.array([one.mean for one in points])
    ends = np.array([[one.mean - one.low for one in points], [one.high - one.mean for one in points]]).clip(0)
    axes.errorbar(mean, places, xerr=ends, fmt="o", color=COLOURS[0], markersize=4, linewidth=1)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(places, [f"{str(one.x)[:40]} ({one.count})" for one in points], fontsize=8)
    axes.set_ylim(len(points) - 0.4, -0.6)
    axes.set_xlabel(label)
    axes.grid(False, axis="y")
    return figure


@_styled
def maps(panels: Mapping[str, np.ndarray], names: Mapping[str, Sequence[str]]) -> Figure:
    """Points in the plane, side by side on the same axes, coloured by name; the most frequent eight have a colour.

    Args:
        panels: title -> points ``(N, 2)``.
        names: title -> N names.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(panels), 4.6), layout="constrained")
    every = [name for of in names.values() for name in of]
    frequent = sorted(dict.fromkeys(every), key=lambda name: (-every.count(name), name))[:8]
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axis, (title, points) in zip(axes, panels.items(), strict=True):
        of = np.array(names[title], dtype=object)
        rest = ~np.isin(of, frequent)
        axis.plot(points[rest, 0], points[rest, 1], ".", color=_OTHERS, markersize=4, alpha=0.5)
        for index, name in enumerate(frequent):
            here = of == name
            axis.plot(points[here, 0], points[here, 1], MARKERS[index], color=COLOURS[index], markersize=5)
        axis.set_title(title, fontsize=10)
        axis.set(xticks=[], yticks=[])
    _legend(figure, dict(zip(frequent, COLOURS, strict=False)), MARKERS)
    return figure


@_styled
def training(curve: Mapping[str, Sequence[tuple[float, float]]], x_label: str) -> Figure:
    """Small pictures of everything a training run logged, each over the steps.

    Args:
        curve: what -> (step, value).
        x_label: what a step is.
    """
    from matplotlib.figure import Figure

    columns = 3
    rows = -(-len(curve) // columns)
    figure = Figure(figsize=(8.4, 1.9 * rows + 0.3), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False).flat
    for index, axis in enumerate(grid):
        if index >= len(curve):
            axis.set_visible(False)
            continue
        name = list(curve)[index]
        steps, values = zip(*curve[name], strict=True)
        axis.plot(steps, values, color=COLOURS[1 if name.startswith("validation") else 0], linewidth=1.5)
        axis.set_title(name.replace("_", " "), fontsize=9)
        axis.grid(True)
        axis.tick_params(labelsize=8)
    figure.supxlabel(x_label, fontsize=9)
    return figure


def _legend(figure: Figure, colours: Mapping[str, str], markers: str = "s" * 8) -> None:
    from matplotlib.lines import Line2D

    handles: list[Any] = [
        Line2D([], [], color=colour, marker=markers[index % 8], linestyle="", label=name[:40])
        for index, (name, colour) in enumerate(colours.items())
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=min(4, len(handles)), fontsize=8)
