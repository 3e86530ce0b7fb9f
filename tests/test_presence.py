from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from identity_system import IdentityConfig, IdentitySystem
from signals import tone_and_noise
from torch import Tensor

import soundsieve
from soundsieve import presence
from soundsieve.cli.demo import bundled_clips
from soundsieve.presence import Calibration, Finder, Presence, Span, energy_db, estimated_presence
from soundsieve.query import Condition

CONDITION = Condition(torch.ones(1, 4), torch.zeros(1, 4))


def found(samples: np.ndarray, heard: list[tuple[float, float, float]], rate: int = 1000) -> tuple[Span, ...]:
    finder = Finder(rate, 0.5)
    for start_s, end_s, value in heard:
        finder.hear(start_s, end_s, Presence(value))
    for start in range(0, samples.shape[1], 333):
        finder.add(samples[:, start : start + 333])
    return finder.spans()


def bursts(*moments: tuple[float, float], seconds: float = 10.0, rate: int = 1000) -> np.ndarray:
    """Noise of level 1 at some moments, 40 dB less elsewhere."""
    samples = np.random.default_rng(0).normal(0, 1, (2, round(seconds * rate)))
    loud = np.full(samples.shape[1], 0.01)
    for start_s, end_s in moments:
        loud[round(start_s * rate) : round(end_s * rate)] = 1
    return (samples * loud).astype(np.float32)


def test_bursts_are_found_where_they_are() -> None:
    spans = found(bursts((2, 3), (5, 5.2)), [(0, 10, 0.8)])
    assert len(spans) == 2
    for span, (start_s, end_s) in zip(spans, ((2, 3), (5, 5.2)), strict=True):
        assert span.start_s == pytest.approx(start_s, abs=0.05)
        assert span.end_s == pytest.approx(end_s, abs=0.05)
        assert span.score == 0.8


def test_bursts_close_together_are_one() -> None:
    assert len(found(bursts((2, 2.5), (2.8, 3.3)), [(0, 10, 0.8)])) == 1


def test_a_steady_sound_is_one_span() -> None:
    (span,) = found(bursts((0, 10)), [(0, 10, 0.8)])
    assert (span.start_s, span.end_s) == (0.0, 10.0)


def test_only_segments_that_have_it_are_looked_at() -> None:
    heard = [(0, 4, 0.9), (3, 7, 0.4), (6, 10, 0.6)]
    spans = found(bursts((1, 2), (4.5, 5.5), (8, 9)), heard)
    assert [round(span.start_s) for span in spans] == [1, 8]
    assert [span.score for span in spans] == [0.9, 0.6]
    assert found(bursts((1, 2)), [(0, 10, 0.4)]) == ()


def test_silence_has_no_spans() -> None:
    assert found(np.zeros((1, 1000), np.float32), [(0, 1, 0.9)]) == ()
    assert found(np.zeros((1, 0), np.float32), []) == ()


@pytest.mark.parametrize("samples", [1, 7, 25, 61])
def test_very_short_ones(samples: int) -> None:
    (span,) = found(np.ones((1, samples), np.float32), [(0, samples / 1000, 0.9)])
    assert (span.start_s, span.end_s) == (0.0, samples / 1000)


def test_energy_is_of_all_channels() -> None:
    mixture = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    assert energy_db(mixture, torch.tensor([[1.0, 0.0], [0.0, 0.0]])).item() == pytest.approx(-6.0206, abs=1e-3)
    assert energy_db(mixture, 0 * mixture).item() == pytest.approx(-60)
    assert energy_db(0 * mixture, 0 * mixture).item() == pytest.approx(-60)


class Compares(IdentitySystem):
    """Tells no presence; a sound agrees with the query by its sum, as far as cosines go."""

    compares: ClassVar[bool] = True

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__(IdentityConfig(presence=None, gain=gain))
        self.compared: list[Tensor] = []

    def agreement(self, target: Tensor, condition: Condition) -> Tensor:
        assert len(target) == len(condition.positive) == 1
        self.compared.append(target)
        return target.sum(1).clamp(-1, 1)


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "BY_ENERGY", Calibration(bias=1.0, energy=0.1))
    monkeypatch.setattr(presence, "BY_AGREEMENT", Calibration(bias=-1.0, energy=0.05, agreement=4.0))


@pytest.mark.usefixtures("by_hand")
def test_presence_by_hand() -> None:
    mixture = torch.full((2, 100), 0.05)
    alone = estimated_presence(IdentitySystem(), mixture, 0.1 * mixture, CONDITION)
    assert alone.value == pytest.approx(logistic(1.0 - 0.1 * 20))
    both = estimated_presence(Compares(), mixture, 0.1 * mixture, CONDITION)
    assert both.value == pytest.approx(logistic(-1.0 - 0.05 * 20 + 4.0 * 0.5))
    everything_but = Condition(torch.zeros(1, 4), torch.ones(1, 4))
    assert estimated_presence(Compares(), mixture, 0 * mixture, everything_but).value == 1.0


@pytest.mark.usefixtures("by_hand")
def test_the_loudest_channel_is_compared() -> None:
    """The mean of channels in opposite phase would be silence."""
    mixture = torch.stack([torch.full((100,), 0.002), torch.full((100,), -0.004)])
    both = estimated_presence(Compares(), mixture, mixture, CONDITION)
    assert both.value == pytest.approx(logistic(-1.0 - 4.0 * 0.4))


def test_nothing_is_compared_before_somebody_looks() -> None:
    system, mixture = Compares(), torch.full((1, 100), 0.05)
    found = estimated_presence(system, mixture, mixture, CONDITION)
    assert not system.compared
    assert found.value == found.value
    assert len(system.compared) == 1  # once


def test_nothing_is_compared_where_energy_settles_it() -> None:
    system, mixture = Compares(), torch.ones(1, 100)
    found = estimated_presence(system, mixture, 0.009 * mixture, CONDITION)
    assert 0 < found.value < 0.1
    assert not system.compared
    known = presence.BY_AGREEMENT  # not even full agreement would reach a half there
    assert known.bias + known.energy * presence._HEARD_FROM_DB + known.agreement < 0


def test_the_constants_are_those_of_the_benchmark() -> None:
    file = Path(__file__).parents[1] / "benchmarks" / "results" / "presence-clapsep-validation.json"
    tried = json.loads(file.read_text("utf-8"))["tried"]
    for known, name in ((presence.BY_ENERGY, "energy"), (presence.BY_AGREEMENT, "energy and agreement")):
        slopes = [known.energy, known.agreement][: len(tried[name]["constants"]["slopes"])]
        assert tried[name]["constants"] == {"slopes": slopes, "bias": known.bias}


def test_energy_alone_where_it_is_asked_for() -> None:
    system, mixture = Compares(), torch.full((1, 100), 0.05)
    found = estimated_presence(system, mixture, mixture, CONDITION, agreement=False)
    assert found.value == estimated_presence(IdentitySystem(), mixture, mixture, CONDITION).value
    assert not system.compared


def test_a_presence_that_is_not_known_yet_can_be_copied_and_pickled() -> None:
    mixture = torch.full((1, 100), 0.001)
    for again in (copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))):
        system = Compares()
        found = estimated_presence(system, mixture, mixture, CONDITION)
        assert again(found).value == found.value
        assert len(system.compared) == 1


# --- who looks ---


MIXTURE = tone_and_noise(3.2, 16000, 2)  # four segments of a second


def looked_at(ask: Callable[[soundsieve.Separator], object]) -> int:
    """How many segments were compared for it."""
    system = Compares()
    ask(soundsieve.Separator(system))
    return len(system.compared)


def test_only_who_looks_pays() -> None:
    settings = {"sample_rate": 16000}
    assert looked_at(lambda one: one.separate(MIXTURE, "a dog", **settings).target) == 0
    assert looked_at(lambda one: one.separate(MIXTURE, "a dog", **settings).presence) == 4
    assert looked_at(lambda one: one.separate(MIXTURE, "a dog", **settings).spans) == 4
    assert looked_at(lambda one: one.split(MIXTURE, ["a dog", "rain"], **settings).rest) == 0
    assert looked_at(lambda one: one.split(MIXTURE, ["a dog", "rain"], **settings).presences) == 8
    assert looked_at(lambda one: one.find(MIXTURE, "a dog", **settings)) == 4
    assert looked_at(lambda one: one.extract_file(MIXTURE, "a dog", **settings)) == 4
    assert looked_at(lambda one: one.extract_file(MIXTURE, "a dog", agreement=False, **settings)) == 0
    assert looked_at(lambda one: one.find(MIXTURE, "a dog", agreement=False, **settings)) == 0


def test_who_looks_twice_pays_once() -> None:
    system = Compares()
    out = soundsieve.Separator(system).separate(MIXTURE, "a dog", sample_rate=16000)
    assert out.presence == out.presence == max(span.score for span in out.spans)
    assert len(system.compared) == 4


@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_stream_compares_as_it_goes_and_finds_the_same(rate: int) -> None:
    mixture = tone_and_noise(3.2, rate, 2)
    system = Compares(gain=0.02)
    separator = soundsieve.Separator(system)
    whole = separator.separate(mixture, "a dog", sample_rate=rate)
    compared = []
    with separator.separate_stream(mixture, "a dog", sample_rate=rate, batch=1) as stream:
        for _ in stream:
            compared.append(len(system.compared))
    assert compared[0] < compared[-1] == 4
    assert stream.presences == (whole.presence,)
    assert stream.spans == (whole.spans,)


def test_a_silent_segment_is_not_compared() -> None:
    mixture = MIXTURE.copy()
    mixture[:, 16000:] = 0
    assert looked_at(lambda one: one.separate(mixture, "a dog", sample_rate=16000).presence) == 2


def test_agreement_is_yes_or_no() -> None:
    with pytest.raises(soundsieve.ConfigError, match="agreement is 'yes': it is True or False"):
        soundsieve.Separator(Compares()).separate(MIXTURE, "a dog", sample_rate=16000, agreement="yes")


def test_find_is_the_spans_of_the_separation() -> None:
    separator = soundsieve.Separator(IdentitySystem(IdentityConfig(segment_s=10.0)))
    mixture = bursts((2, 3), (5, 5.2), rate=16000)
    spans = separator.find(mixture, "a dog", sample_rate=16000)
    assert tuple(spans) == separator.separate(mixture, "a dog", sample_rate=16000).spans
    assert [round(span.start_s) for span in spans] == [2, 5]
    doubting = soundsieve.Separator(IdentitySystem(IdentityConfig(presence=0.3)))
    assert doubting.find(mixture, "a dog", sample_rate=16000) == []


# The embedded model, on the bundled clips


@pytest.mark.parametrize("at_s", [1.0, 13.4, 21.7])
def test_a_dog_in_the_rain_is_found_in_its_place(at_s: float) -> None:
    dog, rain = (samples[0] for samples in bundled_clips()[0].values())
    bark = dog[np.abs(dog).argmax() - 8000 :][:24000]
    loud = np.flatnonzero(np.abs(bark) > 0.1 * np.abs(bark).max()) / 32000
    mixture = np.resize(rain, 32000 * 25)
    mixture = 0.1 * mixture / mixture.std()
    start = round(at_s * 32000)
    mixture[start : start + len(bark)] += 0.8 * bark / np.abs(bark).max()
    spans = soundsieve.load().find(mixture.astype(np.float32), "a dog barking", sample_rate=32000)
    (span,) = [span for span in spans if span.end_s > at_s and span.start_s < at_s + 1]
    assert span.start_s == pytest.approx(at_s + loud[0], abs=0.3)
    assert span.end_s == pytest.approx(at_s + loud[-1], abs=0.3)
    assert span.score == max(one.score for one in spans)


def test_a_steady_sound_is_found_all_along() -> None:
    rain = bundled_clips()[0]["rain falling"][0]
    spans = soundsieve.load().find(np.resize(rain, 32000 * 12), "rain", sample_rate=32000)
    assert sum(span.end_s - span.start_s for span in spans) > 10
