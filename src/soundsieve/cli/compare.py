"""``soundsieve compare``: is one run better than another, and could it be chance?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soundsieve.cli.list_options import names_in
from soundsieve.cli.screen import columns
from soundsieve.errors import ConfigError


def compare(
    first: Annotated[Path, typer.Argument(help="Rows of one run (.jsonl), as `soundsieve evaluate -o` writes them.")],
    second: Annotated[Path, typer.Argument(help="Rows of the other, on the same mixtures.")],
    metrics: Annotated[
        str, typer.Option(help="What to compare, separated by commas; by default the gains and CLAPScores there are.")
    ] = "",
    conditions: Annotated[str, typer.Option(help="Ways of asking, separated by commas; by default all.")] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the comparison as JSON too.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap and the permutations.")] = 0,
) -> None:
    """Compare two runs answer by answer: difference of the means, its 95% interval, and p.

    The difference is the second run's mean less the first's. The interval is a bootstrap over mixtures, p a sign-flip
    permutation test over mixtures; "better" names a run only where the interval leaves out zero and p is at most
    0.05.
    """
    from soundsieve.evaluation import compare as comparing
    from soundsieve.evaluation import report, rows

    if output is not None and output.suffix != ".json":
        raise ConfigError(f"the comparison is JSON: give -o a name that ends in .json, not '{output.name}'")
    compared = comparing.compare(
        rows.read_rows(first),
        rows.read_rows(second),
        metrics=names_in(metrics),
        conditions=names_in(conditions),
        seed=seed,
    )
    names = (first.stem, second.stem) if first.stem != second.stem else (str(first), str(second))
    for line in columns(comparing.table(compared, names)):
        print(line)
    if output is not None:
        about = {"first": str(first), "second": str(second), "seed": seed}
        report.write_summary(output, comparing.summary(compared, about))
