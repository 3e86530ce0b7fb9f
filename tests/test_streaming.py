from __future__ import annotations

import numpy as np
import pytest
import torch
from identity_system import IdentityConfig, IdentitySystem
from signals import tone, tone_and_noise
from torch import Tensor

import soundsieve
from soundsieve.audio import Samples
from soundsieve.errors import ConfigError, WeightsError
from soundsieve.query import Condition, Query
from soundsieve.streaming import Block, on_grid_of, separate_blocks, share_out
from soundsieve.systems.base import Estimate

CONDITION = Condition(torch.ones(1, 4), torch.zeros(1, 4))


def pieces(samples: np.ndarray, sizes: list[int]) -> list[Samples]:
    """A recording in blocks of these sizes, again and again."""
    found, start = [], 0
    while start < samples.shape[1]:
        size = sizes[len(found) % len(sizes)]
        found.append(samples[:, start : start + size])
        start += size
    return found


def joined(blocks: list[Block], q: int = 0) -> np.ndarray:
    return np.concatenate([block.targets[q] for block in blocks], 1)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 96000, 192000])
@pytest.mark.parametrize("seconds", [0.001, 0.9, 1.0, 3.71])
def test_blocks_add_up_to_the_recording(identity: IdentitySystem, rate: int, seconds: float) -> None:
    mixture = tone_and_noise(seconds, rate, 2)
    blocks = list(separate_blocks(identity, pieces(mixture, [1, 5000, 333]), rate, [CONDITION]))
    assert np.array_equal(np.concatenate([block.mixture for block in blocks], 1), mixture)
    assert [block.start for block in blocks] == np.cumsum([0] + [b.mixture.shape[1] for b in blocks])[:-1].tolist()
    for block in blocks:
        assert block.target.shape == block.residual.shape == block.mixture.shape
        assert block.target.dtype == block.residual.dtype == np.float32
        assert np.abs(block.target + block.residual - block.mixture).max() <= 2**-24


@pytest.mark.parametrize("rate", [16000, 44100])
def test_how_it_is_read_does_not_matter(identity: IdentitySystem, rate: int) -> None:
    mixture = tone_and_noise(3.3, rate, 2)
    whole = joined(list(separate_blocks(identity, [mixture], rate, [CONDITION])))
    for sizes in ([1000], [1, 70000], [12345, 7]):
        parts = joined(list(separate_blocks(identity, pieces(mixture, sizes), rate, [CONDITION])))
        assert np.abs(parts - whole).max() < 1e-6


def test_a_recording_of_one_segment_is_what_the_system_says(starter: soundsieve.Separator) -> None:
    """Within one segment nothing is cut, faded or resampled: streamed and whole are the same to float rounding."""
    mixture = tone_and_noise(9.7, 32000)
    condition = starter.encode(Query("rain"))
    with torch.inference_mode():
        whole = starter.system(torch.from_numpy(mixture), condition).numpy()
    parts = joined(list(separate_blocks(starter.system, pieces(mixture, [4096]), 32000, [condition])))
    assert np.abs(parts - whole).max() < 1e-6


def test_nothing_in_nothing_out(identity: IdentitySystem) -> None:
    assert list(separate_blocks(identity, [], 16000, [CONDITION])) == []


def test_memory_is_bounded_by_segments(identity: IdentitySystem) -> None:
    read = 0

    def blocks() -> object:
        nonlocal read
        for _ in range(200):
            read += 8000
            yield np.zeros((1, 8000), np.float32)

    given = 0
    for block in separate_blocks(identity, blocks(), 44100, [CONDITION], batch=2):
        given += block.mixture.shape[1]
        assert read - given <= 44100 * (2 + 2) + 8000  # two segments in a batch, one before them, and what waits
    assert given == read == 200 * 8000


class Several(IdentitySystem):
    """Answers a condition with the share that its first number says, all conditions in one go."""

    calls = 0

    def estimate_many(self, mixture: Tensor, conditions: object) -> list[Estimate]:
        self.calls += 1
        return [Estimate(mixture * c.positive[:, :1], c.positive[:, 1]) for c in conditions]


def condition(share: float, presence: float = 0.9) -> Condition:
    return Condition(torch.tensor([[share, presence]]), torch.zeros(1, 2))


def test_several_conditions_are_asked_at_once() -> None:
    system, mixture = Several(), tone_and_noise(2.5, 44100, 2)
    asked = [condition(0.5), condition(0.25, 0.3)]
    blocks = list(separate_blocks(system, pieces(mixture, [9999]), 44100, asked, batch=2))
    assert system.calls == 3  # two channels of a segment at a time
    alone = [list(separate_blocks(Several(), [mixture], 44100, [one])) for one in asked]
    for q in (0, 1):
        assert np.abs(joined(blocks, q) - joined(alone[q])).max() < 1e-6
    assert all(block.presence == (pytest.approx(0.9), pytest.approx(0.3)) for block in blocks)
    residual = np.concatenate([block.residual for block in blocks], 1)
    assert np.abs(joined(blocks, 0) + joined(blocks, 1) + residual - mixture).max() < 1e-6


def test_what_is_claimed_twice_is_shared_out() -> None:
    mixture = tone_and_noise(2.5, 16000, 2)
    asked = [condition(0.9), condition(0.6), condition(0.0)]
    blocks = list(separate_blocks(Several(), [mixture], 16000, asked, share=True))
    for q, share in enumerate((0.6, 0.4, 0.0)):
        assert np.abs(joined(blocks, q) - share * mixture).max() < 1e-5
    fits = list(separate_blocks(Several(), [mixture], 16000, [condition(0.5), condition(0.25)], share=True))
    assert np.abs(joined(fits, 1) - 0.25 * mixture).max() < 1e-5


@pytest.mark.parametrize("samples", [1, 17, 1000, 32000])
def test_sharing_is_by_place_in_the_spectrum(samples: int) -> None:
    low, high = (torch.from_numpy(tone(hz, samples / 16000, 16000)) for hz in (500, 4000))
    shared = share_out(low + high, torch.stack([low, high, low]), 16000)
    assert shared.shape == (3, 1, samples)
    if samples == 32000:
        assert (shared - torch.stack([low / 2, high, low / 2])).abs().max() < 0.01


class Names(IdentitySystem):
    """Presence and gain as a list says, segment by segment; the target is the mixture times the gain."""

    def __init__(self, presences: list[float]) -> None:
        super().__init__(IdentityConfig(sample_rate=100, segment_s=1.0))
        self.presences = presences

    def estimate(self, mixture: Tensor, condition: Condition) -> Estimate:
        presence = torch.tensor(self.presences[: len(mixture)])
        self.presences = self.presences[len(mixture) :]
        missing = (2 - 2 * presence / self.presence_threshold).clamp(0, 1)
        gain = 10.0 ** (-20 * missing / 20)
        return Estimate(mixture * gain[:, None], presence, gain)


def levels_db(presences: list[float]) -> list[float]:
    """Level of the answer in the middle of each segment."""
    segments = len(presences)
    blocks = list(
        separate_blocks(Names(presences), [np.ones((1, 100 + 75 * (segments - 1)), np.float32)], 100, [CONDITION])
    )
    return [round(20 * float(np.log10(joined(blocks)[0, 75 * k + 50])), 2) for k in range(segments)]


def test_doubt_moves_the_level_only_where_it_is_sure() -> None:
    assert levels_db([0.9, 0.45, 0.3, 0.49, 0.6]) == [0, 0, 0, 0, 0]
    assert levels_db([0.1, 0.3, 0.49, 0.26]) == [-20, -20, -20, -20]
    assert levels_db([0.9, 0.1, 0.4, 0.5, 0.4, 0.25]) == [0, -20, -20, 0, 0, -20]
    assert levels_db([0.375, 0.3, 0.45, 0.7]) == [-10, -10, -10, 0]
    assert levels_db([0.375]) == [-10]  # alone it is as the system says


def test_the_channels_of_one_segment_are_one_decision() -> None:
    class Shares(IdentitySystem):
        shares_channels = True

        def estimate_channels(self, mixture: Tensor, conditions: object) -> list[Estimate]:
            self.batches.append(tuple(mixture.shape))
            return [Estimate(mixture * 0.5, torch.full((len(mixture),), 0.7)) for _ in conditions]

    system, mixture = Shares(), tone_and_noise(3.2, 16000, 3)
    blocks = list(separate_blocks(system, [mixture], 16000, [CONDITION], batch=2))
    assert system.batches == [(2, 3, 16000), (2, 3, 16000)]
    assert np.abs(joined(blocks) - mixture / 2).max() < 1e-6
    heard = blocks[0].heard[0]
    assert (heard.start_s, heard.end_s, heard.presence) == (0.0, 1.0, (pytest.approx(0.7),))
    list(separate_blocks(system, [mixture[:1]], 16000, [CONDITION]))  # nothing to share: asked as one mixture
    assert len(system.batches) == 3
    assert len(system.batches[-1]) == 2


def test_presence_of_a_block_is_that_of_its_segments() -> None:
    mixture = np.ones((1, 400), np.float32)
    blocks = list(separate_blocks(Names([0.1, 0.9, 0.2, 0.3, 0.6]), [mixture], 100, [CONDITION], batch=1))
    assert [block.start for block in blocks] == [0, 75, 150, 225, 300]
    assert [block.presence[0] for block in blocks] == [pytest.approx(p) for p in (0.1, 0.9, 0.9, 0.3, 0.6)]


def test_silence_in_a_channel_or_a_stretch_stays_silence() -> None:
    class Hums(IdentitySystem):
        def forward(self, mixture: Tensor, condition: Condition) -> Tensor:
            return mixture + 0.1

    mixture = np.zeros((2, 16000 * 5), np.float32)
    mixture[0, :16000] = 0.5
    blocks = list(separate_blocks(Hums(), [mixture], 16000, [CONDITION]))
    target = joined(blocks)
    assert not target[1].any()
    assert target[0, :16000].any()
    assert not target[0, 32000:].any()
    assert blocks[-1].presence == (0.0,)


def test_the_grid_of_24_bits() -> None:
    mixture = np.array([[0.5, -(2.0**-23)]], np.float32)
    target = np.array([[0.3, 1e-9]], np.float32)
    assert on_grid_of(mixture, target)[0, 1] == 0
    assert on_grid_of(mixture / 3, target) is target


def test_settings_and_answers_that_make_no_sense(identity: IdentitySystem, monkeypatch: pytest.MonkeyPatch) -> None:
    mixture = np.ones((1, 100), np.float32)
    for settings in ({"segment_s": 0.0}, {"overlap": 1.0}, {"batch": 0}):
        with pytest.raises(ConfigError):
            next(separate_blocks(identity, [mixture], 16000, [CONDITION], **settings))
    monkeypatch.setattr(identity, "estimate", lambda x, c: Estimate(x / 0))
    with pytest.raises(WeightsError, match="not finite"):
        next(separate_blocks(identity, [mixture], 16000, [CONDITION]))


# The embedded model


@pytest.fixture(scope="module")
def starter() -> soundsieve.Separator:
    return soundsieve.load()


@pytest.fixture(scope="module")
def noises() -> dict[str, np.ndarray]:
    """Steady sounds, 90 s: white, and with the long-term spectrum of the bundled rain."""
    from soundsieve.cli.demo import bundled_clips

    rng = np.random.default_rng(0)
    white = rng.normal(0, 0.1, 32000 * 90)
    rain = bundled_clips()[0]["rain falling"][0]
    power = np.square(np.abs(np.fft.rfft(rain[: len(rain) // 2048 * 2048].reshape(-1, 2048)))).mean(0)
    bins = np.linspace(0, 1, len(white) // 2 + 1)
    shape = np.interp(bins, np.linspace(0, 1, len(power)), np.sqrt(power))
    shaped = np.fft.irfft(np.fft.rfft(white) * shape, len(white))
    return {"white": white.astype(np.float32), "rain": (0.1 * shaped / shaped.std()).astype(np.float32)}


@pytest.mark.parametrize(("noise", "words"), [("white", "rain"), ("rain", "rain"), ("rain", "wind")])
def test_a_steady_sound_has_no_seams(
    starter: soundsieve.Separator, noises: dict[str, np.ndarray], noise: str, words: str
) -> None:
    """The level where segments overlap is within 0.1 dB of that of the same sound inside segments."""
    offset, period, fade = 32000 * 5, 32000 * 15 // 2, 32000 * 5 // 2  # a segment starts every 7.5 s and lasts 10 s

    def power(start: int) -> np.ndarray:
        blocks = list(starter.separate_stream(noises[noise][start:], words, sample_rate=32000))
        return np.square(np.pad(joined(blocks)[0], (start, 0)))[2 * period : 10 * period].reshape(-1, period)

    one, other = power(0), power(offset)
    overlap, inside = one[:, :fade].mean(), other[:, :fade].mean()
    assert abs(10 * np.log10(overlap / inside)) < 0.1
    overlap, inside = other[:, offset : offset + fade].mean(), one[:, offset : offset + fade].mean()
    assert abs(10 * np.log10(overlap / inside)) < 0.1


def test_a_stereo_image_stays(starter: soundsieve.Separator) -> None:
    """What is left of both channels is the same share of them, in opposite phase too."""
    from soundsieve.cli.demo import bundled_clips

    dog, rain = (samples[0] for samples in bundled_clips()[0].values())
    for right in (0.5, -0.5, -1.0):
        mixture = np.stack([dog + rain, right * (dog + rain)])
        out = starter.separate(mixture, "a dog barking", sample_rate=32000)
        assert np.abs(out.target[1] - right * out.target[0]).max() < 1e-5
        assert np.square(out.target).sum() > 0.1 * np.square(mixture).sum()
