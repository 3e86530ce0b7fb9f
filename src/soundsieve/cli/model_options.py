"""Options that say what a model is made of, for every command that takes a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

WeightsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--weights", metavar="FILE", help="For a published model: a copy of its file, instead of fetching it."
    ),
]
ClapOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--clap", metavar="FILE", help="The CLAP that the weights build on, where they do not hold it."),
]
TokenizerOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="FILE",
        help="A tokenizer.json, its folder or its name on the hub: RoBERTa's, for LASS-Net that of BERT, uncased; "
        "none: to ask by example clips alone.",
    ),
]
PrecisionOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--precision",
        help="What to compute in: float32; or, for speed on some CPUs, int8, or bf16 (audiosep, lassnet, uss).",
    ),
]
