"""From a stream of blocks into files: each part where it belongs, and all parts adding up to the recording."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from soundsieve.audio import CONTAINERS, AudioInfo, ClipMode, Samples, Writer, Written, output_container, output_subtype

if TYPE_CHECKING:
    from soundsieve.streaming import Block, Stream

_STEPS = {"PCM_16": np.float32(2**15), "PCM_24": np.float32(2**23)}


def pour(
    stream: Stream,
    info: AudioInfo,
    places: Sequence[Path | None],
    suffix: str,
    *,
    subtype: str | None,
    clip_mode: ClipMode,
    advance: Callable[[float, float | None], None],
) -> list[Written | None]:
    """Write the targets of a stream, and the rest.

    Targets are rounded to the steps of the files before the rest is taken, so that what the files hold adds up to what
    the recording's file holds.

    Args:
        stream: of the recording.
        info: what the recording's header says.
        places: for each target a path, ``-``, or None for one that is not wanted; then for the rest.
        suffix: of all files: the kind of file where there is no path to tell it.
        subtype: of all files; by default as the recording's.
        clip_mode: see `Writer`.
        advance: called with the seconds done and, where that is known, those of the whole.

    Raises:
        AudioError: the recording cannot be read, or a file cannot be written. Then none is.
    """
    container, default = CONTAINERS[suffix]
    kind = subtype or output_subtype(info, suffix) or default
    with ExitStack() as stack:
        stack.enter_context(stream)
        writers = [
            None
            if place is None
            else stack.enter_context(
                Writer(
                    str(place) if str(place) == "-" else place,
                    stream.sample_rate,
                    stream.channels,
                    subtype=kind,
                    container=output_container(info, suffix) or container,
                    clip_mode=clip_mode,
                )
            )
            for place in places
        ]
        for block in stream:
            parts = _parts(block, _STEPS.get(kind))
            for writer, samples in zip(writers, parts, strict=True):
                if writer is not None:
                    writer.write(samples)
            whole_s = stream.samples / stream.sample_rate if stream.samples else None
            advance((block.start + block.mixture.shape[1]) / stream.sample_rate, whole_s)
    return [None if writer is None else writer.written for writer in writers]


def _parts(block: Block, full_scale: np.float32 | None) -> list[Samples]:
    if full_scale is not None:
        targets = tuple(np.rint(target * full_scale) / full_scale for target in block.targets)
        block = replace(block, targets=targets)
    return [*block.targets, block.residual]
