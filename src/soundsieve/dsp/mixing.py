"""Mixing: levels, signal-to-noise ratios, and fitting a clip into a fixed length.

Levels are energies in dB. Over T samples a waveform x has the energy E = sum x^2 and the mean power P = E / T; both are
given as 10 log10, and a silent waveform has a level of -inf. To mix a target s with an interferer n at r dB, the
interferer's gain g follows from the definition of the ratio:

    r = 10 log10(E_s / (g^2 E_n))   =>   g = sqrt(E_s / E_n) 10^(-r / 20)

Levels are measured in float64, so that what was asked for is what the float32 waveforms measure.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def energy_db(x: Tensor) -> Tensor:
    """Energy, 10 log10(sum x^2), in dB: shape ``(..., T)`` to ``(...)``, float64; -inf for silence."""
    return 10 * x.double().square().sum(-1).log10()


def rms_db(x: Tensor) -> Tensor:
    """Mean power, 10 log10(mean x^2), in dB re full scale: shape ``(..., T)`` to ``(...)``, float64; -inf for silence.

    Example (a full-scale square wave):
        >>> rms_db(torch.tensor([1.0, -1.0, 1.0, -1.0])).item()
        0.0
    """
    return energy_db(x) - 10 * math.log10(x.shape[-1])


def gain_db(x: Tensor, gain: Tensor | float) -> Tensor:
    """Amplify by ``gain`` dB: one number, or one for each waveform, shape ``(...)``."""
    factor = 10 ** (torch.as_tensor(gain, dtype=torch.float64, device=x.device) / 20)
    return x * factor.to(x.dtype).unsqueeze(-1)


def scale_to_rms_db(x: Tensor, level_db: Tensor | float) -> Tensor:
    """Bring each waveform to a mean power of ``level_db`` dB re full scale.

    Raises:
        ValueError: a waveform is silent.
    """
    return gain_db(x, level_db - _audible(rms_db(x), "the waveform"))


def mix_at_snr(target: Tensor, interferer: Tensor, snr_db: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    """Add an interferer to a target at a signal-to-noise ratio. Neither the target nor the sum changes level.

    Args:
        target: shape ``(..., T)``; kept as it is.
        interferer: the same shape; scaled.
        snr_db: energy of the target over that of the scaled interferer, in dB: one number, or shape ``(...)``.

    Returns:
        ``(mixture, target, interferer as scaled)``; the last two add up to the first.

    Raises:
        ValueError: shapes differ, or either is silent (there is no ratio to set).
    """
    if target.shape != interferer.shape:
        raise ValueError(f"target {tuple(target.shape)} and interferer {tuple(interferer.shape)} differ in shape")
    ratio_db = _audible(energy_db(target), "the target") - _audible(energy_db(interferer), "the interferer")
    scaled = gain_db(interferer, ratio_db - snr_db)
    return target + scaled, target, scaled


def fit_length(x: Tensor, length: int, *, offset: int = 0, repeat: bool = False) -> Tensor:
    """Make a clip exactly ``length`` samples long. Nothing is random: whoever calls draws the offset.

    Args:
        x: shape ``(..., T)``.
        length: samples wanted.
        offset: where T > length, the sample at which the crop starts, 0 to T - length. Where T <= length, the sample at
            which the clip is placed among zeros, 0 to length - T; with ``repeat``, the sample to start from.
        repeat: loop a short clip, instead of placing it once.

    Raises:
        ValueError: the clip is empty, or the offset is out of range.
    """
    size = x.shape[-1]
    if size == 0 or length < 1:
        raise ValueError(f"cannot fit {size} samples into {length}")
    looped = repeat and size < length
    largest = size - 1 if looped else abs(size - length)
    if not 0 <= offset <= largest:
        raise ValueError(f"the offset of a clip of {size} samples in {length} is 0 to {largest}, got {offset}")
    if looped:
        return x[..., (torch.arange(length, device=x.device) + offset) % size]
    if size >= length:
        return x[..., offset : offset + length].clone()
    return torch.nn.functional.pad(x, (offset, length - size - offset))


def loudest_offset(x: Tensor, length: int, *, step: int) -> int:
    """Where the loudest crop of ``length`` samples starts, among multiples of ``step``; the first of equals.

    Args:
        x: one waveform, shape ``(T,)``. Where it is no longer than ``length``, the answer is 0.
        length: of the crop, in samples.
        step: of the search, in samples.
    """
    if x.shape[-1] <= length:
        return 0
    energy = torch.nn.functional.pad(x.double().square().cumsum(-1), (1, 0))
    return int(torch.argmax(energy[length::step] - energy[:-length:step])) * step


def _audible(level_db: Tensor, what: str) -> Tensor:
    if bool((level_db == -math.inf).any()):
        raise ValueError(f"{what} is silent: it has no level to scale")
    return level_db
