"""The report as one page: sections of tables and figures, and a word for each that cannot be made, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, TypeAlias

from soundsieve.errors import ConfigError
from soundsieve.evaluation.measuring import Row
from soundsieve.evaluation.questions import setting_of
from soundsieve.evaluation.reports import embedding_map, examples, figures, numbers
from soundsieve.evaluation.reports.html import bullets, folded, paragraph, svg, table, template
from soundsieve.evaluation.reports.numbers import Point, titled
from soundsieve.evaluation.reports.replay import Replay
from soundsieve.evaluation.reports.runs import Run, metric_to_show

SHOWN_LABELS = 15
"""Of the worst, and of the best."""
_NAMED = ("model", "benchmark", "mixing", "weights_sha256", "judge", "precision", "like_seconds", "seconds", "command")

Section: TypeAlias = "tuple[str, str]"
"""Title and content."""


@dataclass
class Report:
    """What goes into a page.

    Attributes:
        runs: at least one.
        metric: of the figures.
        condition: the way of asking that figures about one way are of.
        curves: training run -> what was logged -> (step, value).
        replay: makes answers of the first run again, to be heard; None: there are no examples.
        each: how many best, median and worst examples.
        absent: sections that could not be made, and why; filled by `html`.
    """

    runs: Sequence[Run]
    metric: str
    condition: str
    curves: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]] = field(default_factory=dict)
    replay: Replay | None = None
    each: int = 2
    absent: list[str] = field(default_factory=list, init=False)

    def html(self) -> str:
        """The page."""
        self.absent.clear()
        sections = [
            section
            for make in (
                self._scores,
                self._distributions,
                self._levels,
                self._clips,
                self._labels,
                self._missing_sounds,
                self._map,
                self._examples,
                self._training,
                self._limits,
            )
            for section in make()
        ]
        contents = "".join(f'<li><a href="#s{i}">{escape(title)}</a></li>' for i, (title, _) in enumerate(sections))
        body = "\n".join(
            f'<section aria-labelledby="s{i}"><h2 id="s{i}">{escape(title)}</h2>\n{content}</section>'
            for i, (title, content) in enumerate(sections)
        )
        named = ", ".join(run.name for run in self.runs)
        return template("report.html").format(
            title=escape(f"Measured: {named}"),
            style=template("report.css"),
            head=self._head(),
            contents=contents,
            sections=body,
        )

    def _head(self) -> str:
        known = [("run", *(name.replace("_", " ") for name in _NAMED), "answers", "left out")]
        for run in self.runs:
            facts = run.facts | {"benchmark": run.benchmark}
            cells = [str(facts.get(name, "")) for name in _NAMED]
            known.append((run.name, *cells, str(len(run.rows)), str(run.left_out)))
        lines = [line for line in zip(*known, strict=True) if any(line[1:])]
        return table(lines[0], lines[1:])

    def _scores(self) -> Iterator[Section]:
        told = (
            "Means, with 95% intervals by a bootstrap over what is independent: mixtures, or targets that a list mixes "
            "several times."
        )
        tables = [
            f"<h3>{escape(run.name)}</h3>\n" + table(*numbers.score_rows(run)) + bullets(run.not_applicable)
            for run in self.runs
        ]
        yield "Scores", paragraph(told) + "".join(tables)

    def _distributions(self) -> Iterator[Section]:
        for index, (benchmark, runs) in enumerate(self._benchmarks().items()):
            values: dict[str, dict[str, list[float]]] = {}
            for run in runs:
                found = numbers.with_metric(run.rows, self.metric)
                for condition in numbers.conditions(found):
                    plain = not setting_of(condition) or not numbers.is_baseline(condition)
                    of_way = [row[self.metric] for row in found if row["condition"] == condition]
                    if plain and (condition != "mixture" or len(set(of_way)) > 1):  # it gains nothing on itself
                        values.setdefault(condition, {})[run.name] = of_way
            told = (
                f"{titled(self.metric)} of every answer about {benchmark}: the middle 95%, in it the middle half (bar) "
                "and the median (dot). What needs no system stands first."
            )
            drawn = svg(figures.violins(values, titled(self.metric)), f"violins{index}", told)
            yield f"Distribution: {benchmark}", drawn

    def _levels(self) -> Iterator[Section]:
        lines = {}
        for run, way, rows in self._ways():
            equal = [row for row in rows if not row["condition"].endswith(" of three")]
            lines[self._line(run, way)] = numbers.against(equal, "snr_db", self.metric)
        yield from self._curves(
            "Against the level of the sound",
            lines,
            "sound asked for over all else in the mixture, dB",
            "levels",
            "all mixtures have one ratio, or the rows do not tell it (snr_db)",
        )

    def _clips(self) -> Iterator[Section]:
        """Runs of one model about one benchmark are taken together: each may be of other clips."""
        pooled: dict[str, list[Row]] = {}
        cut = any("like_seconds" in run.facts for run in self.runs)
        models = {(run.facts.get("model", run.name), run.benchmark) for run in self.runs}
        for run, way, rows in self._ways():
            if "example" in way:
                line = way if len(models) == 1 else f"{run.facts.get('model', run.name)}, {run.benchmark}, {way}"
                length = {"like_s": run.facts.get("like_seconds")} if cut else {}
                pooled.setdefault(line, []).extend(row | length for row in rows)
        title = "Against the example clips"
        yield from self._curves(
            f"{title}: how many",
            {line: numbers.by_shots(rows, self.metric) for line, rows in pooled.items()},
            "clips",
            "shots",
            "the same was not asked by other numbers of clips",
            " The same questions are behind every point of a line.",
        )
        yield from self._curves(
            f"{title}: how long",
            {line: numbers.against(rows, "like_s", self.metric) for line, rows in pooled.items()},
            "length that clips are cut to, s" if cut else "mean length of the clips, s",
            "lengths",
            "the rows do not tell it (like_s)",
            " Shorter clips are whole."
            if cut
            else " Clips are as long as they are: other sounds are behind every point.",
        )

    def _labels(self) -> Iterator[Section]:
        points = {run.name: numbers.by_label(self._asked(run), self.metric) for run in self.runs}
        if all(len(of) < 2 for of in points.values()):
            self.absent.append("By label: the rows have no labels, or one.")
            return
        content = []
        for index, (name, of) in enumerate(points.items()):
            cut = of if len(of) <= 2 * SHOWN_LABELS else [*of[:SHOWN_LABELS], *of[-SHOWN_LABELS:]]
            which = "" if cut is of else f", the worst and the best {SHOWN_LABELS} of {len(of)} labels"
            told = f"{name}, asked by {self.condition}{which}: mean {titled(self.metric)}, 95% interval (answers)."
            if len(of) > 1:
                content.append(svg(figures.dots(cut, titled(self.metric)), f"labels{index}", told))
        by_name = [{point.x: point for point in of} for of in points.values()]
        every = list(dict.fromkeys(label for of in by_name for label in of))
        lines = [[label, *(_shown(of.get(label)) for of in by_name)] for label in every]
        content.append(folded(f"All {len(every)} labels", table(["label", *points], lines)))
        yield f"By label, {self.condition}", "".join(content)

    def _missing_sounds(self) -> Iterator[Section]:
        content = []
        for column, told in (
            ("energy_db", "energy of the answer relative to the mixture, dB"),
            ("presence", "presence that the system tells"),
        ):
            values: dict[str, dict[str, list[float]]] = {}
            for run in self.runs:
                for what, way in (("it is there", "text"), ("it is not there", "absent")):
                    of_way = [row for row in run.rows if row["condition"] == way and row.get(column) is not None]
                    if of_way:
                        values.setdefault(what, {})[run.name] = [row[column] for row in of_way]
            if len(values) == 2:
                content.append(svg(figures.violins(values, told), f"absent-{column}", f"Asked by text: {told}."))
        if content:
            yield "Asked for a sound that is not there", "".join(content)
        else:
            self.absent.append("Sounds that are not there: none was asked for.")

    def _map(self) -> Iterator[Section]:
        for index, run in enumerate(self.runs):
            panels, labels = embedding_map.panels(run.rows, self.condition)
            if panels:
                told = (
                    "t-SNE of what the judge heard: near points sound alike to it. Colours are labels, the most "
                    "frequent eight; all else is grey."
                )
                yield f"Map of sounds: {run.name}", svg(figures.maps(panels, labels), f"map{index}", told)
            else:
                self.absent.append(
                    f"Map of sounds, {run.name}: no judge heard the answers (soundsieve evaluate --judge), or too few."
                )

    def _examples(self) -> Iterator[Section]:
        run = self.runs[0]
        if self.replay is None:
            self.absent.append("Examples to hear: name the model of the run (--model).")
            return
        chosen = examples.choose(run.rows, self.condition, self.metric, each=self.each)
        shown = [
            examples.example(place, row, self.replay, self.metric, f"example{index}")
            for index, (place, row) in enumerate(chosen)
        ]
        yield f"Examples of {run.name}", paragraph(examples.explained(self.condition, self.metric)) + "".join(shown)

    def _training(self) -> Iterator[Section]:
        for index, (name, curve) in enumerate(self.curves.items()):
            told = f"What the training run {name} logged, over its steps."
            yield f"Training: {name}", svg(figures.training(curve, "step"), f"training{index}", told)
        if not self.curves:
            self.absent.append("Training curves: name the log of the run (--curve .../log.csv).")

    def _limits(self) -> Iterator[Section]:
        unknown = [
            f"{run.name}: no summary ({run.name}.json) stands beside the rows, so what did not apply is not known."
            for run in self.runs
            if not run.about
        ]
        lines = [f"{run.name}: {why}." for run in self.runs for why in run.not_applicable] + unknown + self.absent
        if lines:
            yield "What is not here", bullets(lines)

    def _curves(
        self, title: str, lines: Mapping[str, Sequence[Point]], x_label: str, name: str, why: str, more: str = ""
    ) -> Iterator[Section]:
        drawn = {line: points for line, points in lines.items() if len(points) > 1}
        if not drawn:
            self.absent.append(f"{title}: {why}.")
            return
        told = f"Mean {titled(self.metric)} and its 95% interval.{more}"
        yield title, svg(figures.curves(drawn, x_label, titled(self.metric)), name, told)

    def _benchmarks(self) -> dict[str, list[Run]]:
        found: dict[str, list[Run]] = {}
        for run in self.runs:
            found.setdefault(run.benchmark, []).append(run)
        return found

    def _ways(self) -> Iterator[tuple[Run, str, list[Row]]]:
        """Every run and way of asking (whatever the setting and the number of clips), with its rows."""
        for run in self.runs:
            rows = [row for row in run.rows if not numbers.is_baseline(row["condition"])]
            for way, of_way in numbers.grouped(rows, lambda row: numbers.family(row["condition"])).items():
                yield run, way, of_way

    def _line(self, run: Run, way: str) -> str:
        return way if len(self.runs) == 1 else f"{run.name}, {way}"

    def _asked(self, run: Run) -> list[Row]:
        return [row for row in run.rows if row["condition"] == self.condition]


def _shown(point: Point | None) -> str:
    return "" if point is None else f"{point.mean:.1f} ({point.low:.1f} to {point.high:.1f}), n = {point.count}"


def condition_to_show(runs: Sequence[Run], wanted: str | None = None) -> str:
    """The way of asking of the figures about one way: the one that is wanted, else ``text``, else the first they share.

    Raises:
        ConfigError: a run was not asked so, or there is none that all share.
    """
    shared = [
        name
        for name in numbers.conditions(runs[0].rows)
        if name != "absent"
        and not numbers.is_baseline(name)
        and all(any(row["condition"] == name for row in run.rows) for run in runs)
    ]
    if wanted is not None and wanted not in shared:
        raise ConfigError(f"not all runs were asked by '{wanted}'; they share {', '.join(shared) or 'no way'}")
    if not shared:
        raise ConfigError("the runs share no way of asking: make a report of each")
    return wanted or ("text" if "text" in shared else shared[0])


def report(runs: Sequence[Run], *, metric: str | None = None, condition: str | None = None, **options: Any) -> Report:
    """A report of some runs; what is not chosen is taken as `metric_to_show` and `condition_to_show` do.

    Raises:
        ConfigError: the runs do not have what was chosen.
    """
    return Report(runs, metric_to_show(runs, metric), condition_to_show(runs, condition), **options)


def curve_names(paths: Sequence[Path]) -> list[str]:
    """What logs are called: ``log.csv`` as its folder, any other as the file; in full where two would have one name."""
    names = [path.resolve().parent.name if path.stem == "log" else path.stem for path in paths]
    return [name if names.count(name) == 1 else str(path) for name, path in zip(names, paths, strict=True)]
