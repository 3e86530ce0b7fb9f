from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import tone_and_noise

from soundsieve.audio import StreamResampler, resample, resampled_length
from soundsieve.errors import AudioError

RATES = [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 176_400, 192_000]


def streamed(x: np.ndarray, from_rate: int, to_rate: int, block: int, length: int | None = None) -> np.ndarray:
    stream = StreamResampler(from_rate, to_rate, len(x))
    parts = [stream.push(x[:, at : at + block]) for at in range(0, x.shape[1], block)]
    return np.concatenate([*parts, stream.finish(length=length)], axis=1)


@pytest.mark.parametrize("block", [1000, 4097, 100_000])
@pytest.mark.parametrize("rate", RATES)
def test_a_stream_gives_what_the_whole_gives(rate: int, block: int) -> None:
    x = tone_and_noise(0.5, rate, channels=2)
    there = streamed(x, rate, 32000, block)
    assert there.shape == (2, resampled_length(x.shape[1], rate, 32000))
    assert there.dtype == np.float32
    assert np.abs(there - resample(x, rate, 32000)).max() <= 1e-6
    back = streamed(there, 32000, rate, block, length=x.shape[1])
    assert back.shape == x.shape
    assert np.abs(back - resample(there, 32000, rate, length=x.shape[1])).max() <= 1e-6


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 5000),
    from_rate=st.sampled_from([*RATES, 44101, 9999]),
    to_rate=st.sampled_from([*RATES, 44101]),
    channels=st.integers(1, 8),
    cuts=st.lists(st.integers(0, 5000), max_size=6),
)
def test_lengths_rates_channels_and_cuts(
    length: int, from_rate: int, to_rate: int, channels: int, cuts: list[int]
) -> None:
    x = np.random.default_rng(length).uniform(-1, 1, (channels, length)).astype(np.float32)
    stream = StreamResampler(from_rate, to_rate, channels)
    edges = [0, *sorted(min(cut, length) for cut in cuts), length]
    parts = [stream.push(x[:, start:stop]) for start, stop in pairwise(edges)]  # some are empty
    early = sum(part.shape[1] for part in parts)
    parts.append(stream.finish())
    y = np.concatenate(parts, axis=1)
    wanted = resampled_length(length, from_rate, to_rate)
    assert y.shape == (channels, wanted)
    assert early <= wanted
    assert all(part.flags.c_contiguous for part in parts)
    assert np.abs(y - resample(x, from_rate, to_rate)).max() <= 1e-6


@pytest.mark.parametrize(("from_rate", "to_rate"), [(44100, 32000), (32000, 44100), (192_000, 32000), (8000, 32000)])
def test_what_is_held_back_does_not_grow(from_rate: int, to_rate: int) -> None:
    """The delay is half the filter, and soxr hands out in lumps: 0.15 s at most, after one second as after twenty."""
    stream = StreamResampler(from_rate, to_rate, 1)
    given, held = 0, []
    for second in range(1, 21):
        given += stream.push(np.zeros((1, from_rate), np.float32)).shape[1]
        held.append(second * to_rate - given)
    assert min(held) > 0
    assert max(held) < 0.15 * to_rate
    assert given + stream.finish().shape[1] == 20 * to_rate


def test_long_streams_do_not_drift() -> None:
    """A click after 100 s lands within a hundredth of a sample of where it belongs."""
    stream = StreamResampler(44100, 32000, 1)
    block = np.zeros((1, 44100), np.float32)
    parts = [stream.push(block) for _ in range(100)]
    click = block.copy()
    click[0, 441] = 1  # at 100.01 s, sample 3,200,320 of the result
    y = np.concatenate([*parts, stream.push(click), stream.finish()], axis=1)[0]
    around = y[3_200_300:3_200_341].astype(np.float64)
    centre = (around**2 * np.arange(41)).sum() / (around**2).sum()
    assert abs(centre - 20) < 0.01


def test_equal_rates_pass_through() -> None:
    x = tone_and_noise(0.1, 8000, channels=3)
    stream = StreamResampler(8000, 8000, 3)
    assert np.array_equal(stream.push(x), x)
    assert stream.finish().shape == (3, 0)
    assert streamed(x, 8000, 8000, 100, length=810).shape == (3, 810)


def test_what_a_stream_refuses() -> None:
    with pytest.raises(AudioError, match="sample rates are positive"):
        StreamResampler(0, 8000, 1)
    stream = StreamResampler(8000, 16000, 2)
    with pytest.raises(AudioError, match="without samples"):
        stream.finish()
    for shape in ((1, 10), (10,), (3, 10), (2, 2, 2)):
        with pytest.raises(AudioError, match=r"expected blocks of shape \(2, n\)"):
            stream.push(np.zeros(shape, np.float32))
    stream.push(np.zeros((2, 10), np.float32))
    assert stream.finish().shape == (2, 20)
    for again in (stream.finish, lambda: stream.push(np.zeros((2, 10), np.float32))):
        with pytest.raises(AudioError, match="this stream is finished"):
            again()
