"""Recordings of any length and level: windows that go on from each other, so that there is no seam to hear."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny_flowsep import RATE, noise, tiny, tiny_config
from torch import Tensor

from soundsieve import segments
from soundsieve.query import Query
from soundsieve.separator import Separator
from soundsieve.systems.flowsep.flowsep import FlowSep, unpack
from soundsieve.systems.flowsep.griffin_lim import GriffinLimConfig
from soundsieve.systems.flowsep.windows import Windows, noise_at

LONG = 5.12
"""Seconds of windows whose overlap holds what the vocoder reaches on both sides of the cross-fade."""


def windows_for(system: FlowSep, text: str = "a dog", channels: int = 1) -> Windows:
    condition = system.encode_query(Query(text))
    rows = [(channel, 0) for channel in range(channels)]
    return Windows(system, *unpack(condition.positive, system.config.text_width), rows)


def answers(system: FlowSep, sound: Tensor, overlap: float = 0.25) -> list[tuple[segments.Segment, Tensor]]:
    windows = windows_for(system)
    plan = segments.plan_for(system, sound.shape[1], overlap=overlap)
    return [(segment, windows.answer(segment.start, piece)) for segment, piece in segments.cut([sound], plan)]


def apart_in_cross_fade(pieces: list[tuple[segments.Segment, Tensor]]) -> float:
    """The largest difference of neighbours where both are heard, over the peak of all.

    That is what they share but for 40% of an overlap, a quarter of a window, at each end; the last two may share more.
    """
    found = []
    for (one, first), (two, second) in pairwise(pieces):
        alone = int(0.4 * 0.25 * (one.stop - one.start))
        heard = slice(alone, one.stop - two.start - alone)
        found.append((first[:, two.start - one.start :][:, heard] - second[:, heard]).abs().max())
    return float(max(found) / max(piece.abs().max() for _, piece in pieces))


@pytest.fixture(scope="module")
def long() -> FlowSep:
    return tiny(tiny_config(segment_s=LONG))


@pytest.mark.parametrize("seconds", [LONG + 0.01, 7.3, 8.96, 9.3])
def test_neighbours_have_the_same_waveform_where_they_are_cross_faded(long: FlowSep, seconds: float) -> None:
    """However much the last window shares: nearly all, half, a quarter as others do; it starts within a frame."""
    sound = noise(round(seconds * RATE) + 7)
    assert apart_in_cross_fade(answers(long, sound)) <= 1e-4


def test_so_they_have_where_the_vocoder_chooses_its_phases() -> None:
    system = tiny(tiny_config(segment_s=LONG, vocoder=GriffinLimConfig(updates=2, iterations=4)))
    assert apart_in_cross_fade(answers(system, noise(round(7.3 * RATE) + 7))) <= 1e-4


def test_answers_drawn_on_their_own_do_not_fit(long: FlowSep) -> None:
    """What the test above would see if windows did not go on from each other."""
    sound = noise(round(8 * RATE))
    plan = segments.plan_for(long, sound.shape[1])
    alone = [(segment, windows_for(long).answer(0, piece)) for segment, piece in segments.cut([sound], plan)]
    assert apart_in_cross_fade(alone) > 0.5


def test_a_change_of_level_is_no_seam_either() -> None:
    """30 times louder in the middle of the second window: its gain is another, and what is imposed is brought to it."""
    system = tiny(tiny_config(segment_s=LONG))
    system.vocode = lambda mel, known: mel.exp().mean(3)[:, 0].repeat_interleave(160, 1)  # as loud as it says
    sound = noise(round(9 * RATE))
    sound[:, 6 * RATE :] *= 30
    assert apart_in_cross_fade(answers(system, sound)) <= 1e-4
    pieces = answers(system, sound)
    assert pieces[1][1].abs().max() > 10 * pieces[0][1].abs().max()  # the gains differ indeed


def test_levels_glide() -> None:
    """Where levels are matched, neighbours have the same in the cross-fade, though each has a level of its own."""
    system = tiny(tiny_config(segment_s=LONG, level="matched"))
    sound = noise(round(8 * RATE))
    sound[:, 6 * RATE :] = 0.03 * torch.sin(torch.arange(2 * RATE) / 3)
    pieces = answers(system, sound)
    assert apart_in_cross_fade(pieces) <= 1e-4
    kept = tiny(tiny_config(segment_s=LONG))
    levels = [(two.norm() / one.norm()).item() for (_, one), (_, two) in zip(answers(kept, sound), pieces, strict=True)]
    assert abs(levels[0] - levels[1]) > 0.01 * levels[0]


def level_db(x: np.ndarray) -> np.ndarray:
    frames = x[: len(x) // 800 * 800].reshape(-1, 800)
    return np.asarray(10 * np.log10((frames**2).mean(1) + 1e-20))


def test_no_step_in_a_steady_sound(long: FlowSep) -> None:
    """Levels of 50 ms step no more around the seams of a long answer than elsewhere in it."""
    separator = Separator(long)
    sound = noise(14 * RATE)
    target = separator.separate(sound, "a dog", sample_rate=RATE).target[0]
    steps = np.abs(np.diff(level_db(target)))
    at_seams = np.zeros(len(steps), bool)
    plan = segments.plan_for(long, sound.shape[1])
    for one, two in pairwise(plan):
        at_seams[two.start // 800 : one.stop // 800 + 1] = True
    assert 0.2 < at_seams.mean() < 0.5
    assert np.percentile(steps[at_seams], 95) <= 1.5 * np.percentile(steps[~at_seams], 95)


@pytest.mark.parametrize(
    ("samples", "overlap"), [(1, 0.25), (639, 0.0), (10240, 0.25), (10241, 0.25), (20481, 0.01), (15001, 0.6)]
)
def test_any_length_and_overlap(samples: int, overlap: float) -> None:
    separator = Separator(tiny())
    found = separator.separate(noise(samples), "a dog", sample_rate=RATE, overlap=overlap)
    assert found.target.shape == (1, samples)
    assert np.abs(found.target + found.residual - noise(samples).numpy()).max() < 1e-6


def test_noise_belongs_to_a_place() -> None:
    whole = noise_at(0, (2, 200, 4), seed=3, kind=1)
    assert torch.equal(noise_at(70, (2, 90, 4), seed=3, kind=1), whole[:, :, 70:160])
    assert abs(float(whole.mean())) < 0.1
    assert float(whole.std()) == pytest.approx(1, abs=0.05)
    for seed, kind in ((3, 0), (4, 1)):
        other = noise_at(0, (2, 200, 4), seed=seed, kind=kind)
        assert abs(float((whole * other).mean())) < 0.1


def test_a_channel_that_falls_silent_and_comes_back() -> None:
    sound = noise(4 * 10240, channels=2)
    sound[1, 7680 : 4 * 7680] = 0  # for whole windows
    separator = Separator(tiny())
    both = separator.separate(sound, "a dog", sample_rate=RATE).target
    alone = separator.separate(sound[:1], "a dog", sample_rate=RATE).target
    assert np.array_equal(both[0], alone[0])
    assert np.abs(both[1, 2 * 7680 + 2560 : 3 * 7680]).max() == 0
    assert np.abs(both[1, -5000:]).max() > 0


def test_drawn_together_answers_are_what_they_are_alone() -> None:
    """As on a GPU, where several rows are drawn at once: two channels, one of them silent at first, two questions."""
    system = tiny()
    sound = noise(3 * 7680, channels=2)
    sound[1, :7680] = 0
    conditions = torch.cat([system.encode_query(Query(text)).positive for text in ("a dog", "rain")])
    rows = [(channel, question) for question in (0, 1) for channel in (0, 1)]
    alone, together = (Windows(system, *unpack(conditions, system.config.text_width), rows) for _ in range(2))
    together._batch = 3
    for segment, piece in segments.cut([sound], segments.plan_for(system, sound.shape[1])):
        one, other = alone.answer(segment.start, piece), together.answer(segment.start, piece)
        assert (one - other).abs().max() <= 1e-3 * one.abs().max()
