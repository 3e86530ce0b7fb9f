from __future__ import annotations

import numpy as np
import pytest
import torch
from identity_system import IdentityConfig, IdentitySystem

import soundsieve
from soundsieve.cli.demo import bundled_clips
from soundsieve.presence import Calibration, Finder, Span, energy_db, estimated_presence
from soundsieve.query import Condition

CONDITION = Condition(torch.ones(1, 4), torch.zeros(1, 4))


def found(samples: np.ndarray, heard: list[tuple[float, float, float]], rate: int = 1000) -> tuple[Span, ...]:
    finder = Finder(rate, 0.5)
    for one in heard:
        finder.hear(*one)
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


def test_presence_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soundsieve.presence.CALIBRATION", Calibration(bias=1.0, energy=0.1))
    mixture = torch.ones(2, 100)
    presence = estimated_presence(mixture, 0.1 * mixture, CONDITION)
    assert presence.tolist() == [pytest.approx(1 / (1 + np.exp(-(1.0 - 2.0))))]
    everything_but = Condition(torch.zeros(1, 4), torch.ones(1, 4))
    assert estimated_presence(mixture, 0 * mixture, everything_but).tolist() == [1.0]


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
