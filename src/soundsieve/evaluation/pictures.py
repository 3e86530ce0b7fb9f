"""Pictures of sounds: spectrograms side by side on one colour scale."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from soundsieve.dsp.stft import stft
from soundsieve.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_FFT = 1024
HOP_LENGTH = 256


def spectrogram_db(waveform: np.ndarray) -> np.ndarray:
    """Power of every STFT cell in dB, 10 log10 |X|^2; shape ``(T,)`` or ``(C, T)`` (averaged over C) to ``(F, N)``."""
    spectrum = stft(torch.from_numpy(np.atleast_2d(waveform)).float(), n_fft=N_FFT, hop_length=HOP_LENGTH)
    power = spectrum.abs().square().mean(0)
    decibels: np.ndarray = (10 * power.clamp_min(1e-20).log10()).numpy()
    return decibels


def spectrogram_figure(panels: Mapping[str, np.ndarray], sample_rate: int, *, range_db: float = 80.0) -> Figure:
    """Draw waveforms as spectrograms in a row, so that equal colours are equal levels.

    The colour scale is shared: 0 dB is the loudest cell of all panels, and ``range_db`` below it is as dark as it gets.

    Args:
        panels: title -> waveform, shape ``(T,)`` or ``(C, T)``; drawn in this order.
        sample_rate: of all waveforms, in Hz.
        range_db: how far down the colour scale reaches.

    Returns:
        A matplotlib figure (no window is opened and no global state is touched); see `save_figure`.

    Raises:
        ValueError: there is nothing to draw.
    """
    from matplotlib.figure import Figure

    if not panels:
        raise ValueError("a picture needs at least one waveform")
    pictures = {title: spectrogram_db(waveform) for title, waveform in panels.items()}
    loudest = max(float(picture.max()) for picture in pictures.values())

    figure = Figure(figsize=(4.0 * len(pictures) + 1.2, 3.4), layout="constrained")
    axes = figure.subplots(1, len(pictures), sharex=True, sharey=True, squeeze=False)[0]
    for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
        seconds = np.atleast_2d(panels[title]).shape[1] / sample_rate
        image = axis.imshow(
            picture - loudest,
            origin="lower",
            aspect="auto",
            extent=(0.0, seconds, 0.0, sample_rate / 2000),
            vmin=-range_db,
            vmax=0.0,
            cmap="magma",
            interpolation="nearest",
        )
        axis.set_title(title)
        axis.set_xlabel("time (s)")
    axes[0].set_ylabel("frequency (kHz)")
    figure.colorbar(image, ax=list(axes), label="level (dB re loudest cell)", pad=0.01)
    return figure


def save_figure(path: str | Path, figure: Figure, *, dpi: int = 110) -> None:
    """Write a figure whole or not at all, in the format that the name of the file asks for."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi)
