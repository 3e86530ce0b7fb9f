"""``soundsieve convert``: published weights into one file, and what was trained here into what others read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from soundsieve.cli.model_options import ClapOption, TokenizerOption
from soundsieve.errors import ConfigError


def convert(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            show_default=False,
            help="The weights: a file that its authors published, a checkpoint of CLAPSep's training, or a file of "
            "soundsieve's. Without it, the published model is fetched.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="What to write.", show_default=False)
    ] = ...,  # type: ignore[assignment]  # an option that must be given
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="The weights; another way to name FILE.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="The published model that FILE must be, or that is fetched: clapsep (unless told), audiosep, uss; "
            "lassnet and flowsep have to be a FILE.",
        ),
    ] = None,
    clap: ClapOption = None,
    tokenizer: TokenizerOption = None,
    to: Annotated[
        Literal["soundsieve", "published"],
        typer.Option(help="soundsieve: one file with everything inside; published: best_model.ckpt, for other tools."),
    ] = "soundsieve",
    lora: Annotated[
        Literal["merged", "kept"], typer.Option(help="Merge the low-rank adaptation, or keep it (to train on).")
    ] = "merged",
    dtype: Annotated[Literal["float32", "float16"], typer.Option(help="Of the weights in the file.")] = "float32",
    force: Annotated[
        bool, typer.Option("--force", "--overwrite", help="Replace a file that is there already.")
    ] = False,
) -> None:
    """Make one file of published weights, with all that is needed inside, or the reverse.

    soundsieve convert best_model.ckpt --clap music_audioset_epoch_15_esc_90.14.pt -o clapsep.safetensors writes a file
    that every --model takes; its path is printed. Whose weights FILE holds is told by its entries. Nothing is left
    behind where it fails.
    """
    if file is not None and weights is not None:
        raise ConfigError(f"the weights are given twice, as {file} and as {weights}: leave one out")
    is_ours = output.suffix == ".safetensors"
    if is_ours != (to == "soundsieve"):
        fitting = "a name that ends in .safetensors" if to == "soundsieve" else "a name such as best_model.ckpt"
        raise ConfigError(f"'{output.name}' is no name for a file of this kind: give -o {fitting}")
    if os.path.lexists(output) and not force:
        raise ConfigError(f"{output} exists: --force replaces it")

    from soundsieve.weights.catalog import read_published
    from soundsieve.weights.convert import read_system, write_published, write_system

    source = file or weights
    if source is None or model is not None:
        system = read_published(model or "clapsep", source, clap, tokenizer)
    else:
        system = read_system(source, clap, tokenizer)
    if to == "published":
        write_published(output, system)
    else:
        write_system(output, system, merge=lora == "merged", dtype=dtype)
    print(output)
