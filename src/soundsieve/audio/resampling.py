"""Sample rates: one recording whole, or a stream of its blocks, with the same samples either way."""

from __future__ import annotations

import numpy as np
import soxr

from soundsieve.audio.info import Samples
from soundsieve.errors import AudioError

_QUALITY = "VHQ"
_ZEROS = 1 << 14


def resampled_length(samples: int, from_rate: int, to_rate: int) -> int:
    """How many samples a recording has at another rate: T * to / from to the nearest, never less than one."""
    return max(1, round(samples * to_rate / from_rate))


def resample(x: Samples, from_rate: int, to_rate: int, *, length: int | None = None) -> Samples:
    """Change the sample rate (soxr, very high quality, linear phase) with an exact length.

    Args:
        x: float32, shape ``(T,)`` or ``(C, T)``.
        from_rate: Hz.
        to_rate: Hz.
        length: samples in the result; by default `resampled_length`. To come back to a recording of T samples ask for
            T: rounding on the way there is then undone, and the last sample keeps its place.

    Returns:
        The same number of dimensions, contiguous; the input itself when nothing changes.

    Raises:
        AudioError: a rate that is not positive, or no samples.
    """
    _check_rates(from_rate, to_rate)
    if x.shape[-1] == 0:
        raise AudioError("cannot resample a recording without samples")
    wanted = resampled_length(x.shape[-1], from_rate, to_rate) if length is None else length
    if from_rate == to_rate and wanted == x.shape[-1]:
        return x
    zeros = _zeros_behind(x.shape[-1], wanted, from_rate, to_rate)
    frames = np.ascontiguousarray(np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, zeros)]).T)
    out: Samples = soxr.resample(frames, from_rate, to_rate, quality=_QUALITY)[:wanted]
    return np.ascontiguousarray(out.T)


class StreamResampler:
    """`resample` for a recording that comes in blocks: what all pushes and the finish give is the same, end to end.

    What is pushed comes out with a delay, since the filter looks ahead (some hundred samples); `finish` hands out
    the rest. Memory does not grow with the recording.

    Args:
        from_rate: Hz.
        to_rate: Hz.
        channels: rows of every block.

    Raises:
        AudioError: a rate that is not positive.

    Example:
        >>> stream = StreamResampler(48000, 32000, channels=1)
        >>> blocks = [stream.push(np.zeros((1, 480), np.float32)) for _ in range(100)]
        >>> sum(block.shape[1] for block in blocks) + stream.finish().shape[1]
        32000
    """

    def __init__(self, from_rate: int, to_rate: int, channels: int) -> None:
        _check_rates(from_rate, to_rate)
        self.from_rate = from_rate
        self.to_rate = to_rate
        self.channels = channels
        self._stream = (
            None
            if from_rate == to_rate
            else soxr.ResampleStream(from_rate, to_rate, channels, dtype="float32", quality=_QUALITY)
        )
        self._pushed = 0
        self._given = 0
        self._finished = False

    def push(self, samples: Samples) -> Samples:
        """The next block of the recording, float32 ``(C, n)``, in; what is ready of the result, ``(C, m)``, out.

        Raises:
            AudioError: the block has another number of channels, or the stream was finished.
        """
        if self._finished:
            raise AudioError("this stream is finished: a new recording needs a new StreamResampler")
        if samples.ndim != 2 or samples.shape[0] != self.channels:
            raise AudioError(f"expected blocks of shape ({self.channels}, n), got {samples.shape}")
        self._pushed += samples.shape[1]
        out = self._process(samples)
        self._given += out.shape[1]
        return out

    def finish(self, *, length: int | None = None) -> Samples:
        """The rest of the result, ``(C, m)``, after the last block.

        Args:
            length: samples of the whole result, as in `resample`.

        Raises:
            AudioError: nothing was pushed, or the stream was finished before.
        """
        if self._finished:
            raise AudioError("this stream is finished: a new recording needs a new StreamResampler")
        if self._pushed == 0:
            raise AudioError("cannot resample a recording without samples")
        self._finished = True
        wanted = resampled_length(self._pushed, self.from_rate, self.to_rate) if length is None else length
        zeros = _zeros_behind(self._pushed, wanted, self.from_rate, self.to_rate)
        rest: list[Samples] = []
        missing = wanted - self._given
        while zeros > 0 and missing > 0:
            step = min(zeros, _ZEROS)
            zeros -= step
            rest.append(self._process(np.zeros((self.channels, step), np.float32), last=zeros == 0)[:, :missing])
            missing -= rest[-1].shape[1]
        return np.concatenate([np.zeros((self.channels, 0), np.float32), *rest], axis=1)

    def _process(self, samples: Samples, *, last: bool = False) -> Samples:
        if self._stream is None:
            return np.ascontiguousarray(samples, dtype=np.float32)
        frames = np.ascontiguousarray(samples.T, dtype=np.float32)
        return np.ascontiguousarray(self._stream.resample_chunk(frames, last=last).T)


def _zeros_behind(samples: int, wanted: int, from_rate: int, to_rate: int) -> int:
    """Zeros to put behind a recording.

    soxr rounds its length down; zeros after the end, which it assumes there anyway, let its last samples out.
    """
    needed = -(-(wanted + 1) * from_rate // to_rate)
    return max(0, needed - samples) + 1


def _check_rates(from_rate: int, to_rate: int) -> None:
    if from_rate <= 0 or to_rate <= 0:
        raise AudioError(f"cannot resample from {from_rate} to {to_rate} Hz: sample rates are positive")
