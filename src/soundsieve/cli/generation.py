"""Options of models that generate their answer, for every command that separates."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import typer

_GENERATE = "How to generate (flowsep)"

StepsOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--steps",
        min=1,
        max=100,
        help="From noise to the answer; by default the model's own.",
        rich_help_panel=_GENERATE,
    ),
]
SamplerOption: TypeAlias = Annotated[
    Literal["euler", "heun", "midpoint"] | None,
    typer.Option(
        "--sampler",
        help="How a step is made; heun and midpoint take twice the time of euler.",
        rich_help_panel=_GENERATE,
    ),
]
GuidanceOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--guidance",
        min=0.0,
        max=100.0,
        metavar="NUMBER",
        help="How much the words count: 1 as in training; more takes twice the time.",
        rich_help_panel=_GENERATE,
    ),
]
SeedOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--seed", min=0, help="Of the noise it starts from; another one, another answer.", rich_help_panel=_GENERATE
    ),
]
ProjectOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--project",
        help="Answer with what of the recording lies where the generated sound is, so that the rest can be had, too.",
        rich_help_panel=_GENERATE,
    ),
]


def chosen(
    steps: int | None, sampler: str | None, guidance: float | None, seed: int | None, project: bool
) -> dict[str, object]:
    """What was asked for, as settings of a system; nothing of what was not."""
    given = {"steps": steps, "sampler": sampler, "guidance": guidance, "seed": seed, "project": project or None}
    return {name: value for name, value in given.items() if value is not None}
