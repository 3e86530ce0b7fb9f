from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from identity_system import IdentityConfig, IdentitySystem
from torch import Tensor

from soundsieve.errors import ConfigError, WeightsError
from soundsieve.query import Condition
from soundsieve.segments import Plan, Segment, cross_fade, cut, plan_for, separate, separate_segments
from soundsieve.systems.base import Estimate

CONDITION = Condition(torch.ones(1, 4), torch.zeros(1, 4))


@pytest.mark.parametrize("length", [1, 5, 99, 100, 101, 175, 176, 177, 1000, 1001, 12345])
@pytest.mark.parametrize("overlap", [0, 1, 25, 50, 75, 99])
def test_a_plan_covers_everything_with_equal_segments(length: int, overlap: int) -> None:
    plan = Plan(length, 100, overlap)
    segments = list(plan)
    assert len(plan) == len(segments)
    assert segments[0].start == 0
    assert segments[-1].stop == length
    assert {s.stop - s.start for s in segments} == {min(length, 100)}
    for before, after in pairwise(segments):
        assert before.start < after.start
        assert before.stop - after.start >= overlap


def test_a_plan_by_hand() -> None:
    assert list(Plan(220, 100, 25)) == [Segment(0, 100), Segment(75, 175), Segment(120, 220)]


@pytest.mark.parametrize(("length", "segment", "overlap"), [(0, 10, 0), (10, 0, 0), (10, 10, 10), (10, 10, -1)])
def test_plans_that_make_no_sense(length: int, segment: int, overlap: int) -> None:
    with pytest.raises(ConfigError, match="cannot cut"):
        Plan(length, segment, overlap)


@pytest.mark.parametrize("length", [1, 7, 15999, 16000, 16001, 27999, 28000, 28001, 50003, 123457])
@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.25, 0.5, 0.8])
def test_around_an_identity_network_the_recording_comes_back(
    identity: IdentitySystem, length: int, overlap: float
) -> None:
    mixture = torch.randn(2, length, generator=torch.Generator().manual_seed(length))
    estimate = separate(identity, mixture, CONDITION, overlap=overlap)
    assert estimate.target.shape == mixture.shape
    # w x summed and divided by the sum of w: a few roundings of float32.
    assert torch.allclose(estimate.target, mixture, rtol=1e-6, atol=1e-6)


def test_ends_and_middles_are_not_weighted(identity: IdentitySystem) -> None:
    mixture = torch.randn(1, 40000, generator=torch.Generator().manual_seed(0))
    target = separate(identity, mixture, CONDITION, overlap=0.25).target
    assert torch.equal(target[:, :12000], mixture[:, :12000])
    assert torch.equal(target[:, -1000:], mixture[:, -1000:])


def test_batches_do_not_change_the_answer(identity: IdentitySystem) -> None:
    mixture = torch.randn(3, 100001, generator=torch.Generator().manual_seed(0))
    answers = [separate(identity, mixture, CONDITION, batch=batch).target for batch in (1, 2, 4, 7, 64)]
    assert all(torch.equal(answer, answers[0]) for answer in answers)
    assert max(rows for rows, _ in identity.batches[-1:]) > 3  # several segments at once
    assert all(rows <= 64 for rows, _ in identity.batches)


def test_no_more_than_a_batch_at_once(identity: IdentitySystem) -> None:
    mixture = torch.zeros(5, 60000)
    separate(identity, mixture, CONDITION, batch=2)
    assert max(rows for rows, _ in identity.batches) == 2


class _Grows(IdentitySystem):
    """Answers with the number of the segment, counting from 1: a seam that is easy to see."""

    def estimate(self, mixture: Tensor, condition: Condition) -> Estimate:
        self.batches.append(tuple(mixture.shape))
        count = float(len(self.batches))
        return Estimate(torch.full_like(mixture, count), torch.full((len(mixture),), 1 / count))


def test_neighbours_are_cross_faded() -> None:
    system = _Grows(IdentityConfig(sample_rate=100, segment_s=1.0))
    target = separate(system, torch.zeros(1, 175), CONDITION, overlap=0.25, batch=1).target[0]
    # Of the 25 samples that both know, the first 10 are the first segment's and the last 10 the second's alone.
    assert (target[:85] == 1).all()
    assert (target[90:] == 2).all()
    expected = 1 + torch.arange(1, 6) / 6  # 5 steps of 1/6 between the two
    assert torch.allclose(target[85:90], expected, atol=1e-6)


def test_presence_is_the_largest_of_the_segments() -> None:
    system = _Grows(IdentityConfig(sample_rate=100, segment_s=1.0))
    estimate = separate(system, torch.zeros(2, 500), CONDITION, batch=2)
    assert estimate.presence is not None
    assert estimate.presence.tolist() == [1.0, 1.0]
    assert separate(IdentitySystem(IdentityConfig(presence=None)), torch.zeros(1, 9), CONDITION).presence is None


def test_short_recordings_are_padded_for_a_system_that_needs_it(identity: IdentitySystem) -> None:
    identity.min_samples = 640
    mixture = torch.randn(1, 100, generator=torch.Generator().manual_seed(0))
    target = separate(identity, mixture, CONDITION).target
    assert identity.batches == [(1, 640)]
    assert torch.equal(target, mixture)


def test_stretches_are_handed_out_before_the_end_is_read(identity: IdentitySystem) -> None:
    mixture = torch.randn(1, 200000, generator=torch.Generator().manual_seed(0))
    plan = plan_for(identity, None)
    read_up_to = 0

    def blocks() -> Iterator[Tensor]:
        nonlocal read_up_to
        for start in range(0, 200000, 777):
            read_up_to = min(start + 777, 200000)
            yield mixture[:, start:read_up_to]

    def answers() -> Iterator[tuple[Segment, Tensor]]:
        for segment, _, (estimate,) in separate_segments(identity, cut(blocks(), plan), [CONDITION], batch=1):
            yield segment, estimate.target

    done = 0
    for stretch in cross_fade(answers(), plan):
        assert torch.allclose(stretch, mixture[:, done : done + stretch.shape[1]], atol=1e-6)
        done += stretch.shape[1]
        assert read_up_to <= done + 2 * plan.segment + 777
    assert done == 200000


@pytest.mark.parametrize("length", [1, 99, 100, 101, 175, 176, 177, 250, 1000, 1001])
@pytest.mark.parametrize("overlap", [0, 25, 75, 99])
@pytest.mark.parametrize("block", [1, 60, 1000])
def test_what_comes_in_blocks_is_cut_as_what_is_planned(length: int, overlap: int, block: int) -> None:
    whole = torch.arange(length)[None]
    planned = list(Plan(length, 100, overlap))
    blocks = (whole[:, start : start + block] for start in range(0, length, block))
    found = list(cut(blocks, Plan(None, 100, overlap)))
    assert [segment for segment, _ in found] == planned
    assert [segment.last for segment, _ in found] == [segment.last for segment in planned]
    assert all(torch.equal(piece, whole[:, segment.start : segment.stop]) for segment, piece in found)


def test_nothing_is_cut_from_nothing() -> None:
    assert list(cut([], Plan(None, 100, 25))) == []
    with pytest.raises(ConfigError, match="unknown length"):
        list(Plan(None, 100, 25))


@pytest.mark.parametrize("overlap", [0, 1, 2, 25, 50, 80, 99])
def test_no_sample_is_without_weight(overlap: int) -> None:
    ones = ((segment, torch.ones(1, 100)) for segment in Plan(1234, 100, overlap))
    whole = torch.cat(list(cross_fade(ones, Plan(None, 100, overlap))), 1)
    assert torch.allclose(whole, torch.ones(1, 1234), atol=1e-6)


def test_progress_runs_to_one(identity: IdentitySystem) -> None:
    seen: list[float] = []
    separate(identity, torch.zeros(1, 100000), CONDITION, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(seen) == len(plan_for(identity, 100000))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"segment_s": 0.0}, "segment_s is 0.0"),
        ({"segment_s": float("nan")}, "segment_s is nan"),
        ({"segment_s": float("inf")}, "segment_s is inf"),
        ({"overlap": 1.0}, "overlap is 1.0"),
        ({"overlap": -0.1}, "overlap is -0.1"),
        ({"batch": 0}, "batch is 0"),
    ],
)
def test_settings_out_of_range(identity: IdentitySystem, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        separate(identity, torch.zeros(1, 100), CONDITION, **options)


def test_a_system_that_answers_nonsense_is_caught(identity: IdentitySystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "estimate", lambda x, c: Estimate(x * float("nan")))
    with pytest.raises(WeightsError, match="not finite"):
        separate(identity, torch.zeros(1, 100), CONDITION)
    monkeypatch.setattr(identity, "estimate", lambda x, c: Estimate(x[:, :-1]))
    with pytest.raises(WeightsError, match="identity answered"):
        separate(identity, torch.zeros(1, 100), CONDITION)
