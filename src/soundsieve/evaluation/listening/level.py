"""Sounds brought to one loudness, so that the louder of two systems is not taken for the better one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from soundsieve.dsp.loudness import loudness_lufs

LOUDNESS_LUFS = -23.0
"""Of every sound of a test, or of one item, less where its peaks would pass `PEAK`."""
PEAK = 0.95


def matched(sounds: Sequence[Tensor], sample_rate: int) -> list[Tensor]:
    """Sounds at one loudness by ITU-R BS.1770, as near to `LOUDNESS_LUFS` as the peaks of all of them allow.

    A sound that is silent by that measure (below -70 LUFS) stays as it is.

    Args:
        sounds: each of shape ``(T,)``.
        sample_rate: of all, in Hz, from 8000.

    Raises:
        ValueError: a sound is empty, or the rate is too low.
    """
    levels = [loudness_lufs(sound, sample_rate) for sound in sounds]
    room = [
        level + 20 * math.log10(PEAK / float(sound.abs().max()))
        for sound, level in zip(sounds, levels, strict=True)
        if math.isfinite(level)
    ]
    wanted = min([LOUDNESS_LUFS, *room])
    return [
        sound * 10 ** ((wanted - level) / 20) if math.isfinite(level) else sound
        for sound, level in zip(sounds, levels, strict=True)
    ]
