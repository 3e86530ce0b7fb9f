"""Options that several commands share: what is asked, what is written, how it is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

_ASK, _WRITE, _COMPUTE = "What to ask", "What to write", "How to compute"

ExcludeOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--exclude", "-x", metavar="TEXT", help="What to leave out; repeatable.", rich_help_panel=_ASK),
]
LikeOption: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option("--like", metavar="CLIP", help="A recording as an example of it; repeatable.", rich_help_panel=_ASK),
]
UnlikeOption: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option("--unlike", metavar="CLIP", help="An example of what to leave out; repeatable.", rich_help_panel=_ASK),
]
LikeSpanOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--like-span",
        metavar="START-END",
        help="A moment of the recording itself as an example, such as 6.3-7.0 or 1:02.5-1:04; repeatable.",
        rich_help_panel=_ASK,
    ),
]
UnlikeSpanOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--unlike-span",
        metavar="START-END",
        help="A moment of the recording with what to leave out; repeatable.",
        rich_help_panel=_ASK,
    ),
]
AudioWeightOption: TypeAlias = Annotated[
    float,
    typer.Option(
        "--audio-weight",
        metavar="SHARE",
        help="Share of the examples, 0 to 1, beside words for the same thing.",
        rich_help_panel=_ASK,
    ),
]
ThresholdOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        min=0.0,
        max=1.0,
        help="From which presence, 0 to 1, a sound counts as found; by default the model's own.",
        rich_help_panel=_ASK,
    ),
]

RecursiveOption: TypeAlias = Annotated[
    bool, typer.Option("--recursive", "-r", help="Take the recordings in folders, and in the folders in these.")
]
JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="One line of JSON for each recording on stdout.")]
QuietOption: TypeAlias = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no notes; errors are still told.")
]

OutputOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        "--output-dir",
        metavar="PLACE",
        help="A folder; or a file, such as dog.wav, for one recording; or - for standard output.  \\[default: sieved]",
        show_default=False,
        rich_help_panel=_WRITE,
    ),
]
PartsFolderOption: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--output", "-o", "--output-dir", metavar="DIR", help="Folder for what is written.", rich_help_panel=_WRITE
    ),
]
TemplateOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--template",
        metavar="NAME",
        help="Names of what is written, with {stem}, {query}, {part}, {model} and {ext}; a / makes folders.",
        rich_help_panel=_WRITE,
    ),
]
ForceOption: TypeAlias = Annotated[
    bool,
    typer.Option("--force", "--overwrite", help="Replace files that are there already.", rich_help_panel=_WRITE),
]
SkipOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--skip-existing", help="Leave out what is there already: goes on with a batch.", rich_help_panel=_WRITE
    ),
]
FormatOption: TypeAlias = Annotated[
    Literal["wav", "flac", "ogg", "opus", "mp3", "aiff", "caf", "w64", "rf64", "au"] | None,
    typer.Option("--format", help="Kind of file; by default the recording's own.", rich_help_panel=_WRITE),
]
SubtypeOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--subtype",
        metavar="NAME",
        help="Sample format: int16, int24, int32, float, double, or libsndfile's name; by default the recording's own.",
        rich_help_panel=_WRITE,
    ),
]
ClipModeOption: TypeAlias = Annotated[
    Literal["none", "rescale", "clamp"],
    typer.Option(
        "--clip-mode",
        help="Samples past full scale: keep them (as float where integers cannot), turn the file down, or clamp them.",
        rich_help_panel=_WRITE,
    ),
]

ModelOption: TypeAlias = Annotated[
    str, typer.Option("--model", "-m", help="Name or file of a model; see `soundsieve models`.")
]
DeviceOption: TypeAlias = Annotated[
    str, typer.Option("--device", help="Where to compute: cpu, cuda, cuda:1, ...", rich_help_panel=_COMPUTE)
]
SegmentOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--segment", metavar="SECONDS", help="Computed at once; by default the model's own.", rich_help_panel=_COMPUTE
    ),
]
OverlapOption: TypeAlias = Annotated[
    float,
    typer.Option(
        "--overlap", metavar="SHARE", help="Of a segment with the next, 0 to below 1.", rich_help_panel=_COMPUTE
    ),
]
BatchOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--batch", min=1, help="Segments computed together; fewer need less memory.", rich_help_panel=_COMPUTE
    ),
]
JobsOption: TypeAlias = Annotated[
    int, typer.Option("--jobs", "-j", min=1, help="Recordings worked on at the same time.", rich_help_panel=_COMPUTE)
]
ThreadsOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        help="CPU threads of each job; by default the cores are shared out.",
        rich_help_panel=_COMPUTE,
    ),
]
